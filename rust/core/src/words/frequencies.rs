//! jieba's frequency table: the built-in dictionary and what a user adds to it.

use std::fs;
use std::path::Path;

use rustc_hash::{FxHashMap, FxHashSet};

use super::classes::is_block;
use super::data;
use crate::error::{Error, Place, Result};

/// Frequencies of words, kept as jieba keeps them.
pub struct Frequencies {
    words: FxHashMap<Box<str>, u64>,
    total: u64,
    split: FxHashSet<Box<str>>,
}

impl Frequencies {
    /// The dictionary of jieba 0.42.1.
    pub fn built_in() -> Result<Self> {
        let text = data::dictionary()?;
        let mut words = FxHashMap::with_capacity_and_hasher(500_000, Default::default());
        let mut total = 0;
        for line in text.lines() {
            let (word, frequency) = line.split_once(' ').ok_or_else(data::damaged)?;
            let frequency: u64 = frequency.parse().map_err(|_| data::damaged())?;
            // A word that stands twice counts twice in the total, as in jieba.
            total += frequency;
            words.insert(word.into(), frequency);
        }
        Ok(Self { words, total, split: FxHashSet::default() })
    }

    /// Adds the words of a user dictionary: lines `word [frequency] [tag]`, UTF-8.
    ///
    /// Without a frequency a word gets the lowest one that lets it win over its parts; one with
    /// frequency 0 is taken out of the dictionary.
    pub fn add_file(&mut self, path: &Path) -> Result<()> {
        self.add_prefixes();
        let bytes = fs::read(path).map_err(Error::io(path))?;
        for (number, line) in (1u64..).zip(bytes.split(|&b| b == b'\n')) {
            let refuse = |problem: &str| Error::Record {
                path: path.into(),
                place: Place::Line(number),
                problem: problem.into(),
            };
            let line = std::str::from_utf8(stripped(line))
                .map_err(|_| refuse("is not UTF-8; save the user dictionary as UTF-8"))?
                .trim_start_matches('\u{feff}');
            if !line.is_empty() {
                let (word, frequency) = parse_line(line);
                let frequency: Option<u64> = frequency
                    .map(str::parse)
                    .transpose()
                    .map_err(|_| refuse("has a frequency of over 64 bits"))?;
                self.add(word, frequency)
                    .ok_or_else(|| refuse("takes the sum of all frequencies over 64 bits"))?;
            }
        }
        Ok(())
    }

