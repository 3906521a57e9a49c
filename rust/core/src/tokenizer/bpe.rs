//! Byte-pair encoding, learned: the most frequent pair of neighbours becomes one token, again and
//! again (Sennrich et al. 2016).
//!
//! All chunks stand in one array of token ids, one place a character. A token of several characters
//! has its id at its first and its last place, so both neighbours of a token are found without links.
//! Each pair knows its places; a heap that is corrected late gives the next pair.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use compact_str::CompactString;
use rustc_hash::FxHashMap;

use super::alphabet::Alphabet;
use super::chunks::Chunks;
use super::options::TokenizerOptions;
use super::pairs::{END, INSIDE, Key, Neighbour, Neighbours, Pair, Places, count_pairs, key, parts};
use super::vocabulary::Vocabulary;
use crate::char_map::CharMap;
use crate::error::{Error, Result};
use crate::job::Job;

/// Merges between two looks at whether the job was asked to stop.
const CHECK_EVERY: usize = 64;

/// Places of a pair that are looked at together.
const TOGETHER: usize = 32;

/// Learns characters and merges from chunks.
pub fn train(chunks: Chunks, options: &TokenizerOptions, job: &Job) -> Result<Vocabulary> {
    let alphabet = Alphabet::new(&chunks, options.coverage, options.slots());
    let learned = learn(chunks, &alphabet, options, job)?;
    Ok(Vocabulary::with_merges(alphabet.iter().take(learned.characters).collect(), learned.merges))
}

/// What was learned.
pub struct Learned {
    /// So many characters of the alphabet get an entry.
    pub characters: usize,
    /// In the order of their ranks.
    pub merges: Vec<(CompactString, CompactString)>,
    /// How often each merge was seen when it was chosen.
    pub counts: Vec<u64>,
}

/// Learns merges from chunks of known alphabet.
pub fn learn(chunks: Chunks, alphabet: &Alphabet, options: &TokenizerOptions, job: &Job) -> Result<Learned> {
    let mut trainer = Trainer::new(chunks, alphabet, options, job)?;
    let characters = trainer.merge_all(alphabet, options, job)?;
    let piece = |id: u32| trainer.pieces[id as usize].clone();
    let merges = trainer.merges.iter().map(|&(left, right)| (piece(left), piece(right))).collect();
    Ok(Learned { characters, merges, counts: trainer.counts })
}

struct Trainer {
    /// Ids, [`INSIDE`] or [`END`] with a count.
    text: Vec<u32>,
    /// By id: the string, and its characters.
    pieces: Vec<CompactString>,
    lengths: Vec<u32>,
    ids: FxHashMap<CompactString, u32>,
    pairs: FxHashMap<Key, Pair>,
    /// Counts may be outdated, but never too low.
    queue: BinaryHeap<(u64, Reverse<Key>)>,
    merges: Vec<(u32, u32)>,
    /// How often each merge was seen when it was chosen.
    counts: Vec<u64>,
    ranks: FxHashMap<Key, u32>,
    /// What stands before and after the pair that is being merged.
    before: Neighbours,
    after: Neighbours,
}

impl Trainer {
    fn new(chunks: Chunks, alphabet: &Alphabet, options: &TokenizerOptions, job: &Job) -> Result<Self> {
        let ids: CharMap<u32> = alphabet.iter().zip(0..).collect();
        // A chunk of one character has no pair; it has done its duty in the alphabet.
        let mut text = Vec::new();
        for (chunk, count) in chunks.into_iter().filter(|(chunk, _)| chunk.chars().nth(1).is_some()) {
            text.extend(chunk.chars().map(|c| ids.get(c)));
            text.push(END | count.min(u64::from(INSIDE)) as u32);
        }
        if u32::try_from(text.len()).is_err() {
            let rule = "distinct text of over 4 G characters; build the tokenizer from a part of it";
            return Err(Error::Data(rule.into()));
        }
        let pieces: Vec<CompactString> = alphabet.iter().map(|c| c.to_string().into()).collect();
        let pairs = job.run(|| count_pairs(&text, alphabet.len(), options.min_count));
        Ok(Self {
            text,
            lengths: vec![1; pieces.len()],
            ids: pieces.iter().cloned().zip(0..).collect(),
            pieces,
            queue: pairs.iter().map(|(&key, pair)| (pair.count, Reverse(key))).collect(),
            pairs,
            merges: Vec::new(),
            counts: Vec::new(),
            ranks: FxHashMap::default(),
            before: Neighbours::default(),
            after: Neighbours::default(),
        })
    }

