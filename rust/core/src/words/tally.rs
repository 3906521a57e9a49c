//! How often each string was seen, gathered by many threads.

use std::hash::{BuildHasher, BuildHasherDefault};
use std::sync::{Mutex, PoisonError};

use compact_str::CompactString;
use rustc_hash::{FxHashMap, FxHasher};

/// Strings that a worker gathers before it gives them to the tally.
pub const LOCAL_STRINGS: usize = 1 << 16;

/// Parts of the tally, each under its own lock.
const SHARDS: usize = 64;

/// Counts by string.
pub type Counts = FxHashMap<CompactString, u64>;

/// The counts of all workers: each string stands here once, however many workers there are.
pub struct Tally {
    shards: Vec<Mutex<Counts>>,
    hasher: BuildHasherDefault<FxHasher>,
}

impl Tally {
    /// Nothing counted.
    pub fn new() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, hasher: BuildHasherDefault::default() }
    }

    /// Adds what a worker has gathered; a string may stand there several times.
    pub fn add(&self, strings: impl Iterator<Item = (CompactString, u64)>) {
        let mut by_shard: Vec<Vec<(CompactString, u64)>> = vec![Vec::new(); SHARDS];
        for (string, count) in strings {
            // The maps of the shards use the other bits of the same hash.
            let shard = (self.hasher.hash_one(&string) >> 20) as usize % SHARDS;
            by_shard[shard].push((string, count));
        }
        for (shard, strings) in self.shards.iter().zip(by_shard) {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            for (string, count) in strings {
                *shard.entry(string).or_insert(0) += count;
            }
        }
    }

    /// All strings with their counts, in no particular order.
    pub fn into_counts(self) -> impl Iterator<Item = (CompactString, u64)> {
        self.shards.into_iter().flat_map(|shard| shard.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}
