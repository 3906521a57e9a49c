use std::ops::Range;

use memchr::{memchr, memchr_iter, memchr3, memmem};

use super::edit::{after, before};
use crate::text::is_han;

/// How far the end of inline code or of a link target is looked for, in bytes.
const MAX_INLINE: usize = 2_048;

/// The parts of a text that no rule may alter: code, addresses, link targets.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Spans(Vec<Range<usize>>);

impl Spans {
    pub fn find(text: &str) -> Self {
        let mut found = Vec::new();
        fences(text, &mut found);
        let fenced = Self(found.clone());
        code_lines(text, &fenced, &mut found);
        inline_code(text, &fenced, &mut found);
        addresses(text, &mut found);
        mails(text, &mut found);
        link_targets(text, &mut found);
        Self(merged(found))
    }

    /// The parts between, in order.
    pub fn plain<'s>(&'s self, text: &'s str) -> impl Iterator<Item = Range<usize>> + 's {
        let ends = self.0.iter().map(|span| span.end);
        let starts = self.0.iter().map(|span| span.start).chain([text.len()]);
        std::iter::once(0)
            .chain(ends)
            .zip(starts)
            .map(|(start, end)| start..end)
            .filter(|part| !part.is_empty())
    }

    /// Is this place protected?
    pub fn covers(&self, at: usize) -> bool {
        let next = self.0.partition_point(|span| span.end <= at);
        self.0.get(next).is_some_and(|span| span.start <= at)
    }
}

fn merged(mut spans: Vec<Range<usize>>) -> Vec<Range<usize>> {
    spans.retain(|span| !span.is_empty());
    spans.sort_by_key(|span| (span.start, span.end));
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(spans.len());
    for span in spans {
        match merged.last_mut() {
            Some(last) if span.start < last.end => last.end = last.end.max(span.end),
            _ => merged.push(span),
        }
    }
    merged
}

/// Lines with the place where each begins.
pub fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let last = (!text.is_empty() && !text.ends_with('\n')).then_some(text.len());
    let ends = memchr_iter(b'\n', text.as_bytes()).chain(last);
    ends.scan(0, |at, end| Some((std::mem::replace(at, end + 1), end)))
        .map(|(start, end)| (start, &text[start..end]))
}

/// Blocks between lines of three or more backticks or tildes; one that is never closed goes to the end.
fn fences(text: &str, found: &mut Vec<Range<usize>>) {
    if memmem::find(text.as_bytes(), b"```").is_none() && memmem::find(text.as_bytes(), b"~~~").is_none() {
        return;
    }
    let mut open: Option<(usize, &str)> = None;
    for (start, line) in lines(text) {
        // A fence may stand in a quotation: `> ```sql`.
        let mark = line.trim_start_matches([' ', '\t', '>']);
        let kind = if mark.starts_with("```") { "```" } else { "~~~" };
        match open {
            None if mark.starts_with(kind) => open = Some((start, kind)),
            Some((from, opened)) if mark.starts_with(opened) => {
                found.push(from..start + line.len());
                open = None;
            }
            _ => {}
        }
    }
    found.extend(open.map(|(from, _)| from..text.len()));
}

/// Between equally many backticks on one line.
fn inline_code(text: &str, fenced: &Spans, found: &mut Vec<Range<usize>>) {
    let bytes = text.as_bytes();
    let ticks = |at: usize| bytes[at..].iter().take_while(|b| **b == b'`').count();
    let mut at = 0;
    while let Some(start) = memchr(b'`', &bytes[at..]).map(|i| at + i) {
        let width = ticks(start);
        at = start + width;
        if fenced.covers(start) {
            continue;
        }
        let reach = bytes.len().min(at + MAX_INLINE);
        let line_end = memchr(b'\n', &bytes[at..reach]).map_or(reach, |i| at + i);
        let mut close = at;
        while let Some(i) = memchr(b'`', &bytes[close..line_end]).map(|i| close + i) {
            let found_width = ticks(i);
            close = i + found_width;
            if found_width == width {
                found.push(start..close);
                at = close;
                break;
            }
        }
    }
}

