//! Row -> the characters that are compared.
//!
//! With `normalize`, full-width forms become ASCII, letters lower case, and spaces, invisible
//! characters and the punctuation of sentences go away, except for one such mark between two digits:
//! 1.5 and 15, or 3:2 and 32, are different texts. Signs that carry meaning in code and arithmetic
//! (+ - * / % = < > # @ _ brackets and so on) stay. A text that would vanish is compared as it is.

use std::sync::LazyLock;

/// Stands between the columns of a row, so that no shingle crosses a border unnoticed.
const BORDER: u32 = 0x1F;
/// Marks a character that is left out. NUL is itself one of these.
const LEFT_OUT: u16 = 0;
/// From an ASCII character to the same one in full width.
const WIDE: u32 = 0xFEE0;
const NUMBER_BASE: u64 = 0x9E37_79B9_7F4A_7C15;

/// The compared form of one row; made anew in the same memory for each row.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    /// Never shrinks, so that it is cleared once and not for each row.
    buffer: Vec<u32>,
    length: usize,
    numbers: u64,
    /// The last code was a digit.
    after_digit: bool,
    /// The first mark that was left out since that digit.
    gap: Option<char>,
}

impl Compared {
    /// Takes up a row that consists of these columns.
    pub fn fill<'a>(&mut self, parts: impl Iterator<Item = &'a str>, normalize: bool) {
        (self.length, self.numbers) = (0, 0);
        for (column, part) in parts.enumerate() {
            // No text has more codes than bytes, and there may be a border before it.
            let needed = self.length + part.len() + 1;
            if self.buffer.len() < needed {
                self.buffer.resize(needed, 0);
            }
            if column > 0 {
                self.put(BORDER);
            }
            let start = self.length;
            if normalize {
                self.push::<true>(part);
            }
            if self.length == start {
                self.push::<false>(part);
            }
        }
    }

    /// One code per compared character.
    pub fn codes(&self) -> &[u32] {
        &self.buffer[..self.length]
    }

    /// Hash of the runs of digits in order; 0 without digits.
    pub fn numbers(&self) -> u64 {
        self.numbers
    }

    fn push<const NORMALIZE: bool>(&mut self, part: &str) {
        (self.after_digit, self.gap) = (false, None);
        let mut rest = part;
        loop {
            if !self.after_digit {
                rest = self.push_run::<NORMALIZE>(rest);
            }
            let mut chars = rest.chars();
            let Some(c) = chars.next() else { break };
            self.push_other(c, NORMALIZE);
            rest = chars.as_str();
        }
    }

    /// Takes in the characters of one or three bytes that `text` begins with, up to a digit, and returns the
    /// rest.
    ///
    /// These are nearly all of Chinese text, and are read with no decision but their length and where the
    /// run ends.
    fn push_run<'a, const NORMALIZE: bool>(&mut self, text: &'a str) -> &'a str {
        let (table, buffer) = (&FOLDED[..], &mut self.buffer[..]);
        let (mut bytes, mut length) = (text.as_bytes(), self.length);
        loop {
            let (code, rest) = match bytes {
                [first @ 0xE0..=0xEF, second, third, rest @ ..] => (
                    u32::from(first & 0x0F) << 12 | u32::from(second & 0x3F) << 6 | u32::from(third & 0x3F),
                    rest,
                ),
                [first @ (0..b'0' | b':'..=0x7F), rest @ ..] => (u32::from(*first), rest),
                _ => break,
            };
            if NORMALIZE {
                let folded = u32::from(table[code as usize]);
                if is_digit(folded) {
                    break;
                }
                buffer[length] = folded;
                length += usize::from(folded != u32::from(LEFT_OUT));
            } else {
                if is_digit(code.wrapping_sub(WIDE)) {
                    break;
                }
                buffer[length] = code;
                length += 1;
            }
            bytes = rest;
        }
        self.length = length;
        &text[text.len() - bytes.len()..]
    }

    fn push_other(&mut self, c: char, normalize: bool) {
        let folded = folded(c);
        if normalize && folded == u32::from(LEFT_OUT) {
            self.gap = self.gap.or(self.after_digit.then(|| narrow(c)));
            return;
        }
        let digit = is_digit(folded);
        let gap = self.gap.take().filter(|_| self.after_digit);
        if digit {
            if !self.after_digit || gap.is_some() {
                self.mix_number(0);
            }
            self.mix_number(folded.into());
            if let Some(mark) = gap {
                self.put(mark as u32);
            }
        }
        self.put(if normalize { folded } else { c as u32 });
        self.after_digit = digit;
    }

    fn put(&mut self, code: u32) {
        self.buffer[self.length] = code;
        self.length += 1;
    }

    /// Takes in a digit, or 0 where a number begins.
    fn mix_number(&mut self, digit: u64) {
        self.numbers = (self.numbers ^ digit ^ NUMBER_BASE).wrapping_mul(NUMBER_BASE).rotate_left(31);
    }
}

