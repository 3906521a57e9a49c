//! A table of words and their counts.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use compact_str::CompactString;
use rustc_hash::FxHashMap;

use crate::error::{Error, Place, Result};
use crate::io::{ParquetOutput, Rows, text_column};

/// Rows of a batch of the Arrow and Parquet form; 32-bit offsets then always suffice.
const BATCH_ROWS: usize = 1 << 20;

/// Words and how often each was counted, by count descending, then by word.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WordCounts {
    rows: Vec<(CompactString, u64)>,
}

impl WordCounts {
    /// The table of these words; a word may stand there several times.
    pub fn new<'a>(counts: impl IntoIterator<Item = (&'a str, u64)>) -> Self {
        let mut sums: FxHashMap<CompactString, u64> = FxHashMap::default();
        for (word, count) in counts {
            *sums.entry(word.into()).or_insert(0) += count;
        }
        Self::from_distinct(sums)
    }

    pub(super) fn from_distinct(counts: impl IntoIterator<Item = (CompactString, u64)>) -> Self {
        let mut rows: Vec<_> = counts.into_iter().filter(|&(_, count)| count > 0).collect();
        rows.sort_unstable_by(|(a, m), (b, n)| n.cmp(m).then_with(|| a.cmp(b)));
        Self { rows }
    }

    /// Words with their counts, the most frequent first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, u64)> {
        self.rows.iter().map(|(word, count)| (word.as_str(), *count))
    }

    /// Distinct words.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Words in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.rows.iter().map(|&(_, count)| count).sum()
    }

    /// Columns of the Arrow and Parquet form: `word: string, count: int64`.
    #[must_use]
    pub fn schema() -> SchemaRef {
        let word = Field::new("word", DataType::Utf8, false);
        Arc::new(Schema::new(vec![word, Field::new("count", DataType::Int64, false)]))
    }

    /// The table as record batches.
    ///
    /// # Errors
    /// [`Error::Internal`] if Arrow refuses them.
    pub fn to_batches(&self) -> Result<Vec<RecordBatch>> {
        self.rows.chunks(BATCH_ROWS).map(to_batch).collect()
    }

    /// Writes the table to a Parquet file.
    ///
    /// # Errors
    /// [`Error::Io`], for example a full disk; nothing is left behind then.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut output = ParquetOutput::create(path, Self::schema())?;
        for rows in self.rows.chunks(BATCH_ROWS) {
            output.write(&to_batch(rows)?)?;
        }
        output.finish().map(drop)
    }

    /// The table of a batch with the columns `word, count`, as of [`WordCounts::to_batches`].
    ///
    /// # Errors
    /// [`Error::Data`] if a column is missing or a value is null or negative.
    pub fn from_batch(batch: &RecordBatch) -> Result<Self> {
        let mut sums = FxHashMap::default();
        add_batch(&mut sums, batch).map_err(|problem| match problem {
            Problem::Table(problem) => Error::Data(problem),
            Problem::Row(row, problem) => Error::Data(format!("row {}: {problem}", row + 1)),
        })?;
        Ok(Self::from_distinct(sums))
    }

    /// Reads a table that [`WordCounts::write`] wrote, or another with these two columns.
    ///
    /// # Errors
    /// [`Error::File`] or [`Error::Record`] naming the file, and the row of a negative count.
    pub fn read(path: &Path) -> Result<Self> {
        let mut sums: FxHashMap<CompactString, u64> = FxHashMap::default();
        for found in Rows::open(&[path.to_owned()])? {
            let found = found?;
            add_batch(&mut sums, &found.batch).map_err(|problem| match problem {
                Problem::Table(problem) => Error::file(path, problem),
                Problem::Row(row, problem) => {
                    let place = Place::Row(found.first_row + row as u64 + 1);
                    Error::Record { path: path.to_owned(), place, problem: problem.into() }
                }
            })?;
        }
        Ok(Self::from_distinct(sums))
    }
}

/// The counts of several parts of a corpus as those of the whole.
#[must_use]
pub fn merge(tables: impl IntoIterator<Item = WordCounts>) -> WordCounts {
    let mut tables = tables.into_iter();
    let first = tables.next().unwrap_or_default();
    let mut sums: FxHashMap<CompactString, u64> = first.rows.into_iter().collect();
    for (word, count) in tables.flat_map(|table| table.rows) {
        *sums.entry(word).or_insert(0) += count;
    }
    WordCounts::from_distinct(sums)
}

/// What is wrong with a batch of counts.
enum Problem {
    Table(String),
    Row(usize, &'static str),
}

fn add_batch(sums: &mut FxHashMap<CompactString, u64>, batch: &RecordBatch) -> Result<(), Problem> {
    let words = text_column(batch, "word").map_err(Problem::Table)?;
    let counts = count_column(batch).map_err(Problem::Table)?;
    for (i, (word, count)) in words.iter().zip(counts).enumerate() {
        let word = word.ok_or(Problem::Row(i, "column \"word\" is null"))?;
        let count = count.and_then(|count| u64::try_from(count).ok());
        let count =
            count.ok_or(Problem::Row(i, "column \"count\" is null or negative; a count is at least 0"))?;
        *sums.entry(word.into()).or_insert(0) += count;
    }
    Ok(())
}

fn count_column(batch: &RecordBatch) -> Result<&Int64Array, String> {
    let column =
        batch.column_by_name("count").ok_or("column \"count\" not found; expected a table word, count")?;
    column
        .as_primitive_opt::<Int64Type>()
        .ok_or_else(|| format!("column \"count\" is {}, not int64", column.data_type()))
}

fn to_batch(rows: &[(CompactString, u64)]) -> Result<RecordBatch> {
    let mut words = StringBuilder::with_capacity(rows.len(), rows.iter().map(|(word, _)| word.len()).sum());
    rows.iter().for_each(|(word, _)| words.append_value(word));
    let words: StringArray = words.finish();
    let counts: Int64Array = rows.iter().map(|&(_, count)| count as i64).collect();
    RecordBatch::try_new(WordCounts::schema(), vec![Arc::new(words), Arc::new(counts)])
        .map_err(|error| Error::Internal(error.to_string()))
}