/// Lines of a program outside of any fence, with the comments between them.
fn code_lines(text: &str, fenced: &Spans, found: &mut Vec<Range<usize>>) {
    let mut earlier: Option<bool> = None; // is the line before this one, comments apart, code?
    let mut comments: Vec<Range<usize>> = Vec::new();
    for (start, line) in lines(text) {
        let span = start..start + line.len();
        if line.trim().is_empty() || fenced.covers(start) {
            continue;
        }
        match line_kind(line) {
            LineKind::Comment => comments.push(span),
            LineKind::Code => {
                found.append(&mut comments);
                found.push(span);
                earlier = Some(true);
            }
            LineKind::Prose => {
                if earlier == Some(true) {
                    found.append(&mut comments);
                }
                comments.clear();
                earlier = Some(false);
            }
        }
    }
    if earlier == Some(true) {
        found.append(&mut comments);
    }
}

enum LineKind {
    Code,
    /// A comment if it stands beside code, otherwise a heading or a list.
    Comment,
    Prose,
}

const STARTS: [&str; 44] = [
    "def ",
    "class ",
    "import ",
    "#include",
    "return ",
    "public ",
    "private ",
    "protected ",
    "static ",
    "func ",
    "function ",
    "var ",
    "let ",
    "const ",
    "if (",
    "if(",
    "for (",
    "for(",
    "while (",
    "while(",
    "switch (",
    "else",
    "elif ",
    "try:",
    "try {",
    "except",
    "finally",
    "print(",
    "printf(",
    "console.",
    "System.",
    "SELECT ",
    "INSERT ",
    "UPDATE ",
    "DELETE FROM",
    "CREATE TABLE",
    "package ",
    "using ",
    "#!",
    ">>> ",
    "$ ",
    "sudo ",
    "pip install",
    "@",
];
const ENDS: [&str; 6] = ["{", "}", "};", ");", "})", ");"];
const SIGNS: [&str; 12] = ["=>", "():", "();", ") {", "!=", "==", "+=", "-=", "&&", "||", "::", "++"];

fn line_kind(line: &str) -> LineKind {
    let trimmed = line.trim();
    if trimmed.starts_with("//")
        || trimmed.starts_with("/*")
        || trimmed.starts_with("# ")
        || trimmed.starts_with("--")
    {
        return LineKind::Comment;
    }
    // Most lines: Chinese, with nothing that could set the Chinese apart from code.
    let bytes = trimmed.as_bytes();
    let may_hide = memchr3(b'"', b'\'', b'#', bytes).or_else(|| memchr(b'/', bytes));
    if may_hide.is_none() && trimmed.chars().any(is_han) {
        return LineKind::Prose;
    }
    let bare = without_strings_and_comments(trimmed);
    if bare.chars().any(is_han) || trimmed.starts_with('<') {
        return LineKind::Prose;
    }
    let bare = bare.trim();
    let data = (bare.starts_with(['{', '[']) && bare.ends_with(['}', ']', '{', '[', ',']))
        || (trimmed.starts_with('"') && trimmed.contains("\":"));
    let statement = bare.ends_with(';') && bare.contains(['=', '(']);
    let code = data
        || statement
        || STARTS.iter().any(|start| bare.starts_with(start))
        || ENDS.iter().any(|end| bare.ends_with(end))
        || SIGNS.iter().any(|sign| bare.contains(sign))
        || is_assignment(bare)
        || is_call(bare);
    if code { LineKind::Code } else { LineKind::Prose }
}

/// A line of code with string literals emptied and without a comment at its end.
fn without_strings_and_comments(line: &str) -> String {
    let mut bare = String::with_capacity(line.len());
    let mut quote: Option<char> = None;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match quote {
            Some(_) if c == '\\' => {
                chars.next();
            }
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c == '#' && bare.ends_with([' ', '\t']) => break,
            None if c == '/' && chars.peek() == Some(&'/') && !bare.ends_with(':') => break,
            None => bare.push(c),
        }
    }
    if quote.is_some() { line.to_owned() } else { bare }
}

fn is_name(text: &str) -> bool {
    let first = text.chars().next();
    first.is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '[' | ']' | ' ' | '*' | ':'))
}

fn is_assignment(line: &str) -> bool {
    line.split_once('=').is_some_and(|(name, value)| {
        let name = name.trim_end_matches(['+', '-', '*', '/']).trim();
        is_name(name) && name.split(' ').count() <= 3 && !value.trim().is_empty() && !value.starts_with('=')
    })
}

