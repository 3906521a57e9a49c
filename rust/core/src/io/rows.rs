//! Row files, read one batch after the other in the order of the inputs.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use crate::error::{Error, Place, Result};

/// Rows of a batch; a few megabytes of text.
pub(super) const BATCH_ROWS: usize = 8_192;

/// The rows of several files as one sequence of batches with the same columns.
///
/// Text columns come as `Utf8`, however the file stores them.
pub struct Rows {
    files: std::vec::IntoIter<PathBuf>,
    schema: SchemaRef,
    rows: u64,
    open: Option<OpenFile>,
}

struct OpenFile {
    path: Arc<Path>,
    reader: ParquetRecordBatchReader,
    next_row: u64,
}

/// Some consecutive rows of one file.
#[derive(Debug, Clone)]
pub struct RowBatch {
    /// The rows.
    pub batch: RecordBatch,
    /// File they come from.
    pub path: Arc<Path>,
    /// Row number of the first one in its file, counted from 0.
    pub first_row: u64,
}

impl Rows {
    /// Opens the files and checks that all have the same columns.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::File`] with the path of the first file that cannot be used.
    pub fn open(paths: &[PathBuf]) -> Result<Self> {
        let mut schema: Option<SchemaRef> = None;
        let mut rows = 0;
        for path in paths {
            let builder = open_parquet(path)?;
            rows += builder.metadata().file_metadata().num_rows().unsigned_abs();
            let found = as_utf8(builder.schema());
            let expected = schema.get_or_insert_with(|| found.clone());
            if names(expected) != names(&found) {
                let (found, expected) = (names(&found).join(", "), names(expected).join(", "));
                return Err(Error::file(path, format!("has the columns {found}, the files before it {expected}")));
            }
        }
        let schema = schema.ok_or_else(|| Error::Data("no input files".into()))?;
        Ok(Self { files: paths.to_vec().into_iter(), schema, rows, open: None })
    }

    /// Columns of every batch.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Rows in all files.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    fn next_batch(&mut self) -> Result<Option<RowBatch>> {
        loop {
            if self.open.is_none() {
                let Some(path) = self.files.next() else { return Ok(None) };
                let reader = open_parquet(&path)?.with_batch_size(BATCH_ROWS).build().map_err(Error::parquet(&path))?;
                self.open = Some(OpenFile { path: path.into(), reader, next_row: 0 });
            }
            let Some(file) = &mut self.open else { continue };
            match file.reader.next() {
                None => self.open = None,
                Some(batch) => {
                    let batch = batch.and_then(|batch| to_utf8(&batch, &self.schema));
                    let batch = batch.map_err(|error| Error::file(&file.path, format!("damaged ({error})")))?;
                    let first_row = file.next_row;
                    file.next_row += batch.num_rows() as u64;
                    return Ok(Some(RowBatch { batch, path: file.path.clone(), first_row }));
                }
            }
        }
    }
}

impl Iterator for Rows {
    type Item = Result<RowBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_batch().transpose()
    }
}

impl RowBatch {
    /// A text column without nulls.
    ///
    /// # Errors
    /// [`Error::File`] if there is no such text column, [`Error::Record`] naming the row of a null.
    pub fn text(&self, name: &str) -> Result<&StringArray> {
        let column = text_column(&self.batch, name).map_err(|problem| Error::file(&self.path, problem))?;
        if column.null_count() > 0 {
            let row = (0..column.len()).find(|&i| column.is_null(i)).unwrap_or(0) as u64;
            return Err(Error::Record {
                path: self.path.to_path_buf(),
                place: Place::Row(self.first_row + row + 1),
                problem: format!("column {name:?} is null; drop such rows first (the command `clean` does)"),
            });
        }
        Ok(column)
    }
}

/// The text column `name` of a batch whose text is `Utf8`, or what is there instead.
///
/// # Errors
/// A message with the names of the columns.
pub fn text_column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a StringArray, String> {
    let schema = batch.schema_ref();
    let column = batch.column_by_name(name).ok_or_else(|| {
        format!("column {name:?} not found (columns: {}); name another one", names(schema).join(", "))
    })?;
    column.as_string_opt().ok_or_else(|| format!("column {name:?} is {}, not text", column.data_type()))
}

fn open_parquet(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let file = File::open(path).map_err(Error::io(path))?;
    ParquetRecordBatchReaderBuilder::try_new(file).map_err(Error::parquet(path))
}

pub(super) fn names(schema: &Schema) -> Vec<&str> {
    schema.fields().iter().map(|f| f.name().as_str()).collect()
}

pub(super) fn as_utf8(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| match field.data_type() {
        DataType::LargeUtf8 | DataType::Utf8View => {
            Arc::new(Field::new(field.name(), DataType::Utf8, field.is_nullable()))
        }
        _ => field.clone(),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

pub(super) fn to_utf8(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, arrow::error::ArrowError> {
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| cast(column, field.data_type()));
    RecordBatch::try_new(schema.clone(), columns.collect::<Result<_, _>>()?)
}
