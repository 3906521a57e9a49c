//! Row files -> row files without duplicates, in three passes over the inputs.

use std::ops::Range;
use std::path::{Path, PathBuf};

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, not};
use arrow::datatypes::SchemaRef;
use serde::Serialize;

use super::band::candidates;
use super::contain::Questions;
use super::group::{Groups, groups};
use super::index::{IndexReader, IndexWriter};
use super::options::DedupOptions;
use super::reason::{Removed, reasons, with_reasons};
use super::signature::{Signatures, signatures};
use super::texts::{TableTexts, compared_columns};
use super::verify::Verifier;
use crate::error::{Error, Result};
use crate::io::{ParquetOutput, Rows};
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
    /// Those of both whose kept row is one of `against` or of the index.
    pub against_rows: u64,
    /// Rows of the index that was written.
    pub index_rows: u64,
}

/// The files of a run.
#[derive(Debug, Clone, Copy)]
pub struct DedupFiles<'a> {
    /// Rows to look at.
    pub inputs: &'a [PathBuf],
    /// Rows that are compared as if they came first, and are not written.
    pub against: &'a [PathBuf],
    /// Index of rows that were kept by earlier runs; they come behind those of `against`.
    pub index: Option<&'a Path>,
    /// Parquet file of the rows that stay.
    pub out: &'a Path,
    /// Parquet file of the rows that go, with the reason.
    pub removed: Option<&'a Path>,
    /// Index of the rows of `index` and of those that stay.
    pub grown: Option<&'a Path>,
}

/// Writes the rows of files that are no duplicates of an earlier one to `out`, the others with the
/// reason to `removed`.
///
/// Rows are numbered from 0 through all inputs. Memory is that of the signatures and of the texts that
/// share a band.
///
/// # Errors
/// [`Error::Option`] if an option is out of range or no column to compare is found; [`Error::File`],
/// [`Error::Record`] and [`Error::Io`] name the file; [`Error::Cancelled`] if the job was asked to stop.
pub fn deduplicate_files(files: &DedupFiles<'_>, options: &DedupOptions, job: &Job) -> Result<DedupReport> {
    let columns = compared_columns(Rows::open(files.inputs)?.schema(), &options.columns)?;
    let against_columns = options.columns_of_against(&columns).to_vec();
    let source = Source { files, columns, against_columns };
    source.check_index()?;
    let Found { signatures, earlier_rows, contained } = source.signatures(options, job)?;
    job.phase("candidates", 0);
    let candidates = candidates(&signatures, earlier_rows, job)?.without(contained);
    drop(signatures);
    let verifier = source.texts_of(candidates.rows(), options, job)?;
    let groups = groups(candidates, &verifier, job)?;
    drop(verifier);
    let index_rows = source.write(&groups, job)?;
    Ok(report(&groups, index_rows))
}

/// The files of one run, read once for each step.
struct Source<'a> {
    files: &'a DedupFiles<'a>,
    columns: Vec<String>,
    against_columns: Vec<String>,
}

/// Where a batch comes from, in the order of reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Against,
    Index,
    Inputs,
}

/// What the first pass gives.
struct Found {
    signatures: Signatures,
    /// Rows of `against` and of the index.
    earlier_rows: usize,
    /// Rows that contain one of `against`.
    contained: Vec<Removed>,
}

