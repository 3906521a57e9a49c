//! Where the rows come from: slices of strings, or columns of Arrow batches.

use std::iter;

use arrow::array::{Array, ArrayRef, AsArray, LargeStringArray, RecordBatch, StringArray, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Schema};

use crate::error::{Error, Result};
use crate::io::{is_text, names, not_found};

/// Rows of one or more columns of text.
pub trait Texts: Sync {
    /// Number of rows.
    fn rows(&self) -> usize;

    /// The columns of a row.
    fn parts(&self, row: usize) -> impl Iterator<Item = &str>;
}

impl<T: AsRef<str> + Sync> Texts for &[T] {
    fn rows(&self) -> usize {
        self.len()
    }

    fn parts(&self, row: usize) -> impl Iterator<Item = &str> {
        iter::once(self[row].as_ref())
    }
}

/// Some columns of a table, borrowed batch by batch.
#[derive(Debug)]
pub struct TableTexts {
    batches: Vec<Vec<Strings>>,
    /// First row of each batch, then the number of rows.
    starts: Vec<usize>,
}

#[derive(Debug)]
enum Strings {
    Small(StringArray),
    Large(LargeStringArray),
    View(StringViewArray),
}

impl TableTexts {
    /// The named columns of these batches.
    ///
    /// # Errors
    /// [`Error::Data`] if a column is missing, is not text, or holds a null; names column and row.
    pub fn new(batches: &[RecordBatch], columns: &[String]) -> Result<Self> {
        let mut texts = Self { batches: Vec::with_capacity(batches.len()), starts: vec![0] };
        for batch in batches {
            let start = texts.rows();
            let strings = columns.iter().map(|name| strings(batch, name, start));
            texts.batches.push(strings.collect::<Result<_>>()?);
            texts.starts.push(start + batch.num_rows());
        }
        Ok(texts)
    }
}

impl Texts for TableTexts {
    fn rows(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    fn parts(&self, row: usize) -> impl Iterator<Item = &str> {
        let batch = self.starts.partition_point(|&start| start <= row) - 1;
        let place = row - self.starts[batch];
        self.batches[batch].iter().map(move |strings| strings.value(place))
    }
}

impl Strings {
    fn value(&self, row: usize) -> &str {
        match self {
            Self::Small(strings) => strings.value(row),
            Self::Large(strings) => strings.value(row),
            Self::View(strings) => strings.value(row),
        }
    }
}

fn strings(batch: &RecordBatch, name: &str, first_row: usize) -> Result<Strings> {
    let column =
        batch.column_by_name(name).ok_or_else(|| Error::Data(not_found(name, batch.schema_ref())))?;
    if let Some(row) = (0..column.len()).find(|&row| column.is_null(row)) {
        let row = first_row + row + 1;
        return Err(Error::Data(format!("row {row}: column {name:?} is null; drop such rows first")));
    }
    of_array(column)
        .ok_or_else(|| Error::Data(format!("column {name:?} is {}, not text", column.data_type())))
}

fn of_array(column: &ArrayRef) -> Option<Strings> {
    match column.data_type() {
        DataType::Utf8 => Some(Strings::Small(column.as_string().clone())),
        DataType::LargeUtf8 => Some(Strings::Large(column.as_string().clone())),
        DataType::Utf8View => Some(Strings::View(column.as_string_view().clone())),
        kind if is_text(kind) => {
            cast(column, &DataType::Utf8View).ok().map(|plain| Strings::View(plain.as_string_view().clone()))
        }
        _ => None,
    }
}

/// The columns to compare: those that are named, else the ones that a row file usually has.
///
/// # Errors
/// [`Error::Option`] if none is named and none of the usual ones is there.
pub fn compared_columns(schema: &Schema, named: &[String]) -> Result<Vec<String>> {
    const USUAL: [&[&str]; 5] =
        [&["prompt", "response"], &["prompt", "chosen", "rejected"], &["prompt"], &["text"], &["sentence"]];
    if !named.is_empty() {
        return Ok(named.to_vec());
    }
    let found = names(schema);
    let usual = USUAL.iter().find(|columns| columns.iter().all(|name| found.contains(name)));
    let columns = usual.map(|columns| columns.iter().map(|&name| name.to_owned()).collect());
    columns.ok_or_else(|| {
        Error::option("columns", "()", format!("name the columns to compare; there are {}", found.join(", ")))
    })
}

/// The rows of one table, then those of another.
pub(super) struct Chain<'a, A, B>(pub &'a A, pub &'a B);

impl<A: Texts, B: Texts> Texts for Chain<'_, A, B> {
    fn rows(&self) -> usize {
        self.0.rows() + self.1.rows()
    }

    fn parts(&self, row: usize) -> impl Iterator<Item = &str> {
        let first = self.0.rows();
        let (left, right) = if row < first {
            (Some(self.0.parts(row)), None)
        } else {
            (None, Some(self.1.parts(row - first)))
        };
        left.into_iter().flatten().chain(right.into_iter().flatten())
    }
}
