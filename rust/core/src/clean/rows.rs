//! Cleaning of rows: batches in memory and files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, StringBuilder};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use rayon::prelude::*;

use super::drops::find_reason;
use super::report::{CleanReport, Rule};
use super::{CleanOptions, Cleaner};
use crate::error::{Error, Result};
use crate::io::{ParquetOutput, Rows};
use crate::job::Job;

/// Columns that are cleaned unless others are named.
const COLUMNS: [&str; 5] = ["prompt", "response", "chosen", "rejected", "text"];
/// Rows that one thread cleans at a time.
const SLICE_ROWS: usize = 1_024;
/// Batches read before they are cleaned together.
const BATCHES_PER_THREAD: usize = 2;

/// Rows after cleaning.
#[derive(Debug)]
pub struct Cleaned {
    /// Rows that were kept, clean, in order.
    pub kept: Vec<RecordBatch>,
    /// Rows that were dropped, as they were, with the column `reason`.
    pub removed: Vec<RecordBatch>,
    /// What was done.
    pub report: CleanReport,
}

/// Cleans batches with the same columns.
///
/// # Errors
/// [`Error::Option`] if an option is out of range, [`Error::Data`] if a column is missing or no text,
/// [`Error::Cancelled`] if the job was asked to stop.
pub fn clean_batches(batches: &[RecordBatch], options: &CleanOptions, job: &Job) -> Result<Cleaned> {
    let cleaner = Cleaner::new(options)?;
    let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
    job.phase("clean", rows);
    let Some(first) = batches.first() else {
        return Ok(Cleaned { kept: Vec::new(), removed: Vec::new(), report: CleanReport::default() });
    };
    let plan = Plan::new(&first.schema(), options).map_err(Error::Data)?;
    let mut all = Cleaned { kept: Vec::new(), removed: Vec::new(), report: CleanReport::default() };
    // In groups, so that the numbers of rows are known and the memory of copies is bounded.
    for group in batches.chunks(64) {
        for part in plan.clean(group, all.report.rows_in, &cleaner, job)? {
            all.report.merge(part.report);
            all.kept.extend(part.kept);
            all.removed.extend(part.removed);
        }
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
    let plan = Plan::new(rows.schema(), options).map_err(|problem| Error::file(first, problem))?;
    job.phase("clean", rows.rows());
    let mut kept = ParquetOutput::create(out, plan.kept_schema.clone())?;
    let mut dropped = removed.map(|path| ParquetOutput::create(path, plan.removed_schema.clone())).transpose()?;
    let mut report = CleanReport::default();
    loop {
        let group = rows.by_ref().take(BATCHES_PER_THREAD * job.threads()).collect::<Result<Vec<_>>>()?;
        if group.is_empty() {
            break;
        }
        let batches: Vec<RecordBatch> = group.into_iter().map(|found| found.batch).collect();
        for part in plan.clean(&batches, report.rows_in, &cleaner, job)? {
            report.merge(part.report);
            part.kept.iter().try_for_each(|batch| kept.write(batch))?;
            if let Some(dropped) = &mut dropped {
                part.removed.iter().try_for_each(|batch| dropped.write(batch))?;
            }
        }
    }
    kept.finish()?;
    dropped.map(ParquetOutput::finish).transpose()?;
    Ok(report)
}

/// Which columns are cleaned.
struct Plan {
    /// Number and name of each.
    columns: Vec<(usize, String)>,
    kept_schema: SchemaRef,
    removed_schema: SchemaRef,
}

impl Plan {
    fn new(schema: &Schema, options: &CleanOptions) -> Result<Self, String> {
        let names: Vec<&str> = match options.columns.as_slice() {
            [] => COLUMNS.into_iter().filter(|name| schema.index_of(name).is_ok()).collect(),
            named => named.iter().map(String::as_str).collect(),
        };
        let there = || schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ");
        if names.is_empty() {
            return Err(format!("no column to clean among {}; name some with the option columns", there()));
        }
        let mut columns = Vec::new();
        let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
        for name in names {
            let i = schema.index_of(name).map_err(|_| format!("column {name:?} not found (columns: {})", there()))?;
            if !matches!(fields[i].data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) {
                return Err(format!("column {name:?} is {}, not text", fields[i].data_type()));
            }
            fields[i] = Arc::new(Field::new(name, DataType::Utf8, true));
            columns.push((i, name.to_owned()));
        }
        let kept_schema = Arc::new(Schema::new(fields.clone()));
        fields.push(Arc::new(Field::new("reason", DataType::Utf8, true)));
        Ok(Self { columns, kept_schema, removed_schema: Arc::new(Schema::new(fields)) })
    }

    /// Cleans batches slice by slice on all threads; slices come back in order.
    fn clean(&self, batches: &[RecordBatch], rows_before: u64, cleaner: &Cleaner, job: &Job) -> Result<Vec<Cleaned>> {
        let mut slices = Vec::new();
        let mut first_row = rows_before;
        for batch in batches {
            for start in (0..batch.num_rows()).step_by(SLICE_ROWS) {
                let slice = batch.slice(start, SLICE_ROWS.min(batch.num_rows() - start));
                let rows = slice.num_rows() as u64;
                slices.push((slice, first_row));
                first_row += rows;
            }
        }
        let clean = |(slice, first_row): (RecordBatch, u64)| {
            job.check()?;
            let cleaned = self.clean_slice(&slice, first_row, cleaner)?;
            job.advance(slice.num_rows() as u64)?;
            Ok(cleaned)
        };
        job.run(|| slices.into_par_iter().map(clean).collect())
    }

    fn clean_slice(&self, slice: &RecordBatch, first_row: u64, cleaner: &Cleaner) -> Result<Cleaned> {
        let slice = self.as_utf8(slice)?;
        let mut report = CleanReport { rows_in: slice.num_rows() as u64, ..Default::default() };
        let texts: Vec<&StringArray> = self.columns.iter().map(|(i, _)| slice.column(*i).as_string()).collect();
        let mut cleaned: Vec<StringBuilder> = texts.iter().map(|t| StringBuilder::with_capacity(t.len(), t.value_data().len())).collect();
        let mut reasons: Vec<Option<Rule>> = Vec::with_capacity(slice.num_rows());
        let mut changed_columns = vec![false; texts.len()];
        for row in 0..slice.num_rows() {
            let number = first_row + row as u64 + 1;
            let mut row_report = RowReport { report: &mut report, row: number, changed: [false; Rule::ALL.len()] };
            let after: Vec<_> = texts.iter().zip(&self.columns).map(|(column, (_, name))| {
                let text = if column.is_null(row) { "" } else { column.value(row) };
                cleaner.clean(text, |rule, before, after| row_report.changed(rule, name, before, after))
            }).collect();
            row_report.finish();
            let found: Vec<_> = (0..texts.len()).map(|i| {
                let before = if texts[i].is_null(row) { "" } else { texts[i].value(row) };
                (self.columns[i].1.as_str(), before, after[i].as_ref())
            }).collect();
            let reason = find_reason(&found, &cleaner.options);
            if let Some(rule) = reason {
                let dropped = report.rule_mut(rule);
                dropped.rows_dropped += 1;
                let (name, before, _) = found[found.len() - 1];
                dropped.sample(number, name, before, "");
            }
            reasons.push(reason);
            for (i, text) in after.iter().enumerate() {
                changed_columns[i] |= matches!(text, std::borrow::Cow::Owned(_));
                cleaned[i].append_option((!texts[i].is_null(row)).then_some(text));
            }
        }
        let mut columns: Vec<ArrayRef> = slice.columns().to_vec();
        for (i, mut builder) in cleaned.into_iter().enumerate() {
            if changed_columns[i] {
                columns[self.columns[i].0] = Arc::new(builder.finish());
            }
        }
        self.part(&slice, columns, &reasons, report)
    }

    fn part(&self, slice: &RecordBatch, columns: Vec<ArrayRef>, reasons: &[Option<Rule>], mut report: CleanReport) -> Result<Cleaned> {
        let keep: BooleanArray = reasons.iter().map(|reason| Some(reason.is_none())).collect();
        let kept = RecordBatch::try_new(self.kept_schema.clone(), columns).map_err(internal)?;
        report.rows_out = keep.true_count() as u64;
        if report.rows_out == report.rows_in {
            return Ok(Cleaned { kept: vec![kept], removed: Vec::new(), report });
        }
        let drop: BooleanArray = reasons.iter().map(|reason| Some(reason.is_some())).collect();
        let why: StringArray = reasons.iter().map(|reason| reason.map(Rule::name)).collect();
        let mut originals = slice.columns().to_vec();
        originals.push(Arc::new(why));
        let originals = RecordBatch::try_new(self.removed_schema.clone(), originals).map_err(internal)?;
        let removed = filter_record_batch(&originals, &drop).map_err(internal)?;
        let kept = filter_record_batch(&kept, &keep).map_err(internal)?;
        Ok(Cleaned { kept: vec![kept], removed: vec![removed], report })
    }

    fn as_utf8(&self, slice: &RecordBatch) -> Result<RecordBatch> {
        let columns = slice.columns().iter().zip(self.kept_schema.fields());
        let columns = columns.map(|(column, field)| {
            if column.data_type() == field.data_type() { Ok(column.clone()) } else { cast(column, field.data_type()) }
        });
        let columns = columns.collect::<Result<Vec<_>, _>>().map_err(internal)?;
        RecordBatch::try_new(self.kept_schema.clone(), columns).map_err(internal)
    }
}

/// Counts each rule once for a row, however many of its texts it changed.
struct RowReport<'r> {
    report: &'r mut CleanReport,
    row: u64,
    changed: [bool; Rule::ALL.len()],
}

impl RowReport<'_> {
    fn changed(&mut self, rule: Rule, column: &str, before: &str, after: &str) {
        let told = self.report.rule_mut(rule);
        if !std::mem::replace(&mut self.changed[rule as usize], true) {
            told.rows_changed += 1;
            told.sample(self.row, column, before, after);
        }
        told.count_removed(before, after);
    }

    fn finish(self) {
        self.report.rows_changed += u64::from(self.changed.contains(&true));
    }
}

fn internal(error: arrow::error::ArrowError) -> Error {
    Error::Internal(error.to_string())
}
