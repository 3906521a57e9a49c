use super::replace_chars;
use crate::clean::edit::{Edit, after, before};
use crate::clean::scan::is_odd_space;
use crate::clean::spans::{Spans, lines};
use crate::text::half_width;

/// Makes full-width letters, digits and spaces half-width, and half-width Chinese marks full-width. A
/// full-width space at the start of a line is an indent of print and is removed.
pub fn width(text: &str, spans: &Spans) -> Option<String> {
    let unindented = indents(text, spans);
    let spans_after = unindented.as_deref().map(Spans::find);
    let (current, spans) = (unindented.as_deref().unwrap_or(text), spans_after.as_ref().unwrap_or(spans));
    let points = points(current, spans);
    let current = points.as_deref().unwrap_or(current);
    let folded = match &points {
        Some(text) => replace_chars(text, &Spans::find(text), fold),
        None => replace_chars(current, spans, fold),
    };
    folded.or(points).or(unindented)
}

fn indents(text: &str, spans: &Spans) -> Option<String> {
    let mut edit = Edit::new(text);
    for (start, line) in lines(text) {
        let indent = line.len() - line.trim_start_matches([' ', '\u{3000}', '\u{A0}']).len();
        if line[..indent].contains('\u{3000}') && !spans.covers(start) {
            edit.remove(start..start + indent);
        }
    }
    edit.finish()
}

/// The point of a number in full-width digits: `３．１４`.
fn points(text: &str, spans: &Spans) -> Option<String> {
    let mut edit = Edit::new(text);
    let is_digit = |c: char| matches!(c, '0'..='9' | '０'..='９');
    for (at, point) in text.match_indices('．') {
        let in_number =
            before(text, at).is_some_and(is_digit) && after(text, at + point.len()).is_some_and(is_digit);
        if in_number && !spans.covers(at) {
            edit.replace(at..at + point.len(), ".");
        }
    }
    edit.finish()
}

/// ASCII from space to tilde.
const ASCII: &str =
    " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~";

fn fold(c: char) -> Option<&'static str> {
    match c {
        '｡' => Some("。"),
        '､' => Some("、"),
        '｢' => Some("「"),
        '｣' => Some("」"),
        c if is_odd_space(c) => Some(" "),
        c => half_width(c).map(|half| {
            let at = half as usize - ' ' as usize;
            &ASCII[at..=at]
        }),
    }
}
