//! How often each word stands in some texts: counted by id where the dictionary knows the word.

use std::hash::{BuildHasher, BuildHasherDefault};
use std::sync::{Mutex, PoisonError};

use compact_str::CompactString;
use rustc_hash::{FxHashMap, FxHasher};

use super::segment::{Sink, Words};
use super::table::WordCounts;

/// Characters of the basic plane are counted in an array.
const PLANE: usize = 1 << 16;

/// Words that a worker gathers before it gives them to the table of all workers.
const LOCAL_WORDS: usize = 1 << 16;

/// Parts of the table of all workers, each under its own lock.
const SHARDS: usize = 64;

type Counts = FxHashMap<CompactString, u64>;

/// The counts of one worker.
pub struct Counter<'t> {
    known: Vec<u64>,
    characters: Vec<u64>,
    others: Counts,
    total: &'t Totals,
}

/// The counts of all workers. Words outside the dictionary stand here once, however many workers
/// there are.
pub struct Totals {
    shards: Vec<Mutex<Counts>>,
    hasher: BuildHasherDefault<FxHasher>,
}

impl Totals {
    pub fn new() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, hasher: BuildHasherDefault::default() }
    }

    /// All counts as a table, the most frequent word first.
    pub fn into_table(self) -> WordCounts {
        let shards = self.shards.into_iter().map(|shard| shard.into_inner().unwrap_or_else(PoisonError::into_inner));
        WordCounts::from_distinct(shards.flatten())
    }

    fn add(&self, words: impl Iterator<Item = (CompactString, u64)>) {
        let mut by_shard: Vec<Vec<(CompactString, u64)>> = vec![Vec::new(); SHARDS];
        for (word, count) in words {
            // The map uses the high bits of the same hash, so the shard takes low ones.
            by_shard[self.hasher.hash_one(&word) as usize % SHARDS].push((word, count));
        }
        for (shard, words) in self.shards.iter().zip(by_shard) {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            for (word, count) in words {
                *shard.entry(word).or_insert(0) += count;
            }
        }
    }
}

impl<'t> Counter<'t> {
    pub fn new(words: usize, total: &'t Totals) -> Self {
        Self { known: vec![0; words], characters: vec![0; PLANE], others: Counts::default(), total }
    }

    /// Keeps what a worker holds between two texts small.
    pub fn flush_if_large(&mut self) {
        if self.others.len() >= LOCAL_WORDS {
            self.total.add(self.others.drain());
        }
    }

    /// Adds everything counted to the table of all workers.
    pub fn finish(mut self, words: &Words) {
        let known = words.iter().zip(&self.known).map(|(word, &count)| (word.into(), count));
        let characters = (0u32..).zip(&self.characters).filter_map(|(c, &count)| {
            let mut buffer = [0; 4];
            char::from_u32(c).map(|c| ((*c.encode_utf8(&mut buffer)).into(), count))
        });
        let counted = known.chain(characters).filter(|&(_, count)| count > 0);
        self.total.add(counted.chain(self.others.drain()));
    }
}

impl<'a> Sink<'a> for Counter<'_> {
    #[inline]
    fn known(&mut self, id: u32, _: &'a str) {
        self.known[id as usize] += 1;
    }

    #[inline]
    fn other(&mut self, word: &'a str) {
        let mut chars = word.chars();
        if let (Some(c), None) = (chars.next(), chars.next())
            && let Some(count) = self.characters.get_mut(c as usize)
        {
            *count += 1;
        } else if let Some(count) = self.others.get_mut(word) {
            *count += 1;
        } else {
            self.others.insert(word.into(), 1);
        }
    }
}
