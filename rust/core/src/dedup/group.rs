//! Candidates -> groups: each row is kept, or removed for the sake of a row before it that is kept.

use std::ops::Range;

use rayon::prelude::*;

use super::band::Candidates;
use super::probe::Probe;
use super::reason::Removed;
use super::verify::{Pair, Verifier};
use crate::error::Result;
use crate::job::Job;

/// Rows decided together; large enough to keep all threads busy.
const BLOCK_ROWS: usize = 4096;

/// Which rows stay and which go.
#[derive(Debug, Clone, PartialEq)]
pub struct Groups {
    rows: u64,
    removed: Vec<Removed>,
}

impl Groups {
    /// Number of rows that were compared.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The rows that go, ascending.
    #[must_use]
    pub fn removed(&self) -> &[Removed] {
        &self.removed
    }

    /// The rows that stay, ascending.
    #[must_use]
    pub fn kept(&self) -> Vec<u64> {
        let mut removed = self.removed.iter().map(|removed| removed.row).peekable();
        (0..self.rows).filter(|row| removed.next_if_eq(row).is_none()).collect()
    }
}

/// Decides each row in order: it goes if it is a duplicate of an earlier row that stays.
///
/// `verifier` holds the texts of [`Candidates::rows`], in that order.
///
/// # Errors
/// [`crate::Error::Cancelled`] if the job was asked to stop.
pub fn groups(candidates: Candidates, verifier: &Verifier, job: &Job) -> Result<Groups> {
    debug_assert_eq!(candidates.rows.len(), verifier.len(), "the texts of all candidates");
    let mut board = Board::new(candidates, verifier);
    job.phase("verify", board.fates.len() as u64);
    for start in (0..board.fates.len()).step_by(BLOCK_ROWS) {
        let block = start..board.fates.len().min(start + BLOCK_ROWS);
        job.run(|| board.decide(block.clone(), job))?;
        job.advance(block.len() as u64)?;
    }
    Ok(board.into_groups())
}

/// What is decided so far. Rows have a place, as in [`Candidates::rows`], and a rank in the order in
/// which they are decided.
struct Board<'a> {
    candidates: Candidates,
    verifier: &'a Verifier,
    /// The place of each rank.
    order: Vec<u32>,
    /// Kept place and similarity of each place that goes.
    fates: Vec<Option<(u32, f64)>>,
    /// Places that went before anything was compared.
    gone: Vec<bool>,
    /// Kept rows of each bucket. Their ranks take the first places of its list, so that a row is compared
    /// with the few that stay and never with all rows of a large group.
    kept: Vec<u32>,
}

impl<'a> Board<'a> {
    fn new(candidates: Candidates, verifier: &'a Verifier) -> Self {
        let (rows, buckets) = (candidates.rows.len(), candidates.buckets.count());
        let against = candidates.rows.partition_point(|&row| (row as usize) < candidates.against);
        let mut gone = vec![false; rows];
        for removed in &candidates.gone {
            let row = removed.row as u32 + candidates.against as u32;
            candidates.rows.binary_search(&row).into_iter().for_each(|place| gone[place] = true);
        }
        let order = verifier.order(against);
        Self { candidates, verifier, order, fates: vec![None; rows], gone, kept: vec![0; buckets] }
    }

    /// Compares with all earlier blocks in parallel, then within the block in order.
    ///
    /// Rows of earlier blocks come first, so the first kept duplicate is the same as in one pass.
    fn decide(&mut self, block: Range<usize>, job: &Job) -> Result<()> {
        let earlier: Vec<_> = block
            .clone()
            .into_par_iter()
            .map_init(Probe::default, |probe, rank| {
                job.check()?;
                Ok(self.first_duplicate(rank, 0, probe))
            })
            .collect::<Result<_>>()?;
        let mut probe = Probe::default();
        for (rank, earlier) in block.clone().zip(earlier) {
            let place = self.order[rank] as usize;
            self.fates[place] = earlier.or_else(|| self.first_duplicate(rank, block.start, &mut probe));
            if self.fates[place].is_none() && !self.gone[place] {
                self.keep(rank);
            }
        }
        Ok(())
    }

    /// The place of the first kept row from rank `from` on that the row of this rank is a duplicate of.
    fn first_duplicate(&self, rank: usize, from: usize, probe: &mut Probe) -> Option<(u32, f64)> {
        let place = self.order[rank] as usize;
        if (self.candidates.rows[place] as usize) < self.candidates.against || self.gone[place] {
            return None;
        }
        let mut others: Vec<u32> = Vec::new();
        for &bucket in self.candidates.buckets_of.get(place) {
            let kept = &self.candidates.buckets.get(bucket as usize)[..self.kept[bucket as usize] as usize];
            others.extend(kept.iter().rev().take_while(|&&other| other as usize >= from));
        }
        others.sort_unstable();
        others.dedup();
        let mut pair = Pair::new(self.verifier, place, probe);
        others.into_iter().find_map(|other| {
            let other = self.order[other as usize];
            pair.with(other as usize).map(|similarity| (other, similarity))
        })
    }

    fn keep(&mut self, rank: usize) {
        for &bucket in self.candidates.buckets_of.get(self.order[rank] as usize) {
            let bucket = bucket as usize;
            let slot = self.candidates.buckets.starts[bucket] + self.kept[bucket] as usize;
            self.candidates.buckets.items[slot] = rank as u32;
            self.kept[bucket] += 1;
        }
    }

    fn into_groups(self) -> Groups {
        let Candidates { rows_in_all, against, copies, rows, gone, .. } = self.candidates;
        let removed = |row: u32, kept: u32, similarity: f64| {
            let in_against = (kept as usize) < against;
            let kept_row = kept as usize - if in_against { 0 } else { against };
            Removed {
                row: u64::from(row) - against as u64,
                kept_row: kept_row as u64,
                in_against,
                similarity,
            }
        };
        let near = rows.iter().zip(&self.fates);
        let near = near.filter_map(|(&row, fate)| {
            fate.map(|(kept, similarity)| removed(row, rows[kept as usize], similarity))
        });
        let copies = copies.iter().filter(|&&(row, _)| row as usize >= against).map(|&(row, first)| {
            // A copy of a row that goes goes for the same reason.
            let fate = rows.binary_search(&first).ok().and_then(|position| self.fates[position]);
            fate.map_or(removed(row, first, 1.0), |(kept, similarity)| {
                removed(row, rows[kept as usize], similarity)
            })
        });
        // A row that is gone may be a copy of one that is gone: it is told once, and why it went first.
        let is_gone = |removed: &Removed| gone.binary_search_by_key(&removed.row, |gone| gone.row).is_ok();
        let mut all: Vec<Removed> = near.chain(copies).filter(|removed| !is_gone(removed)).collect();
        all.extend(&gone);
        all.sort_unstable_by_key(|removed| removed.row);
        Groups { rows: (rows_in_all - against) as u64, removed: all }
    }
}
