//! Words with scores as a double-array trie over dense character codes: one table look-up a character.
//!
//! The array is larger than the caches near the processor, so a walk waits for memory at each step.
//! [`Trie::look_ahead`] takes the second and third step from every character of a text before any of
//! them is asked for: those look-ups do not wait for each other.

use std::ops::Range;

use crate::char_map::CharMap;

/// Score of a node that ends no word.
const NO_WORD: f64 = f64::NEG_INFINITY;

#[derive(Clone, Copy)]
struct Node {
    /// The child on code `c` stands at `base + c` ...
    base: u32,
    /// ... if its `parent` is this node.
    parent: u32,
    /// Of the word that ends here.
    score: f64,
}

/// Where a walk is that has left the trie; no node has this parent.
const NOWHERE: u32 = u32::MAX;
const FREE: u32 = u32::MAX - 1;
const ROOT: u32 = 0;
const EMPTY: Node = Node { base: 0, parent: FREE, score: NO_WORD };

/// Where a walk is.
#[derive(Clone, Copy)]
struct Walk {
    score: f64,
    base: u32,
    place: u32,
}

const START: Walk = Walk { score: NO_WORD, base: 0, place: ROOT };
const END: Walk = Walk { place: NOWHERE, ..START };

/// Steps that were taken ahead, by character.
#[derive(Default)]
pub struct Ahead {
    second: Vec<Walk>,
    third: Vec<Walk>,
}

/// The code of a character that no word holds.
pub const NO_CODE: u16 = 0;

/// Words, walked character by character. A word is known by its place in the array.
pub struct Trie {
    codes: Codes,
    nodes: Vec<Node>,
}

impl Trie {
    /// The trie of distinct words with finite scores, and the place of each.
    ///
    /// Of more than 65,535 different characters the rarest are left out; their words have no place.
    pub fn new(words: &[(&str, f64)]) -> (Self, Vec<Option<u32>>) {
        let codes = Codes::by_use(words);
        let keys = words.iter().map(|&(word, score)| (codes.key(word), score));
        let mut keys: Vec<(Vec<u16>, f64)> = keys.filter(|(key, _)| !key.contains(&NO_CODE)).collect();
        keys.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let nodes = build(&keys, codes.last);
        let trie = Self { codes, nodes };
        let places = words.iter().map(|(word, _)| trie.get(&trie.codes.key(word))).collect();
        (trie, places)
    }

    /// Places in all, taken or not.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The dense code of a character: [`NO_CODE`] if no word holds it.
    #[inline]
    pub fn code(&self, c: char) -> u16 {
        self.codes.get(c)
    }

    /// Calls `found(length, place, score)` for each word that begins at `codes[0]`, the shortest first.
    #[inline]
    pub fn for_each_prefix(&self, codes: &[u16], found: impl FnMut(usize, u32, f64)) {
        self.walk(START, codes, 1, found);
    }

    /// Takes the second and third step from each of `codes`.
    pub fn look_ahead(&self, codes: &[u16], ahead: &mut Ahead) {
        let Ahead { second, third } = ahead;
        second.clear();
        third.clear();
        second.extend(codes.windows(2).map(|pair| self.step(self.step(START, pair[0]), pair[1])));
        second.resize(codes.len(), END);
        third.extend(second.iter().zip(codes.iter().skip(2)).map(|(&step, &code)| self.step(step, code)));
        third.resize(codes.len(), END);
    }

    /// [`Trie::for_each_prefix`] of `codes[at..end]`, where `ahead` is of `codes`; the code at `end`, if
    /// there is one, must be [`NO_CODE`].
    #[inline]
    pub fn for_each_prefix_ahead(
        &self,
        codes: &[u16],
        ahead: &Ahead,
        (at, end): (usize, usize),
        mut found: impl FnMut(usize, u32, f64),
    ) {
        let steps = [self.step(START, codes[at]), ahead.second[at], ahead.third[at]];
        for (step, length) in steps.into_iter().zip(1..) {
            if step.place == NOWHERE {
                return;
            }
            if step.score > NO_WORD {
                found(length, step.place, step.score);
            }
        }
        self.walk(steps[2], &codes[at + 3..end], 4, found);
    }

