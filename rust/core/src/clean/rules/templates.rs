use memchr::memchr;

use crate::clean::edit::{Edit, after, before};
use crate::clean::spans::{Spans, lines};

/// Tokens that end or part turns; they are removed anywhere.
const TOKENS: [&str; 4] = ["<eoa>", "<eoh>", "<eos>", "<bos>"];
/// Tokens that also stand in formulas; they are removed at the ends of lines and beside each other.
const LINE_TOKENS: [&str; 2] = ["</s>", "<s>"];
/// Tokens that articles on language models mention; they are removed at the ends of a text only.
const END_TOKENS: [&str; 4] = ["[EOS]", "[BOS]", "[PAD]", "[SEP]"];
/// Headings of prompt templates.
const HEADINGS: [&str; 7] = ["Instruction", "Input", "Response", "Output", "Human", "Assistant", "Question"];
/// How the Alpaca template begins.
const PREAMBLE: &str = "Below is an instruction that describes a task";
/// What stands for no input.
const NOTHING: [&str; 5] = ["noinput", "no input", "nooutput", "无输入", "没有输入"];

/// Removes what chat templates left behind.
pub fn templates(text: &str, spans: &Spans) -> Option<String> {
    let mut edit = Edit::new(text);
    for (start, line) in lines(text) {
        if spans.covers(start) && !line.contains('<') {
            continue;
        }
        let end = (start + line.len() + 1).min(text.len());
        if is_nothing(line) || (is_preamble(line) && text[..start].trim().is_empty()) {
            edit.remove(start..end);
        } else if let Some(heading) = heading(line) {
            let rest = &line[heading..];
            let stop = if rest.trim().is_empty() {
                end
            } else {
                start + heading + rest.len() - rest.trim_start().len()
            };
            edit.remove(start..stop);
        } else {
            tokens(text, start, line, spans, &mut edit);
        }
    }
    let cleaned = edit.finish();
    let ends = without_end_tokens(cleaned.as_deref().unwrap_or(text)).map(str::to_owned);
    ends.or(cleaned).map(|cleaned| cleaned.trim_matches('\n').to_owned())
}

fn tokens(text: &str, start: usize, line: &str, spans: &Spans, edit: &mut Edit<'_>) {
    let mut at = 0;
    while let Some(i) = memchr(b'<', &line.as_bytes()[at..]).map(|i| at + i) {
        at = i + 1;
        if let Some(length) = token(&line[i..]) {
            let range = start + i..start + i + length;
            if !spans.covers(range.start) && !is_quoted(text, &range) && is_misplaced(line, i, length) {
                edit.remove(range);
            }
            at = i + length;
        }
    }
}

/// False for `<s>` in the middle of a line.
fn is_misplaced(line: &str, start: usize, length: usize) -> bool {
    let (left, right) = (line[..start].trim_end(), line[start + length..].trim_start());
    let is_token = |text: &str| LINE_TOKENS.iter().any(|token| text.starts_with(token));
    !is_token(&line[start..])
        || left.is_empty()
        || right.is_empty()
        || is_token(right)
        || LINE_TOKENS.iter().any(|token| left.ends_with(token))
}

/// Length of a token at the beginning of `text`: a named one or `<|name|>`.
fn token(text: &str) -> Option<usize> {
    if let Some(token) = TOKENS.iter().chain(&LINE_TOKENS).find(|token| text.starts_with(**token)) {
        return Some(token.len());
    }
    let name = text.strip_prefix("<|")?;
    let length = name.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
    (length > 0 && name[length..].starts_with("|>")).then_some(length + 4)
}

/// A token in quotes is spoken of.
fn is_quoted(text: &str, range: &std::ops::Range<usize>) -> bool {
    let is_quote = |c: char| matches!(c, '"' | '\'' | '“' | '”' | '‘' | '’' | '「' | '」' | '『' | '』');
    before(text, range.start).is_some_and(is_quote) && after(text, range.end).is_some_and(is_quote)
}

fn heading(line: &str) -> Option<usize> {
    let trimmed = line.trim_start();
    let rest = trimmed.strip_prefix("###")?.trim_start();
    let name = HEADINGS.iter().find(|name| rest.starts_with(**name))?;
    let rest = rest[name.len()..].strip_prefix([':', '：'])?;
    Some(line.len() - rest.len())
}

fn is_preamble(line: &str) -> bool {
    line.trim_start().starts_with(PREAMBLE)
}

fn is_nothing(line: &str) -> bool {
    let bare = line.trim().trim_end_matches(['.', ';', '。', '；']);
    match bare.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')) {
        Some(bare) => NOTHING.contains(&bare.trim().to_ascii_lowercase().as_str()),
        None => bare.eq_ignore_ascii_case(NOTHING[0]),
    }
}

fn without_end_tokens(text: &str) -> Option<&str> {
    let mut rest = text;
    while let Some(shorter) = END_TOKENS.iter().find_map(|token| {
        rest.trim_end().strip_suffix(token).or_else(|| rest.trim_start().strip_prefix(token))
    }) {
        rest = shorter;
    }
    (rest.len() != text.len()).then_some(rest)
}
