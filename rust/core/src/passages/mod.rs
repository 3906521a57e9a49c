//! Plain text to passages, each a beginning and how it goes on: what a text-to-text model can learn from.
//!
//! A text is cut into passages of whole sentences, as many as fit, and each passage once more where a
//! sentence ends, somewhere in its middle half: so prompts and responses of all lengths come about. Where
//! no sentence ends the cut is at a comma, and where there is none, between two characters. The place is a
//! function of the passage alone. (T5's authors call the objective "prefix language modelling": Raffel et
//! al. 2020, section 3.2.)
//!
//! ```
//! use smolchat_core::passages::{PassageOptions, passages};
//! let options = PassageOptions { max_chars: 12, min_chars: 2, ..PassageOptions::default() };
//! let pairs: Vec<_> = passages("天晴了。我们去公园。花开了！", &options).collect();
//! assert_eq!(pairs, [("天晴了。", "我们去公园。"), ("花开了", "！")]);
//! ```

mod files; // tables and row files of text -> pairs
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

pub use files::{PassageReport, cut_passages, cut_passages_files};

use crate::error::{Error, Result};
use crate::text::{cut_at_sentence, sentence_ends};

/// How text is cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PassageOptions {
    /// Column that holds the text.
    pub column: String,
    /// Characters of a passage at most, prompt and response together.
    pub max_chars: usize,
    /// Characters of a passage at least; shorter ones are left out.
    pub min_chars: usize,
}

impl Default for PassageOptions {
    fn default() -> Self {
        Self { column: "text".into(), max_chars: 512, min_chars: 16 }
    }
}

impl PassageOptions {
    fn check(&self) -> Result<()> {
        if self.min_chars < 2 {
            return Err(Error::option("min_chars", self.min_chars, "must be at least 2"));
        }
        if self.max_chars < self.min_chars {
            let rule = format!("must be at least min_chars = {}", self.min_chars);
            return Err(Error::option("max_chars", self.max_chars, rule));
        }
        Ok(())
    }
}

/// The passages of a text that are long enough, each as prompt and response.
pub fn passages<'t>(text: &'t str, options: &PassageOptions) -> impl Iterator<Item = (&'t str, &'t str)> {
    let (least, most) = (options.min_chars, options.max_chars);
    let mut rest = text.trim();
    let all = std::iter::from_fn(move || {
        let passage = next_passage(rest, most)?;
        rest = rest[passage.len()..].trim_start();
        Some(passage)
    });
    all.filter(move |passage| passage.chars().nth(least - 1).is_some()).map(parted)
}

fn next_passage(text: &str, max_chars: usize) -> Option<&str> {
    if text.is_empty() {
        return None;
    }
    cut_at_sentence(text, max_chars).or_else(|| {
        let most = text.char_indices().nth(max_chars).map_or(text.len(), |(at, _)| at);
        let end = clause_ends(&text[..most]).last().unwrap_or(most);
        Some(text[..end].trim_end())
    })
}

/// A passage in two, where a sentence ends next to a place that its hash picks.
fn parted(passage: &str) -> (&str, &str) {
    let (length, quarter) = (passage.len(), passage.len() / 4);
    let wanted = quarter + xxh3_64(passage.as_bytes()) as usize % (length - 2 * quarter).max(1);
    let nearest = |ends: &mut dyn Iterator<Item = usize>| ends.min_by_key(|end| end.abs_diff(wanted));
    let cut = nearest(&mut sentence_ends(passage))
        .or_else(|| nearest(&mut clause_ends(passage)))
        .or_else(|| nearest(&mut passage.char_indices().map(|(at, _)| at).skip(1)))
        .unwrap_or(length);
    (passage[..cut].trim_end(), passage[cut..].trim_start())
}

/// Places behind a comma and its like where more follows.
fn clause_ends(text: &str) -> impl Iterator<Item = usize> {
    let ends = |c: char| matches!(c, '，' | '；' | '：' | '、' | ',' | ';' | ' ');
    text.match_indices(ends).map(|(at, mark)| at + mark.len()).filter(|&end| end < text.len())
}