    /// Calls `found` for each word on the way from `step` along `codes`, of which the first leads to
    /// words of `length` characters.
    #[inline]
    fn walk(&self, mut step: Walk, codes: &[u16], length: usize, mut found: impl FnMut(usize, u32, f64)) {
        for (&code, length) in codes.iter().zip(length..) {
            step = self.step(step, code);
            if step.place == NOWHERE {
                return;
            }
            if step.score > NO_WORD {
                found(length, step.place, step.score);
            }
        }
    }

    /// Without a branch, so that the next step need not wait until this one is known.
    #[inline]
    fn step(&self, from: Walk, code: u16) -> Walk {
        let place = from.base + u32::from(code);
        // The array ends with as many free nodes as there are codes, so every step is inside.
        let node = self.nodes[place as usize];
        let outside = u32::from(node.parent == from.place).wrapping_sub(1);
        Walk { score: node.score, base: node.base & !outside, place: place | outside }
    }

    /// The place of the word that is exactly `codes`.
    pub fn get(&self, codes: &[u16]) -> Option<u32> {
        let mut found = None;
        self.for_each_prefix(codes, |length, place, _| found = (length == codes.len()).then_some(place));
        found
    }
}

/// Codes of characters from 1 on, frequent ones first, so that the hot part of the array is small.
struct Codes {
    codes: CharMap<u16>,
    last: u16,
}

impl Codes {
    fn by_use(words: &[(&str, f64)]) -> Self {
        let mut uses: CharMap<u32> = CharMap::new();
        words.iter().flat_map(|(word, _)| word.chars()).for_each(|c| *uses.get_mut(c) += 1);
        let mut used: Vec<(char, u32)> = uses.iter().collect();
        used.sort_unstable_by_key(|&(c, n)| (std::cmp::Reverse(n), c));
        used.truncate(usize::from(u16::MAX));
        let last = used.len() as u16;
        Self { codes: used.into_iter().map(|(c, _)| c).zip(NO_CODE + 1..=u16::MAX).collect(), last }
    }

    #[inline]
    fn get(&self, c: char) -> u16 {
        self.codes.get(c)
    }

    fn key(&self, word: &str) -> Vec<u16> {
        word.chars().map(|c| self.get(c)).collect()
    }
}

/// A node before it has a place: its children are `children.start..` in the list of all.
struct Draft {
    children: Range<usize>,
    score: f64,
}

/// The double array of sorted keys.
///
/// Nodes with many children are placed first and those with one fill the holes, so the array is
/// dense and a place is found after few tries.
fn build(keys: &[(Vec<u16>, f64)], max_code: u16) -> Vec<Node> {
    let (drafts, codes) = draft(keys);
    let mut by_size: Vec<usize> = (1..drafts.len()).filter(|&i| !drafts[i].children.is_empty()).collect();
    by_size.sort_by_key(|&i| std::cmp::Reverse(drafts[i].children.len()));
    let mut places = Places::new(usize::from(max_code) + 1);
    let mut bases = vec![0; drafts.len()];
    for i in by_size {
        bases[i] = places.take(&codes[drafts[i].children.clone()]);
    }

    let mut nodes = vec![EMPTY; places.len() + usize::from(max_code) + 1];
    nodes[ROOT as usize].parent = FREE;
    // Parents come before children in the drafts, so the place of each is known in time.
    let mut place = vec![ROOT; drafts.len()];
    for (i, draft) in drafts.iter().enumerate() {
        let node = &mut nodes[place[i] as usize];
        (node.base, node.score) = (bases[i], draft.score);
        for child in draft.children.clone() {
            // The children of the drafts are the drafts themselves, less the root.
            place[child + 1] = bases[i] + u32::from(codes[child]);
            nodes[place[child + 1] as usize].parent = place[i];
        }
    }
    nodes
}

