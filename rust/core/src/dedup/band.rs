//! Signatures -> candidates: rows with the same text, and rows that share the key of a band.

use rayon::prelude::*;

use super::reason::Removed;
use super::signature::Signatures;
use crate::error::Result;
use crate::job::Job;

/// Rows that may be duplicates of each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidates {
    /// Rows in all.
    pub(super) rows_in_all: usize,
    /// Rows that are kept whatever they are like; they come first.
    pub(super) against: usize,
    /// Rows with the text of an earlier row: (row, first row with that text), ascending.
    pub(super) copies: Vec<(u32, u32)>,
    /// Rows that share a bucket with another row, ascending; no copies.
    pub(super) rows: Vec<u32>,
    /// Each bucket as ascending positions in `rows`.
    pub(super) buckets: Lists,
    /// The buckets of each of `rows`.
    pub(super) buckets_of: Lists,
    /// Rows that go whatever the others are like, ascending.
    pub(super) gone: Vec<Removed>,
}

/// Many short lists in one piece of memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Lists {
    pub items: Vec<u32>,
    /// Where each list begins, then where the last one ends.
    pub starts: Vec<usize>,
}

impl Lists {
    pub fn count(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    pub fn get(&self, list: usize) -> &[u32] {
        &self.items[self.starts[list]..self.starts[list + 1]]
    }
}

impl Candidates {
    /// Rows that go already, ascending, and keep no other row away.
    #[must_use]
    pub fn without(mut self, gone: Vec<Removed>) -> Self {
        self.gone = gone;
        self
    }

    /// Rows whose texts decide, ascending: each shares a band with another one.
    #[must_use]
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// Rows whose compared text is that of an earlier row: (row, first row with that text).
    #[must_use]
    pub fn copies(&self) -> &[(u32, u32)] {
        &self.copies
    }
}

/// The candidates among rows with these signatures. The first `against` rows are never removed.
///
/// # Errors
/// [`crate::Error::Data`] if there are more than 2^32 - 1 rows, [`crate::Error::Cancelled`] if the
/// job was asked to stop.
pub fn candidates(signatures: &Signatures, against: usize, job: &Job) -> Result<Candidates> {
    signatures.check_rows()?;
    let copies = job.run(|| find_copies(signatures.fingerprints()));
    let mut is_copy = vec![false; signatures.rows()];
    copies.iter().for_each(|&(row, _)| is_copy[row as usize] = true);
    let bands = (0..signatures.bands()).into_par_iter();
    let bands: Vec<Lists> = job.run(|| {
        let buckets = bands.map(|band| {
            job.check()?;
            Ok(find_buckets(signatures, band, &is_copy, against))
        });
        buckets.collect::<Result<_>>()
    })?;
    let (rows, buckets) = number_members(bands, signatures.rows());
    let buckets_of = invert(&buckets, rows.len());
    let rows_in_all = signatures.rows();
    Ok(Candidates { rows_in_all, against, copies, rows, buckets, buckets_of, gone: Vec::new() })
}

fn find_copies(fingerprints: &[u128]) -> Vec<(u32, u32)> {
    let mut seen = Seen::new(fingerprints.len());
    fingerprints.iter().for_each(|&text| seen.add(text as u32));
    let texts = fingerprints.iter().copied().zip(0..);
    let mut texts: Vec<(u128, u32)> = texts.filter(|&(text, _)| seen.again(text as u32)).collect();
    texts.par_sort_unstable();
    let same = texts.chunk_by(|a, b| a.0 == b.0);
    let mut copies: Vec<(u32, u32)> =
        same.flat_map(|rows| rows[1..].iter().map(|&(_, row)| (row, rows[0].1))).collect();
    copies.par_sort_unstable();
    copies
}

/// Which hashes were there more than once, and a few others.
///
/// Most keys are there once, and leaving them out before the sort saves three quarters of it.
struct Seen {
    /// Two bits for each of a few hashes: one was there, another one was.
    words: Vec<[u64; 2]>,
    shift: u32,
}

impl Seen {
    /// For this many hashes: one in eight of the bits will be set.
    fn new(hashes: usize) -> Self {
        let words = (hashes / 8).next_power_of_two().max(2);
        Self { words: vec![[0; 2]; words], shift: 32 - words.trailing_zeros() }
    }

    fn add(&mut self, hash: u32) {
        let (word, bit) = self.place(hash);
        let [once, again] = &mut self.words[word];
        *again |= *once & bit;
        *once |= bit;
    }

    fn again(&self, hash: u32) -> bool {
        let (word, bit) = self.place(hash);
        self.words[word][1] & bit != 0
    }

    fn place(&self, hash: u32) -> (usize, u64) {
        ((hash >> self.shift) as usize, 1 << (hash & 63))
    }
}

/// Rows with the same key in this band.
fn find_buckets(signatures: &Signatures, band: usize, is_copy: &[bool], against: usize) -> Lists {
    let keys: Vec<u32> = (0..signatures.rows()).map(|row| signatures.key(row, band)).collect();
    let rows = || keys.iter().zip(0_u32..).filter(|&(_, row)| !is_copy[row as usize]);
    let mut seen = Seen::new(keys.len());
    rows().for_each(|(&key, _)| seen.add(key));
    // Key and row in one number: sorting brings equal keys together with their rows in order.
    let again = rows().filter(|&(&key, _)| seen.again(key));
    let mut keyed: Vec<u64> = again.map(|(&key, row)| u64::from(key) << 32 | u64::from(row)).collect();
    keyed.sort_unstable();
    let mut buckets = Lists { items: Vec::new(), starts: vec![0] };
    for bucket in keyed.chunk_by(|a, b| a >> 32 == b >> 32) {
        let last = bucket[bucket.len() - 1] as u32;
        if bucket.len() > 1 && last as usize >= against {
            buckets.items.extend(bucket.iter().map(|&keyed| keyed as u32));
            buckets.starts.push(buckets.items.len());
        }
    }
    buckets
}

/// All buckets in one list, with their members numbered from 0 in row order.
fn number_members(bands: Vec<Lists>, rows: usize) -> (Vec<u32>, Lists) {
    let mut position = vec![u32::MAX; rows];
    let mut buckets = Lists { items: Vec::new(), starts: vec![0] };
    for band in bands {
        let offset = buckets.items.len();
        band.items.iter().for_each(|&row| position[row as usize] = 0);
        buckets.items.extend_from_slice(&band.items);
        buckets.starts.extend(band.starts[1..].iter().map(|start| start + offset));
    }
    let members: Vec<u32> =
        (0..).zip(&position).filter(|&(_, &mark)| mark == 0).map(|(row, _)| row).collect();
    members.iter().zip(0..).for_each(|(&row, number)| position[row as usize] = number);
    buckets.items.iter_mut().for_each(|item| *item = position[*item as usize]);
    (members, buckets)
}

/// The lists that hold each of the items 0 to `count` - 1.
fn invert(lists: &Lists, count: usize) -> Lists {
    let mut starts = vec![0; count + 1];
    lists.items.iter().for_each(|&item| starts[item as usize + 1] += 1);
    for item in 0..count {
        starts[item + 1] += starts[item];
    }
    let mut next = starts.clone();
    let mut items = vec![0; lists.items.len()];
    for (list, number) in (0..lists.count()).zip(0..) {
        for &item in lists.get(list) {
            items[next[item as usize]] = number;
            next[item as usize] += 1;
        }
    }
    Lists { items, starts }
}
