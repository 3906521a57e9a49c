//! The hidden Markov model that finds words which the dictionary lacks.

use super::classes::{end_of_alphanumeric, is_han};
use super::data;
use crate::error::Result;

/// Begin, end, middle of a word, single: in this order jieba's letters sort, and of equal paths it
/// takes the later letter.
const STATES: usize = 4;
const B: usize = 0;
const E: usize = 1;
const M: usize = 2;
const S: usize = 3;
/// What may stand before each state.
const BEFORE: [[usize; 2]; STATES] = [[E, S], [B, M], [B, M], [E, S]];

/// What jieba adds for a transition or character that the model lacks.
const NEVER: f64 = -3.14e100;

const FIRST: u32 = 0x4E00;
const LAST: u32 = 0x9FD5;

/// Log probabilities by state.
type Row = [f64; STATES];

/// jieba's model.
pub struct Markov {
    start: Row,
    /// From the state of the row to the state of the column.
    transitions: [Row; STATES],
    /// By character from U+4E00 on.
    emissions: Vec<Row>,
}

/// Buffers that are used again and again.
#[derive(Default)]
pub struct Paths {
    /// The state before each state, by character.
    before: Vec<[u8; STATES]>,
    states: Vec<u8>,
}

impl Markov {
    /// The model of jieba 0.42.1.
    pub fn built_in() -> Result<Self> {
        let text = data::markov_model()?;
        let mut lines = text.lines();
        let mut next = || row(lines.next().unwrap_or_default());
        let start = next()?;
        let transitions = [next()?, next()?, next()?, next()?];
        let mut emissions = vec![[NEVER; STATES]; (LAST - FIRST + 1) as usize];
        for line in lines {
            let (character, probabilities) = line.split_once(' ').ok_or_else(data::damaged)?;
            let character = character.chars().next().map_or(0, u32::from);
            let known = character.checked_sub(FIRST).and_then(|i| emissions.get_mut(i as usize));
            // Of characters outside the block the model is never asked.
            if let Some(emission) = known {
                *emission = row(probabilities)?;
            }
        }
        Ok(Self { start, transitions, emissions })
    }

    /// Cuts what the dictionary left as single characters; calls `word` for each word.
    pub fn cut<'a>(&self, text: &'a str, paths: &mut Paths, word: &mut impl FnMut(&'a str)) {
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let han = is_han(first);
            let end = rest.find(|c| is_han(c) != han).unwrap_or(rest.len());
            let (run, after) = rest.split_at(end);
            if han {
                self.cut_han(run, paths, word);
            } else {
                cut_other(run, word);
            }
            rest = after;
        }
    }

    fn cut_han<'a>(&self, run: &'a str, paths: &mut Paths, word: &mut impl FnMut(&'a str)) {
        self.best_path(run, paths);
        let (mut begin, mut next) = (0, 0);
        for ((at, c), &state) in run.char_indices().zip(&paths.states) {
            let end = at + c.len_utf8();
            match usize::from(state) {
                B => begin = at,
                E => {
                    word(&run[begin..end]);
                    next = end;
                }
                S => {
                    word(&run[at..end]);
                    next = end;
                }
                _ => {}
            }
        }
        if next < run.len() {
            word(&run[next..]);
        }
    }

    /// Viterbi, with sums in jieba's order, so that rounding and ties are the same.
    fn best_path(&self, run: &str, paths: &mut Paths) {
        paths.before.clear();
        let mut emissions = run.chars().map(|c| self.emissions[(u32::from(c) - FIRST) as usize]);
        let Some(first) = emissions.next() else { return paths.states.clear() };
        let mut scores: Row = std::array::from_fn(|state| self.start[state] + first[state]);
        for emission in emissions {
            let mut before = [0; STATES];
            scores = std::array::from_fn(|state| {
                let from =
                    |previous: usize| scores[previous] + self.transitions[previous][state] + emission[state];
                let [early, late] = BEFORE[state];
                let (a, b) = (from(early), from(late));
                before[state] = if a > b { early } else { late } as u8;
                if a > b { a } else { b }
            });
            paths.before.push(before);
        }
        let mut state = if scores[E] > scores[S] { E } else { S } as u8;
        paths.states.clear();
        paths.states.push(state);
        for before in paths.before.iter().rev() {
            state = before[usize::from(state)];
            paths.states.push(state);
        }
        paths.states.reverse();
    }
}

/// What is not Han: letters and digits, with a decimal part and `%`, apart from the rest.
fn cut_other<'a>(run: &'a str, word: &mut impl FnMut(&'a str)) {
    let bytes = run.as_bytes();
    let (mut start, mut at) = (0, 0);
    while at < bytes.len() {
        if bytes[at].is_ascii_alphanumeric() {
            if start < at {
                word(&run[start..at]);
            }
            start = end_of_alphanumeric(bytes, at);
            word(&run[at..start]);
            at = start;
        } else {
            at += 1;
        }
    }
    if start < run.len() {
        word(&run[start..]);
    }
}

fn row(text: &str) -> Result<Row> {
    let mut row = [NEVER; STATES];
    let mut fields = text.split(' ');
    for probability in &mut row {
        match fields.next() {
            Some("-") => {}
            field => *probability = field.and_then(|f| f.parse().ok()).ok_or_else(data::damaged)?,
        }
    }
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_digits_decimals_and_percent_stand_together() {
        let mut words = Vec::new();
        cut_other("a-1_b3.14.15%+.5%x", &mut |word: &str| words.push(word.to_owned()));
        assert_eq!(words, ["a", "-", "1", "_", "b3.14", ".", "15%", "+.", "5%", "x"]);
    }
}
