//! Where a text may be cut.

use super::is_sentence_end;

/// Places in `text` where a sentence or a line has ended and more follows, ascending, in bytes.
///
/// ```
/// use smolchat_core::text::sentence_ends;
/// let text = "天晴。（他说：“走吧！”）\n再见。";
/// let sentences: Vec<&str> = sentence_ends(text).map(|end| &text[..end]).collect();
/// assert_eq!(sentences, ["天晴。", "天晴。（他说：“走吧！”）"]);
/// ```
pub fn sentence_ends(text: &str) -> impl Iterator<Item = usize> {
    let mut ended = false; // the characters before form a whole sentence
    text.char_indices().filter_map(move |(at, c)| {
        let goes_on = is_sentence_end(c) || (ended && is_closing(c));
        let is_end = (ended && !goes_on) || c == '\n';
        ended = goes_on || (c == '.' && text[at + 1..].starts_with(char::is_whitespace));
        is_end.then_some(at)
    })
}

/// The longest beginning of `text` of at most `max_chars` characters that ends with a sentence or a
/// line; the whole text if it is short enough, `None` if its first sentence is too long.
///
/// ```
/// use smolchat_core::text::cut_at_sentence;
/// assert_eq!(cut_at_sentence("天晴。（他说：“走吧！”）再见。", 13), Some("天晴。（他说：“走吧！”）"));
/// assert_eq!(cut_at_sentence("天晴。再见。", 5), Some("天晴。"));
/// assert_eq!(cut_at_sentence("没有句号的一行", 3), None);
/// ```
#[must_use]
pub fn cut_at_sentence(text: &str, max_chars: usize) -> Option<&str> {
    let Some((most, _)) = text.char_indices().nth(max_chars) else { return Some(text) };
    let cut = sentence_ends(text).take_while(|&end| end <= most).last()?;
    Some(text[..cut].trim_end()).filter(|kept| !kept.is_empty())
}

fn is_closing(c: char) -> bool {
    matches!(c, '”' | '’' | '」' | '』' | '）' | ')' | '"' | '》' | '】' | ']')
}
