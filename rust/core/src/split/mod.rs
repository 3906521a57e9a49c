//! Training rows and the parts held out from them, by a hash of the normalised prompt.
//!
//! Prompts that [`dedup`](crate::dedup) compares as one and the same text, whatever their widths, cases,
//! spaces and sentence marks, have the same hash, so the same question never stands on two sides. What
//! becomes of a prompt depends on neither the order of the rows nor the number of threads.
//!
//! A share is a section of the range of the hash: rows that are added later move none of the earlier ones,
//! and the share of the prompts is met as a draw meets it. A count is filled with whole prompts in the
//! order of their hash, and is met exactly wherever any choice of whole prompts meets it.
//!
//! ```
//! use smolchat_core::job::Job;
//! use smolchat_core::split::{SplitOptions, assign};
//! let prompts = ["一加一等于几？", "天为什么是蓝的", "一加一等于几", "水的化学式"];
//! let options = SplitOptions { parts: vec!["valid=1".into()], ..SplitOptions::default() };
//! let sides = assign(&&prompts[..], &options, &Job::new(None)?)?;
//! assert_eq!(sides[0], sides[2]);
//! assert_eq!(sides.iter().filter(|&&side| side == 1).count(), 1);
//! # Ok::<(), smolchat_core::Error>(())
//! ```

mod options; // NAME=SIZE -> parts
mod plan; // hash of a prompt -> its part
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::iter;
use std::path::{Path, PathBuf};

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Schema;
use rayon::prelude::*;
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64_with_seed;

pub use options::{Part, Size, SplitOptions};
use plan::Plan;

use crate::dedup::{Compared, TableTexts, Texts};
use crate::error::{Error, Result};
use crate::io::{ParquetOutput, RowBatch, Rows, names};
use crate::job::Job;

/// Fewest rows that are worth another thread.
const MIN_ROWS: usize = 256;

/// What a split did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SplitReport {
    /// Rows read.
    pub rows_in: u64,
    /// Rows that no part took: those for training.
    pub train_rows: u64,
    /// Rows of each part.
    pub part_rows: BTreeMap<String, u64>,
}

/// The side of each row: 0 for training, n for the n-th of [`SplitOptions::parts`].
///
/// # Errors
/// [`Error::Option`] if a part cannot be read or asks for more rows than there are,
/// [`Error::Cancelled`] if the job was asked to stop.
pub fn assign(texts: &impl Texts, options: &SplitOptions, job: &Job) -> Result<Vec<u32>> {
    let parts = options.parsed()?;
    job.phase("split", texts.rows() as u64);
    let hashes = hashes(texts, options.seed, job);
    job.advance(texts.rows() as u64)?;
    let mut plan = Plan::new(&parts);
    if plan.wants_counts() {
        plan.fill(&parts, hashes.clone())?;
    }
    Ok(hashes.into_iter().map(|hash| plan.side(hash)).collect())
}

/// Parts the rows of row files into `train` and one file for each of [`SplitOptions::parts`], all in input
/// order. Counts are filled before anything is written, so the inputs are read twice then.
///
/// # Errors
/// [`Error::Option`] if a part cannot be read or asks for more rows than there are; [`Error::File`],
/// [`Error::Record`] and [`Error::Io`] name the file; [`Error::Cancelled`] if the job was asked to stop.
pub fn split_files(
    inputs: &[PathBuf],
    train: &Path,
    part_files: &[PathBuf],
    options: &SplitOptions,
    job: &Job,
) -> Result<SplitReport> {
    let parts = options.parsed()?;
    if parts.len() != part_files.len() {
        let rule = format!("needs as many files, got {}", part_files.len());
        return Err(Error::option("parts", options.parts.join(" "), rule));
    }
    let rows = Rows::open(inputs)?;
    let columns = columns(rows.schema(), options)?;
    let mut plan = Plan::new(&parts);
    if plan.wants_counts() {
        job.phase("prompts", rows.rows());
        let mut all = Vec::new();
        for found in Rows::open(inputs)? {
            let found = found?;
            all.extend(hashes_of(&found, &columns, options.seed, job)?);
            job.advance(found.batch.num_rows() as u64)?;
        }
        job.run(|| plan.fill(&parts, all))?;
    }
    job.phase("split", rows.rows());
    let files = iter::once(train).chain(part_files.iter().map(PathBuf::as_path));
    let create = |path| ParquetOutput::create(path, rows.schema().clone());
    let mut outputs = files.map(create).collect::<Result<Vec<_>>>()?;
    for found in rows {
        let found = found?;
        let hashes = hashes_of(&found, &columns, options.seed, job)?;
        let sides: Vec<u32> = hashes.into_iter().map(|hash| plan.side(hash)).collect();
        for (side, output) in (0..).zip(&mut outputs) {
            let here: BooleanArray = sides.iter().map(|&other| Some(other == side)).collect();
            output.write(&filtered(&found.batch, &here)?)?;
        }
        job.advance(found.batch.num_rows() as u64)?;
    }
    let mut written = outputs.into_iter().map(ParquetOutput::finish).collect::<Result<Vec<_>>>()?.into_iter();
    let train_rows = written.next().unwrap_or(0);
    let part_rows: BTreeMap<_, _> = parts.into_iter().map(|part| part.name).zip(written).collect();
    Ok(SplitReport { rows_in: train_rows + part_rows.values().sum::<u64>(), train_rows, part_rows })
}

/// The columns whose text decides: those that are named, else `prompt`, else `text`.
///
/// # Errors
/// [`Error::Option`] if none is named and neither is there.
pub fn columns(schema: &Schema, options: &SplitOptions) -> Result<Vec<String>> {
    if !options.columns.is_empty() {
        return Ok(options.columns.clone());
    }
    let found = names(schema);
    let usual = ["prompt", "text"].into_iter().find(|name| found.contains(name));
    usual.map(|name| vec![name.to_owned()]).ok_or_else(|| {
        Error::option(
            "columns",
            "()",
            format!("name the columns that decide; there are {}", found.join(", ")),
        )
    })
}

/// The hashes of the rows of a file; an error names file and row.
fn hashes_of(found: &RowBatch, columns: &[String], seed: u64, job: &Job) -> Result<Vec<u64>> {
    columns.iter().try_for_each(|name| found.text(name).map(|_| ()))?;
    Ok(hashes(&TableTexts::new(std::slice::from_ref(&found.batch), columns)?, seed, job))
}

fn hashes(texts: &impl Texts, seed: u64, job: &Job) -> Vec<u64> {
    let hash = |compared: &mut Compared, row| {
        compared.fill(texts.parts(row), true);
        xxh3_64_with_seed(bytemuck::cast_slice(compared.codes()), seed)
    };
    let rows = || (0..texts.rows()).into_par_iter().with_min_len(MIN_ROWS);
    job.run(|| rows().map_init(Compared::default, hash).collect())
}

fn filtered(batch: &RecordBatch, here: &BooleanArray) -> Result<RecordBatch> {
    filter_record_batch(batch, here).map_err(|error| Error::Internal(error.to_string()))
}
