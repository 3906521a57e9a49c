use super::options::CleanOptions;
use super::report::Rule;
use crate::text::{is_han, is_punctuation};

/// Characters of a window in which repetition is looked for.
const WINDOW: usize = 1_000;
/// Shorter texts are never called repetitive.
const MIN_CHARS: usize = 60;
/// Characters of a piece that is looked for again.
const PIECE: usize = 4;
/// Share of pieces that must be new.
const MIN_NEW: f64 = 0.2;
/// One undecodable character in so many makes a text broken.
const BROKEN_IN: usize = 1_000;

/// A text of a row.
#[derive(Clone, Copy)]
pub struct Text<'r> {
    pub column: &'r str,
    /// Before cleaning.
    pub before: &'r str,
    /// After cleaning.
    pub after: &'r str,
}

/// Why a row must go, if it must: the first rule that one of its texts breaks, and that text.
pub fn find_reason<'t, 'r>(texts: &'t [Text<'r>], options: &CleanOptions) -> Option<(Rule, &'t Text<'r>)> {
    let broken = texts.iter().find_map(|text| Some((reason(text, options)?, text)));
    broken.or_else(|| {
        let low = options.min_han_share > 0.0 && han_share(texts) < options.min_han_share;
        texts.first().filter(|_| low).map(|text| (Rule::FewHan, text))
    })
}

fn reason(text: &Text<'_>, options: &CleanOptions) -> Option<Rule> {
    let (min, max) = match text.column {
        "prompt" => (options.min_prompt_chars, options.max_prompt_chars),
        _ => (options.min_chars, options.max_chars),
    };
    let after = text.after;
    if text.column == "rejected" {
        // A rejected answer may be as bad as it likes, but it has to be there.
        return (options.empty && after.trim().is_empty()).then_some(Rule::Empty);
    }
    let chars = after.chars().count();
    let is_mark = |c: char| is_punctuation(c) || c.is_whitespace();
    if options.empty && after.trim().is_empty() {
        Some(Rule::Empty)
    } else if options.broken && (is_broken(text.before) || is_broken(after)) {
        Some(Rule::Broken)
    } else if options.punctuation_only && chars > 0 && after.chars().all(is_mark) {
        Some(Rule::PunctuationOnly)
    } else if chars < min {
        Some(Rule::TooShort)
    } else if max > 0 && chars > max {
        Some(Rule::TooLong)
    } else if options.repetition && chars >= MIN_CHARS && is_repetitive(after, chars) {
        Some(Rule::Repetition)
    } else {
        None
    }
}

fn is_broken(text: &str) -> bool {
    let lost = memchr::memmem::find_iter(text.as_bytes(), "\u{FFFD}".as_bytes()).count();
    lost > 0 && lost * BROKEN_IN > text.chars().count()
}

/// Do nearly all pieces of the text, which has this many characters, come again within a window?
fn is_repetitive(text: &str, chars: usize) -> bool {
    // With so many new pieces the answer is no whatever follows: most texts are left after a fifth.
    let enough = (MIN_NEW * chars as f64).ceil() as usize;
    let (mut pieces, mut new) = (0usize, 0usize);
    let mut seen = [0u64; 256];
    let mut last = [0u32; PIECE];
    let characters = text.chars().filter(|c| !c.is_whitespace());
    for (i, c) in characters.enumerate() {
        if i % WINDOW == 0 {
            seen.fill(0);
        }
        last.rotate_left(1);
        last[PIECE - 1] = u32::from(c);
        if i + 1 >= PIECE {
            // A window holds at most 1,000 pieces, so few of 16,384 places are taken by chance.
            let hash = last.iter().fold(0u32, |hash, c| (hash.rotate_left(5) ^ c).wrapping_mul(0x9E37_79B9));
            let (word, bit) = ((hash >> 24) as usize, (hash >> 18) & 63);
            pieces += 1;
            new += usize::from(seen[word] >> bit & 1 == 0);
            seen[word] |= 1 << bit;
            if new > enough {
                return false;
            }
        }
    }
    pieces > MIN_CHARS / 2 && (new as f64) < MIN_NEW * pieces as f64
}

fn han_share(texts: &[Text<'_>]) -> f64 {
    let characters = texts.iter().flat_map(|text| text.after.chars()).filter(|c| !c.is_whitespace());
    let (han, all) = characters.fold((0u64, 0u64), |(han, all), c| (han + u64::from(is_han(c)), all + 1));
    if all == 0 { 0.0 } else { han as f64 / all as f64 }
}
