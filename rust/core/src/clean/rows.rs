//! Cleaning of rows: batches in memory and files.

use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};

use super::report::CleanReport;
use super::slice::Plan;
use super::{CleanOptions, Cleaner};
use crate::error::{Error, Result};
use crate::io::{ParquetOutput, Rows};
use crate::job::Job;

/// Batches read before they are cleaned together.
const BATCHES_PER_THREAD: usize = 2;

/// Rows after cleaning.
#[derive(Debug)]
pub struct Cleaned {
    /// Rows that were kept, clean, in order.
    pub kept: Vec<RecordBatch>,
    /// Rows that were dropped, as they were, with the column `reason`.
    pub removed: Vec<RecordBatch>,
    /// Columns of the kept rows and of the removed ones.
    pub schemas: (SchemaRef, SchemaRef),
    /// What was done.
    pub report: CleanReport,
}

/// Cleans batches with these columns.
///
/// # Errors
/// [`Error::Option`] if an option is out of range, [`Error::Data`] if a column is missing or no text,
/// [`Error::Cancelled`] if the job was asked to stop.
pub fn clean_batches(
    batches: &[RecordBatch],
    schema: &Schema,
    options: &CleanOptions,
    job: &Job,
) -> Result<Cleaned> {
    let cleaner = Cleaner::new(options)?;
    let plan = Plan::new(schema, options, true).map_err(Error::Data)?;
    job.phase("clean", batches.iter().map(|batch| batch.num_rows() as u64).sum());
    let parts = plan.clean(batches, 0, &cleaner, job)?;
    let schemas = (plan.kept_schema, plan.removed_schema);
    let mut all = Cleaned { kept: Vec::new(), removed: Vec::new(), schemas, report: CleanReport::default() };
    for part in parts {
        all.kept.push(part.kept);
        all.removed.extend(part.removed);
        all.report.merge(part.report);
    }
    Ok(all)
}

/// Cleans row files into `out`; dropped rows go to `removed` with their reason.
///
/// # Errors
/// [`Error::Option`] if an option is out of range; [`Error::File`], [`Error::Record`] and [`Error::Io`]
/// name the file; [`Error::Cancelled`] if the job was asked to stop.
pub fn clean_files(
    inputs: &[PathBuf],
    out: &Path,
    removed: Option<&Path>,
    options: &CleanOptions,
    job: &Job,
) -> Result<CleanReport> {
    let cleaner = Cleaner::new(options)?;
    let mut rows = Rows::open(inputs)?;
    let first = inputs.first().map_or(Path::new(""), PathBuf::as_path);
    let plan = Plan::new(rows.schema(), options, removed.is_some());
    let plan = plan.map_err(|problem| Error::file(first, problem))?;
    job.phase("clean", rows.rows());
    let mut kept = ParquetOutput::create(out, plan.kept_schema.clone())?;
    let mut dropped =
        removed.map(|path| ParquetOutput::create(path, plan.removed_schema.clone())).transpose()?;
    let mut report = CleanReport::default();
    loop {
        let group = rows.by_ref().take(BATCHES_PER_THREAD * job.threads());
        let batches = group.map(|found| found.map(|found| found.batch)).collect::<Result<Vec<_>>>()?;
        if batches.is_empty() {
            break;
        }
        for part in plan.clean(&batches, report.rows_in, &cleaner, job)? {
            kept.write(&part.kept)?;
            if let (Some(dropped), Some(removed)) = (&mut dropped, &part.removed) {
                dropped.write(removed)?;
            }
            report.merge(part.report);
        }
    }
    kept.finish()?;
    dropped.map(ParquetOutput::finish).transpose()?;
    Ok(report)
}
