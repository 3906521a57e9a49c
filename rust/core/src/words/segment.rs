//! Text to words, exactly as Python jieba 0.42.1 cuts it.

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustc_hash::FxHashSet;

use super::classes::{is_block, is_han};
use super::frequencies::Frequencies;
use super::markov::{Markov, Paths};
use super::trie::{Ahead, NO_CODE, Trie};
use crate::error::Result;

/// Cuts text into words by the most probable path through the dictionary, with jieba's Markov model
/// for what the dictionary lacks.
///
/// ```
/// use smolchat_core::words::Segmenter;
/// let segmenter = Segmenter::built_in()?;
/// assert_eq!(segmenter.cut("他来到了网易杭研大厦", true), ["他", "来到", "了", "网易", "杭研", "大厦"]);
/// # Ok::<(), smolchat_core::Error>(())
/// ```
pub struct Segmenter {
    /// Words with their log probabilities.
    trie: Trie,
    words: Words,
    /// Log probability of a character that is no word.
    unknown: f64,
    markov: Markov,
    split: FxHashSet<Box<str>>,
}

/// Where the words of a cut go.
pub(super) trait Sink<'a> {
    /// A dictionary word, by its place.
    fn known(&mut self, place: u32, word: &'a str);
    /// Any other word; it may stand in the dictionary nevertheless.
    fn other(&mut self, word: &'a str);
}

/// Buffers that are used from text to text, for one stretch of it. A unit is a character, or `\r\n`.
#[derive(Default)]
pub(super) struct Scratch {
    /// Codes of the units.
    codes: Vec<u16>,
    /// Where each unit begins in the text, and where the stretch ends.
    bounds: Vec<usize>,
    /// The units that are words of their own; between them are the blocks.
    breaks: Vec<usize>,
    ahead: Ahead,
    route: Vec<Step>,
    paths: Paths,
}

/// Units that are cut together: as many as keep memory busy, as few as stay near the processor.
const STRETCH: usize = 512;

/// The best way on from a character of a block.
#[derive(Clone, Copy)]
struct Step {
    score: f64,
    /// Characters of the word that begins here.
    length: u32,
    /// Place of the word.
    place: u32,
}

/// Place of a character that is no word.
const NO_PLACE: u32 = u32::MAX;

impl Segmenter {
    /// The segmenter with jieba's own dictionary; loaded once a process.
    ///
    /// # Errors
    /// [`crate::Error::Internal`] if this build is damaged.
    pub fn built_in() -> Result<Arc<Self>> {
        static BUILT_IN: OnceLock<Arc<Segmenter>> = OnceLock::new();
        if let Some(loaded) = BUILT_IN.get() {
            return Ok(loaded.clone());
        }
        let loaded = Arc::new(Self::new(&Frequencies::built_in()?)?);
        Ok(BUILT_IN.get_or_init(|| loaded).clone())
    }

    /// jieba's dictionary and a user's words: a UTF-8 file with lines `word [frequency] [tag]`.
    ///
    /// # Errors
    /// [`crate::Error::Io`] or [`crate::Error::Record`] with the file and line.
    pub fn with_user_dictionary(path: &Path) -> Result<Arc<Self>> {
        let mut frequencies = Frequencies::built_in()?;
        frequencies.add_file(path)?;
        Ok(Arc::new(Self::new(&frequencies)?))
    }

    fn new(frequencies: &Frequencies) -> Result<Self> {
        // Words that hold a character which no block holds can never be found.
        let findable = |word: &str, frequency: u64| frequency > 0 && word.chars().all(is_block);
        let mut known: Vec<(&str, u64)> = frequencies.iter().filter(|&(word, f)| findable(word, f)).collect();
        known.sort_unstable();
        let log_total = (frequencies.total() as f64).ln();
        let scored = known.iter().map(|&(word, frequency)| (word, (frequency as f64).ln() - log_total));
        let (trie, places) = Trie::new(&scored.collect::<Vec<_>>());
        Ok(Self {
            trie,
            words: Words::new(known.iter().map(|&(word, _)| word), places),
            unknown: 0.0 - log_total,
            markov: Markov::built_in()?,
            split: frequencies.split().clone(),
        })
    }

    /// The words of `text`, in order; joined they are the text. `hmm` as in `jieba.cut(text, HMM=hmm)`.
    #[must_use]
    pub fn cut<'a>(&self, text: &'a str, hmm: bool) -> Vec<&'a str> {
        struct List<'a>(Vec<&'a str>);
        impl<'a> Sink<'a> for List<'a> {
            fn known(&mut self, _: u32, word: &'a str) {
                self.0.push(word);
            }
            fn other(&mut self, word: &'a str) {
                self.0.push(word);
            }
        }
        let mut list = List(Vec::with_capacity(text.len() / 4));
        self.cut_into(text, hmm, &mut Scratch::default(), &mut list);
        list.0
    }

    /// The words of the dictionary with their places.
    pub(super) fn words(&self) -> &Words {
        &self.words
    }

    /// One more than the highest place of a word.
    pub(super) fn places(&self) -> usize {
        self.trie.len()
    }

    /// Cuts `text` into `sink`.
    pub(super) fn cut_into<'a>(
        &self,
        text: &'a str,
        hmm: bool,
        scratch: &mut Scratch,
        sink: &mut impl Sink<'a>,
    ) {
        let mut chars = text.char_indices();
        while let Some((at, c)) = chars.next() {
            scratch.bounds.push(at);
            if is_block(c) {
                scratch.codes.push(self.trie.code(c));
                continue;
            }
            if c == '\r' && text.as_bytes().get(at + 1) == Some(&b'\n') {
                chars.next();
            }
            scratch.breaks.push(scratch.codes.len());
            scratch.codes.push(NO_CODE);
            if scratch.codes.len() >= STRETCH {
                self.cut_stretch(text, text.len() - chars.as_str().len(), hmm, scratch, sink);
            }
        }
        self.cut_stretch(text, text.len(), hmm, scratch, sink);
    }

    /// Cuts what stands in `scratch`, which ends at `end` of the text.
    fn cut_stretch<'a>(
        &self,
        text: &'a str,
        end: usize,
        hmm: bool,
        scratch: &mut Scratch,
        sink: &mut impl Sink<'a>,
    ) {
        let units = scratch.codes.len();
        scratch.bounds.push(end);
        self.trie.look_ahead(&scratch.codes, &mut scratch.ahead);
        scratch.route.clear();
        scratch.route.resize(units + 1, Step { score: 0.0, length: 1, place: NO_PLACE });
        let mut start = 0;
        for i in 0..=scratch.breaks.len() {
            let end = scratch.breaks.get(i).copied().unwrap_or(units);
            self.find_route(start..end, scratch);
            if hmm {
                self.follow_with_model(text, start..end, scratch, sink);
            } else {
                self.follow(text, start..end, scratch, sink);
            }
            if end < units {
                sink.other(&text[scratch.bounds[end]..scratch.bounds[end + 1]]);
            }
            start = end + 1;
        }
        scratch.codes.clear();
        scratch.bounds.clear();
        scratch.breaks.clear();
    }

    /// The most probable path, from the end; of equal ones that with the longer word, as in jieba.
    fn find_route(&self, block: Range<usize>, scratch: &mut Scratch) {
        let Scratch { codes, ahead, route, .. } = scratch;
        for at in block.clone().rev() {
            let mut best = Step { score: f64::NEG_INFINITY, length: 1, place: NO_PLACE };
            self.trie.for_each_prefix_ahead(codes, ahead, (at, block.end), |length, place, score| {
                let score = score + route[at + length].score;
                if score >= best.score {
                    best = Step { score, length: length as u32, place };
                }
            });
            if best.place == NO_PLACE {
                best.score = self.unknown + route[at + 1].score;
            }
            route[at] = best;
        }
    }

    /// The path as it is, but for letters and digits, which stand together.
    fn follow<'a>(&self, text: &'a str, block: Range<usize>, scratch: &Scratch, sink: &mut impl Sink<'a>) {
        let Scratch { bounds, route, .. } = scratch;
        let bytes = text.as_bytes();
        let Range { start: mut at, end } = block;
        while at < end {
            let start = at;
            while at < end && route[at].length == 1 && bytes[bounds[at]].is_ascii_alphanumeric() {
                at += 1;
            }
            if start < at {
                sink.other(&text[bounds[start]..bounds[at]]);
                continue;
            }
            at += self.emit(text, scratch, at, sink);
        }
    }

    /// The path, with the model for each run of single characters that is no dictionary word.
    fn follow_with_model<'a>(
        &self,
        text: &'a str,
        block: Range<usize>,
        scratch: &mut Scratch,
        sink: &mut impl Sink<'a>,
    ) {
        let Range { start: mut at, end } = block;
        while at < end {
            let start = at;
            while at < end && scratch.route[at].length == 1 {
                at += 1;
            }
            if at - start > 1 && self.trie.get(&scratch.codes[start..at]).is_none() {
                let run = &text[scratch.bounds[start]..scratch.bounds[at]];
                self.markov.cut(run, &mut scratch.paths, &mut |word| self.emit_found(word, sink));
            } else {
                for single in start..at {
                    self.emit(text, scratch, single, sink);
                }
            }
            if at < end {
                at += self.emit(text, scratch, at, sink);
            }
        }
    }

    /// Tells the word at `at` and returns its characters.
    fn emit<'a>(&self, text: &'a str, scratch: &Scratch, at: usize, sink: &mut impl Sink<'a>) -> usize {
        let Step { length, place, .. } = scratch.route[at];
        let word = &text[scratch.bounds[at]..scratch.bounds[at + length as usize]];
        match place {
            NO_PLACE => sink.other(word),
            place => sink.known(place, word),
        }
        length as usize
    }

    /// A word of the model; of those with frequency 0 jieba cuts up the Han ones.
    fn emit_found<'a>(&self, word: &'a str, sink: &mut impl Sink<'a>) {
        if self.split.is_empty() || !self.split.contains(word) || !word.starts_with(is_han) {
            return sink.other(word);
        }
        for (at, c) in word.char_indices() {
            sink.other(&word[at..at + c.len_utf8()]);
        }
    }
}

/// Words in one allocation, with their places in the trie.
pub(super) struct Words {
    text: String,
    /// Where each word ends in the text, and its place.
    words: Vec<(u32, u32)>,
}

impl Words {
    fn new<'a>(words: impl Iterator<Item = &'a str>, places: Vec<Option<u32>>) -> Self {
        let mut text = String::new();
        let placed = words.zip(places).filter_map(|(word, place)| Some((word, place?)));
        let words = placed.map(|(word, place)| {
            text.push_str(word);
            (text.len() as u32, place)
        });
        let words = words.collect();
        Self { text, words }
    }

    /// Every word with its place.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u32)> {
        let starts = std::iter::once(0).chain(self.words.iter().map(|&(end, _)| end));
        starts
            .zip(&self.words)
            .map(|(start, &(end, place))| (&self.text[start as usize..end as usize], place))
    }
}
