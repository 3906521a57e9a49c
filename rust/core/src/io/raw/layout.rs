use std::borrow::Cow;

use super::bad::Reason;
use super::options::{Shape, SourceOptions};
use super::value::{Speaker, Turn, Value};
use super::wiki;
use crate::text::is_punctuation;

/// Where the columns of a row come from; numbers index the wanted fields.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Layout {
    /// Fields joined to the prompt, and the response.
    Pair { prompt: Vec<Part>, response: usize },
    /// The first question of a dialogue and the answer to it.
    Dialogue,
    /// Title and text of an article.
    Article,
    /// Fields joined to the prompt, the preferred answer, the other one.
    Preference { prompt: Vec<Part>, chosen: usize, rejected: Option<usize> },
    /// Plain text.
    Text,
}

/// A field joined to the prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    field: usize,
    optional: bool,
}

/// How the records of a file become rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    layout: Layout,
    /// Fields to read from each record.
    pub wanted: Vec<String>,
    /// Which of them says where a row comes from.
    pub source: Option<usize>,
}

/// The texts of a row in the order of [`Columns::names`], without the source.
pub type Row<'a> = Vec<Cow<'a, str>>;

/// Why a record gives no row.
pub type Refusal = (Reason, String);

/// Fields in the order in which they are joined (`?`: may be missing), and the answer to them.
const PAIRS: [(&[&str], &[&str]); 11] = [
    (&["title?", "prompt"], &["response", "completion", "output", "answer", "reply"]),
    (&["instruction", "input?"], &["output", "response", "answer"]),
    (&["zh_instruction", "zh_input?"], &["zh_output"]),
    (&["title?", "question"], &["answer", "response", "output", "reply"]),
    (&["title?", "ask"], &["answer", "response", "reply"]),
    (&["title", "desc?"], &["answer", "content", "reply"]),
    (&["query"], &["response", "answer", "output"]),
    (&["q"], &["a"]),
    (&["input"], &["output", "target"]),
    (&["标题?", "问题"], &["答案", "回答", "回复"]),
    (&["标题?", "提问"], &["回答", "答案", "回复"]),
];
const CHOSEN: &[&str] = &["chosen"];
const REJECTED: &[&str] = &["rejected", "reject"];
const TEXT: &[&str] = &["text", "content", "正文"];
const DIALOGUE: &[&str] = &["messages", "conversations", "conversation", "dialogue"];
const SOURCE: &str = "source";

/// True for a name that means something to [`Columns::find`], in any case of letters.
pub fn is_known_name(name: &str) -> bool {
    let is = |known: &&str| known.trim_end_matches('?').eq_ignore_ascii_case(name);
    PAIRS.iter().any(|(prompt, response)| prompt.iter().chain(response.iter()).any(is))
        || [CHOSEN, REJECTED, TEXT, DIALOGUE].iter().any(|names| names.iter().any(is))
}

impl Columns {
    /// Finds the columns among the names of the fields.
    ///
    /// # Errors
    /// A message that says what was looked for and what is there.
    pub fn find(names: &[String], options: &SourceOptions) -> Result<Self, String> {
        let fields = Fields { names };
        let found = match options.shape {
            Shape::Auto if options.text_column.is_some() => fields.text(options)?,
            Shape::Auto => match (fields.preference(options, false)?, fields.pair(options)?) {
                (Some(found), _) | (None, Some(found)) => Some(found),
                (None, None) => fields.text(options)?,
            },
            Shape::Pairs => fields.pair(options)?,
            Shape::Preference => fields.preference(options, true)?,
            Shape::Text => fields.text(options)?,
        };
        let (layout, mut wanted) = found.ok_or_else(|| fields.complaint(options.shape))?;
        let source = fields.one(&[SOURCE]).filter(|_| options.source.is_none());
        let source = source.map(|name| {
            wanted.push(name);
            wanted.len() - 1
        });
        Ok(Self { layout, wanted, source })
    }

    /// Bare lists of turns.
    pub fn turns() -> Self {
        Self { layout: Layout::Dialogue, wanted: vec!["messages".into()], source: None }
    }

