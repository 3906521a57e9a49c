//! Row files -> row files without duplicates, in three passes over the inputs.

use std::ops::Range;
use std::path::{Path, PathBuf};

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, not};
use arrow::datatypes::SchemaRef;
use serde::Serialize;

use super::band::candidates;
use super::group::{Groups, Removed, groups};
use super::options::DedupOptions;
use super::reason::{reasons, with_reasons};
use super::signature::{Signatures, signatures};
use super::texts::{TableTexts, compared_columns};
use super::verify::Verifier;
use crate::error::{Error, Result};
use crate::io::{ParquetOutput, RowBatch, Rows};
use crate::job::Job;

/// What the removal of duplicates did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DedupReport {
    /// Rows read, without those of `against`.
    pub rows_in: u64,
    /// Rows that stay.
    pub kept_rows: u64,
    /// Rows that had all n-grams of a kept row and no other.
    pub same_rows: u64,
    /// Rows that were similar to a kept row.
    pub similar_rows: u64,
    /// Those of both whose kept row is one of `against`.
    pub against_rows: u64,
}

/// Writes the rows of files that are no duplicates of an earlier one to `out`, the others with the
/// reason to `removed`.
///
/// The rows of `against` are compared as if they came first, and are not written. Rows are numbered
/// from 0 through all inputs. Memory is that of the signatures and of the texts that share a band.
///
/// # Errors
/// [`Error::Option`] if an option is out of range or no column to compare is found; [`Error::File`],
/// [`Error::Record`] and [`Error::Io`] name the file; [`Error::Cancelled`] if the job was asked to stop.
pub fn deduplicate_files(
    inputs: &[PathBuf],
    out: &Path,
    removed: Option<&Path>,
    against: &[PathBuf],
    options: &DedupOptions,
    job: &Job,
) -> Result<DedupReport> {
    let columns = compared_columns(Rows::open(inputs)?.schema(), &options.columns)?;
    let source = Source { inputs, against, columns };
    let (signatures, against_rows) = source.signatures(options, job)?;
    job.phase("candidates", 0);
    let candidates = candidates(&signatures, against_rows, job)?;
    drop(signatures);
    let verifier = source.texts_of(candidates.rows(), options, job)?;
    let groups = groups(candidates, &verifier, job)?;
    drop(verifier);
    write(inputs, out, removed, &groups, job)?;
    Ok(report(&groups))
}

/// The files of one run, read once for each step.
struct Source<'a> {
    inputs: &'a [PathBuf],
    against: &'a [PathBuf],
    columns: Vec<String>,
}

impl Source<'_> {
    /// Signatures of all rows, those of `against` first, and how many these are.
    fn signatures(&self, options: &DedupOptions, job: &Job) -> Result<(Signatures, usize)> {
        let mut found = Signatures::empty(options)?;
        job.phase("signatures", self.rows()?);
        let mut against_rows = 0;
        self.for_each_batch(job, |_, texts, is_input| {
            found.append(&signatures(texts, options, job)?)?;
            if !is_input {
                against_rows = found.rows();
            }
            Ok(())
        })?;
        Ok((found, against_rows))
    }

    /// The texts of these rows, counted through `against` and then the inputs.
    fn texts_of(&self, rows: &[u32], options: &DedupOptions, job: &Job) -> Result<Verifier> {
        let mut verifier = Verifier::new(options);
        let mut rest = rows;
        job.phase("texts", self.rows()?);
        self.for_each_batch(job, |range, texts, _| {
            let (here, later) = rest.split_at(rest.partition_point(|&row| (row as usize) < range.end));
            let places: Vec<u32> = here.iter().map(|&row| row - range.start as u32).collect();
            rest = later;
            verifier.extend(texts, &places, job)?;
            job.advance(range.len() as u64)
        })?;
        Ok(verifier)
    }

    fn rows(&self) -> Result<u64> {
        let against = if self.against.is_empty() { 0 } else { Rows::open(self.against)?.rows() };
        Ok(against + Rows::open(self.inputs)?.rows())
    }

    /// Calls `work` with the row numbers and texts of each batch, and whether it is of the inputs.
    fn for_each_batch(
        &self,
        job: &Job,
        mut work: impl FnMut(Range<usize>, &TableTexts, bool) -> Result<()> + Send,
    ) -> Result<()> {
        let mut start = 0;
        for (paths, is_input) in [(self.against, false), (self.inputs, true)] {
            if paths.is_empty() {
                continue;
            }
            read_ahead(Rows::open(paths)?, job, |found| {
                self.columns.iter().try_for_each(|name| found.text(name).map(|_| ()))?;
                let texts = TableTexts::new(std::slice::from_ref(&found.batch), &self.columns)?;
                let range = start..start + found.batch.num_rows();
                start = range.end;
                work(range, &texts, is_input)
            })?;
        }
        Ok(())
    }
}

