use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use memchr::{memchr, memchr2, memmem};

use super::super::edit::{Edit, after, before};
use crate::clean::spans::Spans;
use crate::text::decode_entities;

/// Longest tag that is looked at, in bytes.
const MAX_TAG: usize = 2048;

/// Tags that lay out a text, with what they stand for.
const LAYOUT: [(&str, Layout); 47] = [
    ("br", Layout::Line),
    ("hr", Layout::Line),
    ("p", Layout::Block),
    ("div", Layout::Block),
    ("h1", Layout::Block),
    ("h2", Layout::Block),
    ("h3", Layout::Block),
    ("h4", Layout::Block),
    ("h5", Layout::Block),
    ("h6", Layout::Block),
    ("ul", Layout::Block),
    ("ol", Layout::Block),
    ("li", Layout::Block),
    ("dl", Layout::Block),
    ("dt", Layout::Block),
    ("dd", Layout::Block),
    ("table", Layout::Block),
    ("thead", Layout::Block),
    ("tbody", Layout::Block),
    ("tr", Layout::Block),
    ("blockquote", Layout::Block),
    ("center", Layout::Block),
    ("pre", Layout::Block),
    ("td", Layout::Cell),
    ("th", Layout::Cell),
    ("a", Layout::Inline),
    ("b", Layout::Inline),
    ("i", Layout::Inline),
    ("u", Layout::Inline),
    ("s", Layout::Inline),
    ("em", Layout::Inline),
    ("strong", Layout::Inline),
    ("span", Layout::Inline),
    ("font", Layout::Inline),
    ("big", Layout::Inline),
    ("small", Layout::Inline),
    ("sub", Layout::Inline),
    ("sup", Layout::Inline),
    ("del", Layout::Inline),
    ("ins", Layout::Inline),
    ("mark", Layout::Inline),
    ("strike", Layout::Inline),
    ("img", Layout::Inline),
    ("wbr", Layout::Inline),
    ("abbr", Layout::Inline),
    ("code", Layout::Inline),
    ("tt", Layout::Inline),
];
/// Tags that stand alone or are often not closed.
const ALONE: [&str; 12] = ["br", "hr", "p", "img", "wbr", "li", "dt", "dd", "tr", "td", "th", "center"];
/// Tags of pages and forms: a text with one of these is about HTML.
const BUILDING: [&str; 19] = [
    "html", "head", "body", "meta", "link", "title", "script", "style", "form", "input", "button", "select",
    "option", "label", "textarea", "iframe", "canvas", "nav", "header",
];
/// Words beside a tag that is spoken of.
const MENTIONS: [&str; 7] = ["标签", "标记", "元素", "属性", "tag", "element", "Tag"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// A line end.
    Line,
    /// Begins and ends on a line of its own.
    Block,
    /// Stands apart from its neighbours.
    Cell,
    Inline,
}

struct Tag<'t> {
    range: Range<usize>,
    name: String,
    closing: bool,
    attributes: &'t str,
}

/// Removes the tags that lay out a text and decodes entities. Text about HTML is left as it is: text with
/// tags of pages or forms, or with a tag that is spoken of.
pub fn html(text: &str, spans: &Spans) -> Option<String> {
    let tags = tags(text, spans);
    let is_building = |tag: &Tag<'_>| BUILDING.contains(&tag.name.as_str());
    if memmem::find(text.as_bytes(), b"<!DOCTYPE").is_some()
        || tags.iter().any(|tag| is_building(tag) || is_mentioned(text, tag))
    {
        return None;
    }
    let stripped = strip(text, spans, &removable(tags));
    let spans = stripped.as_deref().map(Spans::find);
    let (current, spans) = (stripped.as_deref().unwrap_or(text), spans.as_ref());
    let decoded = match spans {
        Some(spans) => entities(current, spans),
        None => entities(current, &Spans::find(current)),
    };
    decoded.or(stripped)
}

/// Strips whole HTML pages: every tag, comments, scripts and styles with what is in them.
pub fn pages(text: &str, spans: &Spans) -> Option<String> {
    let start = text.trim_start();
    let is_page =
        ["<!DOCTYPE", "<!doctype", "<html", "<HTML", "<?xml"].iter().any(|sign| start.starts_with(sign));
    if !is_page {
        return html(text, spans);
    }
    let mut edit = Edit::new(text);
    let mut at = 0;
    while let Some(start) = memchr(b'<', &text.as_bytes()[at..]).map(|i| at + i) {
        let rest = &text[start..];
        let end = match element_without_text(rest).or_else(|| rest.find('>').map(|i| i + 1)) {
            Some(length) => start + length,
            None => break,
        };
        let tag = tag_at(text, start);
        let layout = tag.and_then(|tag| layout(&tag.name)).unwrap_or(Layout::Inline);
        put(&mut edit, text, start..end, layout);
        at = end;
    }
    let stripped = edit.finish();
    let decoded = entities(stripped.as_deref().unwrap_or(text), &Spans::default());
    decoded.or(stripped)
}

/// Length of a comment, or of a script or style with its content.
fn element_without_text(rest: &str) -> Option<usize> {
    if rest.starts_with("<!--") {
        return rest.find("-->").map(|i| i + 3);
    }
    let name = ["script", "style"].into_iter().find(|name| rest[1..].starts_with(*name))?;
    let close = format!("</{name}>");
    rest.find(&close).map(|i| i + close.len())
}

