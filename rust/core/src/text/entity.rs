//! HTML entities.

use std::borrow::Cow;

use memchr::memchr;

/// Longest name between `&` and `;` that is looked up.
const MAX_NAME_BYTES: usize = 32;

/// Replaces named and numbered HTML entities; only whole ones that end in `;`.
///
/// ```
/// use smolchat_core::text::decode_entities;
/// assert_eq!(decode_entities("&ldquo;你&amp;我&#12290;&rdquo; a&b; R&D"), "“你&我。” a&b; R&D");
/// ```
#[must_use]
pub fn decode_entities(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut done = 0;
    let mut at = 0;
    while let Some(found) = memchr(b'&', &text.as_bytes()[at..]) {
        let start = at + found;
        at = start + 1;
        let Some(entity) = entity_at(text, start) else { continue };
        let Some(decoded) = decode(entity) else { continue };
        out.push_str(&text[done..start]);
        out.push_str(&decoded);
        done = start + entity.len();
        at = done;
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[done..]);
    Cow::Owned(out)
}

fn entity_at(text: &str, start: usize) -> Option<&str> {
    let rest = &text.as_bytes()[start + 1..];
    let end = memchr(b';', &rest[..rest.len().min(MAX_NAME_BYTES)])?;
    let name = &rest[..end];
    let known = !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'#');
    known.then(|| &text[start..start + end + 2])
}

fn decode(entity: &str) -> Option<Cow<'_, str>> {
    let decoded = html_escape::decode_html_entities(entity);
    (decoded != entity).then_some(decoded)
}