    /// Every word with its frequency, in no particular order; prefixes of words may stand there with 0.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.words.iter().map(|(word, &frequency)| (&**word, frequency))
    }

    /// Sum of all frequencies that were ever added.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Words with frequency 0: where the Markov model finds one, it is cut into characters.
    pub fn split(&self) -> &FxHashSet<Box<str>> {
        &self.split
    }

    fn add(&mut self, word: &str, frequency: Option<u64>) -> Option<()> {
        let frequency = frequency.unwrap_or_else(|| self.suggest(word));
        self.words.insert(word.into(), frequency);
        self.total = self.total.checked_add(frequency)?;
        for prefix in prefixes(word) {
            self.words.entry(prefix.into()).or_insert(0);
        }
        if frequency == 0 {
            self.split.insert(word.into());
        }
        Some(())
    }

    /// A prefix that is no word has frequency 0 and not 1 in [`Frequencies::suggest`].
    fn add_prefixes(&mut self) {
        let missing: Vec<Box<str>> =
            self.words.keys().flat_map(|word| prefixes(word)).map(Into::into).collect();
        for prefix in missing {
            self.words.entry(prefix).or_insert(0);
        }
    }

    fn suggest(&self, word: &str) -> u64 {
        let total = self.total as f64;
        let share: f64 = self.cut(word).iter().map(|part| self.get_or_1(part) as f64 / total).product();
        ((share * total) as u64 + 1).max(self.get_or_1(word))
    }

    fn get_or_1(&self, word: &str) -> u64 {
        self.words.get(word).copied().unwrap_or(1)
    }

    /// The cut without Markov model, straight from the hash map: for the few words of a user only.
    fn cut<'a>(&self, text: &'a str) -> Vec<&'a str> {
        let bounds: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let chars: Vec<char> = text.chars().collect();
        let mut parts: Vec<&str> = Vec::new();
        let mut start = 0;
        while start < chars.len() {
            let end = start + 1 + chars[start + 1..].iter().take_while(|&&c| is_block(c)).count();
            if is_block(chars[start]) {
                self.cut_block(text, &bounds[start..=end], &mut parts);
                start = end;
            } else {
                parts.push(&text[bounds[start]..bounds[start + 1]]);
                start += 1;
            }
        }
        parts
    }

    fn cut_block<'a>(&self, text: &'a str, bounds: &[usize], parts: &mut Vec<&'a str>) {
        let (n, log_total) = (bounds.len() - 1, (self.total as f64).ln());
        let mut route = vec![(0.0, n); n + 1];
        for from in (0..n).rev() {
            let frequency = |to: usize| self.words.get(&text[bounds[from]..bounds[to]]).copied().unwrap_or(0);
            let score = |to: usize, frequency: u64| ((frequency as f64).ln() - log_total + route[to].0, to);
            let words = (from + 1..=n).map(|to| (to, frequency(to))).filter(|&(_, f)| f > 0);
            let best = words.map(|(to, f)| score(to, f)).reduce(|a, b| if b.0 >= a.0 { b } else { a });
            route[from] = best.unwrap_or_else(|| score(from + 1, 1));
        }
        let is_letter = |at: usize| text.as_bytes()[bounds[at]].is_ascii_alphanumeric();
        let (mut from, mut letters) = (0, None);
        while from < n {
            let to = route[from].1;
            if to == from + 1 && is_letter(from) {
                letters.get_or_insert(bounds[from]);
            } else {
                parts.extend(letters.take().map(|start: usize| &text[start..bounds[from]]));
                parts.push(&text[bounds[from]..bounds[to]]);
            }
            from = to;
        }
        parts.extend(letters.map(|start| &text[start..bounds[n]]));
    }
}

/// What Python's `bytes.strip` leaves; it takes off vertical tabs too.
fn stripped(line: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == b'\x0B';
    let start = line.iter().position(|byte| !is_blank(byte)).unwrap_or(line.len());
    let end = line.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
    &line[start..end]
}

fn prefixes(word: &str) -> impl Iterator<Item = &str> {
    word.char_indices().skip(1).map(|(end, _)| &word[..end])
}

/// jieba's `^(.+?)( [0-9]+)?( [a-z]+)?$`: the shortest word whose rest is a frequency and a tag.
fn parse_line(line: &str) -> (&str, Option<&str>) {
    for (end, _) in line.match_indices(' ').filter(|&(end, _)| end > 0) {
        let (word, rest) = line.split_at(end);
        let is_tag = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase());
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match rest[1..].split_once(' ') {
            None if is_number(&rest[1..]) => return (word, Some(&rest[1..])),
            None if is_tag(&rest[1..]) => return (word, None),
            Some((number, tag)) if is_number(number) && is_tag(tag) => return (word, Some(number)),
            _ => {}
        }
    }
    (line, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_line_is_word_frequency_and_tag_with_spaces_in_the_word() {
        assert_eq!(parse_line("云计算"), ("云计算", None));
        assert_eq!(parse_line("云计算 5"), ("云计算", Some("5")));
        assert_eq!(parse_line("云 计算 5 n"), ("云 计算", Some("5")));
        assert_eq!(parse_line("easy install 3 eng"), ("easy install", Some("3")));
        assert_eq!(parse_line("韩玉赏鉴 nz"), ("韩玉赏鉴", None));
        assert_eq!(parse_line("a 5 5"), ("a 5", Some("5")));
        assert_eq!(parse_line(" 5"), (" 5", None));
    }

    #[test]
    fn a_suggested_frequency_lets_the_word_win() {
        let mut table = Frequencies::built_in().expect("built in");
        table.add_prefixes();
        let before = table.cut("石墨烯电池").len();
        table.add("石墨烯电池", None).expect("fits");
        assert!(before > 1);
        assert_eq!(table.cut("石墨烯电池"), ["石墨烯电池"]);
    }
}
