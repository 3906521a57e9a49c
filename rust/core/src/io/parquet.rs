//! Parquet files: opened, and written through [`Output`].

use std::cell::Cell;
use std::collections::VecDeque;
use std::fs::File;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::thread::{Builder, JoinHandle};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use crossbeam_channel::{Receiver, Sender, bounded};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves,
};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;

use super::Output;
use crate::error::{Error, Result};

/// Rows of a batch; a few megabytes of text.
pub(super) const BATCH_ROWS: usize = 8_192;

/// Rows of a row group: what the stream permutes and what a reader holds at least.
const ROW_GROUP_ROWS: usize = 16_384;

/// Different values of a column that a row group names by number: plenty for names of sources, and soon full
/// where each value is a text of its own, for which the search for equal ones is lost time.
const DICTIONARY_BYTES: usize = 1 << 16;

/// Threads that encode and compress; each takes a row group of its own.
const ENCODERS: usize = 2;

/// Row groups that are under way or wait for their turn in the file.
const QUEUE: usize = 2 * ENCODERS;

/// A Parquet file that appears under its name only when it is whole.
///
/// Encoding and compression take longer than most work that made the rows, so they run on threads of their
/// own beside it. What goes wrong there is told by a later call.
pub struct ParquetOutput {
    path: PathBuf,
    schema: SchemaRef,
    file: SerializedFileWriter<Output>,
    columns: ArrowRowGroupWriterFactory,
    /// Rows of the next row group.
    pending: Vec<RecordBatch>,
    pending_rows: usize,
    encoders: Encoders,
    /// Row groups that were handed over, in order.
    encoded: VecDeque<Receiver<Encoded>>,
    row_groups: usize,
    rows: u64,
}

type Encoded = Result<Vec<ArrowColumnChunk>, ParquetError>;

impl ParquetOutput {
    /// Opens `path` for rows of this schema (zstd, row groups of 16,384 rows).
    ///
    /// # Errors
    /// [`Error::Io`] with the path.
    pub fn create(path: &Path, schema: SchemaRef) -> Result<Self> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_dictionary_page_size_limit(DICTIONARY_BYTES)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .build();
        let output = Output::create(path)?;
        let (file, columns) = ArrowWriter::try_new(output, schema.clone(), Some(properties))
            .and_then(ArrowWriter::into_serialized_writer)
            .map_err(Error::parquet(path))?;
        Ok(Self {
            path: path.to_owned(),
            schema,
            file,
            columns,
            pending: Vec::new(),
            pending_rows: 0,
            encoders: Encoders::start().map_err(Error::io(path))?,
            encoded: VecDeque::new(),
            row_groups: 0,
            rows: 0,
        })
    }

    /// Appends a batch.
    ///
    /// # Errors
    /// [`Error::Io`], for example a full disk.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        let mut start = 0;
        while start < batch.num_rows() {
            let rows = (batch.num_rows() - start).min(ROW_GROUP_ROWS - self.pending_rows);
            self.pending.push(batch.slice(start, rows));
            self.pending_rows += rows;
            start += rows;
            if self.pending_rows == ROW_GROUP_ROWS {
                self.hand_over()?;
            }
        }
        Ok(())
    }

    /// Says something about the file in its metadata.
    pub fn note(&mut self, key: &str, value: String) {
        self.file.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
    }

    /// Writes the footer, gives the file its final name and returns its rows.
    ///
    /// # Errors
    /// [`Error::Io`], for example a full disk; nothing is left behind then.
    pub fn finish(mut self) -> Result<u64> {
        if self.pending_rows > 0 {
            self.hand_over()?;
        }
        while !self.encoded.is_empty() {
            self.append_next()?;
        }
        self.file.into_inner().map_err(Error::parquet(&self.path))?.finish()?;
        Ok(self.rows)
    }

    /// Gives the pending rows to the encoders, and takes from them what is more than the queue holds.
    fn hand_over(&mut self) -> Result<()> {
        let columns =
            self.columns.create_column_writers(self.row_groups).map_err(Error::parquet(&self.path))?;
        let (schema, batches) = (self.schema.clone(), std::mem::take(&mut self.pending));
        self.encoded.push_back(self.encoders.encode(RowGroup { schema, batches, columns })?);
        (self.pending_rows, self.row_groups) = (0, self.row_groups + 1);
        while self.encoded.len() > QUEUE {
            self.append_next()?;
        }
        Ok(())
    }

    /// Appends the oldest row group to the file.
    fn append_next(&mut self) -> Result<()> {
        let Some(waiting) = self.encoded.pop_front() else { return Ok(()) };
        let chunks = waiting.recv().map_err(|_| Error::Internal("an encoder ended early".into()))?;
        let append = || {
            let chunks = chunks?;
            let mut row_group = self.file.next_row_group()?;
            chunks.into_iter().try_for_each(|chunk| chunk.append_to_row_group(&mut row_group))?;
            row_group.close().map(drop)
        };
        append().map_err(Error::parquet(&self.path))
    }
}

