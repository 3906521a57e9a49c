//! What a tokenizer is learned from: pieces of text that no token crosses, with their counts.

use std::sync::Mutex;

use compact_str::CompactString;
use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use super::pieces::pieces;
use crate::error::Result;
use crate::job::Job;
use crate::words::WordCounts;
use crate::words::tally::{Counts, LOCAL_STRINGS, Tally};

/// Texts that a worker takes at a time.
const GROUP_TEXTS: usize = 1_024;

/// Characters of a chunk at most; longer pieces, such as encoded files, teach nothing.
const MAX_CHARS: usize = 256;

/// Pieces of text and how often each was seen; each stands there once, in no particular order.
pub type Chunks = Vec<Chunk>;

/// One of them.
pub type Chunk = (CompactString, u64);

/// Gathers chunks from texts, group after group.
pub struct ChunkCounter {
    tally: Tally,
    idle: Mutex<Vec<Counts>>,
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
                    match counts.get_mut(chunk) {
                        Some(count) => *count += 1,
                        None => drop(counts.insert(chunk.into(), 1)),
                    }
                }
                if counts.len() >= LOCAL_STRINGS {
                    self.tally.add(counts.drain());
                }
                self.with_idle(|idle| idle.push(counts));
                done(group.len())
            })
        };
        job.run(groups)
    }

    /// Everything gathered.
    pub fn finish(self) -> Chunks {
        for mut counts in self.with_idle(std::mem::take) {
            self.tally.add(counts.drain());
        }
        self.tally.take()
    }

    fn with_idle<T>(&self, work: impl FnOnce(&mut Vec<Counts>) -> T) -> T {
        work(&mut self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

/// The chunks of counted words: a word that holds several pieces counts as each of them.
pub fn chunks_of(words: &WordCounts) -> Chunks {
    // Words are distinct and nearly all are one chunk, so only the chunks of others are looked up.
    let mut chunks: Chunks = Vec::with_capacity(words.len());
    let mut parted = Counts::default();
    for (word, count) in words.iter() {
        for chunk in pieces(word).flat_map(parts) {
            if chunk.len() == word.len() {
                chunks.push((chunk.into(), count));
            } else {
                *parted.entry(chunk.into()).or_insert(0) += count;
            }
        }
    }
    for (chunk, count) in &mut chunks {
        *count += parted.remove(chunk).unwrap_or_default();
    }
    chunks.extend(parted);
    chunks
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
