use std::borrow::Cow;

use super::bad::Reason;
use super::fields::{Fields, SOURCE};
use super::layout::{Layout, Part};
use super::options::{Shape, SourceOptions};
use super::value::{Speaker, Turn, Value};
use super::wiki;
use crate::text::is_punctuation;

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
        assert_eq!(
            row(text("问"), Value::Missing).map(|row| row[0].clone().into_owned()),
            Ok("问".to_owned())
        );
        assert_eq!(row(Value::Missing, text("问")), Err((Reason::MissingField, "instruction".into())));
    }
}
