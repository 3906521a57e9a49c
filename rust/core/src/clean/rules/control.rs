use unicode_normalization::UnicodeNormalization;

use crate::clean::edit::{Edit, after};
use crate::clean::scan::{encoding_byte, is_high_latin, is_invisible, is_look_alike};
use crate::clean::spans::Spans;

/// Removes control and invisible characters, makes every line end `\n`, and repairs what went wrong in
/// earlier conversions: UTF-8 read as Windows-1252, radicals in place of characters. In code too.
pub fn control(text: &str, _: &Spans) -> Option<String> {
    let mut edit = Edit::new(text);
    let mut skip_to = 0;
    for (at, c) in text.char_indices() {
        let range = at..at + c.len_utf8();
        if at < skip_to {
            continue;
        }
        match c {
            '\n' | '\t' | ' '..='~' => {}
            '\r' if after(text, at + 1) == Some('\n') => edit.remove(range),
            '\r' | '\u{B}' | '\u{C}' | '\u{85}' | '\u{2028}' | '\u{2029}' => edit.replace(range, "\n"),
            c if is_look_alike(c) => edit.replace(range, c.nfkc().to_string().as_str()),
            c if is_high_latin(c) => {
                let run: String = text[at..].chars().take_while(|c| is_high_latin(*c)).collect();
                skip_to = at + run.len();
                match decoded_twice(&run) {
                    Some(repaired) => edit.replace(at..skip_to, &repaired),
                    None => remove_invisible(&run, at, &mut edit),
                }
            }
            c if c < ' ' || is_invisible(c) => edit.remove(range),
            _ => {}
        }
    }
    edit.finish()
}

fn remove_invisible(run: &str, start: usize, edit: &mut Edit<'_>) {
    for (at, c) in run.char_indices().filter(|(_, c)| is_invisible(*c)) {
        edit.replace(start + at..start + at + c.len_utf8(), if c == '\u{85}' { "\n" } else { "" });
    }
}

/// The text whose UTF-8 bytes these characters stand for; only if there is Chinese text or punctuation in
/// it, because a few pairs of Latin letters look the same by chance.
fn decoded_twice(run: &str) -> Option<String> {
    let bytes: Option<Vec<u8>> = run.chars().map(encoding_byte).collect();
    let decoded = String::from_utf8(bytes?).ok()?;
    decoded.chars().any(|c| c >= '\u{2000}').then_some(decoded)
}
