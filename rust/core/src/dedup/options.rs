//! How rows are compared, and what follows from it for the bands.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Largest share of pairs at exactly `threshold` that the bands may miss.
const MISSED: f64 = 0.002;
const MAX_NGRAM: usize = 64;
const MAX_HASHES: usize = 4096;

/// How rows are compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DedupOptions {
    /// Characters per shingle, 1 to 64. A shorter text is one shingle.
    pub ngram: usize,
    /// Lowest Jaccard similarity of two duplicates, in (0, 1].
    pub threshold: f64,
    /// MinHash values per row. More cost time and memory and give fewer false candidates.
    pub hashes: usize,
    /// Compare letters and digits in one width and case, without spaces and sentence punctuation.
    pub normalize: bool,
    /// Rows whose numbers differ are never duplicates.
    pub distinct_numbers: bool,
    /// Rows whose questions, a line of the first column each, are no duplicates by themselves are never
    /// duplicates, unless all of their text is the same.
    pub distinct_questions: QuestionLine,
    /// Columns that are compared together; none: prompt and response, or text.
    pub columns: Vec<String>,
    /// Which row of those that are alike stays.
    pub keep: Keep,
    /// Columns of `against`; none: those that are compared.
    pub against_columns: Vec<String>,
    /// Rows that hold this share of the n-grams of a row of `against` go too, however much longer they
    /// are; 0: only whole rows are compared.
    pub contained: f64,
}

/// Which row of those that are alike stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// The first.
    #[default]
    First,
    /// The one with the most compared characters; the first of several.
    Longest,
}

/// Where the question of a longer text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuestionLine {
    /// Questions are not compared by themselves.
    #[default]
    No,
    /// On the first line that is not blank.
    FirstLine,
    /// On the last line that is not blank.
    LastLine,
}

impl QuestionLine {
    /// The question of a text.
    pub(super) fn of(self, text: &str) -> Option<&str> {
        match self {
            Self::No => None,
            Self::FirstLine => text.trim().lines().next(),
            Self::LastLine => text.trim().lines().next_back(),
        }
    }
}

impl Default for DedupOptions {
    fn default() -> Self {
        Self {
            ngram: 5,
            threshold: 0.8,
            hashes: 48,
            normalize: true,
            distinct_numbers: true,
            distinct_questions: QuestionLine::No,
            columns: Vec::new(),
            keep: Keep::First,
            against_columns: Vec::new(),
            contained: 0.0,
        }
    }
}

/// How the MinHash values of a row are cut: `bands` keys of `width` values each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    pub bands: usize,
    pub width: usize,
}

impl DedupOptions {
    /// The columns of `against` that are compared with `columns` of the rows.
    #[must_use]
    pub fn columns_of_against<'a>(&'a self, columns: &'a [String]) -> &'a [String] {
        if self.against_columns.is_empty() { columns } else { &self.against_columns }
    }

    /// Checks every range and picks the widest bands that still find the pairs at `threshold`.
    ///
    /// A pair of similarity s shares a band of width w with probability s^w. Wide bands make few
    /// false candidates, so the widest is taken that misses at most 0.2 % at the threshold itself.
    pub(super) fn plan(&self) -> Result<Plan> {
        if !(1..=MAX_NGRAM).contains(&self.ngram) {
            return Err(Error::option("ngram", self.ngram, format!("must be in 1 to {MAX_NGRAM}")));
        }
        if !(self.threshold > 0.0 && self.threshold <= 1.0) {
            return Err(Error::option("threshold", self.threshold, "must be in (0, 1]"));
        }
        if !(1..=MAX_HASHES).contains(&self.hashes) {
            return Err(Error::option("hashes", self.hashes, format!("must be in 1 to {MAX_HASHES}")));
        }
        if !(0.0..=1.0).contains(&self.contained) {
            return Err(Error::option("contained", self.contained, "must be in [0, 1]"));
        }
        let found_all = |plan: &Plan| missed(self.threshold, *plan) <= MISSED;
        let widths = (1..=self.hashes).map(|width| Plan { bands: self.hashes / width, width });
        widths.take_while(found_all).last().ok_or_else(|| {
            let needed = (MISSED.ln() / (1.0 - self.threshold).ln()).ceil();
            let rule = format!("misses duplicates at threshold {}; take at least {needed}", self.threshold);
            Error::option("hashes", self.hashes, rule)
        })
    }
}

/// Share of the pairs of this similarity that share no band.
fn missed(similarity: f64, plan: Plan) -> f64 {
    (1.0 - similarity.powf(plan.width as f64)).powf(plan.bands as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(threshold: f64, hashes: usize) -> Result<Plan> {
        DedupOptions { threshold, hashes, ..DedupOptions::default() }.plan()
    }

    #[test]
    fn bands_are_as_wide_as_recall_allows() {
        assert_eq!(plan(0.8, 64).expect("in range"), Plan { bands: 16, width: 4 });
        assert_eq!(plan(0.8, 128).expect("in range"), Plan { bands: 21, width: 6 });
        assert_eq!(plan(1.0, 64).expect("in range"), Plan { bands: 1, width: 64 });
    }

    #[test]
    fn too_few_hashes_are_refused_with_the_number_needed() {
        let message = plan(0.1, 16).expect_err("too few").to_string();
        assert_eq!(message, "option hashes = 16: misses duplicates at threshold 0.1; take at least 59");
        assert!(plan(0.1, 59).is_ok());
    }

    #[test]
    fn a_threshold_outside_its_range_is_refused() {
        for threshold in [0.0, 1.5, f64::NAN, -1.0] {
            assert!(plan(threshold, 64).expect_err("out of range").to_string().contains("must be in (0, 1]"));
        }
    }
}