/// True for 0 to 9.
pub(super) fn is_digit(code: u32) -> bool {
    code.wrapping_sub('0' as u32) < 10
}

/// [`fold`] of every character of the first plane.
static FOLDED: LazyLock<Box<[u16]>> =
    LazyLock::new(|| (0..=u16::MAX).map(|code| char::from_u32(code.into()).map_or(LEFT_OUT, fold)).collect());

/// The compared code of a character; 0 if it is left out.
fn folded(c: char) -> u32 {
    // The other planes have no widths, and no cases that matter.
    FOLDED.get(c as usize).map_or(c as u32, |&folded| folded.into())
}

fn fold(c: char) -> u16 {
    let narrow = narrow(c);
    if narrow.is_whitespace() || narrow.is_control() || is_invisible(narrow) || is_sentence_mark(narrow) {
        return LEFT_OUT;
    }
    let mut lower = narrow.to_lowercase();
    let single = lower.next().filter(|_| lower.next().is_none());
    u16::try_from(single.unwrap_or(narrow) as u32).unwrap_or(LEFT_OUT)
}

fn narrow(c: char) -> char {
    match c {
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(c as u32 - WIDE).unwrap_or(c),
        '\u{3000}' => ' ',
        '\u{2212}' => '-',
        _ => c,
    }
}

fn is_invisible(c: char) -> bool {
    matches!(c, '\u{AD}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
        | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}')
}

/// Punctuation that a copy may gain, lose or write otherwise without saying anything else.
fn is_sentence_mark(c: char) -> bool {
    matches!(c, ',' | '.' | ';' | ':' | '!' | '?' | '"' | '\'' | '`' | '~' | '·'
        | '\u{2010}'..='\u{2027}' | '\u{2032}'..='\u{203A}' | '\u{3001}'..='\u{3003}' | '\u{3008}'..='\u{3011}'
        | '\u{3014}'..='\u{301F}' | '\u{30FB}' | '\u{FE10}'..='\u{FE1F}' | '\u{FE30}'..='\u{FE5E}'
        | '\u{FF61}'..='\u{FF65}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(parts: &[&str]) -> (String, u64) {
        let mut row = Compared::default();
        row.fill(parts.iter().copied(), true);
        (row.codes().iter().filter_map(|&code| char::from_u32(code)).collect(), row.numbers())
    }

    fn text(part: &str) -> String {
        compared(&[part]).0
    }

    #[test]
    fn width_case_spaces_and_sentence_marks_do_not_count() {
        assert_eq!(text("Ｈello，　“世界”！ＡＢＣ１２\u{200B}"), "hello世界abc12");
    }

    #[test]
    fn signs_of_arithmetic_and_code_count() {
        for text_with_signs in ["3+5", "3-5", "c++", "c#", "f(x)[1]", "a<b", "50%", "2*(3+4)=14"] {
            assert_eq!(text(text_with_signs), text_with_signs);
        }
    }

    #[test]
    fn a_mark_between_two_digits_counts() {
        assert_eq!(text("1.5 元。3：2，7"), "1.5元3:2,7");
        assert_ne!(text("1.5"), text("15"));
    }

    #[test]
    fn a_text_of_marks_alone_is_compared_as_it_is() {
        assert_eq!(text("？！"), "？！");
        assert_eq!(text(""), "");
    }

    #[test]
    fn columns_do_not_run_into_each_other() {
        assert_ne!(compared(&["ab", "c"]).0, compared(&["a", "bc"]).0);
    }

    #[test]
    fn digits_are_known_without_folding_too() {
        for c in (0..=u32::from(u16::MAX)).filter_map(char::from_u32) {
            let code = c as u32;
            assert_eq!(is_digit(fold(c).into()), is_digit(code) || is_digit(code.wrapping_sub(WIDE)), "{c}");
        }
    }

    #[test]
    fn numbers_are_runs_of_digits_in_order() {
        let numbers = |part| compared(&[part]).1;
        assert_eq!(numbers("共12个，３元"), numbers("12只3角"));
        for other in ["共1个，23元", "共3个，12元", "共123元", "共12元", "12.30", "元"] {
            assert_ne!(numbers("共12个，3元"), numbers(other), "{other}");
        }
    }
}
