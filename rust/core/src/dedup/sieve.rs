//! N-grams -> bitmap. Two bitmaps tell how many n-grams differ at least, in a few dozen steps.
//!
//! Each n-gram sets one bit. A bit that is set for one text and not for the other stands for at least
//! one n-gram that the other lacks, so a pair that is turned away here is no duplicate for certain.
//! Texts that share a long passage make many such pairs.

/// Bits per n-gram, before rounding up: few enough to be small, enough that few fall together.
const BITS: usize = 4;

/// Words of the bitmap of a text of this many n-grams: a power of two.
pub(super) fn words(ngrams: usize) -> usize {
    (ngrams * BITS).next_power_of_two().div_ceil(64)
}

/// Sets the bit of an n-gram.
pub(super) fn add(words: &mut [u64], hash: u64) {
    let word = (hash >> 6) as usize & (words.len() - 1);
    words[word] |= 1 << (hash & 63);
}

/// Counts different n-grams, a few too few at most: those that fall together in a large bitmap.
#[derive(Debug, Default)]
pub(super) struct Counter {
    bits: Vec<u64>,
}

impl Counter {
    /// No more than there are different hashes, and seldom less.
    pub fn count(&mut self, hashes: &[u64]) -> u32 {
        // A word per hash: of 200 different ones, 198 or more are counted nearly always.
        self.bits.clear();
        self.bits.resize(hashes.len().next_power_of_two(), 0);
        let mut count = 0;
        for hash in hashes {
            let word = &mut self.bits[(hash >> 6) as usize & (hashes.len().next_power_of_two() - 1)];
            count += (!*word >> (hash & 63)) as u32 & 1;
            *word |= 1 << (hash & 63);
        }
        count
    }
}

/// How many n-grams two texts share at most that have at most `size` and `other_size` different ones.
pub(super) fn most_shared(one: &[u64], size: u32, other: &[u64], other_size: u32) -> u32 {
    if one.len() < other.len() {
        return other_size.saturating_sub(only_in(other, one));
    }
    let shared = size.saturating_sub(only_in(one, other));
    if one.len() > other.len() { shared } else { shared.min(other_size.saturating_sub(only_in(other, one))) }
}

/// Bits of `large` that are not set in `small`, which repeats if it is shorter.
fn only_in(large: &[u64], small: &[u64]) -> u32 {
    large
        .chunks_exact(small.len())
        .flat_map(|part| part.iter().zip(small))
        .map(|(a, b)| (a & !b).count_ones())
        .sum()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn bitmap(hashes: &HashSet<u64>) -> Vec<u64> {
        let mut bits = vec![0; words(hashes.len())];
        hashes.iter().for_each(|&hash| add(&mut bits, hash));
        bits
    }

    proptest! {
        #[test]
        fn never_fewer_than_are_shared(
            both in prop::collection::hash_set(any::<u64>(), 0..300),
            one in prop::collection::hash_set(any::<u64>(), 1..300),
            other in prop::collection::hash_set(any::<u64>(), 1..30),
        ) {
            let (one, other): (HashSet<u64>, HashSet<u64>) = (&one | &both, &other | &both);
            let shared = one.intersection(&other).count() as u32;
            let bound = most_shared(&bitmap(&one), one.len() as u32, &bitmap(&other), other.len() as u32);
            prop_assert!(bound >= shared);
            let counted = Counter::default().count(&one.iter().chain(&both).copied().collect::<Vec<_>>());
            prop_assert!(counted as usize <= one.len() && counted as usize + 20 >= one.len());
        }
    }

    #[test]
    fn unlike_sets_of_one_size_are_told_apart() {
        let (one, other): (HashSet<u64>, HashSet<u64>) = (
            (0..200).map(super::super::shingle::mix).collect(),
            (100..300).map(super::super::shingle::mix).collect(),
        );
        assert!(most_shared(&bitmap(&one), 200, &bitmap(&other), 200) < 135);
    }
}
