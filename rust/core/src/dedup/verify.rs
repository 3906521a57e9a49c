//! Pair -> exact Jaccard similarity of the two sets of n-grams.
//!
//! Most pairs that are no duplicates are turned away by their bitmaps before their n-grams are compared.

use std::ops::Range;

use rayon::prelude::*;
use rustc_hash::FxHashSet;

use super::normal::Compared;
use super::options::{DedupOptions, Keep, QuestionLine};
use super::probe::Probe;
use super::shingle::{hash_shingles, window, windows};
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
    distinct_questions: QuestionLine,
    keep: Keep,
    shelves: Vec<Shelf>,
    /// Shelf of each text, and its number there.
    places: Vec<(u32, u32)>,
}

/// Texts that were taken up together; they stay where they are from then on.
#[derive(Debug, Default)]
struct Shelf {
    codes: Vec<u32>,
    /// Where each text ends in `codes`.
    ends: Vec<usize>,
    numbers: Vec<u64>,
    /// Questions within the texts, and where each ends; empty if they are not compared by themselves.
    questions: Vec<u32>,
    question_ends: Vec<usize>,
    /// Bitmaps of the n-grams, and where each ends.
    bits: Vec<u64>,
    bit_ends: Vec<usize>,
    /// No more than the different n-grams of each text, and seldom less.
    least_sizes: Vec<u32>,
}

/// What is known of one text.
#[derive(Clone, Copy)]
struct Text<'a> {
    codes: &'a [u32],
    numbers: u64,
    question: &'a [u32],
    bits: &'a [u64],
    least_size: u32,
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
            distinct_questions: options.distinct_questions,
            keep: options.keep,
            shelves: Vec::new(),
            places: Vec::new(),
        }
    }

    /// Takes up the texts of these rows behind those it has.
    ///
    /// # Errors
    /// [`crate::Error::Cancelled`] if the job was asked to stop.
    pub fn extend(&mut self, texts: &impl Texts, rows: &[u32], job: &Job) -> Result<()> {
        let Self { ngram, normalize, distinct_questions, .. } = *self;
        let chunks = rows.par_chunks(CHUNK_ROWS).map(|rows| {
            job.check()?;
            let (mut compared, mut question) = (Compared::default(), Compared::default());
            let mut hashes = Vec::new();
            let (mut counter, mut shelf) = (sieve::Counter::default(), Shelf::default());
            for &row in rows {
                compared.fill(texts.parts(row as usize), normalize);
                hash_shingles(compared.codes(), ngram, &mut hashes, |_| {});
                let mut parts = texts.parts(row as usize);
                question
                    .fill(parts.next().and_then(|first| distinct_questions.of(first)).into_iter(), normalize);
                shelf.push(&compared, &question, &hashes, counter.count(&hashes));
            }
            Ok(shelf)
        });
        let shelves: Vec<Shelf> = job.run(|| chunks.collect::<Result<_>>())?;
        for (number, shelf) in (self.shelves.len() as u32..).zip(&shelves) {
            self.places.extend((0..shelf.ends.len() as u32).map(|text| (number, text)));
        }
        self.shelves.extend(shelves);
        Ok(())
    }

    /// Number of texts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// True if there is no text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The places of all texts in the order in which it is decided whether they stay; the first `against`
    /// come first.
    pub(super) fn order(&self, against: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.len() as u32).collect();
        if self.keep == Keep::Longest {
            // Stable: of several longest ones the first stays.
            order[against..].sort_by_key(|&place| std::cmp::Reverse(self.text(place as usize).codes.len()));
        }
        order
    }

    /// The similarity of two texts, by their places in the order of taking up; none if they are no
    /// duplicates.
    #[must_use]
    pub fn duplicates(&self, one: usize, other: usize) -> Option<f64> {
        Pair::new(self, one, &mut Probe::default()).with(other)
    }

    fn text(&self, place: usize) -> Text<'_> {
        let (shelf, text) = self.places[place];
        self.shelves[shelf as usize].get(text as usize)
    }
}

/// One text, made ready to be compared with several others.
pub(super) struct Pair<'a> {
    verifier: &'a Verifier,
    one: Text<'a>,
    probe: &'a mut Probe,
    /// Different n-grams of the text, once the probe holds it.
    size: Option<u32>,
}