/// The nodes level by level, and the code that leads to each but the root.
fn draft(keys: &[(Vec<u16>, f64)]) -> (Vec<Draft>, Vec<u16>) {
    let mut drafts = Vec::new();
    let mut codes = Vec::new();
    let all = 0..keys.len();
    let mut level = vec![all];
    for depth in 0.. {
        let mut below = Vec::new();
        for range in level {
            let (mut start, mut score) = (range.start, NO_WORD);
            if start < range.end && keys[start].0.len() == depth {
                score = keys[start].1;
                start += 1;
            }
            let first_child = codes.len();
            while start < range.end {
                let code = keys[start].0[depth];
                let end = start + keys[start..range.end].partition_point(|(key, _)| key[depth] == code);
                codes.push(code);
                below.push(start..end);
                start = end;
            }
            drafts.push(Draft { children: first_child..codes.len(), score });
        }
        if below.is_empty() {
            break;
        }
        level = below;
    }
    (drafts, codes)
}

/// Which places of the array are taken, a bit each; what lies behind the end is free.
struct Places {
    taken: Vec<u64>,
    /// Children of the last node placed, and the base that it got.
    size: usize,
    from: usize,
}

impl Places {
    /// The first `taken` places are those of the root and its children.
    fn new(taken: usize) -> Self {
        let mut places = Self { taken: Vec::new(), size: 0, from: 1 };
        (0..taken).for_each(|at| places.mark(at));
        places
    }

    /// A base at which all children fall on free places.
    fn take(&mut self, codes: &[u16]) -> u32 {
        // Fewer children fit into holes where more did not; as many hardly ever do.
        if self.size != codes.len() {
            (self.size, self.from) = (codes.len(), 1);
        }
        loop {
            // 64 bases at once: a bit stays set where every child is free.
            let free =
                codes.iter().fold(u64::MAX, |free, &code| free & self.free(self.from + usize::from(code)));
            if free != 0 {
                self.from += free.trailing_zeros() as usize;
                break;
            }
            self.from += 64;
        }
        codes.iter().for_each(|&code| self.mark(self.from + usize::from(code)));
        self.from as u32
    }

    /// The free places from `at` on, as 64 bits.
    fn free(&self, at: usize) -> u64 {
        let word = |i: usize| !self.taken.get(i).copied().unwrap_or(0);
        let shift = at % 64;
        let low = word(at / 64) >> shift;
        if shift == 0 { low } else { low | word(at / 64 + 1) << (64 - shift) }
    }

    fn mark(&mut self, at: usize) {
        if self.taken.len() <= at / 64 {
            self.taken.resize(at / 64 + 1, 0);
        }
        self.taken[at / 64] |= 1 << (at % 64);
    }

    fn len(&self) -> usize {
        self.taken.len() * 64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn exactly_the_words_are_found(
            words in prop::collection::btree_set("[一-九a-c😀-😃]{1,4}", 1..60),
            text in "[一-九a-f😀-😅]{0,12}",
        ) {
            let list: Vec<(&str, f64)> = words.iter().map(String::as_str).zip((0..60).map(f64::from)).collect();
            let (trie, places) = Trie::new(&list);
            let chars: Vec<char> = text.chars().collect();
            let codes: Vec<u16> = chars.iter().map(|&c| trie.code(c)).collect();
            let mut ahead = Ahead::default();
            for start in 0..chars.len() {
                let mut found = Vec::new();
                trie.for_each_prefix(&codes[start..], |length, place, score| {
                    assert_eq!(places[score as usize], Some(place));
                    found.push((length, list[score as usize].0.to_owned()));
                });
                let expected: Vec<(usize, String)> = (1..=chars.len() - start)
                    .map(|length| (length, chars[start..start + length].iter().collect::<String>()))
                    .filter(|(_, word)| words.contains(word))
                    .collect();
                prop_assert_eq!(&found, &expected);
                trie.look_ahead(&codes, &mut ahead);
                let mut found = Vec::new();
                trie.for_each_prefix_ahead(&codes, &ahead, (start, codes.len()), |length, _, score| {
                    found.push((length, list[score as usize].0.to_owned()));
                });
                prop_assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn a_trie_of_nothing_finds_nothing() {
        let (trie, _) = Trie::new(&[]);
        assert_eq!((trie.code('人'), trie.get(&[])), (0, None));
    }
}
