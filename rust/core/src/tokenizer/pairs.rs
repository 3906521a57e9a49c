//! Pairs of neighbours in a text of token ids: how often and where.
//!
//! The text is chunk after chunk, a place for each character, [`END`] with its count behind each.

use rayon::prelude::*;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

/// A place inside a token.
pub const INSIDE: u32 = 0x7FFF_FFFF;

/// Set in the place behind a chunk; the other bits are the count of the chunk.
pub const END: u32 = 0x8000_0000;

/// Parts of the pairs that are counted apart: each passes over the text, and what it gathers is small.
const COUNT_PARTS: u32 = 8;

/// Two neighbours, as one number: the left one in the high half.
pub type Key = u64;

/// Where a pair stands, or has stood; most pairs have few places.
pub type Places = SmallVec<[u32; 4]>;

/// How often two neighbours stand in the text.
#[derive(Default)]
pub struct Pair {
    pub count: u64,
    pub places: Places,
}

/// The tokens that stand on one side of a pair.
#[derive(Default)]
pub struct Neighbours {
    /// By id: one more than the place in `found`, or 0.
    slots: Vec<u32>,
    found: Vec<(u32, Neighbour)>,
}

/// One of them.
#[derive(Default)]
pub struct Neighbour {
    /// How often it is no longer the neighbour of what was merged.
    pub lost: u64,
    /// With what was made of it.
    pub pair: Pair,
}

impl Neighbour {
    /// It stands there with what was made, so often.
    pub fn gain(&mut self, count: u64, place: usize) {
        self.pair.count += count;
        self.pair.places.push(place as u32);
    }
}

impl Neighbours {
    /// The neighbour of an id.
    pub fn at(&mut self, id: u32) -> &mut Neighbour {
        if self.slots.len() <= id as usize {
            self.slots.resize(id as usize + 1, 0);
        }
        let slot = &mut self.slots[id as usize];
        if *slot == 0 {
            self.found.push((id, Neighbour::default()));
            *slot = self.found.len() as u32;
        }
        &mut self.found[*slot as usize - 1].1
    }

    /// Takes back what `id` has gained; false if that was less.
    pub fn lose(&mut self, id: u32, count: u64) -> bool {
        let pair = &mut self.at(id).pair;
        let enough = pair.count >= count;
        if enough {
            pair.count -= count;
        }
        enough
    }

    /// Takes all of them, in the order in which they were found.
    pub fn drain(&mut self) -> impl Iterator<Item = (u32, Neighbour)> {
        self.found.iter().for_each(|&(id, _)| self.slots[id as usize] = 0);
        self.found.drain(..)
    }
}

/// Pairs that are seen at least `min_count` times, with their places. A rarer one can never be merged.
pub fn count_pairs(text: &[u32], ids: usize, min_count: u64) -> FxHashMap<Key, Pair> {
    // Frequent ids come first, so neighbours go to different parts.
    let parts = (0..COUNT_PARTS).into_par_iter();
    let counted: Vec<Vec<(Key, Pair)>> = parts.map(|part| count_part(text, ids, min_count, part)).collect();
    let mut pairs = FxHashMap::default();
    pairs.reserve(counted.iter().map(Vec::len).sum());
    pairs.extend(counted.into_iter().flatten());
    pairs
}

/// The pairs whose left ids belong to a part.
fn count_part(text: &[u32], ids: usize, min_count: u64, part: u32) -> Vec<(Key, Pair)> {
    let mut by_left: Vec<Vec<(u32, u64, u32)>> = vec![Vec::new(); ids.div_ceil(COUNT_PARTS as usize)];
    for_each_pair(text, |left, right, count, place| {
        if left % COUNT_PARTS == part {
            by_left[(left / COUNT_PARTS) as usize].push((right, count, place as u32));
        }
    });
    let mut pairs = Vec::new();
    let mut rights = Neighbours::default();
    for (left, seen) in (part..).step_by(COUNT_PARTS as usize).zip(by_left) {
        seen.into_iter().for_each(|(right, count, place)| rights.at(right).gain(count, place as usize));
        for (right, Neighbour { mut pair, .. }) in rights.drain() {
            if pair.count >= min_count {
                pair.places.shrink_to_fit();
                pairs.push((key(left, right), pair));
            }
        }
    }
    pairs
}

fn for_each_pair(text: &[u32], mut found: impl FnMut(u32, u32, u64, usize)) {
    let mut start = 0;
    for chunk in text.split_inclusive(|&id| id >= END) {
        if let [ids @ .., end] = chunk {
            let count = u64::from(end & !END);
            ids.windows(2).zip(start..).for_each(|(pair, place)| found(pair[0], pair[1], count, place));
        }
        start += chunk.len();
    }
}

/// Of a left and a right id.
pub fn key(left: u32, right: u32) -> Key {
    u64::from(left) << 32 | u64::from(right)
}

/// The left and the right id.
pub fn parts(key: Key) -> (u32, u32) {
    ((key >> 32) as u32, key as u32)
}