impl<'a> Pair<'a> {
    /// The probe is reused from text to text.
    pub fn new(verifier: &'a Verifier, one: usize, probe: &'a mut Probe) -> Self {
        Self { verifier, one: verifier.text(one), probe, size: None }
    }

    /// As [`Verifier::duplicates`].
    pub fn with(&mut self, other: usize) -> Option<f64> {
        let Verifier { ngram, threshold, distinct_numbers, .. } = *self.verifier;
        let (one, other) = (self.one, self.verifier.text(other));
        if distinct_numbers && one.numbers != other.numbers {
            return None;
        }
        if one.most_similarity(other, ngram) < threshold - ROUNDING {
            return None;
        }
        let size = *self.size.get_or_insert_with(|| self.probe.load(one.codes, ngram));
        let least = f64::from(size) + f64::from(other.least_size);
        // One less than needed, so that rounding never decides; the quotient below does.
        let needed = ((threshold * least / (1.0 + threshold)) as usize).saturating_sub(1);
        let shared = self.probe.count_shared(one.codes, other.codes, ngram, needed)?;
        let all = size as usize + self.probe.count_others(other.codes, ngram);
        let similarity = shared as f64 / all as f64;
        (similarity >= threshold && one.asks_as(other, ngram, threshold)).then_some(similarity)
    }
}

impl Text<'_> {
    /// No less than the similarity of two texts.
    fn most_similarity(self, other: Self, ngram: usize) -> f64 {
        let windows = |text: Self| windows(text.codes, ngram) as u32;
        let shared = sieve::most_shared(self.bits, windows(self), other.bits, windows(other));
        let both = self.least_size + other.least_size;
        f64::from(shared) / f64::from(both.saturating_sub(shared).max(1))
    }

    /// True if the questions are duplicates by themselves.
    fn asks_as(self, other: Self, ngram: usize, threshold: f64) -> bool {
        if self.question == other.question {
            return true;
        }
        let [one, other] = [self.question, other.question].map(|codes| -> FxHashSet<&[u32]> {
            (0..windows(codes, ngram)).map(|position| window(codes, ngram, position)).collect()
        });
        let shared = one.intersection(&other).count();
        shared as f64 / (one.len() + other.len() - shared) as f64 >= threshold
    }
}

impl Shelf {
    fn push(&mut self, compared: &Compared, question: &Compared, hashes: &[u64], least_size: u32) {
        self.codes.extend_from_slice(compared.codes());
        self.ends.push(self.codes.len());
        self.numbers.push(compared.numbers());
        self.questions.extend_from_slice(question.codes());
        self.question_ends.push(self.questions.len());
        let start = self.bits.len();
        self.bits.resize(start + sieve::words(hashes.len()), 0);
        hashes.iter().for_each(|&hash| sieve::add(&mut self.bits[start..], hash));
        self.bit_ends.push(self.bits.len());
        self.least_sizes.push(least_size);
    }

    fn get(&self, text: usize) -> Text<'_> {
        Text {
            codes: &self.codes[part(&self.ends, text)],
            numbers: self.numbers[text],
            question: &self.questions[part(&self.question_ends, text)],
            bits: &self.bits[part(&self.bit_ends, text)],
            least_size: self.least_sizes[text],
        }
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
    fn other_questions_about_one_passage_make_other_rows() {
        let passage: String = ('一'..).take(300).collect();
        let about = |question: &str| format!("{passage}\n{question}\n");
        let alike = |distinct_questions, one: &str, other: &str| {
            let options = DedupOptions { distinct_questions, ..DedupOptions::default() };
            let mut verifier = Verifier::new(&options);
            let texts = [one, other];
            verifier.extend(&&texts[..], &[0, 1], &Job::new(Some(1)).expect("one thread")).expect("runs");
            verifier.duplicates(0, 1).is_some()
        };
        let (long, where_to) = (about("这条河有多长？请回答。"), about("它流进哪一片海里面？"));
        assert!(alike(QuestionLine::No, &long, &where_to));
        assert!(!alike(QuestionLine::LastLine, &long, &where_to));
        assert!(alike(QuestionLine::LastLine, &long, &about("这条河有多长?请回答")));
        // The first line is the passage, the same in both.
        assert!(alike(QuestionLine::FirstLine, &long, &where_to));
    }

    #[test]
    fn other_numbers_make_other_rows() {
        assert_eq!(similarity("小明有12个苹果和3个梨", "小明有12个苹果和4个梨", 3), None);
    }
}
