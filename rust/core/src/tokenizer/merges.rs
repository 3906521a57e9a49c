//! The word-count method made right: words become entries by frequency, and a merge list reaches each.

use std::cmp::Reverse;

use compact_str::CompactString;
use rayon::prelude::*;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::alphabet::Alphabet;
use super::chunks::Chunks;
use super::options::TokenizerOptions;
use super::vocabulary::Vocabulary;
use crate::char_map::CharMap;
use crate::error::Result;
use crate::job::Job;

/// Words between two looks at whether the job was asked to stop.
const CHECK_EVERY: u64 = 1_024;

/// Tokens of a word; few words need more places.
type Tokens = SmallVec<[u32; 12]>;

/// Takes words by count; each adds the merges that make it of what the list so far makes of it.
///
/// A later merge never changes how an earlier word is put together, for at each step the earliest
/// merge wins: so a word that is reached once is reached for good.
pub fn build(chunks: Chunks, options: &TokenizerOptions, job: &Job) -> Result<Vocabulary> {
    let slots = options.slots();
    let alphabet = Alphabet::new(&chunks, options.coverage, slots, job);
    let fits = |&(word, count): &(&str, u64)| {
        count >= options.min_count && (2..=options.max_chars).contains(&word.chars().count())
    };
    let mut words: Vec<(&str, u64)> = chunks.iter().filter(fits).collect();
    job.run(|| words.par_sort_unstable_by_key(|&(word, count)| (Reverse(count), word)));
    let mut list = MergeList::new(&alphabet, words.len().min(slots));

    job.phase("merge", words.len() as u64);
    for ((word, count), seen) in words.into_iter().zip(1u64..) {
        if seen % CHECK_EVERY == 0 {
            job.advance(CHECK_EVERY)?;
        }
        let room = slots.saturating_sub(list.longer() + alphabet.entries_beside(count));
        if room == 0 {
            break;
        }
        list.reach(word, room);
    }
    let characters = alphabet.len().min(slots - list.longer());
    Ok(Vocabulary::with_merges(alphabet.iter().take(characters).collect(), list.into_merges()))
}

struct MergeList {
    /// The token of each character, plus 1.
    characters: CharMap<u32>,
    pieces: Vec<CompactString>,
    /// The token that a pair makes; a later merge makes a higher one.
    merges: FxHashMap<u64, u32>,
    order: Vec<(u32, u32)>,
}

impl MergeList {
    fn new(alphabet: &Alphabet, merges: usize) -> Self {
        let mut pieces = Vec::with_capacity(alphabet.len() + merges);
        pieces.extend(alphabet.iter().map(|c| CompactString::from(&*c.encode_utf8(&mut [0; 4]))));
        Self {
            characters: alphabet.iter().zip(1..).collect(),
            pieces,
            merges: FxHashMap::with_capacity_and_hasher(merges, Default::default()),
            order: Vec::with_capacity(merges),
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
        // A new merge comes after all others and what it makes is in none of them: it is all that changes.
        while let [left, right, ..] = tokens[..] {
            let made = self.add(left, right);
            merge(&mut tokens, (left, right), made);
        }
    }

    fn add(&mut self, left: u32, right: u32) -> u32 {
        let made = self.pieces.len() as u32;
        let mut piece = self.pieces[left as usize].clone();
        piece.push_str(&self.pieces[right as usize]);
        self.pieces.push(piece);
        self.merges.insert(key(left, right), made);
        self.order.push((left, right));
        made
    }

    /// The tokens that the list so far makes of a word: always the earliest merge, leftmost first.
    fn encode(&self, word: &str) -> Tokens {
        let mut tokens: Tokens = word.chars().map(|c| self.characters.get(c) - 1).collect();
        // What each token makes with the one behind it.
        let makes = |pair: &[u32]| self.merges.get(&key(pair[0], pair[1])).copied().unwrap_or(u32::MAX);
        let mut made: Tokens = tokens.windows(2).map(makes).collect();
        while let Some((at, &earliest)) = made.iter().enumerate().min_by_key(|&(at, made)| (*made, at))
            && earliest < u32::MAX
        {
            tokens[at] = earliest;
            tokens.remove(at + 1);
            made.remove(at);
            for pair in at.saturating_sub(1)..made.len().min(at + 1) {
                made[pair] = makes(&tokens[pair..pair + 2]);
            }
        }
        tokens
    }

    fn into_merges(self) -> Vec<(CompactString, CompactString)> {
        let piece = |id: u32| self.pieces[id as usize].clone();
        self.order.iter().map(|&(left, right)| (piece(left), piece(right))).collect()
    }
}

fn key(left: u32, right: u32) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

/// Puts `made` in place of each such pair, leftmost first.
fn merge(tokens: &mut Tokens, pair: (u32, u32), made: u32) {
    let mut at = 0;
    while at + 1 < tokens.len() {
        if (tokens[at], tokens[at + 1]) == pair {
            tokens[at] = made;
            tokens.remove(at + 1);
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::super::chunks::chunks_of;
    use super::*;
    use crate::words::WordCounts;

    /// The same by the rule itself: before each merge the word is cut anew.
    fn plainly(words: &[(&str, u64)]) -> Vec<(String, String)> {
        let mut order: Vec<(String, String)> = Vec::new();
        let mut ranks: HashMap<(String, String), usize> = HashMap::new();
        let encode = |word: &str, ranks: &HashMap<(String, String), usize>| {
            let mut tokens: Vec<String> = word.chars().map(String::from).collect();
            loop {
                let pairs = tokens.windows(2).map(|pair| (pair[0].clone(), pair[1].clone())).enumerate();
                let first = pairs.filter_map(|(at, pair)| Some((*ranks.get(&pair)?, at))).min();
                let Some((_, at)) = first else { return tokens };
                let right = tokens.remove(at + 1);
                tokens[at].push_str(&right);
            }
        };
        for (word, _) in words {
            while let [left, right, ..] = &encode(word, &ranks)[..] {
                let pair = (left.clone(), right.clone());
                ranks.insert(pair.clone(), order.len());
                order.push(pair);
            }
        }
        order
    }

    proptest! {
        #[test]
        fn the_merges_are_those_of_the_rule(words in prop::collection::vec("[天气好吗]{1,7}", 0..40)) {
            let counts = (1..=words.len() as u64).rev();
            let mut known = std::collections::HashSet::new();
            let words: Vec<(&str, u64)> =
                words.iter().map(String::as_str).zip(counts).filter(|(word, _)| known.insert(*word)).collect();
            let chunks = chunks_of(&WordCounts::new(words.iter().copied()));
            let options = TokenizerOptions { min_count: 0, ..TokenizerOptions::default() };
            let job = Job::new(Some(2)).expect("threads");
            let Vocabulary::Merged { merges, .. } = build(chunks, &options, &job).expect("builds") else {
                return Err(TestCaseError::fail("no list of merges"));
            };
            let merges: Vec<_> = merges.into_iter().map(|(left, right)| (left.into(), right.into())).collect();
            prop_assert_eq!(merges, plainly(&words));
        }
    }
}
