use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Which rules clean a text and which rows are dropped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CleanOptions {
    /// Columns to clean; those of prompt, response, chosen, rejected and text that are there by default.
    pub columns: Vec<String>,
    /// Remove control and invisible characters, repair doubly encoded text and look-alike characters.
    pub control: bool,
    /// Remove what chat templates left behind: `### Response:`, `</s>`, `<noinput>`.
    pub templates: bool,
    /// Remove HTML tags and decode entities; text about HTML is left.
    pub html: bool,
    /// Strip whole HTML pages too, rather than keep them as code.
    pub pages: bool,
    /// Make full-width letters, digits and spaces half-width.
    pub width: bool,
    /// Make ASCII punctuation beside Chinese characters Chinese.
    pub punctuation: bool,
    /// Keep one of a mark that is repeated.
    pub repeats: bool,
    /// Remove spaces between Chinese characters, at the ends of lines and around the text.
    pub spaces: bool,
    /// Write traditional characters in their simplified form (OpenCC, t2s).
    pub simplified: bool,
    /// Mask mobile numbers, identity numbers and e-mail addresses.
    pub personal: bool,
    /// Drop rows with nothing in a cleaned column.
    pub empty: bool,
    /// Drop rows with text that was decoded wrongly.
    pub broken: bool,
    /// Drop rows with a text that is all punctuation.
    pub punctuation_only: bool,
    /// Drop rows with a text that says the same over and over.
    pub repetition: bool,
    /// Fewest characters of a prompt.
    pub min_prompt_chars: usize,
    /// Most characters of a prompt; 0: any number.
    pub max_prompt_chars: usize,
    /// Fewest characters of each other column.
    pub min_chars: usize,
    /// Most characters of each other column; 0: any number.
    pub max_chars: usize,
    /// Lowest share of Chinese characters among those of a row that are not spaces, in [0, 1].
    pub min_han_share: f64,
}

impl Default for CleanOptions {
    fn default() -> Self {
        Self {
            columns: Vec::new(),
            control: true,
            templates: true,
            html: true,
            pages: false,
            width: true,
            punctuation: true,
            repeats: true,
            spaces: true,
            simplified: false,
            personal: false,
            empty: true,
            broken: true,
            punctuation_only: true,
            repetition: true,
            min_prompt_chars: 2,
            max_prompt_chars: 0,
            min_chars: 1,
            max_chars: 0,
            min_han_share: 0.0,
        }
    }
}

impl CleanOptions {
    /// Checks ranges.
    ///
    /// # Errors
    /// [`Error::Option`] names the option.
    pub fn check(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.min_han_share) {
            return Err(Error::option("min_han_share", self.min_han_share, "must be in [0, 1]"));
        }
        let bounds = [
            ("max_prompt_chars", self.min_prompt_chars, self.max_prompt_chars),
            ("max_chars", self.min_chars, self.max_chars),
        ];
        for (name, min, max) in bounds {
            if max != 0 && max < min {
                return Err(Error::option(
                    name,
                    max,
                    format!("must be 0 or at least {min}, the fewest asked for"),
                ));
            }
        }
        Ok(())
    }
}
