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

/// Why a row must go, if it must: the first rule that one of its texts breaks. `texts` holds the name of
/// a column, its text before cleaning and after.
pub fn find_reason(texts: &[(&str, &str, &str)], options: &CleanOptions) -> Option<Rule> {
    texts.iter().find_map(|(column, before, after)| reason(column, before, after, options)).or_else(|| {
        let low = options.min_han_share > 0.0 && han_share(texts) < options.min_han_share;
        low.then_some(Rule::FewHan)
    })
}

fn reason(column: &str, before: &str, after: &str, options: &CleanOptions) -> Option<Rule> {
    let (min, max) = match column {
        "prompt" => (options.min_prompt_chars, options.max_prompt_chars),
        _ => (options.min_chars, options.max_chars),
    };
    // Bytes bound characters, so that long texts are not counted in vain.
    let chars = after.chars().count();
    match () {
        () if options.empty && after.trim().is_empty() => Some(Rule::Empty),
        () if options.broken && is_broken(before) => Some(Rule::Broken),
        () if options.punctuation_only && chars > 0 && after.chars().all(|c| is_punctuation(c) || c.is_whitespace()) => {
            Some(Rule::PunctuationOnly)
        }
        () if chars < min => Some(Rule::TooShort),
        () if max > 0 && chars > max => Some(Rule::TooLong),
        () if options.repetition && chars >= MIN_CHARS && is_repetitive(after) => Some(Rule::Repetition),
        () => None,
    }
}

fn is_broken(text: &str) -> bool {
    let lost = memchr::memmem::find_iter(text.as_bytes(), "\u{FFFD}".as_bytes()).count();
    lost > 0 && lost * BROKEN_IN > text.chars().count()
}

/// Do nearly all pieces of the text come again within a window?
fn is_repetitive(text: &str) -> bool {
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
        }
    }
    pieces > MIN_CHARS / 2 && (new as f64) < MIN_NEW * pieces as f64
}

fn han_share(texts: &[(&str, &str, &str)]) -> f64 {
    let characters = texts.iter().flat_map(|(_, _, after)| after.chars()).filter(|c| !c.is_whitespace());
    let (han, all) = characters.fold((0u64, 0u64), |(han, all), c| (han + u64::from(is_han(c)), all + 1));
    if all == 0 { 0.0 } else { han as f64 / all as f64 }
}