    /// Columns by position: prompt and response, or text.
    pub fn by_position(fields: usize, shape: Shape) -> Result<Self, String> {
        let layout = match (fields, shape) {
            (1, Shape::Auto | Shape::Text) => Layout::Text,
            (2, Shape::Auto | Shape::Pairs) => {
                Layout::Pair { prompt: vec![Part { field: 0, optional: false }], response: 1 }
            }
            (1, _) => return Err("holds plain text; a table needs a header that names its columns".into()),
            _ => return Err(format!("has {fields} columns and no header that names them")),
        };
        Ok(Self { layout, wanted: (0..fields).map(|i| i.to_string()).collect(), source: None })
    }

    /// Columns of a file that holds nothing.
    pub fn of_nothing(shape: Shape) -> Self {
        let names: &[&str] = match shape {
            Shape::Auto | Shape::Pairs => &["prompt", "response"],
            Shape::Preference => &["prompt", "chosen", "rejected"],
            Shape::Text => &["text"],
        };
        let prompt = vec![Part { field: 0, optional: false }];
        let layout = match shape {
            Shape::Auto | Shape::Pairs => Layout::Pair { prompt, response: 1 },
            Shape::Preference => Layout::Preference { prompt, chosen: 1, rejected: Some(2) },
            Shape::Text => Layout::Text,
        };
        Self { layout, wanted: names.iter().map(|name| (*name).to_owned()).collect(), source: None }
    }

    /// Title and text of articles.
    pub fn articles(options: &SourceOptions) -> Self {
        let layout = if options.shape == Shape::Text { Layout::Text } else { Layout::Article };
        let wanted: &[&str] = if options.shape == Shape::Text { &["text"] } else { &["title", "text"] };
        Self { layout, wanted: wanted.iter().map(|s| (*s).into()).collect(), source: None }
    }

    /// Names of the columns of a row.
    pub fn names(&self) -> &'static [&'static str] {
        match &self.layout {
            Layout::Pair { .. } | Layout::Dialogue | Layout::Article => &["prompt", "response", SOURCE],
            Layout::Preference { rejected: Some(_), .. } => &["prompt", "chosen", "rejected", SOURCE],
            Layout::Preference { rejected: None, .. } => &["prompt", "chosen", SOURCE],
            Layout::Text => &["text", SOURCE],
        }
    }

    /// Makes a row of the wanted fields of a record. Empty texts are refused unless `keep_empty`.
    pub fn row<'a>(
        &self,
        mut values: Vec<Value<'a>>,
        options: &SourceOptions,
        keep_empty: bool,
    ) -> Result<Row<'a>, Refusal> {
        let row = match &self.layout {
            Layout::Text => vec![self.text(&mut values, 0)?],
            Layout::Pair { prompt, response } => {
                vec![self.joined(&mut values, prompt)?, self.text(&mut values, *response)?]
            }
            Layout::Preference { prompt, chosen, rejected } => {
                let mut row = vec![self.joined(&mut values, prompt)?, self.text(&mut values, *chosen)?];
                if let Some(rejected) = rejected {
                    row.push(self.text(&mut values, *rejected)?);
                }
                row
            }
            Layout::Dialogue => first_exchange(std::mem::take(&mut values[0]))?,
            Layout::Article => {
                let (title, text) = (self.text(&mut values, 0)?, self.text(&mut values, 1)?);
                let answer =
                    wiki::answer(&title, &text, options).map_err(|reason| (reason, title.to_string()))?;
                vec![wiki::question(&title, options).into(), answer.to_owned().into()]
            }
        };
        match row.iter().position(|text| text.trim().is_empty()) {
            Some(i) if !keep_empty => Err((Reason::EmptyField, self.names()[i].into())),
            _ => Ok(row),
        }
    }

    fn text<'a>(&self, values: &mut [Value<'a>], field: usize) -> Result<Cow<'a, str>, Refusal> {
        match std::mem::take(&mut values[field]) {
            Value::Text(text) => Ok(text),
            Value::Null => Ok("".into()),
            Value::Missing => Err((Reason::MissingField, self.wanted[field].clone())),
            // The last word of a dialogue is what is compared in preference data.
            Value::Turns(turns) if !turns.is_empty() => {
                Ok(turns.into_iter().next_back().map_or("".into(), |turn| turn.text))
            }
            _ => Err((Reason::NotText, self.wanted[field].clone())),
        }
    }

    /// Joins fields with line ends. A title that the next field repeats is left away.
    fn joined<'a>(&self, values: &mut [Value<'a>], parts: &[Part]) -> Result<Cow<'a, str>, Refusal> {
        let mut joined: Cow<'a, str> = "".into();
        for &Part { field, optional } in parts {
            if optional && values[field] == Value::Missing {
                continue;
            }
            let part = self.text(values, field)?;
            let name = &self.wanted[field];
            if joined.trim().is_empty()
                || (is_title(&self.wanted[parts[0].field]) && contains(&part, &joined))
            {
                joined = part;
            } else if !part.trim().is_empty() && (is_input(name) || !contains(&joined, &part)) {
                joined = format!("{}\n{part}", joined.trim_end()).into();
            }
        }
        Ok(joined)
    }
}

