use super::layout::{Layout, Part};
use super::options::{Shape, SourceOptions};

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
/// Name of the field, and of the column, that says where a row comes from.
pub const SOURCE: &str = "source";

/// True for a name that means something to [`Columns::find`], in any case of letters.
pub fn is_known_name(name: &str) -> bool {
    let is = |known: &&str| known.trim_end_matches('?').eq_ignore_ascii_case(name);
    PAIRS.iter().any(|(prompt, response)| prompt.iter().chain(response.iter()).any(is))
        || [CHOSEN, REJECTED, TEXT, DIALOGUE].iter().any(|names| names.iter().any(is))
}

/// A layout and the fields that it wants, if there are such.
type Found = Option<(Layout, Vec<String>)>;

/// The names of the fields of a file.
pub struct Fields<'n> {
    pub names: &'n [String],
}

impl Fields<'_> {
    /// The first of these names that is there, as it is written there.
    pub fn one(&self, candidates: &[&str]) -> Option<String> {
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

    /// Question and answer: named ones, a dialogue, known names, or an article.
    pub fn pair(&self, options: &SourceOptions) -> Result<Found, String> {
        let asked = !options.prompt_columns.is_empty() || options.response_column.is_some();
        if !asked && let Some(name) = self.one(DIALOGUE) {
            return Ok(Some((Layout::Dialogue, vec![name])));
        }
        let known =
            PAIRS.iter().find_map(|(prompt, response)| Some((self.prompts(prompt)?, self.one(response)?)));
        let found = if asked {
            let response = match &options.response_column {
                Some(name) => Some(self.named(name)?),
                None => known.map(|(_, response)| response).or_else(|| self.any_response()),
            };
            self.wanted_prompts(options)?.zip(response)
        } else {
            known
        };
        let Some((prompt, response)) = found else {
            let article = self.one(&["title"]).zip(self.one(&["text"])).filter(|_| !asked);
            return Ok(article.map(|(title, text)| (Layout::Article, vec![title, text])));
        };
        let (prompt, mut wanted) = parts(prompt);
        let layout = Layout::Pair { prompt, response: wanted.len() };
        wanted.push(response);
        Ok(Some((layout, wanted)))
    }

    /// Preference data; `alone`: even without a second answer under a name of its own.
    pub fn preference(&self, options: &SourceOptions, alone: bool) -> Result<Found, String> {
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

    /// Plain text.
    pub fn text(&self, options: &SourceOptions) -> Result<Found, String> {
        let name = match &options.text_column {
            Some(name) => Some(self.named(name)?),
            None => self.one(TEXT),
        };
        Ok(name.map(|name| (Layout::Text, vec![name])))
    }

    fn any_response(&self) -> Option<String> {
        PAIRS.iter().find_map(|(_, response)| self.one(response))
    }

    /// Why nothing was found.
    pub fn complaint(&self, shape: Shape) -> String {
        let advice = match shape {
            Shape::Pairs => "name them with prompt_columns and response_column",
            Shape::Preference => "name them with prompt_columns, chosen_column and rejected_column",
            Shape::Text => "name it with text_column",
            Shape::Auto => "name them with prompt_columns and response_column, or with text_column",
        };
        format!("no known columns among the fields {}; {advice}", self.names.join(", "))
    }
}

fn parts(fields: Vec<(String, bool)>) -> (Vec<Part>, Vec<String>) {
    let parts = fields.iter().enumerate().map(|(field, (_, optional))| Part { field, optional: *optional });
    (parts.collect(), fields.iter().map(|(name, _)| name.clone()).collect())
}
