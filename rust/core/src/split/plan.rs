//! Hash of a prompt -> the part that it belongs to.

use std::collections::BTreeMap;

use rayon::slice::ParallelSliceMut;
use rustc_hash::FxHashMap;

use super::{Part, Size};
use crate::error::{Error, Result};

/// Rows that a prompt has, by its hash.
type Prompt = (u64, usize);
/// Prompts of each number of rows.
type Sizes = BTreeMap<usize, usize>;

/// Which side each prompt is on; side 0 is training, side n the n-th part.
pub(super) struct Plan {
    /// For each share, the end of its section of the range of the hash, ascending, and its side.
    sections: Vec<(u64, u32)>,
    /// The prompts that fill the counts.
    counted: FxHashMap<u64, u32>,
    counts: Vec<(usize, u32)>,
}

impl Plan {
    pub fn new(parts: &[Part]) -> Self {
        let mut plan = Self { sections: Vec::new(), counted: FxHashMap::default(), counts: Vec::new() };
        let mut taken = 0.0;
        for (part, side) in parts.iter().zip(1..) {
            match part.size {
                Size::Rows(rows) => plan.counts.push((rows, side)),
                Size::Share(share) => {
                    taken += share;
                    // The hash is uniform over u64, so this share of it is this share of the prompts.
                    plan.sections.push(((taken * u64::MAX as f64) as u64, side));
                }
            }
        }
        plan
    }

    pub fn wants_counts(&self) -> bool {
        !self.counts.is_empty()
    }

    /// Fills the counts with prompts that no share takes; `hashes` has one for each row.
    pub fn fill(&mut self, parts: &[Part], mut hashes: Vec<u64>) -> Result<()> {
        hashes.par_sort_unstable();
        let of_same = hashes.chunk_by(|one, other| one == other).map(|same| (same[0], same.len()));
        let mut left: Vec<Prompt> = of_same.filter(|&(hash, _)| self.section(hash).is_none()).collect();
        drop(hashes);
        for &(rows, side) in &self.counts {
            let there: usize = left.iter().map(|&(_, size)| size).sum();
            if rows > there {
                let name = &parts[side as usize - 1].name;
                return Err(Error::option(
                    "parts",
                    format!("{name}={rows}"),
                    format!("only {there} rows are left"),
                ));
            }
            let mut wanted = in_order(&left, rows);
            if wanted.iter().map(|(size, number)| size * number).sum::<usize>() < rows {
                wanted = nearest(&left, rows);
            }
            left.retain(|&(hash, size)| match wanted.get_mut(&size).filter(|number| **number > 0) {
                Some(number) => {
                    *number -= 1;
                    self.counted.insert(hash, side);
                    false
                }
                None => true,
            });
        }
        Ok(())
    }

    pub fn side(&self, hash: u64) -> u32 {
        self.section(hash).or_else(|| self.counted.get(&hash).copied()).unwrap_or(0)
    }

    fn section(&self, hash: u64) -> Option<u32> {
        self.sections.iter().find(|&&(end, _)| hash < end).map(|&(_, side)| side)
    }
}

/// The prompts that are taken if each that still fits is taken in turn.
fn in_order(prompts: &[Prompt], rows: usize) -> Sizes {
    let (mut sizes, mut missing) = (Sizes::new(), rows);
    for &(_, size) in prompts {
        if size <= missing {
            missing -= size;
            *sizes.entry(size).or_default() += 1;
        }
    }
    sizes
}

/// The prompts that make up `rows` exactly, or the largest smaller number that whole prompts can make up.
fn nearest(prompts: &[Prompt], rows: usize) -> Sizes {
    let mut there = Sizes::new();
    prompts.iter().for_each(|&(_, size)| *there.entry(size).or_default() += 1);
    // The size that was added last where a sum was reached for the first time; 0 where it was not.
    let mut last = vec![0; rows + 1];
    for (&size, &number) in &there {
        let mut used = vec![0; rows + 1];
        for sum in size..=rows {
            let before = sum - size;
            let reached = before == 0 || last[before] > 0;
            if last[sum] == 0 && reached && used[before] < number {
                (last[sum], used[sum]) = (size, used[before] + 1);
            }
        }
    }
    let mut sum = (1..=rows).rev().find(|&sum| last[sum] > 0).unwrap_or(0);
    let mut sizes = Sizes::new();
    while sum > 0 {
        *sizes.entry(last[sum]).or_default() += 1;
        sum -= last[sum];
    }
    sizes
}
