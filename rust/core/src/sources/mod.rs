//! Raw files of any format to one file of rows, with every record that was left out accounted for.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::io::ParquetOutput;
use crate::io::raw::{Bad, Parsed, Piece, RawFile, Reason, parse};
pub use crate::io::raw::{Format, Shape, SourceOptions, TextUnit};
use crate::job::Job;

/// Pieces read ahead: enough to keep the threads busy, few enough to bound memory.
const PIECES_PER_THREAD: usize = 4;

/// What was read.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SourceReport {
    /// Records found in the files.
    pub records: u64,
    /// Rows written.
    pub rows: u64,
    /// Records left out by reason.
    pub bad: BTreeMap<Reason, u64>,
    /// Share of the records that were left out.
    pub bad_share: f64,
    /// More than `max_bad_share` was left out.
    pub too_many_bad: bool,
    /// Each file.
    pub files: Vec<FileReport>,
}

/// What was read from one file.
#[derive(Debug, Clone, Serialize)]
pub struct FileReport {
    /// The file.
    pub path: PathBuf,
    /// Its format, as found out.
    pub format: &'static str,
    /// Its encoding; empty for Parquet.
    pub encoding: String,
    /// `gzip`, `zstd`, `bzip2` or nothing.
    pub compression: Option<&'static str>,
    /// Records found.
    pub records: u64,
    /// Rows made of them.
    pub rows: u64,
    /// Records left out, with the first few of each reason.
    #[serde(flatten)]
    pub bad: Bad,
}

/// Reads files of any format into one Parquet file `out`, in the order of the inputs.
///
/// # Errors
/// [`Error::Option`] if an option is out of range; [`Error::File`] and [`Error::Io`] name a file that
/// cannot be read at all or has other columns than the files before it; [`Error::Record`] names the
/// first bad record if `strict`; [`Error::Cancelled`] if the job was asked to stop.
pub fn read_files(
    inputs: &[PathBuf],
    out: &Path,
    options: &SourceOptions,
    job: &Job,
) -> Result<SourceReport> {
    options.check()?;
    let sizes = inputs.iter().map(|path| path.metadata().map(|found| found.len()).map_err(Error::io(path)));
    job.phase("read", sizes.sum::<Result<u64>>()?);
    let mut output: Option<(ParquetOutput, &'static [&'static str])> = None;
    let mut report = SourceReport::default();
    for (i, path) in inputs.iter().enumerate() {
        let file = RawFile::open(path, options, false)?;
        if file.is_blank() && i + 1 < inputs.len() {
            continue;
        }
        let names = file.plan().columns.names();
        let (output, expected) = match &mut output {
            Some(opened) => opened,
            none => none.insert((ParquetOutput::create(out, file.plan().schema.clone())?, names)),
        };
        if names != *expected && !file.is_blank() {
            let problem = format!(
                "gives the columns {}, the files before it {}",
                names.join(", "),
                expected.join(", ")
            );
            return Err(Error::file(path, problem));
        }
        report.add(read_file(file, output, options, job)?);
    }
    let (output, _) = output.ok_or_else(|| Error::Data("no input files".into()))?;
    output.finish()?;
    report.too_many_bad = report.bad_share > options.max_bad_share;
    Ok(report)
}

fn read_file(
    mut file: RawFile,
    output: &mut ParquetOutput,
    options: &SourceOptions,
    job: &Job,
) -> Result<FileReport> {
    let plan = Arc::clone(file.plan());
    let mut report = FileReport {
        path: plan.path.to_path_buf(),
        format: plan.format.name(),
        encoding: plan.encoding_name(),
        compression: plan.compression,
        records: 0,
        rows: 0,
        bad: Bad::default(),
    };
    let mut told = 0;
    loop {
        let pieces = next_pieces(&mut file, PIECES_PER_THREAD * job.threads())?;
        if pieces.is_empty() {
            break;
        }
        let parsed: Vec<Parsed> =
            job.run(|| pieces.into_par_iter().map(|piece| parse(&plan, piece)).collect::<Result<_>>())?;
        for parsed in parsed {
            if options.strict
                && let Some(bad) = parsed.bad.samples.first()
            {
                let place = plan.format.place(bad.line);
                return Err(Error::Record { path: report.path, place, problem: bad.problem() });
            }
            output.write(&parsed.batch)?;
            report.records += parsed.records;
            report.rows += parsed.batch.num_rows() as u64;
            report.bad.merge(parsed.bad);
        }
        let taken = file.taken();
        job.advance(taken.saturating_sub(std::mem::replace(&mut told, taken)))?;
    }
    let size = report.path.metadata().map_or(0, |found| found.len());
    job.advance(size.saturating_sub(told))?;
    Ok(report)
}

fn next_pieces(file: &mut RawFile, count: usize) -> Result<Vec<Piece>> {
    std::iter::from_fn(|| file.next_piece().transpose()).take(count).collect()
}

impl SourceReport {
    fn add(&mut self, file: FileReport) {
        self.records += file.records;
        self.rows += file.rows;
        for (reason, count) in &file.bad.counts {
            *self.bad.entry(*reason).or_default() += count;
        }
        let left_out = self.bad.values().sum::<u64>();
        self.bad_share = if self.records == 0 { 0.0 } else { left_out as f64 / self.records as f64 };
        self.files.push(file);
    }
}
