//! The dictionary as a double-array trie over dense character codes: one table look-up a character.

use super::classes::is_block;

/// Id of a node that ends no word, and of a character that is none.
pub const NO_WORD: u32 = u32::MAX;

/// Codes of the characters of the basic plane; jieba's blocks hold no others.
const PLANE: usize = 1 << 16;

#[derive(Clone, Copy)]
struct Node {
    /// The child on code `c` stands at `base + c` ...
    base: u32,
    /// ... if its `parent` is this node.
    parent: u32,
    /// Id of the word that ends here.
    word: u32,
}

const FREE: u32 = u32::MAX;
const ROOT: u32 = 0;
const EMPTY: Node = Node { base: 0, parent: FREE, word: NO_WORD };

/// Words to ids, walked character by character.
pub struct Trie {
    codes: Vec<u16>,
    nodes: Vec<Node>,
}

impl Trie {
    /// The trie of words that consist of block characters; the id of a word is its position.
    pub fn new(words: &[&str]) -> Self {
        let codes = codes_by_use(words);
        let mut keys: Vec<(Vec<u16>, u32)> = words
            .iter()
            .zip(0u32..)
            .map(|(word, id)| (word.chars().map(|c| codes[c as usize]).collect(), id))
            .collect();
        keys.sort_unstable();
        let nodes = Builder::default().build(&keys, codes.iter().copied().max().unwrap_or(0));
        Self { codes, nodes }
    }

    /// The dense code of a character: 0 if no word holds it.
    pub fn code(&self, c: char) -> u16 {
        self.codes.get(c as usize).copied().unwrap_or(0)
    }

    /// Calls `found(end, id)` for each word that begins at `codes[0]`, the shortest first; `end` is
    /// its length in characters.
    #[inline]
    pub fn for_each_prefix(&self, codes: &[u16], mut found: impl FnMut(usize, u32)) {
        let mut at = ROOT;
        let mut base = 0;
        for (&code, end) in codes.iter().zip(1..) {
            let next = base + u32::from(code);
            // The array ends with as many free nodes as there are codes, so every step is inside.
            let node = self.nodes[next as usize];
            if node.parent != at || code == 0 {
                return;
            }
            if node.word != NO_WORD {
                found(end, node.word);
            }
            (at, base) = (next, node.base);
        }
    }

    /// The id of the word that is exactly `codes`.
    pub fn get(&self, codes: &[u16]) -> Option<u32> {
        let mut id = None;
        self.for_each_prefix(codes, |end, word| id = (end == codes.len()).then_some(word).or(id));
        id
    }
}

/// Codes from 1 on, frequent characters first, so that the hot part of the array is small.
fn codes_by_use(words: &[&str]) -> Vec<u16> {
    let mut uses = vec![0u32; PLANE];
    for c in words.iter().flat_map(|word| word.chars()) {
        debug_assert!(is_block(c), "{c:?} can stand in no block");
        uses[c as usize] += 1;
    }
    let mut used: Vec<u32> = (0..PLANE as u32).filter(|&c| uses[c as usize] > 0).collect();
    used.sort_by_key(|&c| (std::cmp::Reverse(uses[c as usize]), c));
    let mut codes = vec![0; PLANE];
    for (c, code) in used.into_iter().zip(1u16..) {
        codes[c as usize] = code;
    }
    codes
}

#[derive(Default)]
struct Builder {
    nodes: Vec<Node>,
    /// No free node stands before this one.
    first_free: usize,
}

impl Builder {
    fn build(mut self, keys: &[(Vec<u16>, u32)], max_code: u16) -> Vec<Node> {
        self.nodes.resize(usize::from(max_code) + 2, EMPTY);
        self.nodes[ROOT as usize].parent = ROOT;
        // (node, depth, range of keys below it), the first child on top: parents stand before and
        // near their children.
        let mut open = vec![(ROOT, 0, 0..keys.len())];
        while let Some((node, depth, mut range)) = open.pop() {
            if range.start < range.end && keys[range.start].0.len() == depth {
                self.nodes[node as usize].word = keys[range.start].1;
                range.start += 1;
            }
            let children = children(keys, range, depth);
            if children.is_empty() {
                continue;
            }
            let base = if node == ROOT { 0 } else { self.free_base(&children) };
            self.nodes[node as usize].base = base;
            for (code, _) in &children {
                self.nodes[(base + u32::from(*code)) as usize].parent = node;
            }
            open.extend(children.into_iter().rev().map(|(code, range)| (base + u32::from(code), depth + 1, range)));
        }
        let end = self.nodes.len() + usize::from(max_code) + 1;
        self.nodes.resize(end, EMPTY);
        self.nodes
    }

    /// The lowest base at which all children fall on free nodes.
    fn free_base(&mut self, children: &[(u16, std::ops::Range<usize>)]) -> u32 {
        while self.nodes.get(self.first_free).is_some_and(|node| node.parent != FREE) {
            self.first_free += 1;
        }
        let codes = || children.iter().map(|&(code, _)| usize::from(code));
        let (first, last) = (codes().next().unwrap_or(0), codes().next_back().unwrap_or(0));
        let mut base = self.first_free.saturating_sub(first).max(1);
        loop {
            if self.nodes.len() <= base + last {
                self.nodes.resize(base + last + 1, EMPTY);
            }
            if codes().all(|code| self.nodes[base + code].parent == FREE) {
                return base as u32;
            }
            base += 1;
        }
    }
}

/// The codes at `depth` of sorted keys, each with the range of keys that share it.
fn children(
    keys: &[(Vec<u16>, u32)],
    range: std::ops::Range<usize>,
    depth: usize,
) -> Vec<(u16, std::ops::Range<usize>)> {
    let mut children: Vec<(u16, std::ops::Range<usize>)> = Vec::new();
    for i in range {
        let code = keys[i].0[depth];
        match children.last_mut() {
            Some((last, range)) if *last == code => range.end = i + 1,
            _ => children.push((code, i..i + 1)),
        }
    }
    children
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn exactly_the_words_are_found(
            words in prop::collection::btree_set("[一-九a-c]{1,4}", 1..60),
            text in "[一-九a-f]{0,12}",
        ) {
            let list: Vec<&str> = words.iter().map(String::as_str).collect();
            let trie = Trie::new(&list);
            let chars: Vec<char> = text.chars().collect();
            let codes: Vec<u16> = chars.iter().map(|&c| trie.code(c)).collect();
            for start in 0..chars.len() {
                let mut found = Vec::new();
                trie.for_each_prefix(&codes[start..], |end, id| found.push((end, list[id as usize].to_owned())));
                let expected: Vec<(usize, String)> = (1..=chars.len() - start)
                    .map(|end| (end, chars[start..start + end].iter().collect::<String>()))
                    .filter(|(_, word)| words.contains(word))
                    .collect();
                prop_assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn a_trie_of_nothing_finds_nothing() {
        let trie = Trie::new(&[]);
        assert_eq!((trie.code('人'), trie.get(&[])), (0, None));
    }
}
