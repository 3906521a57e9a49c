//! The character classes of jieba's regular expressions.

/// Part of a block that the dictionary cuts: `[\u4E00-\u9FD5a-zA-Z0-9+#&\._%\-]`. Every other
/// character is a word of its own, but for `\r\n`, which is one.
pub fn is_block(c: char) -> bool {
    is_han(c) || c.is_ascii_alphanumeric() || matches!(c, '+' | '#' | '&' | '.' | '_' | '%' | '-')
}

/// What the hidden Markov model knows: `[\u4E00-\u9FD5]`.
pub fn is_han(c: char) -> bool {
    matches!(c, '\u{4E00}'..='\u{9FD5}')
}

/// End of the match of `[a-zA-Z0-9]+(?:\.\d+)?%?` at `start`, which must be an ASCII alphanumeric.
pub fn end_of_alphanumeric(bytes: &[u8], start: usize) -> usize {
    let run = |from: usize, is: fn(&u8) -> bool| from + bytes[from..].iter().take_while(|b| is(b)).count();
    let mut end = run(start, u8::is_ascii_alphanumeric);
    if bytes.get(end) == Some(&b'.') {
        let fraction = run(end + 1, u8::is_ascii_digit);
        if fraction > end + 1 {
            end = fraction;
        }
    }
    end + usize::from(bytes.get(end) == Some(&b'%'))
}
