//! A part of the text that byte pairs are learned from, in which one thread merges at a time.
//!
//! A part is chunk after chunk, a place for each character, [`END`] with its count behind each chunk. A
//! token of several characters has its id at its first and its last place, so both neighbours of a token
//! are found without links. Places are those of the whole text.

use rustc_hash::FxHashMap;

use super::pairs::Neighbours;
use crate::char_map::CharMap;
use crate::string_counts::StringCounts;

/// A place inside a token.
const INSIDE: u32 = 0x7FFF_FFFF;

/// Set in the place behind a chunk; the other bits are the count of the chunk, or [`MANY`].
const END: u32 = 0x8000_0000;

/// The count is so high that it stands apart.
const MANY: u32 = 0x7FFF_FFFF;

/// Places of a pair that are looked at together.
const TOGETHER: usize = 32;

/// Neighbouring chunks of the text.
pub struct Part {
    /// Ids, [`INSIDE`] or [`END`] with a count.
    text: Vec<u32>,
    /// By where the chunk ends in this part, the counts of which the text says that they are [`MANY`].
    high: FxHashMap<usize, u64>,
    /// The place of the first of them.
    start: u32,
    /// What stands before and after the pair that is being merged.
    pub before: Neighbours,
    pub after: Neighbours,
}

impl Part {
    /// These chunks by the ids of their characters, which are all known, behind nothing.
    pub fn new(chunks: &[StringCounts], ids: &CharMap<u32>) -> Self {
        let (mut text, mut high) = (Vec::new(), FxHashMap::default());
        // A chunk of one character has no pair; it has done its duty in the alphabet.
        let chunks = chunks.iter().flat_map(StringCounts::iter);
        for (chunk, count) in chunks.filter(|(chunk, _)| chunk.chars().nth(1).is_some()) {
            text.extend(chunk.chars().map(|c| ids.get(c)));
            if count >= u64::from(MANY) {
                high.insert(text.len(), count);
            }
            text.push(END | count.min(u64::from(MANY)) as u32);
        }
        Self { text, high, start: 0, before: Neighbours::default(), after: Neighbours::default() }
    }

    /// Puts the part behind others that end at `start`; returns where it ends, or `None` if no place is so high.
    pub fn put_at(&mut self, start: u32) -> Option<u32> {
        self.start = start;
        start.checked_add(u32::try_from(self.text.len()).ok()?)
    }

    /// Calls `found` with each pair of neighbours, its count and its place.
    pub fn for_each_pair(&self, mut found: impl FnMut(u32, u32, u64, u32)) {
        let mut start = 0;
        for chunk in self.text.split_inclusive(|&id| id >= END) {
            let end = start + chunk.len() - 1;
            let (count, place) = (self.count_at(end), self.start + start as u32);
            let pairs = self.text[start..end].windows(2).zip(place..);
            pairs.for_each(|(pair, place)| found(pair[0], pair[1], count, place));
            start = end + 1;
        }
    }

    /// Makes `new` of a pair at those of its places that lie in this part and where it still stands.
    pub fn merge(&mut self, places: &[u32], (left, right): (u32, u32), new: u32, lengths: &[u32]) {
        // The places are far apart: those of a group are all asked for before one of them is waited for.
        let mut standing = [0; TOGETHER];
        for group in places.chunks(TOGETHER) {
            let mut count = 0;
            for &place in group {
                let at = place.wrapping_sub(self.start) as usize;
                standing[count] = at;
                count += usize::from(self.text.get(at) == Some(&left));
            }
            for &at in &standing[..count] {
                self.merge_at(at, (left, right), new, lengths);
            }
        }
    }

    fn merge_at(&mut self, at: usize, (left, right): (u32, u32), new: u32, lengths: &[u32]) {
        let middle = at + lengths[left as usize] as usize;
        let end = middle + lengths[right as usize] as usize;
        if self.text[at] != left || self.text[middle] != right {
            return;
        }
        let count = self.chunk_count(end);
        let place = self.start + at as u32;
        if let Some(before) = at.checked_sub(1).map(|at| self.text[at]).filter(|&id| id < INSIDE) {
            let neighbour = self.before.at(before);
            neighbour.lost += count;
            neighbour.gain(count, place - lengths[before as usize]);
        }
        if let Some(after) = Some(self.text[end]).filter(|&id| id < INSIDE) {
            self.after.at(after).lost += count;
            // Two of the new token are one pair, whichever was merged first.
            let pair = if after == new { &mut self.before } else { &mut self.after };
            pair.at(after).gain(count, place);
        }
        self.text[middle - 1] = INSIDE;
        self.text[middle] = INSIDE;
        self.text[at] = new;
        self.text[end - 1] = new;
    }

    /// The count of the chunk that goes on at `at`.
    fn chunk_count(&self, at: usize) -> u64 {
        let length = self.text[at..].iter().position(|&id| id >= END);
        length.map_or(0, |length| self.count_at(at + length))
    }

    /// The count that stands at the end of a chunk.
    fn count_at(&self, end: usize) -> u64 {
        match self.text[end] & !END {
            MANY => self.high[&end],
            count => u64::from(count),
        }
    }
}
