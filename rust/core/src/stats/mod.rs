//! What rows are like: how many, how long, how often the same, how Chinese.
//!
//! One pass; memory is 8 bytes for each different text and row, and one counter for each length.

mod lengths; // counted lengths -> quantiles and bars

use std::path::{Path, PathBuf};

use arrow::array::{Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use rayon::prelude::*;
use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use lengths::Counts;
pub use lengths::{Bar, Lengths};

use crate::error::{Error, Result};
use crate::io::{Rows, as_utf8, names, to_utf8};
use crate::job::Job;
use crate::text::is_han;
use crate::tokenizer::Encoder;

/// Rows of a piece of work.
const CHUNK_ROWS: usize = 1024;

/// What is looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StatsOptions {
    /// Columns to look at; all columns of text by default.
    pub columns: Vec<String>,
    /// Tokenizer folder, to count tokens too.
    pub tokenizer: Option<PathBuf>,
}

/// What rows are like.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StatsReport {
    /// Rows read.
    pub rows: u64,
    /// Rows that are the same as an earlier one in all of these columns.
    pub duplicate_rows: u64,
    /// Each column.
    pub columns: Vec<ColumnStats>,
}

/// What a column of text is like.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ColumnStats {
    /// Its name.
    pub name: String,
    /// Rows without a value.
    pub null_rows: u64,
    /// Rows with nothing but spaces.
    pub empty_rows: u64,
    /// Rows whose text an earlier row has too.
    pub duplicate_rows: u64,
    /// Bytes of UTF-8.
    pub bytes: u64,
    /// Share of Chinese characters among those that are not spaces.
    pub han_share: f64,
    /// Lengths in characters.
    pub chars: Lengths,
    /// Lengths in tokens.
    pub tokens: Option<Lengths>,
}

/// Describes the rows of files.
///
/// # Errors
/// [`Error::Option`] if no column is text; [`Error::File`] and [`Error::Io`] name the file;
/// [`Error::Cancelled`] if the job was asked to stop.
pub fn describe_files(inputs: &[PathBuf], options: &StatsOptions, job: &Job) -> Result<StatsReport> {
    let rows = Rows::open(inputs)?;
    job.phase("stats", rows.rows());
    let mut found = Description::new(rows.schema(), options)?;
    for batch in rows {
        let batch = batch?;
        found.add(&batch.batch, job).map_err(|error| error.of_file(&batch.path))?;
    }
    Ok(found.report())
}

/// Describes the rows of a table.
///
/// # Errors
/// As [`describe_files`]; [`Error::Data`] if a named column is missing.
pub fn describe_batches(
    batches: &[RecordBatch],
    schema: &Schema,
    options: &StatsOptions,
    job: &Job,
) -> Result<StatsReport> {
    let schema = as_utf8(schema);
    let mut found = Description::new(&schema, options)?;
    job.phase("stats", batches.iter().map(|batch| batch.num_rows() as u64).sum());
    for batch in batches {
        let batch = to_utf8(batch, &schema).map_err(|error| Error::Data(error.to_string()))?;
        found.add(&batch, job)?;
    }
    Ok(found.report())
}

/// What is counted so far.
struct Description {
    tokens: Option<Encoder>,
    names: Vec<String>,
    rows: u64,
    seen: FxHashSet<u64>,
    duplicate_rows: u64,
    columns: Vec<Column>,
}

#[derive(Default)]
struct Column {
    tally: Tally,
    seen: FxHashSet<u64>,
    duplicate_rows: u64,
}

/// What is added up of a column, in any order.
#[derive(Default)]
struct Tally {
    null_rows: u64,
    empty_rows: u64,
    bytes: u64,
    han: u64,
    visible: u64,
    chars: Counts,
    tokens: Counts,
}

impl Description {
    fn new(schema: &SchemaRef, options: &StatsOptions) -> Result<Self> {
        let is_text = |kind: &DataType| matches!(kind, DataType::Utf8);
        let texts = schema.fields().iter().filter(|field| is_text(field.data_type()));
        let names = if options.columns.is_empty() {
            texts.map(|field| field.name().clone()).collect()
        } else {
            options.columns.clone()
        };
        if names.is_empty() {
            let found = self::names(schema).join(", ");
            return Err(Error::option("columns", "()", format!("no column is text; there are {found}")));
        }
        let tokens = options.tokenizer.as_deref().map(Encoder::load).transpose()?;
        let columns = names.iter().map(|_| Column::default()).collect();
        Ok(Self { tokens, names, rows: 0, seen: FxHashSet::default(), duplicate_rows: 0, columns })
    }