    /// Merges until the entries are used up; returns how many characters get one.
    fn merge_all(&mut self, alphabet: &Alphabet, options: &TokenizerOptions, job: &Job) -> Result<usize> {
        let slots = options.slots();
        job.phase("merge", slots as u64);
        let mut told = 0;
        while let Some((count, Reverse(key))) = self.queue.pop() {
            let now = self.pairs.get(&key).map_or(0, |pair| pair.count);
            if now < count {
                if now >= options.min_count {
                    self.queue.push((now, Reverse(key)));
                }
                continue;
            }
            let longer = self.pieces.len() - alphabet.len();
            if longer + alphabet.entries_beside(count) >= slots {
                break;
            }
            let Some(pair) = self.pairs.remove(&key) else { continue };
            let (left, right) = parts(key);
            if (self.lengths[left as usize] + self.lengths[right as usize]) as usize <= options.max_chars {
                self.ranks.insert(key, self.merges.len() as u32);
                self.merges.push((left, right));
                self.counts.push(count);
                self.merge(key, pair.places, options.min_count);
            }
            if longer >= told + CHECK_EVERY {
                job.advance((longer - told) as u64)?;
                told = longer;
            }
        }
        let longer = self.pieces.len() - alphabet.len();
        Ok(alphabet.len().min(slots - longer))
    }

    /// Merges a pair wherever it stands, and then what an encoder would merge at once: two merges may
    /// make the same token, and what the second one makes may have a neighbour of an earlier merge.
    fn merge(&mut self, key: Key, places: Places, min_count: u64) {
        let mut earlier = BTreeMap::from([(self.ranks.get(&key).copied(), (key, places))]);
        while let Some((_, (key, places))) = earlier.pop_first() {
            for (key, pair) in self.merge_places(key, places) {
                if let Some(rank) = self.ranks.get(&key) {
                    let (_, places) = earlier.entry(Some(*rank)).or_insert((key, Places::new()));
                    places.extend(pair.places);
                } else if pair.count >= min_count {
                    let known = self.pairs.entry(key).or_default();
                    known.count += pair.count;
                    known.places.extend(pair.places);
                    self.queue.push((known.count, Reverse(key)));
                }
            }
        }
    }

    /// Merges a pair at its places; returns the pairs that this makes.
    fn merge_places(&mut self, merged: Key, mut places: Places) -> Vec<(Key, Pair)> {
        let (left, right) = parts(merged);
        let new = self.add_piece(left, right);
        if left == right {
            // "aaa" is "aa" and "a", not the other way round, wherever its places were found first.
            places.sort_unstable();
        }
        // The places are far apart: those of a group are all asked for before one of them is waited for.
        let mut standing = [0; TOGETHER];
        for group in places.chunks(TOGETHER) {
            let mut count = 0;
            for &place in group {
                standing[count] = place;
                count += usize::from(self.text[place as usize] == left);
            }
            for &place in &standing[..count] {
                self.merge_place(place as usize, (left, right), new);
            }
        }
        self.take_neighbours(merged, new)
    }

    /// Merges a pair at one place, if it still stands there.
    fn merge_place(&mut self, start: usize, (left, right): (u32, u32), new: u32) {
        let middle = start + self.lengths[left as usize] as usize;
        let end = middle + self.lengths[right as usize] as usize;
        if self.text[start] != left || self.text[middle] != right {
            return;
        }
        let count = self.chunk_count(end);
        if let Some(before) = start.checked_sub(1).map(|at| self.text[at]).filter(|&id| id < INSIDE) {
            // This very merge has made `new` and `left` neighbours, or an earlier one has.
            if before != new || !self.after.lose(left, count) {
                self.before.at(before).lost += count;
            }
            self.before.at(before).gain(count, start - self.lengths[before as usize] as usize);
        }
        if let Some(after) = Some(self.text[end]).filter(|&id| id < INSIDE) {
            if after != new || !self.before.lose(right, count) {
                self.after.at(after).lost += count;
            }
            // Two of the new token are one pair, whichever was merged first.
            let pair = if after == new { &mut self.before } else { &mut self.after };
            pair.at(after).gain(count, start);
        }
        self.text[middle - 1] = INSIDE;
        self.text[middle] = INSIDE;
        self.text[start] = new;
        self.text[end - 1] = new;
    }

    /// Takes what the neighbours of a merged pair have lost from its pairs, and gives what they have gained.
    fn take_neighbours(&mut self, merged: Key, new: u32) -> Vec<(Key, Pair)> {
        let (left, right) = parts(merged);
        let mut made = Vec::new();
        let before = self.before.drain().map(|(id, each)| (key(id, left), key(id, new), each));
        let after = self.after.drain().map(|(id, each)| (key(right, id), key(new, id), each));
        for (old, new, Neighbour { lost, pair }) in before.chain(after) {
            // Of the pairs from before, the rare ones are not kept.
            if lost > 0
                && let Some(pair) = self.pairs.get_mut(&old)
            {
                pair.count = pair.count.saturating_sub(lost);
            }
            if !pair.places.is_empty() {
                made.push((new, pair));
            }
        }
        made
    }