fn is_call(line: &str) -> bool {
    line.ends_with(')') && line.split_once('(').is_some_and(|(name, _)| is_name(name) && !name.contains(' '))
}

/// `http://...`, `www....` and the like. Chinese characters belong to an address only where more of it
/// follows them.
fn addresses(text: &str, found: &mut Vec<Range<usize>>) {
    let bytes = text.as_bytes();
    let schemes = memmem::find_iter(bytes, b"://").map(|i| {
        let scheme = bytes[..i].iter().rev().take_while(|b| b.is_ascii_alphabetic()).count();
        (i - scheme, i + 3, scheme > 1)
    });
    let hosts = memmem::find_iter(bytes, b"www.").map(|i| (i, i + 4, true));
    let mut done = 0;
    let mut starts: Vec<_> = schemes.chain(hosts).filter(|(.., valid)| *valid).collect();
    starts.sort_unstable();
    for (start, rest, _) in starts {
        let end = if start < done { rest } else { address_end(text, rest) };
        if end > rest {
            found.push(start..end);
            done = end;
        }
    }
}

fn address_end(text: &str, start: usize) -> usize {
    let bytes = text.as_bytes();
    let is_part = |b: &u8| b.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(b);
    let mut end = start;
    loop {
        end += bytes[end..].iter().take_while(|b| is_part(b)).count();
        let han: usize = text[end..].chars().take_while(|c| is_han(*c)).map(char::len_utf8).sum();
        let after_han = &bytes[end + han..];
        let goes_on = after_han.len() > 1
            && b"/?&=#%._-".contains(&after_han[0])
            && after_han[1].is_ascii_alphanumeric();
        let in_path =
            end > start && memchr(b'/', &bytes[start..end]).is_some() && b"/=&-_".contains(&bytes[end - 1]);
        if han == 0 || !goes_on || !in_path {
            break;
        }
        end += han;
    }
    trim_address(text, start, end)
}

/// Marks at the end belong to the sentence around an address, and so does a bracket that it does not open.
fn trim_address(text: &str, start: usize, mut end: usize) -> usize {
    let unopened = |open: u8, close: u8| {
        let count = |wanted| memchr_iter(wanted, &text.as_bytes()[start..end]).count();
        count(close).saturating_sub(count(open))
    };
    let (mut round, mut square) = (unopened(b'(', b')'), unopened(b'[', b']'));
    while end > start {
        match text.as_bytes()[end - 1] {
            b')' if round > 0 => round -= 1,
            b']' if square > 0 => square -= 1,
            b'.' | b',' | b';' | b':' | b'!' | b'?' | b'\'' | b'*' => {}
            _ => break,
        }
        end -= 1;
    }
    end
}

fn mails(text: &str, found: &mut Vec<Range<usize>>) {
    let bytes = text.as_bytes();
    let is_part = |b: &u8| b.is_ascii_alphanumeric() || b"._%+-".contains(b);
    for at in memchr_iter(b'@', bytes) {
        let name = bytes[..at].iter().rev().take_while(|b| is_part(b)).count();
        let host =
            bytes[at + 1..].iter().take_while(|b| b.is_ascii_alphanumeric() || b".-".contains(b)).count();
        let host = text[at + 1..at + 1 + host].trim_end_matches(['.', '-']);
        if name > 0 && host.contains('.') {
            found.push(at - name..at + 1 + host.len());
        }
    }
}

/// `(target)` of `[text](target)`.
fn link_targets(text: &str, found: &mut Vec<Range<usize>>) {
    for at in memmem::find_iter(text.as_bytes(), b"](").map(|i| i + 1) {
        let reach = &text.as_bytes()[at..text.len().min(at + MAX_INLINE)];
        if let Some(length) = memchr::memchr2(b'\n', b')', reach).filter(|i| reach[*i] == b')') {
            let target = &text[at + 1..at + length];
            let is_target = !target.contains(' ') && (target.contains(['/', '.', '#']) || target.is_ascii());
            if is_target && !target.is_empty() {
                // The bracket before it belongs to the link as well.
                found.push(at - 1..at + length + 1);
            }
        }
    }
}

/// Does an ASCII word, number or protected part stand directly on this side?
pub fn touches_ascii_word(text: &str, at: usize, left: bool) -> bool {
    let neighbour = if left { before(text, at) } else { after(text, at) };
    neighbour.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
}
