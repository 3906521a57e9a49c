//! The word-count method made right: words become entries by frequency, and a merge list reaches each.

use std::cmp::Reverse;

use compact_str::CompactString;
use rustc_hash::FxHashMap;

use super::alphabet::Alphabet;
use super::chunks::Chunks;
use super::options::TokenizerOptions;
use super::vocabulary::Vocabulary;
use crate::error::Result;
use crate::job::Job;

/// Words between two looks at whether the job was asked to stop.
const CHECK_EVERY: u64 = 1_024;

/// Takes words by count; each adds the merges that make it of what the list so far makes of it.
///
/// A later merge never changes how an earlier word is put together, for at each step the earliest
/// merge wins: so a word that is reached once is reached for good.
pub fn build(mut words: Chunks, options: &TokenizerOptions, job: &Job) -> Result<Vocabulary> {
    let slots = options.slots();
    let alphabet = Alphabet::new(&words, options.coverage, slots);
    let mut list = MergeList::new(&alphabet);
    words.retain(|(word, count)| {
        *count >= options.min_count && (2..=options.max_chars).contains(&word.chars().count())
    });
    words.sort_unstable_by(|(a, m), (b, n)| (Reverse(m), a).cmp(&(Reverse(n), b)));

    job.phase("merge", words.len() as u64);
    for ((word, count), seen) in words.iter().zip(1u64..) {
        if seen % CHECK_EVERY == 0 {
            job.advance(CHECK_EVERY)?;
        }
        let room = slots.saturating_sub(list.longer() + alphabet.entries_beside(*count));
        if room == 0 {
            break;
        }
        list.reach(word, room);
    }
    let characters = alphabet.len().min(slots - list.longer());
    Ok(Vocabulary::with_merges(alphabet.iter().take(characters).collect(), list.into_merges()))
}

struct MergeList {
    characters: FxHashMap<char, u32>,
    pieces: Vec<CompactString>,
    /// What two tokens make, and when.
    merges: FxHashMap<(u32, u32), Merge>,
    order: Vec<(u32, u32)>,
}

#[derive(Clone, Copy)]
struct Merge {
    rank: u32,
    made: u32,
}

impl MergeList {
    fn new(alphabet: &Alphabet) -> Self {
        Self {
            characters: alphabet.iter().zip(0..).collect(),
            pieces: alphabet.iter().map(|c| c.to_string().into()).collect(),
            merges: FxHashMap::default(),
            order: Vec::new(),
        }
    }

    /// Entries that are longer than a character.
    fn longer(&self) -> usize {
        self.order.len()
    }

    /// Adds what the word still needs, from its left end on, if that is at most `room` merges.
    fn reach(&mut self, word: &str, room: usize) {
        let mut tokens = self.encode(word);
        if tokens.len() > room + 1 {
            return;
        }
        // In a word that repeats itself one merge may act twice, so it is cut anew each time.
        while let [left, right, ..] = tokens[..] {
            self.add(left, right);
            tokens = self.encode(word);
        }
    }

    fn add(&mut self, left: u32, right: u32) {
        let made = self.pieces.len() as u32;
        let mut piece = self.pieces[left as usize].clone();
        piece.push_str(&self.pieces[right as usize]);
        self.pieces.push(piece);
        self.merges.insert((left, right), Merge { rank: self.order.len() as u32, made });
        self.order.push((left, right));
    }

    /// The tokens that the list so far makes of a word: always the earliest merge, leftmost first.
    fn encode(&self, word: &str) -> Vec<u32> {
        let mut tokens: Vec<u32> = word.chars().map(|c| self.characters[&c]).collect();
        loop {
            let known = |pair: &[u32]| self.merges.get(&(pair[0], pair[1])).copied();
            let merges = tokens
                .windows(2)
                .enumerate()
                .filter_map(|(at, pair)| known(pair).map(|m| (m.rank, at, m.made)));
            let Some((_, at, made)) = merges.min() else { return tokens };
            tokens.splice(at..at + 2, [made]);
        }
    }

    fn into_merges(self) -> Vec<(CompactString, CompactString)> {
        let piece = |id: u32| self.pieces[id as usize].clone();
        self.order.iter().map(|&(left, right)| (piece(left), piece(right))).collect()
    }
}
