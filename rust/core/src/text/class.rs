//! Classes of characters that matter for Chinese text.

/// A Chinese character: unified ideographs with extensions A to H, compatibility ideographs, 〇 and 々.
///
/// ```
/// use smolchat_core::text::is_han;
/// assert!("汉〇𠮷".chars().all(is_han));
/// assert!(!"a，か".chars().any(is_han));
/// ```
#[must_use]
#[inline]
pub fn is_han(c: char) -> bool {
    matches!(c,
        '\u{4E00}'..='\u{9FFF}' | '\u{3400}'..='\u{4DBF}' | '\u{20000}'..='\u{323AF}' | '\u{F900}'..='\u{FAFF}'
        | '々' | '〇' | '〆')
}

/// Hiragana, katakana and their marks.
#[must_use]
#[inline]
pub fn is_kana(c: char) -> bool {
    matches!(c, '\u{3041}'..='\u{30FF}' | '\u{31F0}'..='\u{31FF}')
}

/// Punctuation that is as wide as a Chinese character, with the quotes and dashes shared with English.
#[must_use]
#[inline]
pub fn is_cjk_punctuation(c: char) -> bool {
    matches!(c,
        '，' | '。' | '！' | '？' | '：' | '；' | '、' | '（' | '）' | '．' | '～' | '·'
        | '“' | '”' | '‘' | '’' | '…' | '—' | '［' | '］' | '｛' | '｝'
        | '〈'..='】' | '〔'..='〗')
}

/// Written without spaces: Han, kana or Chinese punctuation.
#[must_use]
#[inline]
pub fn is_cjk(c: char) -> bool {
    is_han(c) || is_cjk_punctuation(c) || is_kana(c)
}

/// A mark that carries no content by itself; mathematical signs do.
#[must_use]
#[inline]
pub fn is_punctuation(c: char) -> bool {
    is_cjk_punctuation(c)
        || matches!(
            c,
            '!' | '"'
                | '#'
                | '&'
                | '\''
                | '('
                | ')'
                | '*'
                | ','
                | '-'
                | '.'
                | '/'
                | ':'
                | ';'
                | '?'
                | '@'
                | '['
                | '\\'
                | ']'
                | '_'
                | '`'
                | '{'
                | '|'
                | '}'
                | '~'
                | '•'
                | '–'
                | '«'
                | '»'
                | '＂'
                | '＇'
                | '－'
                | '＿'
        )
}

/// A mark that ends a sentence.
#[must_use]
#[inline]
pub fn is_sentence_end(c: char) -> bool {
    matches!(c, '。' | '！' | '？' | '!' | '?' | '…')
}
