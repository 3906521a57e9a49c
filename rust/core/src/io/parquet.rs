//! Parquet files: opened, and written through [`Output`].

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread::{Builder, JoinHandle};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use crossbeam_channel::{Sender, bounded};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use super::Output;
use crate::error::{Error, Result};

/// Rows of a batch; a few megabytes of text.
pub(super) const BATCH_ROWS: usize = 8_192;

/// Rows of a row group: what the stream permutes and what a reader holds at least.
const ROW_GROUP_ROWS: usize = 16_384;

/// Groups of batches of [`BATCH_ROWS`] rows or more that wait to be written.
const QUEUE: usize = 4;

/// A Parquet file that appears under its name only when it is whole.
///
/// Encoding and compression take about as long as the work that made the rows, so they run on a thread of
/// their own beside it. What goes wrong there is told by the next call.
pub struct ParquetOutput {
    path: PathBuf,
    /// Batches not handed over yet: small ones go together.
    pending: Vec<RecordBatch>,
    pending_rows: usize,
    /// Gone once the last batch is handed over.
    batches: Option<Sender<Vec<RecordBatch>>>,
    writer: Option<JoinHandle<Result<ArrowWriter<Output>, ParquetError>>>,
    notes: Vec<KeyValue>,
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
        let mut writer =
            ArrowWriter::try_new(output, schema, Some(properties)).map_err(Error::parquet(path))?;
        let (batches, waiting) = bounded::<Vec<RecordBatch>>(QUEUE);
        let write = move || {
            waiting.iter().flatten().try_for_each(|batch| writer.write(&batch))?;
            Ok(writer)
        };
        let writer = Builder::new().name("smolchat-write".into()).spawn(write).map_err(Error::io(path))?;
        Ok(Self {
            path: path.to_owned(),
            pending: Vec::new(),
            pending_rows: 0,
            batches: Some(batches),
            writer: Some(writer),
            notes: Vec::new(),
            rows: 0,
        })
    }

    /// Appends a batch.
    ///
    /// # Errors
    /// [`Error::Io`], for example a full disk.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        self.pending.push(batch.clone());
        self.pending_rows += batch.num_rows();
        if self.pending_rows < BATCH_ROWS || self.hand_over() {
            return Ok(());
        }
        // The writer is gone: it says why.
        self.close().map(drop)
    }

    /// False if nobody takes the batches.
    fn hand_over(&mut self) -> bool {
        let batches = std::mem::take(&mut self.pending);
        self.pending_rows = 0;
        self.batches.as_ref().is_some_and(|writer| writer.send(batches).is_ok())
    }

    /// Says something about the file in its metadata.
    pub fn note(&mut self, key: &str, value: String) {
        self.notes.push(KeyValue::new(key.to_owned(), value));
    }

    /// Writes the footer, gives the file its final name and returns its rows.
    ///
    /// # Errors
    /// [`Error::Io`], for example a full disk; nothing is left behind then.
    pub fn finish(mut self) -> Result<u64> {
        self.hand_over();
        let mut writer = self.close()?;
        for note in self.notes.drain(..) {
            writer.append_key_value_metadata(note);
        }
        writer.into_inner().map_err(Error::parquet(&self.path))?.finish()?;
        Ok(self.rows)
    }

    /// Waits until all batches are written.
    fn close(&mut self) -> Result<ArrowWriter<Output>> {
        self.batches = None;
        let writer = self.writer.take().ok_or_else(|| Error::Internal("already closed".into()))?;
        let written = writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        written.map_err(Error::parquet(&self.path))
    }
}

impl Drop for ParquetOutput {
    fn drop(&mut self) {
        self.batches = None;
        // The partial file must be gone when this returns; what failed was told or no longer matters.
        let _ = self.writer.take().map(JoinHandle::join);
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{AsArray, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};

    use super::*;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("row", DataType::Int64, false)]))
    }

    /// Rows 0 to 49,999 in batches of 600.
    fn batches() -> Vec<RecordBatch> {
        let batch = |start: i64| {
            let rows = Int64Array::from_iter_values(start..(start + 600).min(50_000));
            RecordBatch::try_new(schema(), vec![Arc::new(rows)]).expect("one column")
        };
        (0..50_000).step_by(600).map(batch).collect()
    }

    #[test]
    fn all_rows_come_back_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("rows.parquet");
        let mut output = ParquetOutput::create(&path, schema()).expect("creates");
        batches().iter().for_each(|batch| output.write(batch).expect("writes"));
        output.note("key", "value".into());
        assert!(!path.exists());
        assert_eq!(output.finish().expect("renames"), 50_000);
        let reader = open_parquet(&path).and_then(|file| file.build().map_err(Error::parquet(&path)));
        let rows: Vec<i64> = reader
            .expect("opens")
            .flat_map(|batch| batch.expect("reads").column(0).as_primitive::<Int64Type>().values().to_vec())
            .collect();
        assert_eq!(rows, (0..50_000).collect::<Vec<_>>());
        assert_eq!(parquet_metadata(&path, "key").expect("opens").as_deref(), Some("value"));
    }

    #[test]
    fn a_file_given_up_leaves_nothing_behind() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut output =
            ParquetOutput::create(&folder.path().join("rows.parquet"), schema()).expect("creates");
        batches().iter().for_each(|batch| output.write(batch).expect("writes"));
        drop(output);
        assert_eq!(std::fs::read_dir(folder.path()).expect("lists").count(), 0);
    }

    #[test]
    fn what_the_writer_meets_is_told_with_the_name_of_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("rows.parquet");
        let mut output = ParquetOutput::create(&path, schema()).expect("creates");
        let text = StringArray::from(vec!["text, not a number"; BATCH_ROWS]);
        let fields = Schema::new(vec![Field::new("row", DataType::Utf8, false)]);
        let other = RecordBatch::try_new(Arc::new(fields), vec![Arc::new(text)]).expect("one column");
        let told = output.write(&other).and_then(|()| output.finish().map(drop));
        assert!(told.expect_err("another type").to_string().contains("rows.parquet"));
        assert_eq!(std::fs::read_dir(folder.path()).expect("lists").count(), 0);
    }
}
