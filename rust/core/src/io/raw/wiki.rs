use std::borrow::Cow;

use xxhash_rust::xxh3::xxh3_64;

use super::bad::Reason;
use super::options::SourceOptions;
use crate::text::{cut_at_sentence, decode_entities};

/// An article of a WikiExtractor file.
#[derive(Debug, PartialEq, Eq)]
pub struct Article<'a> {
    pub title: Cow<'a, str>,
    pub body: &'a str,
}

impl<'a> Article<'a> {
    /// Parts `<doc id="13" url="..." title="...">\n` from what follows.
    pub fn parse(document: &'a str) -> Option<Self> {
        let (head, body) = document.strip_prefix("<doc ")?.split_once(">\n")?;
        let (_, title) = head.split_once("title=\"")?;
        Some(Self { title: decode_entities(title.trim_end().strip_suffix('"')?), body: body.trim() })
    }
}

/// The text of an article without the title that WikiExtractor repeats as its first line.
pub fn body<'a>(title: &str, text: &'a str) -> &'a str {
    let text = text.trim();
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    if first.trim() == title.trim() { rest.trim() } else { text }
}

/// A question about an article; the same title always asks the same.
pub fn question(title: &str, options: &SourceOptions) -> String {
    let prompts = &options.wiki_prompts;
    let chosen = xxh3_64(title.as_bytes()) % prompts.len().max(1) as u64;
    prompts
        .get(chosen as usize)
        .map_or_else(|| title.to_owned(), |prompt| prompt.replace("{title}", title.trim()))
}

/// The beginning of an article that fits an answer.
pub fn answer<'a>(title: &str, text: &'a str, options: &SourceOptions) -> Result<&'a str, Reason> {
    match body(title, text) {
        "" => Err(Reason::EmptyField),
        body => cut_at_sentence(body, options.wiki_max_chars).ok_or(Reason::NoSentenceEnd),
    }
}
