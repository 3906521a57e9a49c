//! Where no token can cross: text in runs of one kind of character.
//!
//! Han characters, letters (with one space before them), punctuation, blanks and line ends each stand
//! in runs; every digit stands alone. The kinds are fixed ranges and no Unicode properties, so that
//! each library that reads the pattern, in whatever version, cuts alike; [`pattern`] and [`pieces`]
//! are made from the same table.

use std::sync::LazyLock;

/// Kinds of characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Letter,
    Han,
    Digit,
    Mark,
    Blank,
    LineEnd,
}

type Ranges = &'static [(u32, u32)];

const HAN: Ranges = &[
    (0x2E80, 0x2FDF),
    (0x3005, 0x3005),
    (0x3007, 0x3007),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
];
const DIGIT: Ranges = &[(0x30, 0x39), (0xFF10, 0xFF19)];
const BLANK: Ranges = &[
    (0x09, 0x09),
    (0x0B, 0x0C),
    (0x20, 0x20),
    (0x85, 0x85),
    (0xA0, 0xA0),
    (0x1680, 0x1680),
    (0x2000, 0x200A),
    (0x2028, 0x2029),
    (0x202F, 0x202F),
    (0x205F, 0x205F),
    (0x3000, 0x3000),
];
const LINE_END: Ranges = &[(0x0A, 0x0A), (0x0D, 0x0D)];
/// Punctuation, symbols, emoji, controls and private characters.
const MARK: Ranges = &[
    (0x00, 0x08),
    (0x0E, 0x1F),
    (0x21, 0x2F),
    (0x3A, 0x40),
    (0x5B, 0x60),
    (0x7B, 0x84),
    (0x86, 0x9F),
    (0xA1, 0xBF),
    (0xD7, 0xD7),
    (0xF7, 0xF7),
    (0x200B, 0x2027),
    (0x202A, 0x202E),
    (0x2030, 0x205E),
    (0x2060, 0x2BFF),
    (0x2E00, 0x2E7F),
    (0x3001, 0x3004),
    (0x3008, 0x303F),
    (0x30FB, 0x30FB),
    (0x3200, 0x33FF),
    (0xE000, 0xF8FF),
    (0xFE00, 0xFE1F),
    (0xFE30, 0xFE6F),
    (0xFEFF, 0xFF0F),
    (0xFF1A, 0xFF20),
    (0xFF3B, 0xFF40),
    (0xFF5B, 0xFF65),
    (0xFFE0, 0xFFFF),
    (0x1F000, 0x1FAFF),
    (0xE0000, 0x10FFFF),
];
const KINDS: [(Kind, Ranges); 5] = [
    (Kind::Han, HAN),
    (Kind::Digit, DIGIT),
    (Kind::Blank, BLANK),
    (Kind::LineEnd, LINE_END),
    (Kind::Mark, MARK),
];

/// The cut as a regular expression, for the libraries that read `tokenizer.json`: a match is a piece, and every character is in a match.
pub fn pattern() -> String {
    let class = |ranges: &[Ranges]| -> String {
        ranges.iter().copied().flatten().map(|(a, b)| format!("\\x{{{a:X}}}-\\x{{{b:X}}}")).collect()
    };
    let [han, digit, blank] = [class(&[HAN]), class(&[DIGIT]), class(&[BLANK])];
    let [mark, line_end] = [class(&[MARK]), class(&[LINE_END])];
    let other = class(&KINDS.map(|(_, ranges)| ranges));
    // Without a look around it is a regular language, for which engines have their fast path.
    format!("[{digit}]| ?[^{other}]+|[{han}]+|[{mark}]+|[{line_end}]+|[{blank}]+")
}

/// The pieces of `text`, in order; joined they are the text.
pub fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, after) = rest.split_at(first_piece(rest));
        rest = after;
        Some(piece)
    })
}

fn first_piece(text: &str) -> usize {
    let mut chars = text.char_indices();
    let Some((_, first)) = chars.next() else { return 0 };
    let end_of = |kind: Kind, from: usize| {
        text[from..].char_indices().find(|&(_, c)| kind_of(c) != kind).map_or(text.len(), |(at, _)| from + at)
    };
    let end = end_of(kind_of(first), 0);
    match kind_of(first) {
        Kind::Digit => first.len_utf8(),
        Kind::Blank if &text[..end] == " " => end_of(Kind::Letter, end),
        _ => end,
    }
}

fn kind_of(c: char) -> Kind {
    static BASIC_PLANE: LazyLock<Vec<Kind>> = LazyLock::new(|| (0..0x10000).map(look_up).collect());
    match BASIC_PLANE.get(c as usize) {
        Some(&kind) => kind,
        None => look_up(c as u32),
    }
}

fn look_up(c: u32) -> Kind {
    let holds = |ranges: Ranges| ranges.iter().any(|&(first, last)| (first..=last).contains(&c));
    KINDS.iter().find(|(_, ranges)| holds(ranges)).map_or(Kind::Letter, |&(kind, _)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
    use tokenizers::tokenizer::{
        OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, SplitDelimiterBehavior,
    };

    fn by_pattern(text: &str) -> Vec<String> {
        static SPLIT: LazyLock<Split> = LazyLock::new(|| {
            Split::new(SplitPattern::Regex(pattern()), SplitDelimiterBehavior::Isolated, false)
                .expect("valid")
        });
        let mut cut = PreTokenizedString::from(text);
        SPLIT.pre_tokenize(&mut cut).expect("cuts");
        let splits = cut.get_splits(OffsetReferential::Original, OffsetType::Byte);
        splits.into_iter().map(|(piece, _, _)| piece.to_owned()).filter(|piece| !piece.is_empty()).collect()
    }

    #[test]
    fn runs_of_a_kind_stand_together_and_digits_alone() {
        let text = "我们在2024年用 Rust，  x\t\ty 12.5%！！\r\n\n　好👍🏽";
        let expected = [
            "我们在",
            "2",
            "0",
            "2",
            "4",
            "年用",
            " Rust",
            "，",
            "  ",
            "x",
            "\t\t",
            "y",
            " ",
            "1",
            "2",
            ".",
            "5",
            "%！！",
            "\r\n\n",
            "　",
            "好",
            "👍🏽",
        ];
        assert_eq!(pieces(text).collect::<Vec<_>>(), expected);
    }

    proptest! {
        #[test]
        fn the_pattern_cuts_alike(text in "([ \t\u{3000}a-cé一-三。,0-2\r\n]|\\PC|.){0,40}") {
            let ours: Vec<String> = pieces(&text).map(str::to_owned).collect();
            prop_assert_eq!(ours, by_pattern(&text));
        }
    }
}
