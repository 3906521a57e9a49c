//! What a stream is made from, besides its files and its tokenizer.

use serde::{Deserialize, Serialize};

use super::pack::Limit;
use crate::error::{Error, Result};

/// Lengths are sorted as 16-bit numbers.
const MAX_TOKENS: usize = u16::MAX as usize;

/// Passes over a file in one epoch.
const MAX_WEIGHT: f64 = 1_000.0;

/// How rows become batches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StreamOptions {
    /// Padded source and target tokens of a batch at most.
    pub batch_tokens: usize,
    /// Rows of a batch; 0 lets `batch_tokens` decide.
    pub batch_rows: usize,
    /// Tokens of a source at most, the one that ends it included; the rest is cut.
    pub max_source: usize,
    /// Tokens of a target at most, the one that ends it included; the rest is cut.
    pub max_target: usize,
    /// Lengths of a batch are padded to a multiple of this.
    pub pad_multiple: usize,
    /// Rows, about, that are read together and shuffled.
    pub shuffle_rows: usize,
    /// Batches, about, whose rows are encoded together and sorted by length: with four times as many,
    /// half as much is padded and the first batch comes four times later.
    pub bucket_batches: usize,
    /// Passes over each input file in an epoch, for example 2 and 0.5; one over all files if empty.
    pub weights: Vec<f64>,
    /// Column of the source text.
    pub source_column: String,
    /// Column of the target text.
    pub target_column: String,
    /// Another seed gives another order.
    pub seed: u64,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self {
            batch_tokens: 8_192,
            batch_rows: 0,
            max_source: 320,
            max_target: 320,
            pad_multiple: 8,
            shuffle_rows: 300_000,
            bucket_batches: 1_280,
            weights: Vec::new(),
            source_column: "prompt".into(),
            target_column: "response".into(),
            seed: 1,
        }
    }
}

impl StreamOptions {
    /// Refuses what is out of range and what contradicts itself.
    pub(super) fn check(&self) -> Result<()> {
        for (name, value, most) in [
            ("max_source", self.max_source, MAX_TOKENS),
            ("max_target", self.max_target, MAX_TOKENS),
            ("pad_multiple", self.pad_multiple, 1_024),
            ("shuffle_rows", self.shuffle_rows, u32::MAX as usize / 2),
            ("bucket_batches", self.bucket_batches, u32::MAX as usize / 2),
        ] {
            if !(1..=most).contains(&value) {
                return Err(Error::option(name, value, format!("must be from 1 to {most}")));
            }
        }
        for &weight in &self.weights {
            if !(weight > 0.0 && weight <= MAX_WEIGHT) {
                return Err(Error::option(
                    "weights",
                    weight,
                    format!("must be above 0, at most {MAX_WEIGHT}"),
                ));
            }
        }
        let longest = self.padded(self.max_source) + self.padded(self.max_target);
        if self.batch_rows == 0 && self.batch_tokens < longest {
            let rule = format!(
                "must be at least {longest}, or a row of max_source and max_target tokens does not fit; \
                 lower those, or set batch_rows"
            );
            return Err(Error::option("batch_tokens", self.batch_tokens, rule));
        }
        Ok(())
    }

    pub(super) fn padded(&self, tokens: usize) -> usize {
        tokens.next_multiple_of(self.pad_multiple)
    }

    pub(super) fn limit(&self) -> Limit {
        if self.batch_rows > 0 { Limit::Rows(self.batch_rows) } else { Limit::Tokens(self.batch_tokens) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_too_small_for_one_row_is_refused_with_the_least_that_fits() {
        let options = StreamOptions { batch_tokens: 600, ..StreamOptions::default() };
        let message = options.check().expect_err("600 < 320 + 320").to_string();
        assert!(message.starts_with("option batch_tokens = 600: must be at least 640"), "{message}");
        StreamOptions { batch_rows: 4, ..options }.check().expect("rows decide");
    }
}