impl Source<'_> {
    fn check_index(&self) -> Result<()> {
        let Some(path) = self.files.index else { return Ok(()) };
        let index = IndexReader::open(path)?;
        if index.columns() != self.columns {
            let (has, wanted) = (index.columns().join(", "), self.columns.join(", "));
            let problem = format!("holds the columns {has}, but {wanted} are compared; name others");
            return Err(Error::file(path, problem));
        }
        Ok(())
    }

    /// Signatures of all rows, and which rows contain one of `against`.
    fn signatures(&self, options: &DedupOptions, job: &Job) -> Result<Found> {
        let mut questions = Questions::new(options);
        let mut found =
            Found { signatures: Signatures::empty(options)?, earlier_rows: 0, contained: Vec::new() };
        job.phase("signatures", self.rows()?);
        let mut prepared = false;
        self.for_each_batch(job, |range, texts, part| {
            found.signatures.append(&signatures(texts, options, job)?)?;
            match part {
                Part::Against => questions.extend(texts),
                Part::Index => {}
                Part::Inputs => {
                    if !std::mem::replace(&mut prepared, true) {
                        questions.prepare();
                    }
                    let first_row = (range.start - found.earlier_rows) as u64;
                    found.contained.extend(questions.find(texts, first_row, job)?);
                    return Ok(());
                }
            }
            found.earlier_rows = range.end;
            Ok(())
        })?;
        Ok(found)
    }

    /// The texts of these rows, counted through all parts.
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
        let DedupFiles { inputs, against, index, .. } = self.files;
        let against = if against.is_empty() { 0 } else { Rows::open(against)?.rows() };
        let index = index.map_or(Ok(0), |path| IndexReader::open(path).map(|index| index.rows()))?;
        Ok(against + index + Rows::open(inputs)?.rows())
    }

    /// Calls `work` with the row numbers and texts of each batch, and where it comes from.
    fn for_each_batch(
        &self,
        job: &Job,
        mut work: impl FnMut(Range<usize>, &TableTexts, Part) -> Result<()> + Send,
    ) -> Result<()> {
        let mut start = 0;
        let mut next = |batch: &RecordBatch, columns: &[String], part| {
            let texts = TableTexts::new(std::slice::from_ref(batch), columns)?;
            let range = start..start + batch.num_rows();
            start = range.end;
            work(range, &texts, part)
        };
        let DedupFiles { inputs, against, index, .. } = *self.files;
        if !against.is_empty() {
            read_ahead(checked(against, &self.against_columns)?, job, |batch| {
                next(&batch, &self.against_columns, Part::Against)
            })?;
        }
        if let Some(path) = index {
            read_ahead(IndexReader::open(path)?, job, |batch| next(&batch, &self.columns, Part::Index))?;
        }
        read_ahead(checked(inputs, &self.columns)?, job, |batch| next(&batch, &self.columns, Part::Inputs))
    }

    /// Writes each row to the file where it belongs, in input order; returns the rows of the new index.
    fn write(&self, groups: &Groups, job: &Job) -> Result<u64> {
        let DedupFiles { inputs, index, out, removed, grown, .. } = *self.files;
        let rows = Rows::open(inputs)?;
        let mut kept_output = ParquetOutput::create(out, rows.schema().clone())?;
        let mut removed_output =
            removed.map(|path| RemovedOutput::create(path, &rows, &inputs[0])).transpose()?;
        let mut grown_output = grown.map(|path| IndexWriter::create(path, &self.columns)).transpose()?;
        job.phase("write", rows.rows());
        if let (Some(output), Some(path)) = (&mut grown_output, index) {
            for batch in IndexReader::open(path)? {
                output.write(&batch?)?;
                job.check()?;
            }
        }
        let (mut start, mut rest) = (0, groups.removed());
        for found in rows {
            let batch = found?.batch;
            let end = start + batch.num_rows() as u64;
            let (here, later) = rest.split_at(rest.partition_point(|removed| removed.row < end));
            let mut goes = vec![false; batch.num_rows()];
            here.iter().for_each(|removed| goes[(removed.row - start) as usize] = true);
            let goes = BooleanArray::from(goes);
            let stays = filter_record_batch(&batch, &not(&goes).map_err(internal)?).map_err(internal)?;
            kept_output.write(&stays)?;
            if let Some(output) = &mut grown_output {
                output.write(&stays)?;
            }
            if let Some(output) = &mut removed_output {
                output.write(&filter_record_batch(&batch, &goes).map_err(internal)?, here)?;
            }
            (start, rest) = (end, later);
            job.advance(batch.num_rows() as u64)?;
        }
        removed_output.map(|output| output.file.finish()).transpose()?;
        let index_rows = grown_output.map_or(Ok(0), IndexWriter::finish)?;
        kept_output.finish()?;
        Ok(index_rows)
    }
}

/// The batches of row files; an error that names file and row if one of these columns has no text.
fn checked(
    paths: &[PathBuf],
    columns: &[String],
) -> Result<impl Iterator<Item = Result<RecordBatch>> + Send> {
    Ok(Rows::open(paths)?.map(|found| {
        let found = found?;
        columns.iter().try_for_each(|name| found.text(name).map(|_| ()))?;
        Ok(found.batch)
    }))
}

/// Works on each batch while the next one is read.
fn read_ahead(
    mut batches: impl Iterator<Item = Result<RecordBatch>> + Send,
    job: &Job,
    mut work: impl FnMut(RecordBatch) -> Result<()> + Send,
) -> Result<()> {
    job.run(|| {
        let mut next = batches.next().transpose()?;
        while let Some(batch) = next {
            let (following, done) = rayon::join(|| batches.next().transpose(), || work(batch));
            done?;
            next = following?;
        }
        Ok(())
    })
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

fn report(groups: &Groups, index_rows: u64) -> DedupReport {
    let removed = groups.removed();
    let count = |rule: fn(&Removed) -> bool| removed.iter().filter(|removed| rule(removed)).count() as u64;
    DedupReport {
        rows_in: groups.rows(),
        kept_rows: groups.rows() - removed.len() as u64,
        same_rows: count(|removed| removed.similarity >= 1.0),
        similar_rows: count(|removed| removed.similarity < 1.0),
        against_rows: count(|removed| removed.in_against),
        index_rows,
    }
}

fn internal(error: arrow::error::ArrowError) -> Error {
    Error::Internal(error.to_string())
}
