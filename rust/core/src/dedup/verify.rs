//! Pair -> exact Jaccard similarity of the two sets of n-grams.
//!
//! Most pairs that are no duplicates are turned away by their bitmaps before their n-grams are compared.

use std::ops::Range;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use rayon::prelude::*;

use super::normal::Compared;
use super::options::{DedupOptions, Keep};
use super::probe::Probe;
use super::shingle::{hash_shingles, windows};
use super::sieve;
use super::texts::Texts;
use crate::error::Result;
use crate::job::Job;

const CHUNK_ROWS: usize = 512;
/// More than the error of a quotient of two counts.
const ROUNDING: f64 = 1e-9;

/// The compared texts of some rows, and when two of them are duplicates.
#[derive(Debug)]
pub struct Verifier {
    ngram: usize,
    normalize: bool,
    threshold: f64,
    distinct_numbers: bool,
    keep: Keep,
    texts: Shelf,
}

#[derive(Debug, Default)]
struct Shelf {
    codes: Vec<u32>,
    /// Where each text ends in `codes`.
    ends: Vec<usize>,
    numbers: Vec<u64>,
    /// Bitmaps of the n-grams, and where each ends.
    bits: Vec<u64>,
    bit_ends: Vec<usize>,
    /// No more than the different n-grams of each text, and seldom less.
    least_sizes: Vec<u32>,
    /// Different n-grams of each text; 0 until somebody asks, as most texts are never compared in full.
    sizes: Vec<AtomicU32>,
}

impl Verifier {
    /// Holds no text yet.
    #[must_use]
    pub fn new(options: &DedupOptions) -> Self {
        Self {
            ngram: options.ngram,
            normalize: options.normalize,
            threshold: options.threshold,
            distinct_numbers: options.distinct_numbers,
            keep: options.keep,
            texts: Shelf::default(),
        }
    }

    /// Takes up the texts of these rows behind those it has.
    ///
    /// # Errors
    /// [`crate::Error::Cancelled`] if the job was asked to stop.
    pub fn extend(&mut self, texts: &impl Texts, rows: &[u32], job: &Job) -> Result<()> {
        let (ngram, normalize) = (self.ngram, self.normalize);
        let chunks = rows.par_chunks(CHUNK_ROWS).map(|rows| {
            job.check()?;
            let (mut compared, mut hashes) = (Compared::default(), Vec::new());
            let (mut counter, mut shelf) = (sieve::Counter::default(), Shelf::default());
            for &row in rows {
                compared.fill(texts.parts(row as usize), normalize);
                hash_shingles(compared.codes(), ngram, &mut hashes, |_| {});
                shelf.push(&compared, &hashes, counter.count(&hashes));
            }
            Ok(shelf)
        });
        let shelves: Vec<Shelf> = job.run(|| chunks.collect::<Result<_>>())?;
        shelves.into_iter().for_each(|shelf| self.texts.append(shelf));
        Ok(())
    }

    /// Number of texts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.texts.ends.len()
    }

    /// True if there is no text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.texts.ends.is_empty()
    }

    /// The places of all texts in the order in which it is decided whether they stay; the first `against`
    /// come first.
    pub(super) fn order(&self, against: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.len() as u32).collect();
        if self.keep == Keep::Longest {
            // Stable: of several longest ones the first stays.
            order[against..]
                .sort_by_key(|&place| std::cmp::Reverse(part(&self.texts.ends, place as usize).len()));
        }
        order
    }

    /// The similarity of two texts, by their places in the order of taking up; none if they are no
    /// duplicates.
    #[must_use]
    pub fn duplicates(&self, one: usize, other: usize) -> Option<f64> {
        Pair::new(self, one, &mut Probes::default()).with(other)
    }
}

/// One text, made ready to be compared with several others.
pub(super) struct Pair<'a> {
    verifier: &'a Verifier,
    one: usize,
    probes: &'a mut Probes,
    loaded: bool,
}

/// Tables for the two texts of a pair, reused from pair to pair.
#[derive(Debug, Default)]
pub(super) struct Probes {
    one: Probe,
    other: Probe,
}

impl<'a> Pair<'a> {
    pub fn new(verifier: &'a Verifier, one: usize, probes: &'a mut Probes) -> Self {
        Self { verifier, one, probes, loaded: false }
    }