/// Rows and the writers of their columns.
struct RowGroup {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    columns: Vec<ArrowColumnWriter>,
}

impl RowGroup {
    fn encode(mut self) -> Encoded {
        for batch in &self.batches {
            let mut columns = self.columns.iter_mut();
            for (field, array) in self.schema.fields().iter().zip(batch.columns()) {
                // A nested column has a writer for each of its leaves.
                let leaves = compute_leaves(field, array)?;
                leaves.iter().zip(&mut columns).try_for_each(|(leaf, column)| column.write(leaf))?;
            }
        }
        self.columns.into_iter().map(ArrowColumnWriter::close).collect()
    }
}

/// Threads that encode row groups.
struct Encoders {
    /// Gone once there is no more to come.
    work: Option<Sender<(RowGroup, Sender<Encoded>)>>,
    threads: Vec<JoinHandle<()>>,
}

impl Encoders {
    fn start() -> std::io::Result<Self> {
        let (work, waiting) = bounded::<(RowGroup, Sender<Encoded>)>(QUEUE);
        let run = |waiting: Receiver<(RowGroup, Sender<Encoded>)>| {
            for (rows, reply) in waiting {
                // Nobody listens if the file was given up.
                let _ = reply.send(rows.encode());
            }
        };
        let threads = (0..ENCODERS).map(|number| {
            let waiting = waiting.clone();
            Builder::new().name(format!("smolchat-write-{number}")).spawn(move || run(waiting))
        });
        Ok(Self { threads: threads.collect::<std::io::Result<_>>()?, work: Some(work) })
    }

    /// Where the encoded columns will come from.
    fn encode(&self, rows: RowGroup) -> Result<Receiver<Encoded>> {
        let (reply, encoded) = bounded(1);
        let taken = self.work.as_ref().is_some_and(|work| work.send((rows, reply)).is_ok());
        if taken { Ok(encoded) } else { Err(Error::Internal("the encoders ended early".into())) }
    }
}

impl Drop for Encoders {
    fn drop(&mut self) {
        self.work = None;
        // No thread outlives the file; one that panicked was told of by its reply that never came.
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
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

thread_local! {
    /// This thread turns a panic into an error, so nobody needs to read of it.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Some damage makes the Parquet reader panic: that is an error of the file too.
fn guarded<T>(path: &Path, read: impl FnOnce() -> Result<T>) -> Result<T> {
    static QUIET_HOOK: Once = Once::new();
    QUIET_HOOK.call_once(|| {
        let told = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !GUARDED.get() {
                told(panic);
            }
        }));
    });
    GUARDED.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(read));
    GUARDED.set(false);
    outcome.unwrap_or_else(|_| Err(Error::file(path, "damaged (the Parquet reader cannot make sense of it)")))
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
