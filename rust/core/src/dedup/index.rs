//! An index: the compared columns of all rows that were kept so far, so that later rows are checked
//! against them.
//!
//! It is a Parquet file that any tool reads. Its metadata hold the names of the columns, the number of
//! rows and a hash of every value, so that a damaged file is refused and never believed. Signatures are
//! not stored: making them costs less than the decompression of the text, and the same index serves
//! whatever n-grams and threshold are asked for.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::texts::{TableTexts, Texts};
use crate::error::{Error, Result};
use crate::io::{ParquetOutput, Rows, parquet_metadata, text_column};

const KEY: &str = "smolchat_fast.dedup.index";
const VERSION: u32 = 1;

/// What the metadata of an index say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seal {
    version: u32,
    columns: Vec<String>,
    rows: u64,
    /// XXH3-64 of every value and its length, in hexadecimal digits.
    hash: String,
}

/// Hash of the values of some rows, however they are cut into batches.
#[derive(Default)]
struct Checksum {
    hash: Xxh3,
    rows: u64,
}

impl Checksum {
    fn add(&mut self, batch: &RecordBatch, columns: &[String]) -> Result<()> {
        let texts = TableTexts::new(std::slice::from_ref(batch), columns)?;
        for row in 0..texts.rows() {
            for text in texts.parts(row) {
                self.hash.update(&(text.len() as u64).to_le_bytes());
                self.hash.update(text.as_bytes());
            }
        }
        self.rows += texts.rows() as u64;
        Ok(())
    }

    fn seal(&self, columns: &[String]) -> Seal {
        let hash = format!("{:016x}", self.hash.digest());
        Seal { version: VERSION, columns: columns.to_vec(), rows: self.rows, hash }
    }
}

/// An index on its way to a file.
pub struct IndexWriter {
    file: ParquetOutput,
    schema: SchemaRef,
    columns: Vec<String>,
    checksum: Checksum,
}

impl IndexWriter {
    /// Opens `path` for rows with these columns.
    ///
    /// # Errors
    /// [`Error::Io`] with the path.
    pub fn create(path: &Path, columns: &[String]) -> Result<Self> {
        let fields = columns.iter().map(|name| Field::new(name, DataType::Utf8, false));
        let schema: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let file = ParquetOutput::create(path, schema.clone())?;
        Ok(Self { file, schema, columns: columns.to_vec(), checksum: Checksum::default() })
    }

    /// Appends the columns of the index of these rows.
    ///
    /// # Errors
    /// [`Error::Data`] if a column is missing, is not text or holds a null; [`Error::Io`].
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let columns = self.columns.iter().map(|name| {
            let column = text_column(batch, name).map_err(Error::Data)?;
            Ok(Arc::new(column.clone()) as Arc<dyn Array>)
        });
        let batch = RecordBatch::try_new(self.schema.clone(), columns.collect::<Result<_>>()?)
            .map_err(|error| Error::Data(error.to_string()))?;
        self.checksum.add(&batch, &self.columns)?;
        self.file.write(&batch)
    }

    /// Seals the index and gives it its final name; returns its rows.
    ///
    /// # Errors
    /// [`Error::Io`], for example a full disk; nothing is left behind then.
    pub fn finish(mut self) -> Result<u64> {
        let seal = serde_json::to_string(&self.checksum.seal(&self.columns));
        self.file.note(KEY, seal.map_err(|error| Error::Internal(error.to_string()))?);
        self.file.finish()
    }
}

/// The rows of an index, batch by batch; an error at the end if they are not those that were written.
pub struct IndexReader {
    path: PathBuf,
    rows: Rows,
    seal: Seal,
    checksum: Checksum,
    done: bool,
}

impl IndexReader {
    /// Opens an index.
    ///
    /// # Errors
    /// [`Error::File`] if this is no index or a damaged one; [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self> {
        let note = parquet_metadata(path, KEY)?.ok_or_else(|| {
            Error::file(path, "is no index of dedup; make one with --grown, or give such rows as --against")
        })?;
        let seal: Seal = serde_json::from_str(&note).map_err(|error| damaged(path, error))?;
        if seal.version != VERSION {
            let problem = format!("is an index of version {}, this is {VERSION}; make it anew", seal.version);
            return Err(Error::file(path, problem));
        }
        let rows = Rows::open(std::slice::from_ref(&path.to_owned()))?;
        Ok(Self { path: path.to_owned(), rows, seal, checksum: Checksum::default(), done: false })
    }

    /// The columns of its rows.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.seal.columns
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.seal.rows
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        match self.rows.next().transpose()? {
            Some(found) => {
                let summed = self.checksum.add(&found.batch, &self.seal.columns);
                summed.map_err(|error| damaged(&self.path, error))?;
                Ok(Some(found.batch))
            }
            None if self.checksum.seal(&self.seal.columns) == self.seal => Ok(None),
            None => Err(damaged(&self.path, "its hash is not that of its rows")),
        }
    }
}

impl Iterator for IndexReader {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let batch = self.next_batch().transpose();
        self.done = !matches!(batch, Some(Ok(_)));
        batch
    }
}

fn damaged(path: &Path, how: impl std::fmt::Display) -> Error {
    Error::file(path, format!("damaged index ({how}); make it anew from the rows"))
}
