//! Where a text may be cut.

use super::is_sentence_end;

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
    let mut cut = None;
    let mut ended = false; // the characters before form a whole sentence
    for (count, (at, c)) in text.char_indices().enumerate() {
        let goes_on = is_sentence_end(c) || (ended && is_closing(c));
        if (ended && !goes_on) || c == '\n' {
            cut = Some(at);
        }
        if count == max_chars {
            return cut.map(|end| text[..end].trim_end()).filter(|kept| !kept.is_empty());
        }
        ended = goes_on || (c == '.' && text[at + 1..].starts_with(char::is_whitespace));
    }
    Some(text)
}

fn is_closing(c: char) -> bool {
    matches!(c, '”' | '’' | '」' | '』' | '）' | ')' | '"' | '》' | '】' | ']')
}
