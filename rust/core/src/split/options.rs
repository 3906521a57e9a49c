//! Which parts are held out, and how large each is.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How rows are parted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SplitOptions {
    /// Parts to hold out, each `NAME=ROWS` or `NAME=SHARE`, for example `valid=2000`, `test=0.01`, `test=1%`.
    pub parts: Vec<String>,
    /// Columns whose text decides; rows with the same text stay together. None: prompt, or text.
    pub columns: Vec<String>,
    /// Another seed gives another split.
    pub seed: u64,
}

impl Default for SplitOptions {
    fn default() -> Self {
        Self { parts: vec!["valid=0.01".into()], columns: Vec::new(), seed: 1 }
    }
}

/// A part that is held out.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Letters, digits, `-` and `_`: it becomes a file name.
    pub name: String,
    /// How much it takes.
    pub size: Size,
}

/// How much a part takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Size {
    /// So many rows.
    Rows(usize),
    /// This share of the prompts, in [0, 1).
    Share(f64),
}

impl SplitOptions {
    /// The parts in order.
    ///
    /// # Errors
    /// [`Error::Option`] if one is not `NAME=SIZE`, two have one name, or the shares leave nothing.
    pub fn parsed(&self) -> Result<Vec<Part>> {
        let mut parts: Vec<Part> = Vec::with_capacity(self.parts.len());
        for text in &self.parts {
            let part = Part::parse(text).map_err(|rule| Error::option("parts", text, rule))?;
            if parts.iter().any(|other| other.name == part.name) {
                return Err(Error::option("parts", text, "two parts have this name"));
            }
            parts.push(part);
        }
        let shares: f64 = parts.iter().map(|part| part.size.share()).sum();
        if shares >= 1.0 {
            return Err(Error::option("parts", self.parts.join(" "), "must leave rows for training"));
        }
        Ok(parts)
    }
}

impl Part {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let rule = "must be NAME=ROWS or NAME=SHARE, for example valid=2000 or valid=0.01";
        let (name, size) = text.split_once('=').ok_or(rule)?;
        let is_name = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(is_name) {
            return Err("a name consists of letters, digits, - and _");
        }
        Ok(Self { name: name.to_owned(), size: Size::parse(size).ok_or(rule)? })
    }
}

impl Size {
    fn parse(text: &str) -> Option<Self> {
        if let Ok(rows) = text.parse() {
            return Some(Self::Rows(rows));
        }
        let share: f64 = match text.strip_suffix('%') {
            Some(percent) => percent.parse::<f64>().ok()? / 100.0,
            None => text.parse().ok()?,
        };
        (0.0..1.0).contains(&share).then_some(Self::Share(share))
    }

    pub(super) fn share(self) -> f64 {
        match self {
            Self::Rows(_) => 0.0,
            Self::Share(share) => share,
        }
    }
}
