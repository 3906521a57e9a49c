//! Full-width forms of ASCII characters.

/// The ASCII letter or digit, space or per cent sign that a full-width character stands for.
///
/// Full-width punctuation is Chinese punctuation and has no half-width form here.
///
/// ```
/// use smolchat_core::text::half_width;
/// assert_eq!("Ａ７％\u{3000}，".chars().map(half_width).collect::<Vec<_>>(), [Some('A'), Some('7'), Some('%'), Some(' '), None]);
/// ```
#[must_use]
pub fn half_width(c: char) -> Option<char> {
    match c {
        '\u{3000}' => Some(' '),
        '０'..='９' | 'Ａ'..='Ｚ' | 'ａ'..='ｚ' | '％' => char::from_u32(c as u32 - 0xFEE0),
        _ => None,
    }
}
