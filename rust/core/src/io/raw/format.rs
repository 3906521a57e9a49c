use std::path::Path;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::fields::is_known_name;
use crate::error::Place;

/// Lines looked at to tell JSON lines from one JSON value.
const LINES: usize = 20;

/// Format of files, as an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Found out from the content, then from the name.
    #[default]
    Auto,
    /// JSON lines, a JSON array, or JSON objects one after the other.
    Json,
    /// Comma, tab or otherwise separated values.
    Csv,
    /// Articles as WikiExtractor writes them: `<doc id="1" title="...">` ... `</doc>`.
    Wiki,
    /// Plain text.
    Text,
    /// Parquet.
    Parquet,
}

/// Format of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// Parquet.
    Parquet,
    /// A JSON value on each line.
    JsonLines,
    /// A JSON array (`true`), or JSON values one after the other.
    Json(bool),
    /// Values separated by this byte.
    Csv(u8),
    /// WikiExtractor text.
    Wiki,
    /// Plain text.
    Text,
}

impl FileFormat {
    /// Its name as reports tell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parquet => "Parquet",
            Self::JsonLines => "JSON lines",
            Self::Json(_) => "JSON",
            Self::Csv(b'\t') => "TSV",
            Self::Csv(_) => "CSV",
            Self::Wiki => "WikiExtractor text",
            Self::Text => "text",
        }
    }

    /// Where the record of this number is, counted from 1.
    #[must_use]
    pub const fn place(self, number: u64) -> Place {
        match self {
            Self::Parquet => Place::Row(number),
            _ => Place::Line(number),
        }
    }

    /// The format of a file that begins with `head`.
    pub(super) fn detect(path: &Path, head: &str, wanted: Format, separator: Option<u8>) -> Self {
        let csv = || Self::Csv(separator.unwrap_or_else(|| guess_separator(head)));
        match wanted {
            Format::Json => json(head),
            Format::Csv => csv(),
            Format::Wiki => Self::Wiki,
            Format::Text => Self::Text,
            Format::Parquet => Self::Parquet,
            Format::Auto => match (head.trim_start(), extension(path).as_str()) {
                (text, _) if text.starts_with("<doc ") => Self::Wiki,
                (_, "json" | "jsonl" | "ndjson") => json(head),
                (_, "csv" | "tsv" | "tab") => csv(),
                (text, _) if begins_json(text) => json(head),
                (_, "txt") => Self::Text,
                _ if has_known_header(head) => csv(),
                _ => Self::Text,
            },
        }
    }
}

/// The extension in small letters, that of a compression left away.
fn extension(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let name = [".gz", ".zst", ".bz2", ".partial"]
        .iter()
        .fold(name.as_str(), |name, end| name.strip_suffix(end).unwrap_or(name));
    name.rsplit_once('.').map_or(String::new(), |(_, extension)| extension.to_owned())
}

/// Whether an object begins here, or an array of objects.
fn begins_json(text: &str) -> bool {
    let text = text.strip_prefix('[').map_or(text, str::trim_start);
    text.strip_prefix('{').is_some_and(|inside| inside.trim_start().starts_with(['"', '}']))
}

fn json(head: &str) -> FileFormat {
    let lines: Vec<&str> = head.lines().map(str::trim).filter(|line| !line.is_empty()).take(LINES).collect();
    let whole = lines.iter().filter(|line| line.starts_with(['{', '[']) && is_json(line)).count();
    let array = lines.first().is_some_and(|line| line.starts_with('['));
    // One line that is a whole array is a JSON file; many of them are lists of turns.
    if 2 * whole >= lines.len() && !(array && lines.len() == 1) {
        FileFormat::JsonLines
    } else {
        FileFormat::Json(array)
    }
}

fn is_json(line: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(line).is_ok()
}

fn guess_separator(head: &str) -> u8 {
    let line = head.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    if line.contains('\t') {
        b'\t'
    } else if line.contains(';') && !line.contains(',') {
        b';'
    } else {
        b','
    }
}

fn has_known_header(head: &str) -> bool {
    let line = head.lines().next().unwrap_or_default();
    let names: Vec<&str> = line.split(char::from(guess_separator(head))).collect();
    names.len() > 1 && names.iter().any(|name| is_known_name(name.trim().trim_matches('"')))
}
