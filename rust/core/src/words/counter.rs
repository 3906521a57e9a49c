//! How often each word stands in some texts: counted by place where the dictionary knows the word.

use super::segment::{Sink, Words};
use super::tally::{LOCAL_STRINGS, Tally};
use crate::char_map::CharMap;
use crate::string_counts::StringCounts;

/// The counts of one worker.
pub struct Counter<'t> {
    known: Vec<u64>,
    characters: CharMap<u64>,
    others: StringCounts,
    total: &'t Tally,
}

impl<'t> Counter<'t> {
    pub fn new(places: usize, total: &'t Tally) -> Self {
        Self { known: vec![0; places], characters: CharMap::new(), others: StringCounts::default(), total }
    }

    /// Keeps what a worker holds between two texts small.
    pub fn flush_if_large(&mut self) {
        if self.others.len() >= LOCAL_STRINGS {
            self.total.add(self.others.iter());
            self.others.clear();
        }
    }

    /// Moves everything counted to the table of all workers.
    pub fn flush(&mut self, words: &Words) {
        let known = words.iter().map(|(word, place)| (word, self.known[place as usize]));
        let known = known.filter(|&(_, count)| count > 0);
        for (c, count) in std::mem::replace(&mut self.characters, CharMap::new()).iter() {
            self.others.add(c.encode_utf8(&mut [0; 4]), count);
        }
        self.total.add(known.chain(self.others.iter()));
        self.known.fill(0);
        self.others.clear();
    }
}

impl<'a> Sink<'a> for Counter<'_> {
    #[inline]
    fn known(&mut self, place: u32, _: &'a str) {
        self.known[place as usize] += 1;
    }

    #[inline]
    fn other(&mut self, word: &'a str) {
        let mut chars = word.chars();
        if let (Some(c), None) = (chars.next(), chars.next()) {
            *self.characters.get_mut(c) += 1;
        } else {
            self.others.add(word, 1);
        }
    }
}
