use std::collections::BTreeMap;

use serde::Serialize;

/// Bars of a histogram at most.
const BARS: u64 = 40;

/// How often each length occurs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<u64, u64>);

/// What lengths are like.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lengths {
    /// All lengths added up.
    pub total: u64,
    /// Of the texts that are there.
    pub mean: f64,
    /// The shortest.
    pub min: u64,
    /// Half of the texts are no longer.
    pub median: u64,
    /// 90 % of the texts are no longer.
    pub p90: u64,
    /// 99 % of the texts are no longer.
    pub p99: u64,
    /// The longest.
    pub max: u64,
    /// Bars of equal width up to `p99`; the last one holds what is longer too.
    pub histogram: Vec<Bar>,
}

/// A bar of a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bar {
    /// The shortest length that it counts.
    pub from: u64,
    /// Texts.
    pub rows: u64,
}

impl Counts {
    pub fn add(&mut self, length: u64) {
        *self.0.entry(length).or_default() += 1;
    }

    pub fn merge(&mut self, other: Self) {
        for (length, count) in other.0 {
            *self.0.entry(length).or_default() += count;
        }
    }

    pub fn lengths(&self) -> Lengths {
        let rows: u64 = self.0.values().sum();
        let total = self.0.iter().map(|(length, count)| length * count).sum();
        let p99 = self.quantile(rows, 99);
        Lengths {
            total,
            mean: if rows == 0 { 0.0 } else { total as f64 / rows as f64 },
            min: self.0.keys().next().copied().unwrap_or(0),
            median: self.quantile(rows, 50),
            p90: self.quantile(rows, 90),
            p99,
            max: self.0.keys().next_back().copied().unwrap_or(0),
            histogram: self.bars(p99),
        }
    }

    /// The smallest length that no fewer than this share of the texts does not exceed.
    fn quantile(&self, rows: u64, percent: u64) -> u64 {
        let needed = (rows * percent).div_ceil(100);
        let mut below = 0;
        for (length, count) in &self.0 {
            below += count;
            if below >= needed {
                return *length;
            }
        }
        0
    }

    fn bars(&self, last: u64) -> Vec<Bar> {
        let width = (last + 1).div_ceil(BARS).max(1);
        let mut bars: Vec<Bar> = (0..=last / width).map(|bar| Bar { from: bar * width, rows: 0 }).collect();
        let end = bars.len() - 1;
        for (length, count) in &self.0 {
            bars[((length / width) as usize).min(end)].rows += count;
        }
        bars
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn quantiles_are_those_of_the_sorted_lengths(mut lengths in prop::collection::vec(0_u64..500, 1..200)) {
            let mut counts = Counts::default();
            lengths.iter().for_each(|&length| counts.add(length));
            lengths.sort_unstable();
            let found = counts.lengths();
            let at = |percent: usize| lengths[(lengths.len() * percent).div_ceil(100) - 1];
            prop_assert_eq!((found.min, found.median, found.p90, found.p99), (lengths[0], at(50), at(90), at(99)));
            prop_assert_eq!(found.histogram.iter().map(|bar| bar.rows).sum::<u64>(), lengths.len() as u64);
            prop_assert!(found.histogram.len() <= BARS as usize + 1);
        }
    }
}
