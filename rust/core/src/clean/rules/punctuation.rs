use std::ops::Range;

use crate::clean::edit::{Edit, after, before};
use crate::clean::spans::{Spans, lines, touches_ascii_word};
use crate::text::{is_cjk, is_han, is_kana};

/// Makes ASCII punctuation Chinese where it stands beside Chinese text, in lines that are Chinese. Numbers,
/// times, addresses, code and English keep theirs.
pub fn punctuation(text: &str, spans: &Spans) -> Option<String> {
    let mut edits: Vec<(Range<usize>, &'static str)> = Vec::new();
    let dots_end_sentences = !text.contains(['。', '！', '？']);
    for (start, line) in lines(text) {
        if !line.bytes().any(|b| is_mark(b) || is_paired(b)) || !is_chinese(line) {
            continue;
        }
        let line = Line { text: line, start, spans, dots_end_sentences, is_formula: line.contains('=') };
        line.marks(&mut edits);
        line.brackets(&mut edits);
        line.quotes(&mut edits);
    }
    edits.sort_by_key(|(range, _)| range.start);
    let mut edit = Edit::new(text);
    for (range, with) in edits {
        edit.replace(range, with);
    }
    edit.finish()
}

/// The marks that this rule makes Chinese, each for itself.
fn is_mark(byte: u8) -> bool {
    matches!(byte, b',' | b'.' | b'!' | b'?' | b':' | b';')
}

/// Those that it makes Chinese in pairs.
fn is_paired(byte: u8) -> bool {
    matches!(byte, b'(' | b')' | b'"')
}

/// At least as many Chinese characters as Latin words.
fn is_chinese(line: &str) -> bool {
    let han = line.chars().filter(|c| is_han(*c)).count();
    let words = line.as_bytes().split(|b| !b.is_ascii_alphabetic()).filter(|word| word.len() > 1).count();
    han > 0 && han >= words
}

/// Ends something Chinese: a character or a mark that closes.
fn ends_chinese(c: char) -> bool {
    is_han(c) || is_kana(c) || matches!(c, '”' | '’' | '」' | '』' | '）' | '》' | '〉' | '】' | '〕' | '…')
}

/// Begins something Chinese: a character or a mark that opens.
fn begins_chinese(c: char) -> bool {
    is_han(c) || is_kana(c) || matches!(c, '“' | '‘' | '「' | '『' | '（' | '《' | '〈' | '【' | '〔')
}

struct Line<'t> {
    text: &'t str,
    start: usize,
    spans: &'t Spans,
    /// No other mark of the text ends a sentence.
    dots_end_sentences: bool,
    is_formula: bool,
}