    /// As [`Verifier::duplicates`].
    pub fn with(&mut self, other: usize) -> Option<f64> {
        let Verifier { ngram, threshold, distinct_numbers, texts, .. } = self.verifier;
        if *distinct_numbers && texts.numbers[self.one] != texts.numbers[other] {
            return None;
        }
        if texts.most_similarity(self.one, other, *ngram) < threshold - ROUNDING {
            return None;
        }
        let text = texts.get(self.one);
        if !self.loaded {
            texts.sizes[self.one].store(self.probes.one.load(text, *ngram), Relaxed);
            self.loaded = true;
        }
        let size = texts.sizes[self.one].load(Relaxed);
        let both = f64::from(size) + f64::from(texts.size(other, *ngram, &mut self.probes.other));
        // One less than needed, so that rounding never decides; the quotient below does.
        let needed = ((threshold * both / (1.0 + threshold)) as usize).saturating_sub(1);
        let shared = self.probes.one.count_shared(text, texts.get(other), *ngram, needed)?;
        let similarity = shared as f64 / (both - shared as f64);
        (similarity >= *threshold).then_some(similarity)
    }
}

impl Shelf {
    fn push(&mut self, compared: &Compared, hashes: &[u64], least_size: u32) {
        self.codes.extend_from_slice(compared.codes());
        self.ends.push(self.codes.len());
        self.numbers.push(compared.numbers());
        let start = self.bits.len();
        self.bits.resize(start + sieve::words(hashes.len()), 0);
        hashes.iter().for_each(|&hash| sieve::add(&mut self.bits[start..], hash));
        self.bit_ends.push(self.bits.len());
        self.least_sizes.push(least_size);
        self.sizes.push(AtomicU32::new(0));
    }

    fn append(&mut self, others: Self) {
        let (codes, bits) = (self.codes.len(), self.bits.len());
        self.codes.extend(others.codes);
        self.ends.extend(others.ends.iter().map(|end| end + codes));
        self.numbers.extend(others.numbers);
        self.bits.extend(others.bits);
        self.bit_ends.extend(others.bit_ends.iter().map(|end| end + bits));
        self.least_sizes.extend(others.least_sizes);
        self.sizes.extend(others.sizes);
    }

    /// No less than the similarity of two texts.
    fn most_similarity(&self, one: usize, other: usize, ngram: usize) -> f64 {
        let windows = |text| windows(self.get(text), ngram) as u32;
        let shared = sieve::most_shared(self.bits(one), windows(one), self.bits(other), windows(other));
        let both = self.least_sizes[one] + self.least_sizes[other];
        f64::from(shared) / f64::from(both.saturating_sub(shared).max(1))
    }

    /// Different n-grams of a text.
    fn size(&self, text: usize, ngram: usize, probe: &mut Probe) -> u32 {
        // Whoever computes it computes the same, so no thread has to wait for another.
        let known = self.sizes[text].load(Relaxed);
        if known > 0 {
            return known;
        }
        let size = probe.load(self.get(text), ngram);
        self.sizes[text].store(size, Relaxed);
        size
    }

    fn get(&self, text: usize) -> &[u32] {
        &self.codes[part(&self.ends, text)]
    }

    fn bits(&self, text: usize) -> &[u64] {
        &self.bits[part(&self.bit_ends, text)]
    }
}

fn part(ends: &[usize], number: usize) -> Range<usize> {
    number.checked_sub(1).map_or(0, |before| ends[before])..ends[number]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn similarity(one: &str, other: &str, ngram: usize) -> Option<f64> {
        let options = DedupOptions { ngram, threshold: 0.01, ..DedupOptions::default() };
        let mut verifier = Verifier::new(&options);
        let texts = [one, other];
        verifier.extend(&&texts[..], &[0, 1], &Job::new(Some(1)).expect("one thread")).expect("runs");
        assert_eq!(verifier.duplicates(0, 1), verifier.duplicates(1, 0));
        verifier.duplicates(0, 1)
    }

    #[test]
    fn similarity_counts_different_ngrams() {
        // ab bc cd | ab bc ce: 2 of 4.
        assert_eq!(similarity("abcd", "abce", 2), Some(0.5));
        // Repeats count once: ab ba | ab ba.
        assert_eq!(similarity("ababab", "aba", 2), Some(1.0));
        assert_eq!(similarity("ab", "cd", 2), None);
    }

    #[test]
    fn a_text_shorter_than_the_ngram_is_one_shingle() {
        assert_eq!(similarity("好", "好", 5), Some(1.0));
        assert_eq!(similarity("好", "好的", 5), None);
        assert_eq!(similarity("", "", 5), Some(1.0));
    }

    #[test]
    fn other_numbers_make_other_rows() {
        assert_eq!(similarity("小明有12个苹果和3个梨", "小明有12个苹果和4个梨", 3), None);
    }
}
