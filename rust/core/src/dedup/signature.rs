//! Row -> MinHash signature, cut into bands.
//!
//! The hash of a shingle picks one of the bins and offers its value there; a bin keeps the smallest.
//! That is one step per shingle instead of one per shingle and bin (one-permutation hashing, Li et
//! al. 2012). A bin that no shingle hit, as in short rows, takes the smallest value of a permutation of
//! its own. So each bin of each row is a true MinHash value: two rows agree in it with the probability
//! of their similarity, however short they are.

use std::hint::select_unpredictable;

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_128;

use super::normal::Compared;
use super::options::{DedupOptions, Plan};
use super::shingle::{hash_shingles, mix};
use super::texts::Texts;
use crate::error::{Error, Result};
use crate::job::Job;

/// Rows of a piece of work; a few hundred kilobytes of text.
const CHUNK_ROWS: usize = 512;
/// No shingle has hit this bin; values have 31 bits.
const EMPTY: u32 = u32::MAX;
const BAND: u64 = 0xE703_7ED1_A0B4_28DB;

/// What is remembered of the rows: 16 bytes for the text as a whole and 4 for each band.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signatures {
    plan: Plan,
    /// Hash of the whole compared text, of each row.
    fingerprints: Vec<u128>,
    /// Keys of the bands, [rows, bands].
    keys: Vec<u32>,
}

/// The signatures of some rows.
///
/// # Errors
/// [`Error::Option`] if an option is out of range, [`Error::Cancelled`] if the job was asked to stop.
pub fn signatures(texts: &impl Texts, options: &DedupOptions, job: &Job) -> Result<Signatures> {
    sign(texts, options, options.plan()?, job)
}

/// The same with bands that are given.
pub(super) fn sign(texts: &impl Texts, options: &DedupOptions, plan: Plan, job: &Job) -> Result<Signatures> {
    let rows = texts.rows();
    let mut found = Signatures { plan, fingerprints: vec![0; rows], keys: vec![0; rows * plan.bands] };
    let fingerprints = found.fingerprints.par_chunks_mut(CHUNK_ROWS);
    let chunks = fingerprints.zip(found.keys.par_chunks_mut(CHUNK_ROWS * plan.bands)).enumerate();
    let work = || {
        chunks.try_for_each_init(
            || (Compared::default(), Sketcher::new(options, plan)),
            |(compared, sketcher), (chunk, (fingerprints, keys))| {
                let first = chunk * CHUNK_ROWS;
                let rows = fingerprints.iter_mut().zip(keys.chunks_exact_mut(plan.bands));
                for (row, (fingerprint, keys)) in rows.enumerate() {
                    compared.fill(texts.parts(first + row), options.normalize);
                    *fingerprint = sketcher.sketch(compared, keys);
                }
                job.advance(fingerprints.len() as u64)
            },
        )
    };
    job.run(work)?;
    Ok(found)
}

impl Signatures {
    /// Of no rows yet.
    ///
    /// # Errors
    /// [`Error::Option`] if an option is out of range.
    pub fn empty(options: &DedupOptions) -> Result<Self> {
        Ok(Self { plan: options.plan()?, fingerprints: Vec::new(), keys: Vec::new() })
    }

    /// Puts the rows of `others`, made with the same options, behind these.
    ///
    /// # Errors
    /// [`Error::Data`] if there are more than 2^32 - 1 rows in all.
    pub fn append(&mut self, others: &Self) -> Result<()> {
        debug_assert_eq!(self.plan, others.plan, "made with the same options");
        self.fingerprints.extend_from_slice(&others.fingerprints);
        self.keys.extend_from_slice(&others.keys);
        self.check_rows()
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.fingerprints.len()
    }

    /// Keys per row.
    #[must_use]
    pub fn bands(&self) -> usize {
        self.plan.bands
    }

    /// Hash of the whole compared text of each row.
    #[must_use]
    pub fn fingerprints(&self) -> &[u128] {
        &self.fingerprints
    }

    /// Key of one band of a row. Rows with the same key in a band are candidates.
    #[must_use]
    pub fn key(&self, row: usize, band: usize) -> u32 {
        self.keys[row * self.plan.bands + band]
    }

    /// Rows are numbered with 32 bits from here on.
    pub(super) fn check_rows(&self) -> Result<()> {
        if u32::try_from(self.rows()).is_err() {
            return Err(Error::Data(format!(
                "{} rows are too many; at most {} at once",
                self.rows(),
                u32::MAX
            )));
        }
        Ok(())
    }
}

/// Makes signatures in the same memory for each row.
struct Sketcher {
    ngram: usize,
    width: usize,
    distinct_numbers: bool,
    hashes: Vec<u64>,
    /// The lower halves of the hashes, so that processors take several at once.
    halves: Vec<u32>,
    bins: Vec<u32>,
}

impl Sketcher {
    fn new(options: &DedupOptions, plan: Plan) -> Self {
        Self {
            ngram: options.ngram,
            width: plan.width,
            distinct_numbers: options.distinct_numbers,
            hashes: Vec::new(),
            halves: Vec::new(),
            bins: vec![EMPTY; plan.bands * plan.width],
        }
    }

    /// Writes the keys of the bands of one row and returns the hash of its text.
    fn sketch(&mut self, row: &Compared, keys: &mut [u32]) -> u128 {
        self.fill_bins(row.codes());
        // Rows with other numbers are no candidates at all.
        let numbers = if self.distinct_numbers { row.numbers() } else { 0 };
        for (key, values) in keys.iter_mut().zip(self.bins.chunks_exact(self.width)) {
            let all =
                values.iter().fold(numbers ^ BAND, |all, &value| mix(all.rotate_left(32) ^ u64::from(value)));
            *key = (all >> 32) as u32;
        }
        xxh3_128(bytemuck::cast_slice(row.codes())) ^ u128::from(numbers)
    }

    fn fill_bins(&mut self, codes: &[u32]) {
        let bins = self.bins.as_mut_slice();
        bins.fill(EMPTY);
        hash_shingles(codes, self.ngram, &mut self.hashes, |hash| {
            let bin = &mut bins[(((hash >> 32) * bins.len() as u64) >> 32) as usize];
            let value = hash as u32 >> 1;
            // Which of the two is smaller cannot be foretold; a jump here was a tenth of the whole.
            *bin = select_unpredictable(value < *bin, value, *bin);
        });
        self.halves.clear();
        for (bin, value) in self.bins.iter_mut().enumerate() {
            if *value == EMPTY {
                if self.halves.is_empty() {
                    self.halves.extend(self.hashes.iter().map(|&hash| hash as u32));
                }
                *value = own_permutation(&self.halves, bin);
            }
        }
    }
}

/// The smallest value of a permutation that belongs to this bin alone.
fn own_permutation(hashes: &[u32], bin: usize) -> u32 {
    let factor = mix((bin as u64 + 1).wrapping_mul(BAND)) as u32 | 1;
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has the instructions. They are worth it: 0.09 ns a hash instead of 0.43, and
        // empty bins are a tenth of the whole.
        return unsafe { least_product_avx2(hashes, factor) };
    }
    least_product(hashes, factor)
}

#[inline(always)]
fn least_product(hashes: &[u32], factor: u32) -> u32 {
    hashes.iter().fold(EMPTY, |least, hash| least.min(hash.wrapping_mul(factor)))
}

/// The same; the compiler takes eight hashes at once.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn least_product_avx2(hashes: &[u32], factor: u32) -> u32 {
    least_product(hashes, factor)
}
