//! Rows of text to rows of token ids, encoded once and then read by the stream as often as it likes.
//!
//! Each text column becomes a column of the same name with lists of ids, `[EOS]` the last of each:
//! 16-bit numbers where the vocabulary allows it. The file's metadata says by which tokenizer, so that
//! no reader takes the ids of one vocabulary for those of another. Other columns stay as they are.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ListArray, RecordBatch, StringArray, UInt16Array, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::io::{ParquetOutput, RowBatch, Rows, TOKENIZER_KEY};
use crate::job::Job;
use crate::tokenizer::Encoder;
use crate::words::count::text_columns;

/// Batches of rows that are in memory at a time, for each thread.
const BATCHES_A_THREAD: usize = 2;

/// Texts that a worker takes at a time.
const GROUP_TEXTS: usize = 256;

/// What is encoded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EncodeOptions {
    /// Columns that are encoded; none: every text column but `source`.
    pub columns: Vec<String>,
}

/// What was encoded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EncodeReport {
    /// Rows read and written.
    pub rows: u64,
    /// Ids written, those that end a text included.
    pub tokens: u64,
    /// Bytes of text encoded.
    pub bytes: u64,
    /// Hash of the tokenizer, as it stands in the file's metadata.
    pub tokenizer: String,
}

/// The ids of each text as one list, on the threads of the job.
///
/// # Errors
/// As [`Encoder::encode`]; [`Error::Data`] if there are over 2 G ids; [`Error::Cancelled`].
pub fn encode_texts(texts: &[&str], encoder: &Encoder, job: &Job) -> Result<ListArray> {
    let group = |texts: &[&str]| {
        let (mut ids, mut lengths) = (Vec::new(), Vec::with_capacity(texts.len()));
        for text in texts {
            let encoded = encoder.encode(text, usize::MAX)?;
            lengths.push(encoded.len());
            ids.extend(encoded);
        }
        job.check()?;
        Ok((ids, lengths))
    };
    let groups: Vec<(Vec<u32>, Vec<usize>)> =
        job.run(|| texts.par_chunks(GROUP_TEXTS).map(group).collect::<Result<_>>())?;
    let lengths = groups.iter().flat_map(|(_, lengths)| lengths.iter().copied());
    let ids = groups.iter().flat_map(|(ids, _)| ids);
    if i32::try_from(groups.iter().map(|(ids, _)| ids.len()).sum::<usize>()).is_err() {
        return Err(Error::Data("over 2 G token ids in one column; encode fewer rows at a time".into()));
    }
    let offsets = OffsetBuffer::from_lengths(lengths);
    let kind = id_type(encoder);
    let values: ArrayRef = if kind == DataType::UInt16 {
        Arc::new(ids.map(|&id| id as u16).collect::<UInt16Array>())
    } else {
        Arc::new(ids.copied().collect::<UInt32Array>())
    };
    ListArray::try_new(item(kind), offsets, values, None).map_err(|error| Error::Internal(error.to_string()))
}

/// Encodes row files into one Parquet file of ids, in the order of the inputs.
///
/// # Errors
/// [`Error::File`], [`Error::Record`] and [`Error::Io`] name the file; [`Error::Cancelled`].
pub fn encode_files(
    inputs: &[PathBuf],
    tokenizer: &Path,
    out: &Path,
    options: &EncodeOptions,
    job: &Job,
) -> Result<EncodeReport> {
    let encoder = Encoder::load(tokenizer)?;
    let mut rows = Rows::open(inputs)?;
    let columns =
        text_columns(rows.schema(), &options.columns).map_err(|problem| Error::file(&inputs[0], problem))?;
    let schema = encoded_schema(rows.schema(), &columns, &encoder);
    let mut output = ParquetOutput::create(out, schema.clone())?;
    let mut report = EncodeReport { tokenizer: encoder.fingerprint(), ..EncodeReport::default() };
    job.phase("encode", rows.rows());
    let next =
        |rows: &mut Rows| rows.by_ref().take(BATCHES_A_THREAD * job.threads()).collect::<Result<Vec<_>>>();
    let mut batches = next(&mut rows)?;
    while !batches.is_empty() {
        // The next batches are read while these are encoded.
        let work =
            || batches.iter().map(|batch| encode_batch(batch, &columns, &schema, &encoder, job)).collect();
        let (encoded, read): (Result<Vec<_>>, _) = job.run(|| rayon::join(work, || next(&mut rows)));
        for (batch, tokens, bytes) in encoded? {
            output.write(&batch)?;
            report.tokens += tokens;
            report.bytes += bytes;
            report.rows += batch.num_rows() as u64;
            job.advance(batch.num_rows() as u64)?;
        }
        batches = read?;
    }
    output.finish()?;
    Ok(report)
}

/// A batch with its text columns encoded; its ids and the bytes they stand for.
fn encode_batch(
    batch: &RowBatch,
    names: &[String],
    schema: &SchemaRef,
    encoder: &Encoder,
    job: &Job,
) -> Result<(RecordBatch, u64, u64)> {
    let mut columns = batch.batch.columns().to_vec();
    let (mut tokens, mut bytes) = (0, 0);
    for name in names {
        let texts: &StringArray = batch.text(name)?;
        let ids = encode_texts(&(0..texts.len()).map(|i| texts.value(i)).collect::<Vec<_>>(), encoder, job)?;
        tokens += ids.values().len() as u64;
        bytes += (0..texts.len()).map(|i| texts.value(i).len() as u64).sum::<u64>();
        let place = batch.batch.schema_ref().index_of(name);
        columns[place.map_err(|error| Error::Internal(error.to_string()))?] = Arc::new(ids);
    }
    let encoded = RecordBatch::try_new(schema.clone(), columns);
    Ok((encoded.map_err(|error| Error::Internal(error.to_string()))?, tokens, bytes))
}

fn encoded_schema(schema: &Schema, columns: &[String], encoder: &Encoder) -> SchemaRef {
    let encoded = |field: &Arc<Field>| {
        if columns.contains(field.name()) {
            Arc::new(Field::new(field.name(), DataType::List(item(id_type(encoder))), false))
        } else {
            field.clone()
        }
    };
    let mut metadata = schema.metadata().clone();
    metadata.insert(TOKENIZER_KEY.into(), encoder.fingerprint());
    Arc::new(Schema::new_with_metadata(schema.fields().iter().map(encoded).collect::<Vec<_>>(), metadata))
}

/// The smallest type that holds every id.
fn id_type(encoder: &Encoder) -> DataType {
    if encoder.highest_id() <= u32::from(u16::MAX) { DataType::UInt16 } else { DataType::UInt32 }
}

fn item(kind: DataType) -> Arc<Field> {
    Arc::new(Field::new("item", kind, false))
}
