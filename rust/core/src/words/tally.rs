//! How often each string was seen, gathered by many threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use compact_str::CompactString;

use crate::string_counts::{StringCounts, hash};

/// Strings that a worker gathers before it gives them to the tally.
pub const LOCAL_STRINGS: usize = 1 << 16;

/// Parts of the tally, each under its own lock.
const SHARDS: usize = 64;

/// Memory of a string in the list that is sorted at the end.
const BYTES_A_ROW: usize = size_of::<(CompactString, u64)>();

/// The counts of all workers: each string stands here once, however many workers there are.
pub struct Tally {
    shards: Vec<Mutex<StringCounts>>,
    bytes: AtomicUsize,
}

impl Tally {
    /// Nothing counted.
    pub fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), bytes: AtomicUsize::new(0) }
    }

    /// Adds what a worker has gathered; a string may stand there several times.
    pub fn add<'s>(&self, strings: impl Iterator<Item = (&'s str, u64)>) {
        let mut by_shard: Vec<Vec<(u64, &str, u64)>> = vec![Vec::new(); SHARDS];
        for (string, count) in strings {
            let hash = hash(string);
            by_shard[(hash >> 32) as usize % SHARDS].push((hash, string, count));
        }
        for (shard, strings) in self.shards.iter().zip(by_shard) {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let before = memory(&shard);
            for (hash, string, count) in strings {
                shard.add_hashed(hash, string, count);
            }
            self.bytes.fetch_add(memory(&shard) - before, Ordering::Relaxed);
        }
    }

    /// Memory that the strings take, here and in the list that is sorted at the end.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Takes out all strings with their counts, in no particular order.
    pub fn take(&self) -> Vec<(CompactString, u64)> {
        let mut all = Vec::new();
        for shard in self.take_shards() {
            all.extend(shard.iter().map(|(string, count)| (CompactString::from(string), count)));
        }
        all
    }

    /// Takes out the parts; no string stands in two of them.
    pub fn take_shards(&self) -> impl Iterator<Item = StringCounts> {
        self.bytes.store(0, Ordering::Relaxed);
        self.shards
            .iter()
            .map(|shard| std::mem::take(&mut *shard.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn memory(shard: &StringCounts) -> usize {
    shard.bytes() + shard.len() * BYTES_A_ROW
}
