use crate::clean::edit::{Edit, after, before};
use crate::clean::spans::{Spans, lines};
use crate::text::is_cjk;

/// Removes spaces between Chinese characters, at the ends of lines and around the text. Indents, the gaps
/// of tables and blank lines are kept.
pub fn spaces(text: &str, spans: &Spans) -> Option<String> {
    let mut edit = Edit::new(text);
    let all: Vec<(usize, &str)> = lines(text).collect();
    let has_gap: Vec<bool> = all.iter().map(|(start, line)| has_gap(line) && !spans.covers(*start)).collect();
    let first = all.iter().position(|(_, line)| !line.trim().is_empty()).unwrap_or(all.len());
    let content_end = text.trim_end().len();
    for (i, &(start, line)) in all.iter().enumerate() {
        if i < first {
            edit.remove(start..(start + line.len() + 1).min(text.len()));
            continue;
        }
        if start >= content_end {
            break;
        }
        // Beside another line with gaps, gaps are columns.
        let in_table = has_gap[i] && ((i > 0 && has_gap[i - 1]) || has_gap.get(i + 1) == Some(&true));
        if i == first {
            unindent(start, line, spans, &mut edit);
        }
        if !in_table {
            between_characters(text, start, line, spans, &mut edit);
        }
        let kept = line.trim_end_matches([' ', '\t']).len();
        if kept < line.len() && !spans.covers(start + kept) {
            edit.remove(start + kept..start + line.len());
        }
    }
    if content_end < text.len() {
        edit.remove(content_end..text.len());
    }
    edit.finish()
}

/// Two spaces or a tab with something on both sides.
fn has_gap(line: &str) -> bool {
    let line = line.trim();
    line.contains("  ") || line.contains('\t')
}

/// The first line of a text has no indent unless it is code.
fn unindent(start: usize, line: &str, spans: &Spans, edit: &mut Edit<'_>) {
    let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
    if indent > 0 && after(line, indent).is_some_and(is_cjk) && !spans.covers(start) {
        edit.remove(start..start + indent);
    }
}

fn between_characters(text: &str, start: usize, line: &str, spans: &Spans, edit: &mut Edit<'_>) {
    let mut at = 0;
    while let Some(i) = line[at..].find([' ', '\t']).map(|i| at + i) {
        let end = line.len() - line[i..].trim_start_matches([' ', '\t']).len();
        at = end;
        let (left, right) = (before(line, i), after(line, end));
        let between = left.is_some_and(is_cjk) && right.is_some_and(is_cjk);
        if between && !spans.covers(start + i) && text.is_char_boundary(start + end) {
            edit.remove(start + i..start + end);
        }
    }
}