/// The input of an instruction counts even if the instruction happens to hold the same characters.
fn is_input(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with("input")
}

fn is_title(name: &str) -> bool {
    name.eq_ignore_ascii_case("title") || name == "标题"
}

/// Is `part`, apart from marks at its end, in `whole`?
fn contains(whole: &str, part: &str) -> bool {
    whole.contains(part.trim().trim_end_matches(is_punctuation))
}

fn first_exchange(dialogue: Value<'_>) -> Result<Row<'_>, Refusal> {
    let turns = match dialogue {
        Value::Turns(turns) => turns,
        Value::Missing => return Err((Reason::MissingField, "turns".into())),
        _ => return Err((Reason::NotText, "turns".into())),
    };
    let mut turns = turns.into_iter();
    let mut next = |speaker| turns.find(|turn: &Turn<'_>| turn.speaker == speaker).map(|turn| turn.text);
    let missing = |who: &str| (Reason::MissingField, format!("no turn of the {who}"));
    let prompt = next(Speaker::User).ok_or_else(|| missing("user"))?;
    Ok(vec![prompt, next(Speaker::Assistant).ok_or_else(|| missing("assistant"))?])
}

fn parts(fields: Vec<(String, bool)>) -> (Vec<Part>, Vec<String>) {
    let parts = fields.iter().enumerate().map(|(field, (_, optional))| Part { field, optional: *optional });
    (parts.collect(), fields.iter().map(|(name, _)| name.clone()).collect())
}

type Found = Option<(Layout, Vec<String>)>;

/// The names of the fields of a file.
struct Fields<'n> {
    names: &'n [String],
}

impl Fields<'_> {
    fn one(&self, candidates: &[&str]) -> Option<String> {
        candidates.iter().find_map(|c| self.names.iter().find(|name| name.eq_ignore_ascii_case(c)).cloned())
    }

    /// A field named by an option must be there.
    fn named(&self, name: &str) -> Result<String, String> {
        self.names
            .iter()
            .find(|found| *found == name)
            .cloned()
            .ok_or_else(|| format!("field {name:?} not found (fields: {})", self.names.join(", ")))
    }

    /// The fields of a prompt and whether each may be missing.
    fn prompts(&self, candidates: &[&str]) -> Option<Vec<(String, bool)>> {
        let mut found = Vec::new();
        for candidate in candidates {
            let optional = candidate.ends_with('?');
            match self.one(&[candidate.trim_end_matches('?')]) {
                Some(name) => found.push((name, optional)),
                None if optional => {}
                None => return None,
            }
        }
        Some(found)
    }

    fn wanted_prompts(&self, options: &SourceOptions) -> Result<Option<Vec<(String, bool)>>, String> {
        if options.prompt_columns.is_empty() {
            return Ok(PAIRS.iter().find_map(|(prompt, _)| self.prompts(prompt)));
        }
        let named = options.prompt_columns.iter().enumerate().map(|(i, name)| Ok((self.named(name)?, i > 0)));
        named.collect::<Result<_, String>>().map(Some)
    }

    fn pair(&self, options: &SourceOptions) -> Result<Found, String> {
        let asked = !options.prompt_columns.is_empty() || options.response_column.is_some();
        if !asked && let Some(name) = self.one(DIALOGUE) {
            return Ok(Some((Layout::Dialogue, vec![name])));
        }
        let known =
            PAIRS.iter().find_map(|(prompt, response)| Some((self.prompts(prompt)?, self.one(response)?)));
        let (prompt, response) = match (asked, known) {
            (false, Some(found)) => found,
            (false, None) => {
                let article = self.one(&["title"]).zip(self.one(&["text"]));
                return Ok(article.map(|(title, text)| (Layout::Article, vec![title, text])));
            }
            (true, known) => {
                let prompt = self.wanted_prompts(options)?;
                let response = match &options.response_column {
                    Some(name) => Some(self.named(name)?),
                    None => known.map(|(_, response)| response).or_else(|| self.any_response()),
                };
                match (prompt, response) {
                    (Some(prompt), Some(response)) => (prompt, response),
                    _ => return Ok(None),
                }
            }
        };
        let (prompt, mut wanted) = parts(prompt);
        let layout = Layout::Pair { prompt, response: wanted.len() };
        wanted.push(response);
        Ok(Some((layout, wanted)))
    }

    fn preference(&self, options: &SourceOptions, alone: bool) -> Result<Found, String> {
        let named = |name: &Option<String>| name.as_deref().map(|name| self.named(name)).transpose();
        let chosen = named(&options.chosen_column)?.or_else(|| self.one(CHOSEN));
        // Without a second answer a file is preference data only if that was asked for.
        let chosen = if alone { chosen.or_else(|| self.any_response()) } else { chosen };
        let rejected = named(&options.rejected_column)?.or_else(|| self.one(REJECTED));
        let prompt = self.wanted_prompts(options)?;
        let (Some(prompt), Some(chosen)) = (prompt, chosen) else { return Ok(None) };
        let (prompt, mut wanted) = parts(prompt);
        let count = wanted.len();
        let layout =
            Layout::Preference { prompt, chosen: count, rejected: rejected.as_ref().map(|_| count + 1) };
        wanted.extend([chosen].into_iter().chain(rejected));
        Ok(Some((layout, wanted)))
    }

    fn text(&self, options: &SourceOptions) -> Result<Found, String> {
        let name = match &options.text_column {
            Some(name) => Some(self.named(name)?),
            None => self.one(TEXT),
        };
        Ok(name.map(|name| (Layout::Text, vec![name])))
    }

    fn any_response(&self) -> Option<String> {
        PAIRS.iter().find_map(|(_, response)| self.one(response))
    }

    fn complaint(&self, shape: Shape) -> String {
        let advice = match shape {
            Shape::Pairs => "name them with prompt_columns and response_column",
            Shape::Preference => "name them with prompt_columns, chosen_column and rejected_column",
            Shape::Text => "name it with text_column",
            Shape::Auto => "name them with prompt_columns and response_column, or with text_column",
        };
        format!("no known columns among the fields {}; {advice}", self.names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(names: &[&str], shape: Shape) -> Result<Columns, String> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Columns::find(&names, &SourceOptions { shape, ..Default::default() })
    }

    #[test]
    fn the_other_answer_of_a_preference_may_be_missing() {
        let columns = find(&["prompt", "chosen"], Shape::Auto).expect("is preference data");
        assert_eq!(columns.names(), ["prompt", "chosen", "source"]);
        let columns = find(&["instruction", "input", "output"], Shape::Preference).expect("may be made so");
        assert_eq!((columns.names(), columns.wanted.len()), (&["prompt", "chosen", "source"][..], 3));
    }

    #[test]
    fn a_file_without_known_columns_is_refused_with_advice() {
        let problem = find(&["a1", "b1"], Shape::Pairs).expect_err("unknown");
        assert_eq!(
            problem,
            "no known columns among the fields a1, b1; name them with prompt_columns and response_column"
        );
    }

    #[test]
    fn an_instruction_is_needed_but_its_input_is_not() {
        let columns = find(&["instruction", "input", "output"], Shape::Auto).expect("is a pair");
        let row = |instruction, input| {
            columns.row(vec![instruction, input, Value::Text("答".into())], &SourceOptions::default(), false)
        };
        let text = |text: &'static str| Value::Text(text.into());
        assert_eq!(row(text("问"), Value::Missing).map(|row| row[0].clone().into_owned()), Ok("问".to_owned()));
        assert_eq!(row(Value::Missing, text("问")), Err((Reason::MissingField, "instruction".into())));
    }
}
