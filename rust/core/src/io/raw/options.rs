use serde::{Deserialize, Serialize};

use super::Format;
use crate::error::{Error, Result};

/// How raw files are read. What is left open is found out from the beginning of each file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SourceOptions {
    /// Kind of the rows: question and answer, preference, or plain text.
    pub shape: Shape,
    /// Format of the files.
    pub format: Format,
    /// Fields joined to the prompt, in this order.
    pub prompt_columns: Vec<String>,
    /// Field that holds the response.
    pub response_column: Option<String>,
    /// Field that holds the preferred answer.
    pub chosen_column: Option<String>,
    /// Field that holds the other answer.
    pub rejected_column: Option<String>,
    /// Field that holds plain text.
    pub text_column: Option<String>,
    /// Character between the fields of a CSV file; `tab` for a tab.
    pub separator: Option<String>,
    /// Encoding of the files, for example `gb18030`.
    pub encoding: Option<String>,
    /// What the column `source` says; the name of the file by default.
    pub source: Option<String>,
    /// What becomes one row of a plain text file.
    pub text_unit: TextUnit,
    /// Questions made of the title of an article, `{title}` standing for it; chosen by its hash.
    pub wiki_prompts: Vec<String>,
    /// Longest answer made of an article, in characters; cut where a sentence ends.
    pub wiki_max_chars: usize,
    /// Share of the records that may be bad.
    pub max_bad_share: f64,
    /// Stop at the first bad record.
    pub strict: bool,
}

impl Default for SourceOptions {
    fn default() -> Self {
        let wiki_prompts = [
            "请介绍一下{title}。",
            "{title}是什么？",
            "你知道{title}吗？",
            "说说{title}。",
            "我想了解{title}。",
        ];
        Self {
            shape: Shape::Auto,
            format: Format::Auto,
            prompt_columns: Vec::new(),
            response_column: None,
            chosen_column: None,
            rejected_column: None,
            text_column: None,
            separator: None,
            encoding: None,
            source: None,
            text_unit: TextUnit::Line,
            wiki_prompts: wiki_prompts.map(String::from).to_vec(),
            wiki_max_chars: 512,
            max_bad_share: 0.01,
            strict: false,
        }
    }
}

impl SourceOptions {
    /// Checks ranges.
    ///
    /// # Errors
    /// [`Error::Option`] names the option.
    pub fn check(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.max_bad_share) {
            return Err(Error::option("max_bad_share", self.max_bad_share, "must be in [0, 1]"));
        }
        if self.wiki_prompts.is_empty() || self.wiki_prompts.iter().any(|prompt| !prompt.contains("{title}"))
        {
            let found = self.wiki_prompts.join(" | ");
            return Err(Error::option("wiki_prompts", found, "at least one, each with {title}"));
        }
        if self.wiki_max_chars == 0 {
            return Err(Error::option("wiki_max_chars", 0, "must be at least 1"));
        }
        self.separator_byte().map(|_| ())
    }

    /// True if any field is asked for by name.
    pub(super) fn names_columns(&self) -> bool {
        let one = [&self.response_column, &self.chosen_column, &self.rejected_column, &self.text_column];
        !self.prompt_columns.is_empty() || one.iter().any(|name| name.is_some())
    }

    /// The separator, if one is given.
    pub(super) fn separator_byte(&self) -> Result<Option<u8>> {
        match self.separator.as_deref().map(str::as_bytes) {
            None => Ok(None),
            Some(b"tab" | b"\\t") => Ok(Some(b'\t')),
            Some(&[byte]) if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Ok(Some(byte)),
            Some(other) => {
                let found = String::from_utf8_lossy(other);
                Err(Error::option("separator", found, "must be one ASCII character or the word tab"))
            }
        }
    }
}

/// Kind of the rows that come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// Found out from the names of the fields.
    #[default]
    Auto,
    /// `prompt, response, source`.
    Pairs,
    /// `prompt, chosen, rejected, source`; without `rejected` if the file has none.
    Preference,
    /// `text, source`.
    Text,
}

/// What becomes one row of a plain text file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TextUnit {
    /// A line that is not blank.
    #[default]
    Line,
    /// Lines up to a blank one.
    Paragraph,
    /// The whole file.
    File,
}
