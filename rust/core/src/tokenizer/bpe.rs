//! Byte-pair encoding, learned: the most frequent pair of neighbours becomes one token, again and
//! again (Sennrich et al. 2016).
//!
//! Each pair knows its places in the text; a heap that is corrected late gives the next pair. The text is
//! in parts, one a thread, and what the merges of a pair change is summed over them: how many parts there
//! are changes nothing.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BinaryHeap};

use compact_str::CompactString;
use rayon::prelude::*;
use rustc_hash::FxHashMap;

use super::alphabet::Alphabet;
use super::chunks::Chunks;
use super::options::TokenizerOptions;
use super::pairs::{Key, Neighbour, Pair, Places, count_pairs, key, sides};
use super::part::Part;
use super::vocabulary::Vocabulary;
use crate::char_map::CharMap;
use crate::error::{Error, Result};
use crate::job::Job;

/// Merges between two looks at whether the job was asked to stop.
const CHECK_EVERY: usize = 64;

/// So many places are merged sooner than other threads are woken for them.
const FEW_PLACES: usize = 1_024;

/// Learns characters and merges from chunks.
pub fn train(chunks: Chunks, options: &TokenizerOptions, job: &Job) -> Result<Vocabulary> {
    let alphabet = Alphabet::new(&chunks, options.coverage, options.slots(), job);
    let text = text_of(&chunks, &alphabet, job)?;
    drop(chunks);
    let learned = learn(text, &alphabet, options, job)?;
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

/// Chunks by the ids of their characters, which are their places in the alphabet.
pub fn text_of(chunks: &Chunks, alphabet: &Alphabet, job: &Job) -> Result<Vec<Part>> {
    let ids: CharMap<u32> = alphabet.iter().zip(0..).collect();
    let mut text: Vec<Part> =
        job.run(|| chunks.parts(job.threads()).map(|part| Part::new(part, &ids)).collect());
    if text.iter_mut().try_fold(0, |start, part| part.put_at(start)).is_none() {
        let rule = "distinct text of over 4 G characters; build the tokenizer from a part of it";
        return Err(Error::Data(rule.into()));
    }
    Ok(text)
}

/// Learns merges from a text of known alphabet.
pub fn learn(text: Vec<Part>, alphabet: &Alphabet, options: &TokenizerOptions, job: &Job) -> Result<Learned> {
    let mut trainer = Trainer::new(text, alphabet, options, job);
    let characters = job.run(|| trainer.merge_all(alphabet, options, job))?;
    let piece = |id: u32| trainer.pieces[id as usize].clone();
    let merges = trainer.merges.iter().map(|&(left, right)| (piece(left), piece(right))).collect();
    Ok(Learned { characters, merges, counts: trainer.counts })
}

struct Trainer {
    text: Vec<Part>,
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
    fn new(text: Vec<Part>, alphabet: &Alphabet, options: &TokenizerOptions, job: &Job) -> Self {
        let pieces: Vec<CompactString> = alphabet.iter().map(|c| c.to_string().into()).collect();
        let pairs = job.run(|| count_pairs(&text, alphabet.len(), options.min_count));
        Self {
            text,
            lengths: vec![1; pieces.len()],
            ids: pieces.iter().cloned().zip(0..).collect(),
            pieces,
            queue: pairs.iter().map(|(&key, pair)| (pair.count, Reverse(key))).collect(),
            pairs,
            merges: Vec::new(),
            counts: Vec::new(),
            ranks: FxHashMap::default(),
        }
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
            let (left, right) = sides(key);
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
                    continue;
                }
                // What is rare now and not yet known stays unknown.
                match self.pairs.entry(key) {
                    Entry::Vacant(_) if pair.count < min_count => {}
                    entry => {
                        let known = entry.or_default();
                        known.append(pair);
                        self.queue.push((known.count, Reverse(key)));
                    }
                }
            }
        }
    }

    /// Merges a pair at its places; returns the pairs that this makes.
    fn merge_places(&mut self, merged: Key, mut places: Places) -> Vec<(Key, Pair)> {
        let (left, right) = sides(merged);
        let new = self.add_piece(left, right);
        if left == right {
            // "aaa" is "aa" and "a", not the other way round, wherever its places were found first.
            places.sort_unstable();
        }
        let merge = |part: &mut Part| part.merge(&places, (left, right), new, &self.lengths);
        if places.len() <= FEW_PLACES {
            self.text.iter_mut().for_each(merge);
        } else {
            self.text.par_iter_mut().with_max_len(1).for_each(merge);
        }
        self.take_neighbours(merged, new)
    }

    /// Takes what the neighbours of a merged pair have lost from its pairs, and gives what they have gained.
    fn take_neighbours(&mut self, merged: Key, new: u32) -> Vec<(Key, Pair)> {
        let (left, right) = sides(merged);
        let Some((Part { before, after, .. }, others)) = self.text.split_first_mut() else {
            return Vec::new();
        };
        for part in others {
            before.append(&mut part.before);
            after.append(&mut part.after);
        }
        // In "abab" the first merge makes a pair that the second one unmakes.
        let lost = std::mem::take(&mut before.at(new).lost);
        before.at(new).lost = after.take_back(left, lost);
        let lost = std::mem::take(&mut after.at(new).lost);
        after.at(new).lost = before.take_back(right, lost);

        let mut made = Vec::new();
        let before = before.drain().map(|(id, each)| (key(id, left), key(id, new), each));
        let after = after.drain().map(|(id, each)| (key(right, id), key(new, id), each));
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
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::chunks::chunks_of;
    use super::*;
    use crate::words::WordCounts;

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
            let texts = chunks.iter().map(|(chunk, count)| (chunk.chars().map(id).collect(), count));
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

    #[test]
    fn counts_of_any_size_decide() {
        let words = WordCounts::new([("甲乙", 9 << 30), ("丙丁", 3 << 30), ("丙丁己", 3 << 30)]);
        let options = TokenizerOptions { vocab_size: 263 + 5 + 1, ..TokenizerOptions::default() };
        let job = Job::new(Some(1)).expect("a thread");
        let learned = train(chunks_of(&words), &options, &job).expect("learns");
        assert_eq!(learned.entries().last(), Some("甲乙"));
    }

    #[test]
    fn many_places_are_merged_on_several_threads_as_on_one() {
        let letter = |number: u64| char::from(b'a' + (number % 7) as u8);
        let word = |n: u64| (0..12).map(|at| letter((n * 2_654_435_761) >> (3 * at))).collect::<String>();
        let words: Vec<String> = (0..4 * FEW_PLACES as u64).map(word).collect();
        let words = WordCounts::new(words.iter().map(|word| (&**word, 1)));
        let learned = |threads| {
            let (job, options) = (Job::new(Some(threads)).expect("threads"), TokenizerOptions::default());
            train(chunks_of(&words), &options, &job).expect("learns")
        };
        assert_eq!(learned(1), learned(3));
    }

    proptest! {
        #[test]
        fn the_merges_are_those_of_the_plain_way(
            words in prop::collection::btree_map("[abc]{1,9}", 1u64..6, 1..12),
            max_chars in 2usize..9,
            threads in 1usize..4,
        ) {
            let chunks = chunks_of(&WordCounts::new(words.iter().map(|(word, count)| (&**word, *count))));
            let options = TokenizerOptions { min_count: 1, max_chars, ..TokenizerOptions::default() };
            let job = Job::new(Some(threads)).expect("threads");
            let alphabet = Alphabet::new(&chunks, options.coverage, options.slots(), &job);
            let expected = Plain::learn(&chunks, &alphabet, max_chars);
            let text = text_of(&chunks, &alphabet, &job).expect("text");
            let learned = learn(text, &alphabet, &options, &job).expect("learns");
            let found = learned.merges.into_iter().map(|(left, right)| (left.into(), right.into()));
            prop_assert_eq!(found.collect::<Vec<(String, String)>>(), expected);
        }
    }
}
