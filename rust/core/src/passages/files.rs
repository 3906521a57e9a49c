//! Tables and row files of text to pairs; the other columns go along.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringBuilder, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use rayon::prelude::*;
use serde::Serialize;

use super::{PassageOptions, passages};
use crate::error::{Error, Result};
use crate::io::{ParquetOutput, RowBatch, Rows, as_utf8, not_found, text_column, to_utf8};
use crate::job::Job;

/// Batches read before they are cut together.
const BATCHES_A_THREAD: usize = 2;
/// Rows that one thread cuts at a time.
const SLICE_ROWS: usize = 1_024;
/// Columns that take the place of the text.
const PAIR: [&str; 2] = ["prompt", "response"];

/// What cutting did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PassageReport {
    /// Texts read.
    pub rows_in: u64,
    /// Passages made of them.
    pub rows_out: u64,
    /// Texts too short for any passage.
    pub short: u64,
}

/// Cuts the texts of batches; `prompt` and `response` come first, then the other columns.
///
/// # Errors
/// [`Error::Option`] if an option is out of range; [`Error::Data`] if the column is missing or no text, or
/// another one is called `prompt` or `response`; [`Error::Cancelled`].
pub fn cut_passages(
    batches: &[RecordBatch],
    schema: &Schema,
    options: &PassageOptions,
    job: &Job,
) -> Result<(Vec<RecordBatch>, SchemaRef)> {
    options.check()?;
    let plain = as_utf8(schema);
    let schema = pair_schema(&plain, &options.column).map_err(Error::Data)?;
    job.phase("passages", batches.iter().map(|batch| batch.num_rows() as u64).sum());
    let slices: Vec<RecordBatch> = batches.iter().flat_map(sliced).collect();
    let cut = |slice| {
        let slice = to_utf8(slice, &plain).map_err(internal)?;
        cut_batch(&slice, &schema, options, job).map(|(made, _)| made)
    };
    let made = job.run(|| slices.par_iter().map(cut).collect::<Result<_>>())?;
    Ok((made, schema))
}

/// Cuts the texts of row files into the rows of `out`, in order.
///
/// # Errors
/// [`Error::Option`] if an option is out of range; [`Error::File`] and [`Error::Io`] name the file;
/// [`Error::Cancelled`].
pub fn cut_passages_files(
    inputs: &[PathBuf],
    out: &Path,
    options: &PassageOptions,
    job: &Job,
) -> Result<PassageReport> {
    options.check()?;
    let mut rows = Rows::open(inputs)?;
    let first = inputs.first().map_or(Path::new(""), PathBuf::as_path);
    let schema =
        pair_schema(rows.schema(), &options.column).map_err(|problem| Error::file(first, problem))?;
    job.phase("passages", rows.rows());
    let mut output = ParquetOutput::create(out, schema.clone())?;
    let mut report = PassageReport::default();
    loop {
        let group = rows.by_ref().take(BATCHES_A_THREAD * job.threads()).collect::<Result<Vec<_>>>()?;
        if group.is_empty() {
            break;
        }
        let cut = |found: &RowBatch| {
            cut_batch(&found.batch, &schema, options, job).map_err(|error| match error {
                Error::Data(problem) => Error::file(&found.path, problem),
                other => other,
            })
        };
        for (batch, part) in job.run(|| group.par_iter().map(cut).collect::<Result<Vec<_>>>())? {
            output.write(&batch)?;
            report.add(&part);
        }
    }
    output.finish()?;
    Ok(report)
}

/// A batch, which may be a whole table, in parts for one thread each.
fn sliced(batch: &RecordBatch) -> impl Iterator<Item = RecordBatch> {
    let rows = batch.num_rows();
    (0..rows).step_by(SLICE_ROWS).map(move |start| batch.slice(start, SLICE_ROWS.min(rows - start)))
}

impl PassageReport {
    fn add(&mut self, other: &Self) {
        self.rows_in += other.rows_in;
        self.rows_out += other.rows_out;
        self.short += other.short;
    }
}

fn pair_schema(schema: &Schema, column: &str) -> Result<SchemaRef, String> {
    let fields = schema.fields();
    if schema.index_of(column).is_err() {
        return Err(not_found(column, schema));
    }
    let others: Vec<_> = fields.iter().filter(|field| field.name() != column).cloned().collect();
    if let Some(taken) = others.iter().find(|field| PAIR.contains(&field.name().as_str())) {
        return Err(format!(
            "has a column {:?} beside {column:?}; such rows are pairs already",
            taken.name()
        ));
    }
    let pair = PAIR.map(|name| Arc::new(Field::new(name, DataType::Utf8, false)));
    Ok(Arc::new(Schema::new(pair.into_iter().chain(others).collect::<Vec<_>>())))
}

fn cut_batch(
    batch: &RecordBatch,
    schema: &SchemaRef,
    options: &PassageOptions,
    job: &Job,
) -> Result<(RecordBatch, PassageReport)> {
    let texts = text_column(batch, &options.column).map_err(Error::Data)?;
    let (mut prompts, mut responses) = (StringBuilder::new(), StringBuilder::new());
    let mut rows: Vec<u32> = Vec::new();
    let mut report = PassageReport { rows_in: batch.num_rows() as u64, ..PassageReport::default() };
    for (row, text) in (0..).zip(texts.iter()) {
        let before = rows.len();
        for (prompt, response) in passages(text.unwrap_or_default(), options) {
            prompts.append_value(prompt);
            responses.append_value(response);
            rows.push(row);
        }
        report.short += u64::from(rows.len() == before);
    }
    report.rows_out = rows.len() as u64;
    let rows = UInt32Array::from(rows);
    let others = batch.schema_ref().fields().iter().zip(batch.columns());
    let others = others.filter(|(field, _)| *field.name() != options.column);
    let pair: [ArrayRef; 2] = [Arc::new(prompts.finish()), Arc::new(responses.finish())];
    let columns = pair.into_iter().map(Ok).chain(others.map(|(_, column)| take(column, &rows, None)));
    let made = columns.collect::<Result<Vec<_>, _>>();
    let made = made.and_then(|columns| RecordBatch::try_new(schema.clone(), columns)).map_err(internal)?;
    job.advance(report.rows_in)?;
    Ok((made, report))
}

fn internal(error: ArrowError) -> Error {
    Error::Internal(error.to_string())
}