type Edits = Vec<(Range<usize>, &'static str)>;

impl Line<'_> {
    fn is_protected(&self, at: usize) -> bool {
        self.spans.covers(self.start + at)
    }

    fn push(&self, edits: &mut Edits, range: Range<usize>, with: &'static str) {
        edits.push((self.start + range.start..self.start + range.end, with));
    }

    fn marks(&self, edits: &mut Edits) {
        let bytes = self.text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let mark = bytes[at];
            if !is_mark(mark) || self.is_protected(at) {
                at += 1;
                continue;
            }
            let same = |b: &u8| *b == mark || (b"!?".contains(b) && b"!?".contains(&mark));
            let end = at + bytes[at..].iter().take_while(|b| same(b)).count();
            if self.is_beside_chinese(mark, at, end) {
                let space = self.space_after(end);
                // A single space before or after the mark did the work that a wide mark does itself.
                let begin = if bytes[..at].ends_with(b" ") { at - 1 } else { at };
                for (i, mark) in (at..end).zip(&bytes[at..end]) {
                    let from = if i == at { begin } else { i };
                    let to = if i + 1 == end { space } else { i + 1 };
                    self.push(edits, from..to, chinese(*mark));
                }
            }
            at = end;
        }
    }

    fn is_beside_chinese(&self, mark: u8, start: usize, end: usize) -> bool {
        let (left, right) = (before(self.text, start), after(self.text, end));
        let spaced = left == Some(' ') && right.is_none_or(|c| c == ' ' || begins_chinese(c));
        let left = if spaced { before(self.text, start - 1) } else { left };
        let (follows, precedes) = (left.is_some_and(ends_chinese), right.is_some_and(begins_chinese));
        match mark {
            b'.' => end - start == 1 && follows && self.is_full_stop(start, right),
            b':' | b';' if end - start > 1 => false,
            b'!' | b'?' => (follows || precedes) && !matches!(right, Some('=' | '[')),
            _ => follows || precedes,
        }
    }

    /// A dot after a Chinese character ends a sentence unless it parts the halves of a name or numbers an
    /// item of a list.
    fn is_full_stop(&self, at: usize, right: Option<char>) -> bool {
        let head = self.text[..at].trim();
        if !head.is_empty() && head.chars().all(|c| "一二三四五六七八九十百甲乙丙丁戊".contains(c))
        {
            return false;
        }
        match right {
            None | Some(' ' | '"' | ')' | '”' | '’' | '」' | '』' | '）') => true,
            Some(c) if begins_chinese(c) && !self.is_formula => {
                let is_word = |c: &char| is_han(*c);
                let run = |chars: &mut dyn Iterator<Item = char>| chars.take_while(is_word).count();
                let (left, right) =
                    (run(&mut self.text[..at].chars().rev()), run(&mut self.text[at + 1..].chars()));
                self.dots_end_sentences || (left > 5 && right > 5)
            }
            _ => false,
        }
    }

    /// End of a single space after a mark, if something stands behind it on the same line.
    fn space_after(&self, end: usize) -> usize {
        let rest = &self.text[end..];
        let single = rest.starts_with(' ') && rest[1..].starts_with(|c: char| !c.is_whitespace());
        if single && !self.is_protected(end) { end + 1 } else { end }
    }

    fn brackets(&self, edits: &mut Edits) {
        let mut open: Vec<(usize, char)> = Vec::new();
        for (at, c) in self.text.char_indices() {
            match c {
                '(' | '（' if !self.is_protected(at) => open.push((at, c)),
                ')' | '）' if !self.is_protected(at) => {
                    let Some((from, opening)) = open.pop() else { continue };
                    let mixed = (opening == '（') != (c == '）');
                    let ascii = opening == '(' && c == ')';
                    if mixed || (ascii && self.is_chinese_bracket(from, at)) {
                        self.push(edits, from..from + opening.len_utf8(), "（");
                        self.push(edits, at..at + c.len_utf8(), "）");
                    }
                }
                _ => {}
            }
        }
    }

    fn is_chinese_bracket(&self, open: usize, close: usize) -> bool {
        let is_operator = |c: char| "+-*/=^<>×÷\\$[]".contains(c);
        let (head, tail, inside) = (&self.text[..open], &self.text[close + 1..], &self.text[open + 1..close]);
        let (left, right) = (head.chars().next_back(), tail.chars().next());
        let (first, last) = (inside.chars().next(), inside.chars().next_back());
        let in_formula = head.trim_end().ends_with(is_operator) || tail.trim_start().starts_with(is_operator);
        if in_formula || right == Some('(') || inside.is_empty() {
            return false;
        }
        if touches_ascii_word(self.text, open, true) {
            return first.is_some_and(is_han);
        }
        let around = left.is_some_and(ends_chinese) || right.is_some_and(begins_chinese);
        around || first.is_some_and(begins_chinese) || last.is_some_and(ends_chinese)
    }

    /// Quotes that pair up on a line of prose, around or beside Chinese text.
    fn quotes(&self, edits: &mut Edits) {
        let quotes: Vec<usize> =
            self.text.match_indices('"').map(|(at, _)| at).filter(|at| !self.is_protected(*at)).collect();
        if quotes.is_empty()
            || !quotes.len().is_multiple_of(2)
            || self.text.contains(['{', '}', '[', ']', '=', '<', '>', '\\'])
        {
            return;
        }
        for pair in quotes.chunks_exact(2) {
            let (open, close) = (pair[0], pair[1]);
            let inside = &self.text[open + 1..close];
            let tight = !inside.is_empty() && inside.trim() == inside;
            let left = before(self.text, open);
            let beside = left.is_some_and(is_cjk) && after(self.text, close + 1).is_none_or(is_cjk);
            // A digit before it makes it inches.
            let inches = left.is_some_and(|c| c.is_ascii_digit());
            if tight && !inches && (beside || inside.chars().any(is_han)) {
                self.push(edits, open..open + 1, "“");
                self.push(edits, close..close + 1, "”");
            }
        }
    }
}

fn chinese(mark: u8) -> &'static str {
    match mark {
        b',' => "，",
        b'.' => "。",
        b'!' => "！",
        b'?' => "？",
        b':' => "：",
        _ => "；",
    }
}
