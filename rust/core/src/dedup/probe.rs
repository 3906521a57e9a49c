//! Text -> table of its n-grams, to look up those of other texts.
//!
//! The n-grams themselves are compared; hashes only say where to look.

use super::shingle::{hash_shingles, window};

/// The set of n-grams of one text as an open hash table, reused from text to text.
#[derive(Debug, Default)]
pub(super) struct Probe {
    slots: Vec<Slot>,
    hashes: Vec<u64>,
    turn: u32,
}

#[derive(Debug, Default, Clone, Copy)]
struct Slot {
    /// Position of the n-gram in its text, plus 1; 0 is a free slot.
    place: u32,
    /// The last text that shared this n-gram.
    turn: u32,
}

impl Probe {
    /// Takes up the n-grams of a text and returns how many different ones there are.
    pub fn load(&mut self, codes: &[u32], ngram: usize) -> u32 {
        hash_shingles(codes, ngram, &mut self.hashes, |_| {});
        self.slots.clear();
        self.slots.resize((2 * self.hashes.len()).next_power_of_two(), Slot::default());
        self.turn = 0;
        let mut size = 0;
        for position in 0..self.hashes.len() {
            let slot = self.find(self.hashes[position], window(codes, ngram, position), codes, ngram);
            if self.slots[slot].place == 0 {
                self.slots[slot].place = position as u32 + 1;
                size += 1;
            }
        }
        size
    }

    /// How many of its n-grams also occur in another text; none once it must be fewer than `needed`.
    pub fn count_shared(
        &mut self,
        codes: &[u32],
        other: &[u32],
        ngram: usize,
        needed: usize,
    ) -> Option<usize> {
        let mut hashes = std::mem::take(&mut self.hashes);
        hash_shingles(other, ngram, &mut hashes, |_| {});
        self.turn += 1;
        let mut shared = 0;
        let mut possible = true;
        for (position, &hash) in hashes.iter().enumerate() {
            possible = shared + hashes.len() - position >= needed;
            if !possible {
                break;
            }
            let slot = self.find(hash, window(other, ngram, position), codes, ngram);
            let slot = &mut self.slots[slot];
            if slot.place != 0 && slot.turn != self.turn {
                slot.turn = self.turn;
                shared += 1;
            }
        }
        self.hashes = hashes;
        possible.then_some(shared)
    }

    /// The slot of this n-gram, or the free one where it belongs.
    fn find(&self, hash: u64, wanted: &[u32], codes: &[u32], ngram: usize) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let place = self.slots[slot].place as usize;
            // A loop over a few codes: a call of memcmp costs more than it saves here.
            if place == 0 || window(codes, ngram, place - 1).iter().eq(wanted) {
                return slot;
            }
            slot = (slot + 1) & mask;
        }
    }
}
