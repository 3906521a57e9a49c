//! How often each string was seen, gathered by many threads.

use std::hash::{BuildHasher, BuildHasherDefault};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use compact_str::CompactString;
use rustc_hash::{FxHashMap, FxHasher};

/// Strings that a worker gathers before it gives them to the tally.
pub const LOCAL_STRINGS: usize = 1 << 16;

/// Parts of the tally, each under its own lock.
const SHARDS: usize = 64;

/// Memory of a distinct string: its place in a map that is between half and fully loaded, and in the
/// list that is sorted at the end.
const BYTES_A_STRING: usize = 96;

/// Counts by string.
pub type Counts = FxHashMap<CompactString, u64>;

/// The counts of all workers: each string stands here once, however many workers there are.
pub struct Tally {
    shards: Vec<Mutex<Counts>>,
    hasher: BuildHasherDefault<FxHasher>,
    bytes: AtomicUsize,
}

impl Tally {
    /// Nothing counted.
    pub fn new() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, hasher: BuildHasherDefault::default(), bytes: AtomicUsize::new(0) }
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
            let mut bytes = 0;
            for (string, count) in strings {
                let long = if string.is_heap_allocated() { string.capacity() } else { 0 };
                *shard.entry(string).or_insert_with(|| {
                    bytes += BYTES_A_STRING + long;
                    0
                }) += count;
            }
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Memory that the strings take, judged by their number and length.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Takes out all strings with their counts, in no particular order.
    pub fn take(&self) -> Vec<(CompactString, u64)> {
        self.bytes.store(0, Ordering::Relaxed);
        let mut all = Vec::new();
        for shard in &self.shards {
            all.extend(std::mem::take(&mut *shard.lock().unwrap_or_else(PoisonError::into_inner)));
        }
        all
    }
}
