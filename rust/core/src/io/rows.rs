//! Row files, read one batch after the other in the order of the inputs.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::parquet::{BATCH_ROWS, next_batch, open_parquet};
use super::raw::{self, RawFile, SourceOptions};
use crate::error::{Error, Place, Result};

/// The rows of several files as one sequence of batches with the same columns.
///
/// A file is Parquet, whose columns are taken as they are, or any other format that
/// [`raw`](super::raw) reads; the first bad record of such a file is an error. Text columns come as
/// `Utf8`, however the file stores them.
pub struct Rows {
    files: std::vec::IntoIter<PathBuf>,
    schema: SchemaRef,
    rows: u64,
    open: Option<OpenFile>,
}

struct OpenFile {
    path: Arc<Path>,
    reader: Reader,
    next_row: u64,
}

enum Reader {
    /// With the rows of the file.
    Parquet(ParquetRecordBatchReader, u64),
    Raw(RawFile),
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
        let mut rows = Some(0);
        for path in paths {
            let (found, counted) = look_at(path)?;
            rows = rows.zip(counted).map(|(rows, more)| rows + more);
            let expected = schema.get_or_insert_with(|| found.clone());
            if names(expected) != names(&found) {
                let (found, expected) = (names(&found).join(", "), names(expected).join(", "));
                return Err(Error::file(
                    path,
                    format!("has the columns {found}, the files before it {expected}"),
                ));
            }
        }
        let schema = schema.ok_or_else(|| Error::Data("no input files".into()))?;
        Ok(Self { files: Vec::from(paths).into_iter(), schema, rows: rows.unwrap_or(0), open: None })
    }

    /// Columns of every batch.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Rows in all files; 0 if some are not Parquet, for then nobody knows before they are read.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Share of the open file that is read, in (0, 1]; 1 if none is open.
    ///
    /// # Errors
    /// [`Error::Io`] if its size cannot be found.
    pub(crate) fn share_read(&self) -> Result<f64> {
        self.open.as_ref().map_or(Ok(1.0), OpenFile::share_read)
    }

    fn next_batch(&mut self) -> Result<Option<RowBatch>> {
        loop {
            if self.open.is_none() {
                let Some(path) = self.files.next() else { return Ok(None) };
                self.open = Some(OpenFile::open(path)?);
            }
            let Some(file) = &mut self.open else { continue };
            match file.next_batch(&self.schema)? {
                None => self.open = None,
                Some(batch) if batch.num_rows() == 0 => {}
                Some(batch) => {
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

impl OpenFile {
    fn open(path: PathBuf) -> Result<Self> {
        let reader = if is_parquet(&path)? {
            let builder = open_parquet(&path)?.with_batch_size(BATCH_ROWS);
            let rows = rows_of(&builder);
            Reader::Parquet(builder.build().map_err(Error::parquet(&path))?, rows)
        } else {
            Reader::Raw(RawFile::open(&path, &SourceOptions::default(), true)?)
        };
        Ok(Self { path: path.into(), reader, next_row: 0 })
    }

    fn next_batch(&mut self, schema: &SchemaRef) -> Result<Option<RecordBatch>> {
        let batch = match &mut self.reader {
            Reader::Parquet(reader, _) => next_batch(&self.path, reader)?,
            Reader::Raw(file) => next_parsed(file)?,
        };
        let batch = batch.map(|batch| to_utf8(&batch, schema)).transpose();
        batch.map_err(|error| Error::file(&self.path, format!("damaged ({error})")))
    }

    fn share_read(&self) -> Result<f64> {
        let (read, all) = match &self.reader {
            Reader::Parquet(_, rows) => (self.next_row, *rows),
            Reader::Raw(file) => (file.taken(), self.path.metadata().map_err(Error::io(&self.path))?.len()),
        };
        Ok((read.max(1) as f64 / all.max(1) as f64).min(1.0))
    }
}

/// The next rows of a raw file; what cannot be read must not be left out in silence here.
fn next_parsed(file: &mut RawFile) -> Result<Option<RecordBatch>> {
    let Some(piece) = file.next_piece()? else { return Ok(None) };
    let parsed = raw::parse(file.plan(), piece)?;
    match parsed.bad.samples.first() {
        None => Ok(Some(parsed.batch)),
        Some(bad) => Err(Error::Record {
            path: file.plan().path.to_path_buf(),
            place: file.plan().format.place(bad.line),
            problem: format!(
                "{}; read this file with the command `sources` first, which counts such records and goes on",
                bad.problem()
            ),
        }),
    }
}

/// Columns of a file, and its rows if they are counted in it.
fn look_at(path: &Path) -> Result<(SchemaRef, Option<u64>)> {
    if is_parquet(path)? {
        let builder = open_parquet(path)?;
        return Ok((as_utf8(builder.schema()), Some(rows_of(&builder))));
    }
    let file = RawFile::open(path, &SourceOptions::default(), true)?;
    Ok((file.plan().schema.clone(), None))
}

fn rows_of(file: &ParquetRecordBatchReaderBuilder<File>) -> u64 {
    file.metadata().file_metadata().num_rows().unsigned_abs()
}

fn is_parquet(path: &Path) -> Result<bool> {
    let mut magic = Vec::with_capacity(4);
    File::open(path).and_then(|file| file.take(4).read_to_end(&mut magic)).map_err(Error::io(path))?;
    // A file that only calls itself Parquet is refused by the Parquet reader, which says why.
    Ok(magic == b"PAR1" || path.extension().is_some_and(|extension| extension == "parquet"))
}

impl RowBatch {
    /// A text column without nulls.
    ///
    /// # Errors
    /// [`Error::File`] if there is no such text column, [`Error::Record`] naming the row of a null.
    pub fn text(&self, name: &str) -> Result<&StringArray> {
        let column = text_column(&self.batch, name).map_err(|problem| Error::file(&self.path, problem))?;
        self.without_null(name, column)
    }

    /// The column `name` if no row of it is null.
    ///
    /// # Errors
    /// [`Error::Record`] naming the row of a null.
    pub(crate) fn without_null<A: Array>(&self, name: &str, column: A) -> Result<A> {
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
    let column = batch.column_by_name(name).ok_or_else(|| not_found(name, batch.schema_ref()))?;
    column.as_string_opt().ok_or_else(|| format!("column {name:?} is {}, not text", column.data_type()))
}

/// What is told of a column that is not there.
pub(crate) fn not_found(name: &str, schema: &Schema) -> String {
    format!("column {name:?} not found (columns: {}); name another one", names(schema).join(", "))
}

pub(crate) fn names(schema: &Schema) -> Vec<&str> {
    schema.fields().iter().map(|f| f.name().as_str()).collect()
}

/// Whether a column holds text, in whatever form: plain, large, views, or a dictionary of any of these.
#[must_use]
pub fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Dictionary(_, values) => values.is_string(),
        kind => kind.is_string(),
    }
}

pub(crate) fn as_utf8(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| match is_text(field.data_type()) {
        true => Arc::new(Field::new(field.name(), DataType::Utf8, field.is_nullable())),
        false => field.clone(),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

pub(crate) fn to_utf8(
    batch: &RecordBatch,
    schema: &SchemaRef,
) -> Result<RecordBatch, arrow::error::ArrowError> {
    let columns =
        batch.columns().iter().zip(schema.fields()).map(|(column, field)| cast(column, field.data_type()));
    RecordBatch::try_new(schema.clone(), columns.collect::<Result<_, _>>()?)
}
