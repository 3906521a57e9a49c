//! One pure function for each rule: the changed text, or `None`.

mod control; // control and invisible characters, encoding repair
mod html; // tags and entities
mod personal; // mobile and identity numbers, e-mail addresses
mod punctuation; // ASCII marks beside Chinese characters
mod repeats; // ！！！！ -> ！
mod simplified; // traditional characters
mod spaces; // spaces between Chinese characters and at ends
mod templates; // ### Response:, </s>, <noinput>
mod width; // full-width letters, digits and spaces

pub use control::control;
pub use html::{html, pages};
pub use personal::personal;
pub use punctuation::punctuation;
pub use repeats::repeats;
pub use simplified::simplified;
pub use spaces::spaces;
pub use templates::templates;
pub use width::width;

use super::edit::Edit;
use super::spans::Spans;

/// Replaces each unprotected character for which `with` has something else.
fn replace_chars(text: &str, spans: &Spans, with: impl Fn(char) -> Option<&'static str>) -> Option<String> {
    let mut edit = Edit::new(text);
    for part in spans.plain(text) {
        for (at, c) in text[part.clone()].char_indices() {
            if let Some(new) = with(c) {
                let start = part.start + at;
                edit.replace(start..start + c.len_utf8(), new);
            }
        }
    }
    edit.finish()
}
