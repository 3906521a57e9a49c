//! Row -> the text of `against` that it contains: an evaluation question inside a longer text.
//!
//! A row contains a question when it has at least a given share of the question's n-grams. A row that
//! does must have one of the rarest few of them (prefix filter, Chaudhuri et al. 2006), so only these are
//! looked up; what they propose is then counted on the n-grams themselves.

use rayon::prelude::*;
use rustc_hash::FxHashMap;

use super::normal::{Compared, is_digit};
use super::options::DedupOptions;
use super::probe::Probe;
use super::reason::Removed;
use super::shingle::hash_shingles;
use super::texts::Texts;
use crate::error::Result;
use crate::job::Job;

/// More than the error of a product of a share and a count.
const ROUNDING: f64 = 1e-9;

/// Texts that no row may contain.
#[derive(Debug, Default)]
pub(super) struct Questions {
    ngram: usize,
    normalize: bool,
    share: f64,
    distinct_numbers: bool,
    codes: Vec<u32>,
    /// Where each text ends in `codes`.
    ends: Vec<usize>,
    /// Different n-grams of each text.
    sizes: Vec<u32>,
    /// The rarest n-grams of each text: hash and text, ascending.
    rare: FxHashMap<u64, Vec<u32>>,
}

impl Questions {
    pub fn new(options: &DedupOptions) -> Self {
        Self {
            ngram: options.ngram,
            normalize: options.normalize,
            share: options.contained,
            distinct_numbers: options.distinct_numbers,
            ..Self::default()
        }
    }

    /// True if nothing is looked for.
    pub fn is_off(&self) -> bool {
        self.share == 0.0
    }

    /// Takes up more texts; [`Self::prepare`] comes after the last.
    pub fn extend(&mut self, texts: &impl Texts) {
        if self.is_off() {
            return;
        }
        let mut compared = Compared::default();
        for row in 0..texts.rows() {
            compared.fill(texts.parts(row), self.normalize);
            self.codes.extend_from_slice(compared.codes());
            self.ends.push(self.codes.len());
        }
    }

    /// Chooses the n-grams to look up.
    pub fn prepare(&mut self) {
        let mut found = Vec::new();
        let mut counts: FxHashMap<u64, u32> = FxHashMap::default();
        for text in 0..self.ends.len() {
            self.hashes(text, &mut found);
            self.sizes.push(found.len() as u32);
            found.iter().for_each(|&hash| *counts.entry(hash).or_default() += 1);
        }
        for text in 0..self.ends.len() {
            self.hashes(text, &mut found);
            found.sort_unstable_by_key(|hash| (counts[hash], *hash));
            found.truncate(found.len() + 1 - self.needed(text));
            found.iter().for_each(|&hash| self.rare.entry(hash).or_default().push(text as u32));
        }
    }

    /// The rows, counted from `first_row`, that contain a text, each with the first such text.
    pub fn find(&self, texts: &impl Texts, first_row: u64, job: &Job) -> Result<Vec<Removed>> {
        if self.ends.is_empty() {
            return Ok(Vec::new());
        }
        let rows = (0..texts.rows()).into_par_iter();
        let found = rows.map_init(Reader::default, |reader, row| {
            job.check()?;
            reader.compared.fill(texts.parts(row), self.normalize);
            Ok(reader.first_contained(self).map(|(text, similarity)| Removed {
                row: first_row + row as u64,
                kept_row: u64::from(text),
                in_against: true,
                similarity,
            }))
        });
        let found: Vec<Option<Removed>> = job.run(|| found.collect::<Result<_>>())?;
        Ok(found.into_iter().flatten().collect())
    }

    fn get(&self, text: usize) -> &[u32] {
        &self.codes[text.checked_sub(1).map_or(0, |before| self.ends[before])..self.ends[text]]
    }

    /// The different hashes of a text.
    fn hashes(&self, text: usize, found: &mut Vec<u64>) {
        hash_shingles(self.get(text), self.ngram, found, |_| {});
        found.sort_unstable();
        found.dedup();
    }

    /// How many different n-grams of a text a row must have.
    fn needed(&self, text: usize) -> usize {
        ((f64::from(self.sizes[text]) * self.share - ROUNDING).ceil() as usize).max(1)
    }
}

/// Memory that is used again for each row.
#[derive(Debug, Default)]
struct Reader {
    compared: Compared,
    probe: Probe,
    hashes: Vec<u64>,
    proposed: Vec<u32>,
}

impl Reader {
    fn first_contained(&mut self, questions: &Questions) -> Option<(u32, f64)> {
        let Self { compared, probe, hashes, proposed } = self;
        let (row, ngram) = (compared.codes(), questions.ngram);
        hash_shingles(row, ngram, hashes, |_| {});
        proposed.clear();
        hashes.iter().filter_map(|hash| questions.rare.get(hash)).for_each(|texts| proposed.extend(texts));
        if proposed.is_empty() {
            return None;
        }
        proposed.sort_unstable();
        proposed.dedup();
        probe.load(row, ngram);
        proposed.iter().find_map(|&text| {
            let (question, needed) = (questions.get(text as usize), questions.needed(text as usize));
            if questions.distinct_numbers && !has_numbers(row, question) {
                return None;
            }
            let shared = probe.count_shared(row, question, ngram, needed)?;
            let share = shared as f64 / f64::from(questions.sizes[text as usize]);
            (shared >= needed).then_some((text, share))
        })
    }
}

/// True if the numbers of a question stand in a row, one after the other.
fn has_numbers(row: &[u32], question: &[u32]) -> bool {
    let wanted: Vec<&[u32]> = numbers(question).collect();
    wanted.is_empty() || numbers(row).collect::<Vec<_>>().windows(wanted.len()).any(|found| found == wanted)
}

/// The runs of digits of a text.
fn numbers(codes: &[u32]) -> impl Iterator<Item = &[u32]> {
    codes.split(|&code| !is_digit(code)).filter(|run| !run.is_empty())
}
