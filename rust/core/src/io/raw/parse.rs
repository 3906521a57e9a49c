use memchr::{memchr_iter, memmem};
use serde::de::DeserializeSeed;

use super::bad::Reason;
use super::builder::{Builder, Parsed};
use super::columns::Refusal;
use super::file::{Piece, Plan};
use super::format::FileFormat;
use super::frame::{Block, next_value};
use super::options::TextUnit;
use super::table;
use super::value::{Record, Value};
use super::wiki::Article;
use crate::error::Result;

/// Makes rows of a piece; pieces of a file are independent of each other.
///
/// # Errors
/// [`Error::File`] if a table cannot be read.
pub fn parse(plan: &Plan, piece: Piece) -> Result<Parsed> {
    let mut rows = Builder::new(plan);
    match piece {
        Piece::Bad(block, reason) => rows.refuse(block.first_line, &block.bytes, (reason, String::new())),
        Piece::Table { batch, first_row } => table::parse_batch(&batch, first_row, &mut rows)?,
        Piece::Block(block) => match plan.format {
            FileFormat::Csv(separator) => table::parse_csv(&block, separator, &mut rows),
            FileFormat::Json(_) => parse_values(&block, &mut rows),
            FileFormat::Wiki => parse_documents(&block, &mut rows),
            FileFormat::Text => parse_text(&block, plan.options.text_unit, &mut rows),
            FileFormat::JsonLines | FileFormat::Parquet => parse_lines(&block, &mut rows),
        },
    }
    rows.finish()
}

fn parse_lines(block: &Block, rows: &mut Builder<'_>) {
    for (line, record) in (block.first_line..).zip(block.bytes.split(|b| *b == b'\n')) {
        parse_value(line, record.trim_ascii(), rows);
    }
}

fn parse_values(block: &Block, rows: &mut Builder<'_>) {
    let (mut at, mut line) = (0, block.first_line);
    while let Some((start, end)) = next_value(&block.bytes, at) {
        line += memchr_iter(b'\n', &block.bytes[at..start]).count() as u64;
        let end = end.unwrap_or(block.bytes.len());
        parse_value(line, block.bytes[start..end].trim_ascii(), rows);
        line += memchr_iter(b'\n', &block.bytes[start..end]).count() as u64;
        at = end;
    }
}

fn parse_value(line: u64, record: &[u8], rows: &mut Builder<'_>) {
    if !record.is_empty() {
        let wanted = &rows.plan.columns.wanted;
        let fields = rows.utf8(record).and_then(|text| {
            let mut json = serde_json::Deserializer::from_str(text);
            let fields =
                Record { wanted }.deserialize(&mut json).and_then(|fields| json.end().map(|()| fields));
            fields.map_err(|error| refusal(&error))
        });
        rows.push(line, record, fields);
    }
}

fn refusal(error: &serde_json::Error) -> Refusal {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or(&text);
    match error.is_data() {
        true => (Reason::NotAnObject, what.into()),
        false => (Reason::BrokenJson, format!("byte {}: {what}", error.column())),
    }
}

fn parse_documents(block: &Block, rows: &mut Builder<'_>) {
    let bytes = &block.bytes;
    let is_start = |i: &usize| *i == 0 || bytes[*i - 1] == b'\n' || bytes[..*i].ends_with(b"</doc>");
    let starts: Vec<usize> = memmem::find_iter(bytes, b"<doc ").filter(is_start).collect();
    let (mut line, mut counted) = (block.first_line, 0);
    for (i, &start) in starts.iter().enumerate() {
        line += memchr_iter(b'\n', &bytes[counted..start]).count() as u64;
        counted = start;
        let document = &bytes[start..starts.get(i + 1).copied().unwrap_or(bytes.len())];
        let record = memmem::find(document, b"</doc>").map(|end| &document[..end]);
        let unclosed = (Reason::UnclosedDocument, String::new());
        let fields = record.ok_or(unclosed).and_then(|record| rows.utf8(record)).and_then(|text| {
            let article = Article::parse(text).ok_or((Reason::MissingField, "title".to_owned()))?;
            let mut fields = vec![Value::Text(article.title), Value::Text(article.body.into())];
            if rows.plan.columns.wanted.len() == 1 {
                fields.remove(0);
            }
            Ok(fields)
        });
        // What stands behind an article belongs to no record, however the file is cut into blocks.
        rows.push(line, record.unwrap_or(document), fields);
    }
}

fn parse_text(block: &Block, unit: TextUnit, rows: &mut Builder<'_>) {
    let mut push = |line: u64, record: &[u8]| {
        let text = rows.utf8(record);
        if text.as_ref().is_ok_and(|text| text.trim().is_empty()) {
            return;
        }
        let fields = text.map(|text| {
            let mut fields = vec![Value::Text(text.trim_matches(['\r', '\n']).into())];
            // A file that begins with a megabyte of nothing was not known to be text.
            fields.resize_with(rows.plan.columns.wanted.len(), || Value::Missing);
            fields
        });
        rows.push(line, record, fields);
    };
    if unit == TextUnit::File {
        return push(block.first_line, &block.bytes);
    }
    let (mut start, mut first, mut at) = (0, block.first_line, 0);
    for (line, record) in (block.first_line..).zip(block.bytes.split_inclusive(|b| *b == b'\n')) {
        at += record.len();
        if unit == TextUnit::Line || record.trim_ascii().is_empty() {
            push(first, &block.bytes[start..at]);
            (start, first) = (at, line + 1);
        }
    }
    push(first, &block.bytes[start..]);
}
