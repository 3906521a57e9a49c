//! What kind of tokenizer is built.

use serde::{Deserialize, Serialize};

use super::special::{FIRST_CHARACTER, fixed_tokens};
use crate::error::{Error, Result};

/// How entries are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Words of a count, the most frequent first, and a merge list that reaches each.
    Merges,
    /// Byte-pair encoding: the most frequent pair of tokens becomes one, again and again.
    Bpe,
    /// Pieces with probabilities, pruned from a larger set.
    Unigram,
}

/// How a tokenizer is built.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenizerOptions {
    /// How entries are chosen.
    pub kind: Kind,
    /// Entries in all, special and byte tokens among them; fewer if the text gives no more.
    pub vocab_size: usize,
    /// Share of the text whose characters get an entry in any case; rarer ones get one where it saves
    /// more tokens than another merge, and are spelt in bytes otherwise.
    pub coverage: f64,
    /// Characters of an entry at most.
    pub max_chars: usize,
    /// An entry must have been seen this often.
    pub min_count: u64,
    /// Text to learn from at most, in MiB; of more, some texts are taken, by a hash of each. Memory is
    /// about six times this.
    pub train_mb: usize,
    /// Special tokens of the user's own, the last ids of the vocabulary.
    pub added_tokens: Vec<String>,
    /// Columns of a table that are read; none: every text column but `source`.
    pub columns: Vec<String>,
}

impl Default for TokenizerOptions {
    fn default() -> Self {
        Self {
            kind: Kind::Bpe,
            vocab_size: 29_298,
            coverage: 0.9995,
            max_chars: 16,
            min_count: 2,
            train_mb: 1_024,
            added_tokens: Vec::new(),
            columns: Vec::new(),
        }
    }
}

impl TokenizerOptions {
    /// Refuses options out of range.
    ///
    /// # Errors
    /// [`Error::Option`] with the option and its rule.
    pub fn check(&self) -> Result<()> {
        check_added(&self.added_tokens)?;
        let fixed = FIRST_CHARACTER + self.added_tokens.len();
        if self.vocab_size <= fixed {
            let rule = format!("must be over {fixed}, the number of special, byte and added tokens");
            return Err(Error::option("vocab_size", self.vocab_size, rule));
        }
        if !(0.0..=1.0).contains(&self.coverage) {
            return Err(Error::option("coverage", self.coverage, "must be in [0, 1]"));
        }
        if self.max_chars == 0 {
            return Err(Error::option("max_chars", self.max_chars, "must be at least 1"));
        }
        if self.min_count == 0 {
            return Err(Error::option("min_count", self.min_count, "must be at least 1"));
        }
        if self.train_mb == 0 {
            return Err(Error::option("train_mb", self.train_mb, "must be at least 1"));
        }
        Ok(())
    }

    /// Share of a text of so many bytes that is learned from.
    #[must_use]
    pub fn share_of(&self, bytes: u64) -> f64 {
        (self.train_mb << 20) as f64 / bytes.max(1) as f64
    }

    /// Entries for characters and longer pieces.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.vocab_size.saturating_sub(FIRST_CHARACTER + self.added_tokens.len())
    }
}

/// Refuses added tokens that are empty or there already.
pub(super) fn check_added(tokens: &[String]) -> Result<()> {
    for (i, token) in tokens.iter().enumerate() {
        if token.is_empty() || fixed_tokens().any(|fixed| fixed == *token) || tokens[..i].contains(token) {
            let rule = "must be new: not empty, no special or byte token, none of the others";
            return Err(Error::option("added_tokens", format!("{token:?}"), rule));
        }
    }
    Ok(())
}
