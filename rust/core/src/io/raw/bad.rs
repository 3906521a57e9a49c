use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

/// Bad records kept as samples, for each reason.
const SAMPLES: usize = 5;
/// Characters shown of a bad record.
const EXCERPT_CHARS: usize = 80;

/// Why a record cannot become a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Not JSON.
    BrokenJson,
    /// JSON, but neither an object nor a list of turns.
    NotAnObject,
    /// A line of CSV with fewer fields than the header.
    TooFewColumns,
    /// A line of CSV with more fields than the header.
    TooManyColumns,
    /// A quote in CSV that is not closed.
    UnclosedQuote,
    /// A wanted field is not there.
    MissingField,
    /// A wanted field is empty.
    EmptyField,
    /// A wanted field is not text.
    NotText,
    /// Bytes that mean nothing in the encoding of the file.
    InvalidBytes,
    /// A record of more than 64 MiB.
    TooLong,
    /// An article without `</doc>`.
    UnclosedDocument,
    /// An article whose first sentence is longer than an answer may be.
    NoSentenceEnd,
}

impl Reason {
    /// In words.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::BrokenJson => "broken JSON",
            Self::NotAnObject => "not an object",
            Self::TooFewColumns => "too few columns",
            Self::TooManyColumns => "too many columns",
            Self::UnclosedQuote => "quote not closed",
            Self::MissingField => "missing field",
            Self::EmptyField => "empty field",
            Self::NotText => "field is not text",
            Self::InvalidBytes => "invalid bytes",
            Self::TooLong => "record too long",
            Self::UnclosedDocument => "article not closed",
            Self::NoSentenceEnd => "no sentence end in reach",
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text())
    }
}

/// A record that was left out, for people to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BadRecord {
    /// Line of its file where it begins (row for Parquet), counted from 1.
    #[serde(rename = "number")]
    pub line: u64,
    /// Why it was left out.
    pub reason: Reason,
    /// More about it, for example the name of the field.
    pub detail: String,
    /// How it begins.
    pub excerpt: String,
}

impl BadRecord {
    /// The reason with its detail.
    #[must_use]
    pub fn problem(&self) -> String {
        let Self { reason, detail, .. } = self;
        if detail.is_empty() { reason.text().into() } else { format!("{} ({detail})", reason.text()) }
    }
}

/// Bad records counted, the first few kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Bad {
    /// Records left out by reason.
    pub counts: BTreeMap<Reason, u64>,
    /// The first few of each reason, in order.
    pub samples: Vec<BadRecord>,
}

impl Bad {
    /// Counts a record and keeps it if it is one of the first.
    pub fn add(&mut self, line: u64, reason: Reason, detail: String, record: &[u8]) {
        let count = self.counts.entry(reason).or_default();
        *count += 1;
        if *count <= SAMPLES as u64 {
            self.samples.push(BadRecord { line, reason, detail, excerpt: excerpt(record) });
        }
    }

    /// Adds what was found later in the same file.
    pub fn merge(&mut self, later: Self) {
        for sample in later.samples {
            if self.samples.iter().filter(|kept| kept.reason == sample.reason).count() < SAMPLES {
                self.samples.push(sample);
            }
        }
        for (reason, count) in later.counts {
            *self.counts.entry(reason).or_default() += count;
        }
    }

    /// Records left out.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }
}

fn excerpt(record: &[u8]) -> String {
    let head = String::from_utf8_lossy(&record[..record.len().min(4 * EXCERPT_CHARS)]);
    head.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(EXCERPT_CHARS).collect()
}
