//! Parquet files: opened, and written through [`Output`].

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use super::Output;
use crate::error::{Error, Result};

/// Rows of a batch; a few megabytes of text.
pub(super) const BATCH_ROWS: usize = 8_192;

/// Rows of a row group: what the stream permutes and what a reader holds at least.
const ROW_GROUP_ROWS: usize = 16_384;

/// A Parquet file that appears under its name only when it is whole.
pub struct ParquetOutput {
    writer: ArrowWriter<Output>,
    rows: u64,
}

impl ParquetOutput {
    /// Opens `path` for rows of this schema (zstd, row groups of 16,384 rows).
    ///
    /// # Errors
    /// [`Error::Io`] with the path.
    pub fn create(path: &Path, schema: SchemaRef) -> Result<Self> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .build();
        let output = Output::create(path)?;
        let writer = ArrowWriter::try_new(output, schema, Some(properties)).map_err(Error::parquet(path))?;
        Ok(Self { writer, rows: 0 })
    }

    /// Appends a batch.
    ///
    /// # Errors
    /// [`Error::Io`], for example a full disk.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        let written = self.writer.write(batch);
        written.map_err(|error| Error::parquet(self.writer.inner().path())(error))
    }

    /// Says something about the file in its metadata.
    pub fn note(&mut self, key: &str, value: String) {
        self.writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
    }

    /// Writes the footer, gives the file its final name and returns its rows.
    ///
    /// # Errors
    /// [`Error::Io`], for example a full disk; nothing is left behind then.
    pub fn finish(self) -> Result<u64> {
        let path = self.writer.inner().path().to_owned();
        self.writer.into_inner().map_err(Error::parquet(&path))?.finish()?;
        Ok(self.rows)
    }
}

/// Opens a Parquet file and reads its footer.
pub(super) fn open_parquet(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let file = File::open(path).map_err(Error::io(path))?;
    guarded(path, || ParquetRecordBatchReaderBuilder::try_new(file).map_err(Error::parquet(path)))
}

/// The next rows of a Parquet file, `None` at its end.
///
/// # Errors
/// [`Error::File`] with the path if the file is damaged there.
pub(super) fn next_batch(path: &Path, reader: &mut ParquetRecordBatchReader) -> Result<Option<RecordBatch>> {
    guarded(path, || {
        reader.next().transpose().map_err(|error| Error::file(path, format!("damaged ({error})")))
    })
}

/// Some damage makes the Parquet reader panic: that is an error of the file too.
fn guarded<T>(path: &Path, read: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(Error::file(path, "damaged (the Parquet reader cannot make sense of it)")))
}

/// What the metadata of a Parquet file say about a key.
///
/// # Errors
/// [`Error::Io`] or [`Error::File`] with the path.
pub fn parquet_metadata(path: &Path, key: &str) -> Result<Option<String>> {
    let builder = open_parquet(path)?;
    let notes = builder.metadata().file_metadata().key_value_metadata();
    Ok(notes.and_then(|notes| notes.iter().find(|note| note.key == key)?.value.clone()))
}
