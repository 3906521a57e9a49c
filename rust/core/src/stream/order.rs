//! The order of an epoch: a function of (row groups, seed, epoch), nothing else.

use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

/// Shuffles that depend on a key alone: SplitMix64 and Fisher-Yates, written out because the order of
/// a stream must not change with the version of a library.
///
/// Source: Steele, Lea, Flood 2014, <https://doi.org/10.1145/2714064.2660195>.
pub struct Shuffler(u64);

impl Shuffler {
    /// Keys of different length never meet: `[seed, epoch]` orders the row groups, `[.., window]` the
    /// rows, `[.., window, chunk]` the batches and `[seed, pass, file, ..]` the row groups of a weighted file.
    pub fn new(key: &[u64]) -> Self {
        let bytes: Vec<u8> = key.iter().flat_map(|part| part.to_le_bytes()).collect();
        Self(xxh3_64(&bytes))
    }

    /// Permutes `items`; each permutation is equally likely over the keys.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        // The high half of the product is uniform up to a bias of bound / 2^64.
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// Parts consecutive slices of these rows into windows of even size, at most `shuffle_rows` rows on average.
pub fn windows(slice_rows: &[usize], shuffle_rows: usize) -> Vec<Range<usize>> {
    let rows: u64 = slice_rows.iter().map(|&n| n as u64).sum();
    let parts = rows.div_ceil(shuffle_rows as u64);
    let mut windows = Vec::new();
    let (mut start, mut passed, mut border) = (0, 0, 1);
    for (slice, &slice_rows) in slice_rows.iter().enumerate() {
        passed += slice_rows as u64;
        // The window is full when the rows passed reach the share of the next `border` windows.
        if passed * parts >= border * rows {
            windows.push(start..slice + 1);
            start = slice + 1;
            border = passed * parts / rows + 1;
        }
    }
    windows
}

/// Parts `rows` rows into chunks of even size, at most `chunk_rows` rows before they are rounded up to
/// whole batches of `batch_rows` rows (0: batches have no such number).
pub fn chunks(rows: usize, chunk_rows: usize, batch_rows: usize) -> Vec<Range<usize>> {
    if rows == 0 {
        return Vec::new();
    }
    let even = rows.div_ceil(rows.div_ceil(chunk_rows.max(1)));
    let size = if batch_rows > 0 { even.next_multiple_of(batch_rows) } else { even };
    (0..rows).step_by(size).map(|start| start..rows.min(start + size)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn windows_hold_every_slice_once_and_are_even(
            slice_rows in prop::collection::vec(1usize..200, 1..80),
            shuffle_rows in 1usize..2_000,
        ) {
            let windows = windows(&slice_rows, shuffle_rows);
            let seen: Vec<usize> = windows.iter().flat_map(Clone::clone).collect();
            prop_assert_eq!(seen, (0..slice_rows.len()).collect::<Vec<_>>());
            let largest = slice_rows.iter().max().copied().unwrap_or(0);
            for window in windows {
                prop_assert!(slice_rows[window].iter().sum::<usize>() < shuffle_rows + largest + 1);
            }
        }

        #[test]
        fn chunks_are_consecutive_and_whole_batches(rows in 0usize..5_000, most in 0usize..900, batch in 0usize..70) {
            let chunks = chunks(rows, most, batch);
            prop_assert_eq!(chunks.iter().flat_map(Clone::clone).collect::<Vec<_>>(), (0..rows).collect::<Vec<_>>());
            for chunk in chunks.iter().rev().skip(1) {
                prop_assert!(batch == 0 || chunk.len().is_multiple_of(batch));
            }
        }
    }

    #[test]
    fn every_permutation_is_equally_likely() {
        let mut counts = std::collections::BTreeMap::new();
        for key in 0..6_000 {
            let mut items = [0, 1, 2];
            Shuffler::new(&[key]).shuffle(&mut items);
            *counts.entry(items).or_insert(0u32) += 1;
        }
        assert_eq!(counts.len(), 6);
        assert!(counts.values().all(|count| (850..1_150).contains(count)), "{counts:?}");
    }

    #[test]
    fn the_order_never_changes_with_a_release() {
        let mut items: Vec<u32> = (0..10).collect();
        Shuffler::new(&[1, 2, 3]).shuffle(&mut items);
        assert_eq!(items, [9, 5, 2, 7, 1, 8, 3, 6, 4, 0]);
    }
}
