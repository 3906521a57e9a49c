//! What a tokenizer is learned from: pieces of text that no token crosses, with their counts.

use std::sync::Mutex;

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use super::pieces::pieces;
use crate::error::Result;
use crate::job::Job;
use crate::string_counts::StringCounts;
use crate::words::WordCounts;
use crate::words::tally::{LOCAL_STRINGS, Tally};

/// Texts that a worker takes at a time.
const GROUP_TEXTS: usize = 1_024;

/// Characters of a chunk at most; longer pieces, such as encoded files, teach nothing.
const MAX_CHARS: usize = 256;

/// Pieces of text and how often each was seen; each stands there once, in no particular order.
pub struct Chunks(Vec<StringCounts>);

impl Chunks {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.iter().map(StringCounts::len).sum()
    }

    /// Each with its count.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().flat_map(StringCounts::iter)
    }

    /// In parts, at most so many; one for each thread is enough.
    pub fn parts(&self, most: usize) -> impl IndexedParallelIterator<Item = &[StringCounts]> {
        self.0.par_chunks(self.0.len().div_ceil(most).max(1))
    }
}

/// Gathers chunks from texts, group after group.
pub struct ChunkCounter {
    tally: Tally,
    idle: Mutex<Vec<StringCounts>>,
    /// Texts with a higher hash are passed over.
    highest: u64,
}

impl ChunkCounter {
    /// Nothing gathered yet; of the texts to come this share is taken.
    pub fn new(share: f64) -> Self {
        Self { tally: Tally::new(), idle: Mutex::default(), highest: (share * u64::MAX as f64) as u64 }
    }

    /// Adds the pieces of some texts; calls `done` with the number of texts after each group.
    pub fn add(&self, texts: &[&str], job: &Job, done: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
        let groups = || {
            texts.par_chunks(GROUP_TEXTS).try_for_each(|group| {
                let mut counts = self.with_idle(Vec::pop).unwrap_or_default();
                let taken = group.iter().filter(|text| xxh3_64(text.as_bytes()) <= self.highest);
                for chunk in taken.flat_map(|text| pieces(text)).flat_map(parts) {
                    counts.add(chunk, 1);
                }
                if counts.len() >= LOCAL_STRINGS {
                    self.tally.add(counts.iter());
                    counts.clear();
                }
                self.with_idle(|idle| idle.push(counts));
                done(group.len())
            })
        };
        job.run(groups)
    }

    /// Everything gathered.
    pub fn finish(self) -> Chunks {
        for counts in self.with_idle(std::mem::take) {
            self.tally.add(counts.iter());
        }
        gathered(&self.tally)
    }

    fn with_idle<T>(&self, work: impl FnOnce(&mut Vec<StringCounts>) -> T) -> T {
        work(&mut self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

/// The chunks of counted words: a word that holds several pieces counts as each of them.
pub fn chunks_of(words: &WordCounts) -> Chunks {
    let tally = Tally::new();
    tally.add(
        words.iter().flat_map(|(word, count)| pieces(word).flat_map(parts).map(move |chunk| (chunk, count))),
    );
    gathered(&tally)
}

fn gathered(tally: &Tally) -> Chunks {
    let close = |mut counts: StringCounts| {
        counts.close();
        counts
    };
    Chunks(tally.take_shards().map(close).collect())
}

/// A piece in parts of at most [`MAX_CHARS`] characters.
fn parts(piece: &str) -> impl Iterator<Item = &str> {
    let mut rest = piece;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = if rest.len() <= MAX_CHARS { None } else { rest.char_indices().nth(MAX_CHARS) };
        let (part, after) = rest.split_at(end.map_or(rest.len(), |(at, _)| at));
        rest = after;
        Some(part)
    })
}
