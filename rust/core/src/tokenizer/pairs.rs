//! Pairs of neighbours in a text of token ids: how often and where.

use rayon::prelude::*;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::part::Part;

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

impl Pair {
    /// Adds what was found of the same pair elsewhere.
    pub fn append(&mut self, other: Self) {
        self.count += other.count;
        if self.places.is_empty() {
            self.places = other.places;
        } else {
            self.places.extend_from_slice(&other.places);
        }
    }
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
    pub fn gain(&mut self, count: u64, place: u32) {
        self.pair.count += count;
        self.pair.places.push(place);
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

    /// Takes back what `id` has gained, as far as that goes; returns what is left of `lost`.
    pub fn take_back(&mut self, id: u32, lost: u64) -> u64 {
        let gained = &mut self.at(id).pair.count;
        let back = lost.min(*gained);
        *gained -= back;
        lost - back
    }

    /// Moves those of another part of the text here.
    pub fn append(&mut self, other: &mut Self) {
        for (id, Neighbour { lost, pair }) in other.drain() {
            let known = self.at(id);
            known.lost += lost;
            known.pair.append(pair);
        }
    }

    /// Takes all of them, in the order in which they were found.
    pub fn drain(&mut self) -> impl Iterator<Item = (u32, Neighbour)> {
        self.found.iter().for_each(|&(id, _)| self.slots[id as usize] = 0);
        self.found.drain(..)
    }
}

/// Pairs that are seen at least `min_count` times, with their places. A rarer one can never be merged.
pub fn count_pairs(text: &[Part], ids: usize, min_count: u64) -> FxHashMap<Key, Pair> {
    // Frequent ids come first, so neighbours are counted apart.
    let rests = (0..COUNT_PARTS).into_par_iter();
    let counted: Vec<Vec<(Key, Pair)>> = rests.map(|rest| count_some(text, ids, min_count, rest)).collect();
    let mut pairs = FxHashMap::default();
    pairs.reserve(counted.iter().map(Vec::len).sum());
    pairs.extend(counted.into_iter().flatten());
    pairs
}

/// The pairs whose left ids leave this rest.
fn count_some(text: &[Part], ids: usize, min_count: u64, rest: u32) -> Vec<(Key, Pair)> {
    let mut by_left: Vec<Vec<(u32, u64, u32)>> = vec![Vec::new(); ids.div_ceil(COUNT_PARTS as usize)];
    for part in text {
        part.for_each_pair(|left, right, count, place| {
            if left % COUNT_PARTS == rest {
                by_left[(left / COUNT_PARTS) as usize].push((right, count, place));
            }
        });
    }
    let mut pairs = Vec::new();
    let mut rights = Neighbours::default();
    for (left, seen) in (rest..).step_by(COUNT_PARTS as usize).zip(by_left) {
        seen.into_iter().for_each(|(right, count, place)| rights.at(right).gain(count, place));
        for (right, Neighbour { mut pair, .. }) in rights.drain() {
            if pair.count >= min_count {
                pair.places.shrink_to_fit();
                pairs.push((key(left, right), pair));
            }
        }
    }
    pairs
}

/// Of a left and a right id.
pub fn key(left: u32, right: u32) -> Key {
    u64::from(left) << 32 | u64::from(right)
}

/// The left and the right id.
pub fn sides(key: Key) -> (u32, u32) {
    ((key >> 32) as u32, key as u32)
}