    /// The id of the two together; a string that two merges make is one entry.
    fn add_piece(&mut self, left: u32, right: u32) -> u32 {
        let mut piece = self.pieces[left as usize].clone();
        piece.push_str(&self.pieces[right as usize]);
        if let Some(&known) = self.ids.get(&piece) {
            return known;
        }
        let new = self.pieces.len() as u32;
        self.ids.insert(piece.clone(), new);
        self.pieces.push(piece);
        self.lengths.push(self.lengths[left as usize] + self.lengths[right as usize]);
        new
    }

    /// The count of the chunk that goes on at `place`.
    fn chunk_count(&self, place: usize) -> u64 {
        let end = self.text[place..].iter().find(|&&id| id >= END);
        end.map_or(0, |&end| u64::from(end & !END))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is learned without any tricks: all pairs are counted anew before each merge.
    struct Plain {
        texts: Vec<(Vec<usize>, u64)>,
        pieces: Vec<String>,
        merges: Vec<(usize, usize)>,
    }

    impl Plain {
        fn learn(chunks: &Chunks, alphabet: &Alphabet, max_chars: usize) -> Vec<(String, String)> {
            let characters: Vec<char> = alphabet.iter().collect();
            let id = |c| characters.iter().position(|&other| other == c).expect("a character of the text");
            let texts = chunks.iter().map(|(chunk, count)| (chunk.chars().map(id).collect(), *count));
            let pieces = characters.iter().map(char::to_string).collect();
            let mut plain = Self { texts: texts.collect(), pieces, merges: Vec::new() };
            while let Some(pair) = plain.most_frequent(max_chars) {
                plain.merges.push(pair);
                plain.merge(pair);
                // What an encoder would go on to merge.
                while let Some(&known) = plain.merges.iter().find(|&&known| plain.stands(known)) {
                    plain.merge(known);
                }
            }
            let piece = |id: usize| plain.pieces[id].clone();
            plain.merges.iter().map(|&(left, right)| (piece(left), piece(right))).collect()
        }

        fn pairs(&self) -> impl Iterator<Item = ((usize, usize), u64)> {
            self.texts.iter().flat_map(|(ids, count)| ids.windows(2).map(|pair| ((pair[0], pair[1]), *count)))
        }

        fn stands(&self, wanted: (usize, usize)) -> bool {
            self.pairs().any(|(pair, _)| pair == wanted)
        }

        fn most_frequent(&self, max_chars: usize) -> Option<(usize, usize)> {
            let length = |id: usize| self.pieces[id].chars().count();
            let mut counts: BTreeMap<(usize, usize), u64> = BTreeMap::new();
            for (pair, count) in self.pairs().filter(|((a, b), _)| length(*a) + length(*b) <= max_chars) {
                *counts.entry(pair).or_insert(0) += count;
            }
            counts.into_iter().max_by_key(|&(pair, count)| (count, Reverse(pair))).map(|(pair, _)| pair)
        }

        fn merge(&mut self, (left, right): (usize, usize)) {
            let piece = format!("{}{}", self.pieces[left], self.pieces[right]);
            let known = self.pieces.iter().position(|other| *other == piece);
            let new = known.unwrap_or_else(|| {
                self.pieces.push(piece);
                self.pieces.len() - 1
            });
            for (ids, _) in &mut self.texts {
                let mut at = 0;
                while at + 1 < ids.len() {
                    if (ids[at], ids[at + 1]) == (left, right) {
                        ids.splice(at..at + 2, [new]);
                    }
                    at += 1;
                }
            }
        }
    }

    proptest! {
        #[test]
        fn the_merges_are_those_of_the_plain_way(
            words in prop::collection::btree_map("[abc]{1,9}", 1u64..6, 1..12),
            max_chars in 2usize..9,
        ) {
            let chunks: Chunks = words.into_iter().map(|(word, count)| (word.into(), count)).collect();
            let options = TokenizerOptions { min_count: 1, max_chars, ..TokenizerOptions::default() };
            let alphabet = Alphabet::new(&chunks, options.coverage, options.slots());
            let job = Job::new(Some(2)).expect("threads");
            let expected = Plain::learn(&chunks, &alphabet, max_chars);
            let learned = learn(chunks, &alphabet, &options, &job).expect("learns");
            let found = learned.merges.into_iter().map(|(left, right)| (left.into(), right.into()));
            prop_assert_eq!(found.collect::<Vec<(String, String)>>(), expected);
        }
    }
}
