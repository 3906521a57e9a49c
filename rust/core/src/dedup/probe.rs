//! Text -> table of its n-grams, to look up those of other texts.
//!
//! The n-grams themselves are compared; hashes only say where to look.

use super::shingle::{hash_shingles, window};

/// Slots per n-gram: with so much room a look-up seldom meets another n-gram.
const ROOM: usize = 4;

/// The set of n-grams of one text as an open hash table, reused from text to text.
#[derive(Debug, Default)]
pub(super) struct Probe {
    /// Position of an n-gram in its text, plus 1; 0 is a free slot.
    slots: Vec<u32>,
    /// The n-gram at each position.
    places: Vec<Place>,
    hashes: Vec<u64>,
    turn: u32,
    /// Positions of the n-grams of the other text that are not in this one.
    others: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    /// Where the same n-gram stands first.
    first: u32,
    /// The last text that shared it, at the first position.
    turn: u32,
}

impl Probe {
    /// Takes up the n-grams of a text and returns how many different ones there are.
    pub fn load(&mut self, codes: &[u32], ngram: usize) -> u32 {
        let mut hashes = std::mem::take(&mut self.hashes);
        hash_shingles(codes, ngram, &mut hashes, |_| {});
        self.slots.clear();
        self.slots.resize((ROOM * hashes.len()).next_power_of_two(), 0);
        self.places.clear();
        self.turn = 0;
        let mut size = 0;
        for (position, &hash) in (0..).zip(&hashes) {
            let slot = self.find(hash, window(codes, ngram, position as usize), codes, ngram);
            if self.slots[slot] == 0 {
                self.slots[slot] = position + 1;
                size += 1;
            }
            self.places.push(Place { first: self.slots[slot] - 1, turn: 0 });
        }
        self.hashes = hashes;
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
        self.others.clear();
        let mut shared = 0;
        let mut possible = true;
        // Where this text goes on as the other one does, as long as it does.
        let mut next = usize::MAX;
        for (position, &hash) in hashes.iter().enumerate() {
            possible = shared + hashes.len() - position >= needed;
            if !possible {
                break;
            }
            // The n-grams before are the same, so the last codes decide.
            let last = next.saturating_add(ngram - 1);
            if codes.get(last).is_none_or(|&code| code != other[position + ngram - 1]) {
                let slot = self.find(hash, window(other, ngram, position), codes, ngram);
                next = (self.slots[slot] as usize).wrapping_sub(1);
            }
            match self.places.get(next) {
                Some(&Place { first, .. }) => {
                    let place = &mut self.places[first as usize];
                    shared += usize::from(place.turn != self.turn);
                    place.turn = self.turn;
                    next += 1;
                }
                None => self.others.push(position as u32),
            }
        }
        self.hashes = hashes;
        possible.then_some(shared)
    }

    /// How many different n-grams of the text that was counted last are not in this one.
    pub fn count_others(&mut self, other: &[u32], ngram: usize) -> usize {
        let ngram_at = |&position: &u32| window(other, ngram, position as usize);
        self.others.sort_unstable_by(|one, two| ngram_at(one).cmp(ngram_at(two)));
        self.others.dedup_by(|one, two| ngram_at(one) == ngram_at(two));
        self.others.len()
    }

    /// The slot of this n-gram, or the free one where it belongs.
    fn find(&self, hash: u64, wanted: &[u32], codes: &[u32], ngram: usize) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let place = self.slots[slot] as usize;
            // A loop over a few codes: a call of memcmp costs more than it saves here.
            if place == 0 || window(codes, ngram, place - 1).iter().eq(wanted) {
                return slot;
            }
            slot = (slot + 1) & mask;
        }
    }
}
