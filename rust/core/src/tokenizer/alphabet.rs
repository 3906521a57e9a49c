//! Which characters get an entry of their own.

use std::cmp::Reverse;

use rayon::prelude::*;

use super::chunks::Chunks;
use crate::char_map::CharMap;
use crate::job::Job;
use crate::string_counts::StringCounts;

/// The characters of a text, those first that save most tokens when they have an entry.
pub struct Alphabet {
    /// Characters with their gain, descending.
    characters: Vec<(char, u64)>,
    /// The first so many get an entry in any case.
    forced: usize,
}

impl Alphabet {
    /// The characters of `chunks`; as many as cover this share of the text, but at most `slots`, get
    /// an entry in any case.
    pub fn new(chunks: &Chunks, coverage: f64, slots: usize, job: &Job) -> Self {
        let counts: CharMap<u64> =
            job.run(|| chunks.parts(job.threads()).map(count).reduce(CharMap::new, sum));
        let mut characters: Vec<(char, u64)> = counts.iter().map(|(c, count)| (c, gain(c, count))).collect();
        characters.sort_unstable_by_key(|&(c, gain)| (Reverse(gain), c));

        let wanted = coverage * counts.iter().map(|(_, count)| count).sum::<u64>() as f64;
        let mut covered = 0.0;
        let needed = characters.iter().take_while(|(c, _)| {
            let more = covered < wanted;
            covered += counts.get(*c) as f64;
            more
        });
        let forced = needed.count().min(slots);
        Self { characters, forced }
    }

    /// Characters in all.
    pub fn len(&self) -> usize {
        self.characters.len()
    }

    /// Every character, by gain descending.
    pub fn iter(&self) -> impl Iterator<Item = char> {
        self.characters.iter().map(|&(c, _)| c)
    }

    /// How many characters get an entry while a merge that is seen `count` times gets one too.
    pub fn entries_beside(&self, count: u64) -> usize {
        self.forced.max(self.characters.partition_point(|&(_, gain)| gain >= count))
    }
}

fn count(part: &[StringCounts]) -> CharMap<u64> {
    let mut counts = CharMap::new();
    for (chunk, count) in part.iter().flat_map(StringCounts::iter) {
        chunk.chars().for_each(|c| *counts.get_mut(c) += count);
    }
    counts
}

fn sum(mut counts: CharMap<u64>, more: CharMap<u64>) -> CharMap<u64> {
    more.iter().for_each(|(c, count)| *counts.get_mut(c) += count);
    counts
}

/// Tokens that an entry for a character saves: its bytes but one, for each time it is seen. A
/// character of one byte saves none by itself but is what merges begin with.
fn gain(c: char, count: u64) -> u64 {
    count * (c.len_utf8() as u64 - 1).max(1)
}