fn tags<'t>(text: &'t str, spans: &Spans) -> Vec<Tag<'t>> {
    let starts = memchr::memchr_iter(b'<', text.as_bytes()).filter(|at| !spans.covers(*at));
    starts.filter_map(|at| tag_at(text, at)).collect()
}

/// A tag that begins here: a name, then attributes or nothing. `a < b` and `Vec<u8>` have neither.
fn tag_at(text: &str, start: usize) -> Option<Tag<'_>> {
    let bytes = &text.as_bytes()[start + 1..];
    let closing = bytes.first() == Some(&b'/');
    let name_start = usize::from(closing);
    let name_length = bytes.get(name_start..)?.iter().take_while(|b| b.is_ascii_alphanumeric()).count();
    let name = text[start + 1 + name_start..][..name_length].to_ascii_lowercase();
    if layout(&name).is_none() && !BUILDING.contains(&name.as_str()) {
        return None;
    }
    let rest = &bytes[name_start + name_length..];
    let end = memchr2(b'>', b'<', &rest[..rest.len().min(MAX_TAG)]).filter(|i| rest[*i] == b'>')?;
    let after_name = start + 1 + name_start + name_length;
    let attributes = text[after_name..after_name + end].trim().trim_end_matches('/').trim_end();
    let separated = attributes.is_empty() || rest[0].is_ascii_whitespace();
    let plausible = attributes.is_empty() || (attributes.contains('=') && !closing);
    (separated && plausible).then(|| Tag { range: start..after_name + end + 1, name, closing, attributes })
}

fn layout(name: &str) -> Option<Layout> {
    LAYOUT.iter().find(|(known, _)| *known == name).map(|(_, layout)| *layout)
}

/// `使用 <b> 标签`, `“<b>”`: the reader has to see the tag. In `<b>元素周期表</b>` it only comes before
/// such a word.
fn is_mentioned(text: &str, tag: &Tag<'_>) -> bool {
    let is_quote =
        |c: char| matches!(c, '"' | '\'' | '“' | '”' | '‘' | '’' | '「' | '」' | '（' | '）' | '(' | ')');
    let (left, right) = (before(text, tag.range.start), after(text, tag.range.end));
    let quoted = left.is_some_and(is_quote) && right.is_some_and(is_quote);
    let rest = text[tag.range.end..].trim_start_matches(|c: char| c == ' ' || is_quote(c));
    let in_sentence = right == Some(' ') || left.is_some_and(|c| c == ' ' || c.is_alphanumeric());
    quoted || (in_sentence && MENTIONS.iter().any(|word| rest.starts_with(word)))
}

/// A lone opening tag without attributes may be anything in angle brackets; pairs are not.
fn removable(tags: Vec<Tag<'_>>) -> Vec<Tag<'_>> {
    let closed: HashSet<String> = tags.iter().filter(|tag| tag.closing).map(|tag| tag.name.clone()).collect();
    let sure = |tag: &Tag<'_>| {
        tag.closing
            || !tag.attributes.is_empty()
            || ALONE.contains(&tag.name.as_str())
            || closed.contains(&tag.name)
    };
    tags.into_iter().filter(sure).collect()
}

fn strip(text: &str, spans: &Spans, tags: &[Tag<'_>]) -> Option<String> {
    let comments =
        comments(text).filter(|comment| !spans.covers(comment.start)).map(|range| (range, Layout::Inline));
    let tags = tags.iter().map(|tag| (tag.range.clone(), layout(&tag.name).unwrap_or(Layout::Inline)));
    let mut parts: Vec<_> = comments.chain(tags).collect();
    parts.sort_by_key(|(range, _)| range.start);
    let mut edit = Edit::new(text);
    for (range, layout) in parts {
        put(&mut edit, text, range, layout);
    }
    edit.finish()
}

fn comments(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + text[at..].find("<!--")?;
        at = start + text[start..].find("-->")? + 3;
        Some(start..at)
    })
}

fn put(edit: &mut Edit<'_>, text: &str, range: Range<usize>, layout: Layout) {
    let next = after(text, range.end);
    let ends_line = next.is_none_or(|c| c == '\n');
    let with = match layout {
        Layout::Line if !ends_line => "\n",
        Layout::Block if !ends_line && !edit.at_line_start(range.start) => "\n",
        Layout::Cell if !ends_line && next != Some(' ') && !edit.at_line_start(range.start) => " ",
        _ => "",
    };
    edit.replace(range, with);
}

fn entities(text: &str, spans: &Spans) -> Option<String> {
    memchr(b'&', text.as_bytes())?;
    let mut edit = Edit::new(text);
    for part in spans.plain(text) {
        let once = unescaped_once(&text[part.clone()]);
        let decoded = decode_entities(&once);
        edit.replace(part, &decoded);
    }
    edit.finish()
}

/// Text escaped several times over: `&amp;amp;lt;` is `&lt;`.
fn unescaped_once(text: &str) -> Cow<'_, str> {
    const AGAIN: [&str; 3] = ["amp;", "#38;", "#x26;"];
    let mut edit = Edit::new(text);
    let mut at = 0;
    while let Some(start) = memchr(b'&', &text.as_bytes()[at..]).map(|i| at + i + 1) {
        at = start;
        while let Some(escape) = AGAIN.iter().find(|escape| text[at..].starts_with(**escape)) {
            at += escape.len();
        }
        edit.remove(start..at);
    }
    edit.finish().map_or(Cow::Borrowed(text), Cow::Owned)
}
