use crate::clean::edit::Edit;
use crate::clean::spans::Spans;
use crate::text::is_cjk;

/// Keeps one of a mark that is repeated: `！！！！` becomes `！`, `？！？！` becomes `？！`. Dashes (——) and
/// ellipses (…… and ...) keep their usual length.
pub fn repeats(text: &str, spans: &Spans) -> Option<String> {
    let mut edit = Edit::new(text);
    for part in spans.plain(text) {
        let mut previous: Option<char> = None;
        let mut done = part.start;
        for (at, c) in text[part.clone()].char_indices().map(|(i, c)| (part.start + i, c)) {
            if at < done {
                continue;
            }
            let rest = &text[at..part.end];
            if is_question_or_exclamation(c) {
                let marks: String = rest.chars().take_while(|c| is_question_or_exclamation(*c)).collect();
                done = at + marks.len();
                // `!!! note` and `???+ note` begin a block of Markdown.
                let is_markup = marks.is_ascii() && previous.is_none_or(char::is_whitespace);
                if !is_markup {
                    edit.replace(at..done, &without_repeats(&marks));
                }
            } else if "。，、；：～…—.~".contains(c) {
                let run = run_length(rest, c);
                done = at + run * c.len_utf8();
                if let Some(kept) = kept(c, run, previous) {
                    edit.replace(at..done, &kept);
                }
            }
            previous = Some(c);
        }
    }
    edit.finish()
}

fn run_length(text: &str, c: char) -> usize {
    text.chars().take_while(|next| *next == c).count()
}

fn is_question_or_exclamation(c: char) -> bool {
    matches!(c, '！' | '？' | '!' | '?')
}

/// Each mark once, in order of first appearance. Two ASCII marks may be an operator.
fn without_repeats(marks: &str) -> String {
    if marks.len() <= 2 {
        return marks.to_owned();
    }
    let mut kept = String::new();
    for mark in marks.chars() {
        if !kept.contains(mark) {
            kept.push(mark);
        }
    }
    kept
}

fn kept(c: char, run: usize, previous: Option<char>) -> Option<String> {
    let beside_chinese = previous.is_some_and(is_cjk);
    match (c, run) {
        ('。', 3..) => Some("……".into()),
        ('。' | '，' | '、' | '；' | '：' | '～', 2..) => Some(c.to_string()),
        ('…', 3..) => Some("……".into()),
        ('—', 3..) => Some("——".into()),
        ('.', 4..) if beside_chinese => Some("……".into()),
        ('~', 2..) if beside_chinese => Some("~".into()),
        ('~', 3..) => Some("~".into()),
        _ => None,
    }
}
