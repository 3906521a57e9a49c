//! Texts to word counts, on all threads of a job.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::datatypes::{DataType, Schema};
use serde::{Deserialize, Serialize};

use super::counter::Counter;
use super::segment::{Scratch, Segmenter};
use super::table::WordCounts;
use super::tally::Tally;
use crate::error::Result;
use crate::job::Job;

/// Texts that a worker takes at a time.
const CHUNK_TEXTS: usize = 256;

/// Longer texts are cut at line ends, so that no worker is left alone with one.
const PIECE_BYTES: usize = 1 << 20;

/// How words are counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WordOptions {
    /// Find words that the dictionary lacks with jieba's Markov model.
    pub hmm: bool,
    /// File with further words, lines `word [frequency] [tag]`, as jieba's `load_userdict` reads it.
    pub user_dict: Option<PathBuf>,
    /// Columns of a table that are counted; none: every text column but `source`.
    pub columns: Vec<String>,
    /// Memory for distinct words, in MiB; when it is full they go to disk and are summed at the end.
    pub memory_mb: usize,
}

impl Default for WordOptions {
    fn default() -> Self {
        Self { hmm: true, user_dict: None, columns: Vec::new(), memory_mb: 2_048 }
    }
}

impl WordOptions {
    /// The segmenter that these options ask for.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Record`] if the user dictionary cannot be used.
    pub fn segmenter(&self) -> Result<Arc<Segmenter>> {
        self.user_dict.as_deref().map_or_else(Segmenter::built_in, Segmenter::with_user_dictionary)
    }
}

/// Counts the words of texts.
///
/// # Errors
/// [`Error::Io`] or [`Error::Record`] if the user dictionary cannot be used; [`Error::Cancelled`].
pub fn count_words(texts: &[&str], options: &WordOptions, job: &Job) -> Result<WordCounts> {
    let segmenter = options.segmenter()?;
    let totals = Tally::new();
    job.phase("count", texts.len() as u64);
    let mut counters = Counters::new(&segmenter, &totals, options.hmm, job);
    counters.count(texts, |texts| job.advance(texts as u64))?;
    counters.flush();
    Ok(WordCounts::from_distinct(totals.take()))
}

/// One counter a thread.
pub(super) struct Counters<'t> {
    segmenter: &'t Segmenter,
    hmm: bool,
    job: &'t Job,
    workers: Vec<(Counter<'t>, Scratch)>,
}

impl<'t> Counters<'t> {
    pub fn new(segmenter: &'t Segmenter, totals: &'t Tally, hmm: bool, job: &'t Job) -> Self {
        let worker = || (Counter::new(segmenter.places(), totals), Scratch::default());
        Self { segmenter, hmm, job, workers: (0..job.threads()).map(|_| worker()).collect() }
    }

    /// Counts `texts`; calls `done` with the number of texts after each chunk.
    pub fn count(&mut self, texts: &[&str], done: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
        let next = AtomicUsize::new(0);
        let (segmenter, hmm) = (self.segmenter, self.hmm);
        let work = |(counter, scratch): &mut (Counter<'t>, Scratch)| {
            loop {
                let start = next.fetch_add(CHUNK_TEXTS, Ordering::Relaxed);
                let Some(chunk) = texts.get(start..(start + CHUNK_TEXTS).min(texts.len())) else {
                    return Ok(());
                };
                if chunk.is_empty() {
                    return Ok(());
                }
                for piece in chunk.iter().flat_map(|text| pieces(text)) {
                    segmenter.cut_into(piece, hmm, scratch, counter);
                    counter.flush_if_large();
                }
                done(chunk.len())?;
            }
        };
        self.job.run(|| {
            use rayon::prelude::*;
            self.workers.par_iter_mut().with_max_len(1).try_for_each(work)
        })
    }

    /// Moves what the workers hold to the tally.
    pub fn flush(&mut self) {
        let words = self.segmenter.words();
        self.job.run(|| {
            use rayon::prelude::*;
            self.workers.par_iter_mut().with_max_len(1).for_each(|(counter, _)| counter.flush(words));
        });
    }
}

/// A text in pieces of about [`PIECE_BYTES`] that end after a line feed, where no word can go on.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = memchr::memchr(b'\n', rest.as_bytes().get(PIECE_BYTES..).unwrap_or_default());
        let (piece, after) = rest.split_at(end.map_or(rest.len(), |end| PIECE_BYTES + end + 1));
        rest = after;
        Some(piece)
    })
}

/// The columns to read: those that were asked for, or every text column but `source`.
pub(crate) fn text_columns(schema: &Schema, asked: &[String]) -> Result<Vec<String>, String> {
    if !asked.is_empty() {
        return Ok(asked.to_vec());
    }
    let is_text = |field: &&Arc<arrow::datatypes::Field>| *field.data_type() == DataType::Utf8;
    let found = schema.fields().iter().filter(is_text).map(|field| field.name().clone());
    let found: Vec<String> = found.filter(|name| name != "source").collect();
    if found.is_empty() {
        return Err("has no text column but perhaps `source`; there is no text to read".into());
    }
    Ok(found)
}
