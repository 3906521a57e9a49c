//! Parquet row groups as pieces that can be read in any order and by several threads.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::DataType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use xxhash_rust::xxh3::Xxh3;

use super::TOKENIZER_KEY;
use super::parquet::{BATCH_ROWS, next_batch};
use super::rows::{RowBatch, as_utf8, is_text, not_found, to_utf8};
use crate::error::{Error, Result};

/// Some consecutive rows of one row group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    file: usize,
    group: usize,
    /// Rows of the row group before this slice.
    skip: usize,
    first_row: u64,
    rows: usize,
}

impl Slice {
    /// Number of its first row, counted from 0 over all files.
    #[must_use]
    pub fn first_row(&self) -> u64 {
        self.first_row
    }

    /// Its rows; never 0.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Which of the files it is from, counted from 0.
    #[must_use]
    pub fn file(&self) -> usize {
        self.file
    }

    /// Some of its rows, counted from its first one.
    #[must_use]
    pub fn part(&self, rows: Range<usize>) -> Self {
        Self {
            skip: self.skip + rows.start,
            first_row: self.first_row + rows.start as u64,
            rows: rows.len(),
            ..*self
        }
    }
}

/// Columns of text, or of token ids, of several Parquet files, cut into slices.
pub struct Slices {
    files: Vec<SlicedFile>,
    slices: Vec<Slice>,
    fingerprint: u64,
}

struct SlicedFile {
    path: Arc<Path>,
    metadata: ArrowReaderMetadata,
    columns: ProjectionMask,
    first_row: u64,
    /// Hash of the tokenizer whose ids some of the columns hold.
    tokenizer: Option<String>,
}

impl Slices {
    /// Reads the footers and cuts each row group into slices of at most `max_rows` rows.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::File`] with the path of the first file that cannot be used, also if
    /// it lacks one of the columns or one of them is neither text nor ids.
    pub fn open(paths: &[PathBuf], columns: &[&str], max_rows: usize) -> Result<Self> {
        let mut found = Self { files: Vec::with_capacity(paths.len()), slices: Vec::new(), fingerprint: 0 };
        let mut hash = Xxh3::new();
        let mut next_row = 0;
        for path in paths {
            let file = File::open(path).map_err(Error::io(path))?;
            let metadata =
                ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(Error::parquet(path))?;
            let tokenizer = tokenizer_of(path, &metadata, columns)?;
            let (file, first_row) = (found.files.len(), next_row);
            for (group, about) in metadata.metadata().row_groups().iter().enumerate() {
                let rows = about.num_rows().unsigned_abs();
                hash.update(&rows.to_le_bytes());
                hash.update(&about.total_byte_size().to_le_bytes());
                for skip in (0..rows as usize).step_by(max_rows.max(1)) {
                    let rows = (rows as usize - skip).min(max_rows.max(1));
                    found.slices.push(Slice { file, group, skip, first_row: next_row, rows });
                    next_row += rows as u64;
                }
            }
            let columns = ProjectionMask::columns(metadata.parquet_schema(), columns.iter().copied());
            found.files.push(SlicedFile {
                path: path.as_path().into(),
                metadata,
                columns,
                first_row,
                tokenizer,
            });
        }
        found.fingerprint = hash.digest();
        Ok(found)
    }

    /// Refuses ids that were made by another tokenizer than that of this hash.
    ///
    /// # Errors
    /// [`Error::File`] with the path of the first such file.
    pub fn require_tokenizer(&self, fingerprint: &str) -> Result<()> {
        for SlicedFile { path, tokenizer, .. } in &self.files {
            if let Some(made_by) = tokenizer.as_deref().filter(|&made_by| made_by != fingerprint) {
                let problem = format!(
                    "holds ids of the tokenizer {made_by}, but the one given is {fingerprint}; give the one \
                     that `encode` was run with, or run `encode` again"
                );
                return Err(Error::file(path, problem));
            }
        }
        Ok(())
    }

    /// The slices in the order of the inputs.
    #[must_use]
    pub fn slices(&self) -> &[Slice] {
        &self.slices
    }

    /// Rows in all files.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.slices.last().map_or(0, |last| last.first_row + last.rows as u64)
    }

    /// A hash of the rows and bytes of every row group, whatever the files are called.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The rows of one slice, in batches of a few thousand.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::File`] with the path.
    pub fn read(&self, slice: &Slice) -> Result<Vec<RowBatch>> {
        let SlicedFile { path, metadata, columns, first_row, .. } = &self.files[slice.file];
        let file = File::open(path).map_err(Error::io(path))?;
        let wanted = RowSelection::from(vec![RowSelector::skip(slice.skip), RowSelector::select(slice.rows)]);
        let mut reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata.clone())
            .with_row_groups(vec![slice.group])
            .with_projection(columns.clone())
            .with_row_selection(wanted)
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(Error::parquet(path))?;
        let mut next_row = slice.first_row - first_row;
        let end = next_row + slice.rows as u64;
        let mut batches = Vec::with_capacity(slice.rows.div_ceil(BATCH_ROWS));
        while let Some(batch) = next_batch(path, &mut reader)? {
            let batch = to_utf8(&batch, &as_utf8(batch.schema_ref()));
            let batch = batch.map_err(|error| Error::file(path, format!("damaged ({error})")))?;
            let rows = batch.num_rows() as u64;
            batches.push(RowBatch { batch, path: path.clone(), first_row: next_row });
            next_row += rows;
        }
        if next_row != end {
            let missing = end - next_row.min(end);
            return Err(Error::file(
                path,
                format!("damaged ({missing} rows of row group {} are missing)", slice.group),
            ));
        }
        Ok(batches)
    }
}

/// The hash of the tokenizer that made the ids of these columns; None if they are text.
fn tokenizer_of(path: &Path, metadata: &ArrowReaderMetadata, columns: &[&str]) -> Result<Option<String>> {
    let schema = metadata.schema();
    let mut tokenizer = None;
    for &column in columns {
        let Ok(field) = schema.field_with_name(column) else {
            return Err(Error::file(path, not_found(column, schema)));
        };
        let made_by = schema.metadata().get(TOKENIZER_KEY);
        match field.data_type() {
            kind if is_text(kind) => {}
            kind if holds_ids(kind) && made_by.is_some() => tokenizer = made_by.cloned(),
            kind if holds_ids(kind) => {
                let problem = format!(
                    "column {column:?} holds ids, but the file does not say of which tokenizer; make it with \
                     the command `encode`"
                );
                return Err(Error::file(path, problem));
            }
            kind => return Err(Error::file(path, format!("column {column:?} is {kind}, not text"))),
        }
    }
    Ok(tokenizer)
}

/// Lists of 16-bit or 32-bit token ids.
fn holds_ids(kind: &DataType) -> bool {
    matches!(kind, DataType::List(item) if matches!(item.data_type(), DataType::UInt16 | DataType::UInt32))
}
