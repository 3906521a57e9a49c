//! Training and validation rows, parted by a hash of the prompt.
//!
//! A row's side depends on its prompt and the seed alone, so the same prompt never stands on both
//! sides, and adding rows later moves none of the earlier ones.

use std::path::{Path, PathBuf};

use arrow::array::{Array, BooleanArray, StringArray};
use arrow::compute::{filter_record_batch, not};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::error::{Error, Result};
use crate::io::{ParquetOutput, Rows};
use crate::job::Job;

/// How rows are parted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SplitOptions {
    /// Share of the rows that become validation rows, in [0, 1).
    pub valid_share: f64,
    /// Column whose text decides; rows with the same text stay together.
    pub column: String,
    /// Another seed gives another split.
    pub seed: u64,
}

impl Default for SplitOptions {
    fn default() -> Self {
        Self { valid_share: 0.01, column: "prompt".into(), seed: 1 }
    }
}

/// What a split did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SplitReport {
    /// Rows read.
    pub rows_in: u64,
    /// Rows for training.
    pub train_rows: u64,
    /// Rows for validation.
    pub valid_rows: u64,
}

/// Parts the rows of Parquet files into `train` and `valid`, both in input order.
///
/// # Errors
/// [`Error::Option`] if `valid_share` is out of range; [`Error::File`], [`Error::Record`] and
/// [`Error::Io`] name the file; [`Error::Cancelled`] if the job was asked to stop.
pub fn split_files(
    inputs: &[PathBuf],
    train: &Path,
    valid: &Path,
    options: &SplitOptions,
    job: &Job,
) -> Result<SplitReport> {
    if !(0.0..1.0).contains(&options.valid_share) {
        return Err(Error::option("valid_share", options.valid_share, "must be in [0, 1)"));
    }
    let rows = Rows::open(inputs)?;
    job.phase("split", rows.rows());
    let mut train = ParquetOutput::create(train, rows.schema().clone())?;
    let mut valid = ParquetOutput::create(valid, rows.schema().clone())?;
    for found in rows {
        let found = found?;
        let is_valid = is_valid(found.text(&options.column)?, options);
        write_where(&mut valid, &found.batch, &is_valid)?;
        write_where(&mut train, &found.batch, &not(&is_valid).map_err(internal)?)?;
        job.advance(found.batch.num_rows() as u64)?;
    }
    let (train_rows, valid_rows) = (train.finish()?, valid.finish()?);
    Ok(SplitReport { rows_in: train_rows + valid_rows, train_rows, valid_rows })
}

fn is_valid(texts: &StringArray, options: &SplitOptions) -> BooleanArray {
    // The hash is uniform over u64, so this share of it is this share of the distinct texts.
    let limit = (options.valid_share * u64::MAX as f64) as u64;
    (0..texts.len())
        .map(|i| Some(xxh3_64_with_seed(texts.value(i).as_bytes(), options.seed) < limit))
        .collect()
}

fn write_where(
    output: &mut ParquetOutput,
    batch: &arrow::array::RecordBatch,
    mask: &BooleanArray,
) -> Result<()> {
    output.write(&filter_record_batch(batch, mask).map_err(internal)?)
}

fn internal(error: arrow::error::ArrowError) -> Error {
    Error::Internal(error.to_string())
}