/// Works on each batch while the next one is read.
fn read_ahead(mut rows: Rows, job: &Job, mut work: impl FnMut(RowBatch) -> Result<()> + Send) -> Result<()> {
    job.run(|| {
        let mut next = rows.next().transpose()?;
        while let Some(batch) = next {
            let (following, done) = rayon::join(|| rows.next().transpose(), || work(batch));
            done?;
            next = following?;
        }
        Ok(())
    })
}

/// Writes each row to the file where it belongs, in input order.
fn write(inputs: &[PathBuf], out: &Path, removed: Option<&Path>, groups: &Groups, job: &Job) -> Result<()> {
    let rows = Rows::open(inputs)?;
    let mut kept_output = ParquetOutput::create(out, rows.schema().clone())?;
    let mut removed_output =
        removed.map(|path| RemovedOutput::create(path, &rows, &inputs[0])).transpose()?;
    job.phase("write", rows.rows());
    let (mut start, mut rest) = (0, groups.removed());
    for found in rows {
        let batch = found?.batch;
        let end = start + batch.num_rows() as u64;
        let (here, later) = rest.split_at(rest.partition_point(|removed| removed.row < end));
        let mut goes = vec![false; batch.num_rows()];
        here.iter().for_each(|removed| goes[(removed.row - start) as usize] = true);
        let goes = BooleanArray::from(goes);
        let stays = not(&goes).map_err(internal)?;
        kept_output.write(&filter_record_batch(&batch, &stays).map_err(internal)?)?;
        if let Some(output) = &mut removed_output {
            output.write(&filter_record_batch(&batch, &goes).map_err(internal)?, here)?;
        }
        (start, rest) = (end, later);
        job.advance(batch.num_rows() as u64)?;
    }
    removed_output.map(|output| output.file.finish()).transpose()?;
    kept_output.finish().map(|_| ())
}

/// Removed rows with the reason behind their own columns.
struct RemovedOutput {
    file: ParquetOutput,
    schema: SchemaRef,
}

impl RemovedOutput {
    fn create(path: &Path, rows: &Rows, input: &Path) -> Result<Self> {
        let schema = with_reasons(rows.schema()).map_err(|problem| Error::file(input, problem))?;
        Ok(Self { file: ParquetOutput::create(path, schema.clone())?, schema })
    }

    fn write(&mut self, rows: &RecordBatch, removed: &[Removed]) -> Result<()> {
        let columns = [rows.columns(), reasons(removed)?.columns()].concat();
        self.file.write(&RecordBatch::try_new(self.schema.clone(), columns).map_err(internal)?)
    }
}

fn report(groups: &Groups) -> DedupReport {
    let removed = groups.removed();
    let count = |rule: fn(&Removed) -> bool| removed.iter().filter(|removed| rule(removed)).count() as u64;
    DedupReport {
        rows_in: groups.rows(),
        kept_rows: groups.rows() - removed.len() as u64,
        same_rows: count(|removed| removed.similarity >= 1.0),
        similar_rows: count(|removed| removed.similarity < 1.0),
        against_rows: count(|removed| removed.in_against),
    }
}

fn internal(error: arrow::error::ArrowError) -> Error {
    Error::Internal(error.to_string())
}
