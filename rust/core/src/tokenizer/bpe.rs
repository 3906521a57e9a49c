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
use super::vocabulary::Vocabulary;
use crate::error::{Error, Result};
use crate::job::Job;

/// A place inside a token.
const INSIDE: u32 = 0x7FFF_FFFF;

/// Set in the place behind a chunk; the other bits are the count of the chunk.
const END: u32 = 0x8000_0000;

/// Merges between two looks at whether the job was asked to stop.
const CHECK_EVERY: usize = 64;

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
    let mut trainer = Trainer::new(chunks, alphabet, options)?;
    let characters = trainer.merge_all(alphabet, options, job)?;
    let piece = |id: u32| trainer.pieces[id as usize].clone();
    let merges = trainer.merges.iter().map(|&(left, right)| (piece(left), piece(right))).collect();
    Ok(Learned { characters, merges, counts: trainer.counts })
}

/// Two neighbours, as one number: the left one in the high half.
type Key = u64;

#[derive(Default)]
struct Pair {
    count: u64,
    /// Where it stands, or has stood.
    places: Vec<u32>,
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
}

impl Trainer {
    fn new(chunks: Chunks, alphabet: &Alphabet, options: &TokenizerOptions) -> Result<Self> {
        let ids: FxHashMap<char, u32> = alphabet.iter().zip(0..).collect();
        // A chunk of one character has no pair; it has done its duty in the alphabet.
        let mut text = Vec::new();
        for (chunk, count) in chunks.into_iter().filter(|(chunk, _)| chunk.chars().nth(1).is_some()) {
            text.extend(chunk.chars().map(|c| ids[&c]));
            text.push(END | count.min(u64::from(INSIDE)) as u32);
        }
        if u32::try_from(text.len()).is_err() {
            let rule = "distinct text of over 4 G characters; build the tokenizer from a part of it";
            return Err(Error::Data(rule.into()));
        }
        let pieces: Vec<CompactString> = alphabet.iter().map(|c| c.to_string().into()).collect();
        let pairs = count_pairs(&text, options.min_count);
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
    fn merge(&mut self, key: Key, places: Vec<u32>, min_count: u64) {
        let mut earlier = BTreeMap::from([(self.ranks.get(&key).copied(), (key, places))]);
        while let Some((_, (key, places))) = earlier.pop_first() {
            for (key, pair) in self.merge_places(key, places) {
                if let Some(rank) = self.ranks.get(&key) {
                    earlier.insert(Some(*rank), (key, pair.places));
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
    fn merge_places(&mut self, merged: Key, mut places: Vec<u32>) -> FxHashMap<Key, Pair> {
        let (left, right) = parts(merged);
        let new = self.add_piece(left, right);
        if left == right {
            // "aaa" is "aa" and "a", not the other way round, wherever its places were found first.
            places.sort_unstable();
        }
        let (left_length, right_length) =
            (self.lengths[left as usize] as usize, self.lengths[right as usize] as usize);
        let mut fresh: FxHashMap<Key, Pair> = FxHashMap::default();
        for place in places {
            let start = place as usize;
            let middle = start + left_length;
            let end = middle + right_length;
            if self.text[start] != left || self.text[middle] != right {
                continue;
            }
            let count = self.chunk_count(end);
            if let Some(before) = start.checked_sub(1).map(|at| self.text[at]).filter(|&id| id < INSIDE) {
                self.lose(&mut fresh, key(before, left), count);
                gain(&mut fresh, key(before, new), count, start - self.lengths[before as usize] as usize);
            }
            if let Some(after) = Some(self.text[end]).filter(|&id| id < INSIDE) {
                self.lose(&mut fresh, key(right, after), count);
                gain(&mut fresh, key(new, after), count, start);
            }
            self.text[middle - 1] = INSIDE;
            self.text[middle] = INSIDE;
            self.text[start] = new;
            self.text[end - 1] = new;
        }
        fresh
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

    fn lose(&mut self, fresh: &mut FxHashMap<Key, Pair>, key: Key, count: u64) {
        // What this very merge has made is lost first; of older pairs the rare ones are not kept.
        let pair =
            fresh.get_mut(&key).filter(|pair| pair.count >= count).or_else(|| self.pairs.get_mut(&key));
        if let Some(pair) = pair {
            pair.count = pair.count.saturating_sub(count);
        }
    }

    /// The count of the chunk that goes on at `place`.
    fn chunk_count(&self, place: usize) -> u64 {
        let end = self.text[place..].iter().find(|&&id| id >= END);
        end.map_or(0, |&end| u64::from(end & !END))
    }
}

fn gain(fresh: &mut FxHashMap<Key, Pair>, key: Key, count: u64, place: usize) {
    let pair = fresh.entry(key).or_default();
    pair.count += count;
    pair.places.push(place as u32);
}

/// Pairs that are seen at least `min_count` times, with their places. A rarer one can never be merged.
fn count_pairs(text: &[u32], min_count: u64) -> FxHashMap<Key, Pair> {
    let mut counts: FxHashMap<Key, (u64, u32)> = FxHashMap::default();
    for_each_pair(text, |key, count, _| {
        let (sum, places) = counts.entry(key).or_insert((0, 0));
        *sum += count;
        *places += 1;
    });
    let frequent = counts.into_iter().filter(|&(_, (count, _))| count >= min_count);
    let mut pairs: FxHashMap<Key, Pair> = frequent
        .map(|(key, (count, n))| (key, Pair { count, places: Vec::with_capacity(n as usize) }))
        .collect();
    for_each_pair(text, |key, _, place| {
        if let Some(pair) = pairs.get_mut(&key) {
            pair.places.push(place as u32);
        }
    });
    pairs
}

fn for_each_pair(text: &[u32], mut found: impl FnMut(Key, u64, usize)) {
    let mut start = 0;
    for chunk in text.split_inclusive(|&id| id >= END) {
        if let [ids @ .., end] = chunk {
            let count = u64::from(end & !END);
            ids.windows(2).zip(start..).for_each(|(pair, place)| found(key(pair[0], pair[1]), count, place));
        }
        start += chunk.len();
    }
}

fn key(left: u32, right: u32) -> Key {
    u64::from(left) << 32 | u64::from(right)
}

fn parts(key: Key) -> (u32, u32) {
    ((key >> 32) as u32, key as u32)
}