    fn add(&mut self, batch: &RecordBatch, job: &Job) -> Result<()> {
        let mut row_hashes = vec![Xxh3::new(); batch.num_rows()];
        for (name, column) in self.names.iter().zip(&mut self.columns) {
            let texts = crate::io::text_column(batch, name).map_err(Error::Data)?;
            let (tally, hashes) = job.run(|| look_at(texts, self.tokens.as_ref()))?;
            column.tally.merge(tally);
            for (all, hash) in row_hashes.iter_mut().zip(hashes) {
                column.duplicate_rows += u64::from(!column.seen.insert(hash));
                all.update(&hash.to_le_bytes());
            }
        }
        for hash in row_hashes {
            self.duplicate_rows += u64::from(!self.seen.insert(hash.digest()));
        }
        self.rows += batch.num_rows() as u64;
        job.advance(batch.num_rows() as u64)
    }

    fn report(self) -> StatsReport {
        let has_tokens = self.tokens.is_some();
        let columns = self.names.into_iter().zip(self.columns).map(|(name, column)| {
            let Column { tally, duplicate_rows, .. } = column;
            ColumnStats {
                name,
                null_rows: tally.null_rows,
                empty_rows: tally.empty_rows,
                duplicate_rows,
                bytes: tally.bytes,
                han_share: if tally.visible == 0 { 0.0 } else { tally.han as f64 / tally.visible as f64 },
                chars: tally.chars.lengths(),
                tokens: has_tokens.then(|| tally.tokens.lengths()),
            }
        });
        StatsReport { rows: self.rows, duplicate_rows: self.duplicate_rows, columns: columns.collect() }
    }
}

/// Adds up a column and gives the hash of each text.
fn look_at(texts: &StringArray, tokens: Option<&Encoder>) -> Result<(Tally, Vec<u64>)> {
    let rows: Vec<usize> = (0..texts.len()).collect();
    let parts = rows.par_chunks(CHUNK_ROWS).map(|rows| {
        let mut tally = Tally::default();
        let mut hash = Xxh3::new();
        let hashes = rows.iter().map(|&row| {
            hash.reset();
            if texts.is_null(row) {
                tally.null_rows += 1;
                return Ok(0);
            }
            let text = texts.value(row);
            tally.add(text);
            if let Some(tokens) = tokens {
                // The token that ends a text is none of its own.
                tally.tokens.add(tokens.encode(text, usize::MAX)?.len() as u64 - 1);
            }
            hash.update(text.as_bytes());
            Ok(hash.digest())
        });
        let hashes = hashes.collect::<Result<Vec<u64>>>()?;
        Ok((tally, hashes))
    });
    let parts: Vec<(Tally, Vec<u64>)> = parts.collect::<Result<_>>()?;
    let (mut tally, mut hashes) = (Tally::default(), Vec::with_capacity(texts.len()));
    for (part, of_part) in parts {
        tally.merge(part);
        hashes.extend(of_part);
    }
    Ok((tally, hashes))
}

impl Tally {
    fn add(&mut self, text: &str) {
        let (mut chars, mut visible, mut han) = (0, 0, 0);
        for c in text.chars() {
            chars += 1;
            visible += u64::from(!c.is_whitespace());
            han += u64::from(is_han(c));
        }
        self.bytes += text.len() as u64;
        self.visible += visible;
        self.han += han;
        self.empty_rows += u64::from(visible == 0);
        self.chars.add(chars);
    }

    fn merge(&mut self, other: Self) {
        self.null_rows += other.null_rows;
        self.empty_rows += other.empty_rows;
        self.bytes += other.bytes;
        self.han += other.han;
        self.visible += other.visible;
        self.chars.merge(other.chars);
        self.tokens.merge(other.tokens);
    }
}

impl Error {
    /// Adds the file to an error about its columns.
    fn of_file(self, path: &Path) -> Self {
        match self {
            Self::Data(problem) => Self::file(path, problem),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};

    use super::*;

    #[test]
    fn a_small_table_is_described_by_hand() {
        let texts: ArrayRef =
            Arc::new(StringArray::from(vec![Some("你好abc"), Some(" \n"), None, Some("你好abc"), Some("")]));
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3, 4, 5]));
        let batch = RecordBatch::try_from_iter_with_nullable([("text", texts, true), ("id", ids, false)])
            .expect("a batch");
        let job = Job::new(Some(2)).expect("threads");
        let schema = batch.schema();
        let found = describe_batches(&[batch], &schema, &StatsOptions::default(), &job).expect("describes");
        assert_eq!((found.rows, found.duplicate_rows), (5, 1));
        assert_eq!(found.columns.len(), 1, "one column of text");
        let column = &found.columns[0];
        assert_eq!((column.null_rows, column.empty_rows, column.duplicate_rows), (1, 2, 1));
        assert_eq!((column.chars.total, column.chars.max, column.chars.median), (12, 5, 2));
        assert!((column.han_share - 0.4).abs() < 1e-12);
        assert_eq!(column.bytes, 20);
    }
}
