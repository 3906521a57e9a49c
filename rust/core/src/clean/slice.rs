use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, StringBuilder};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use rayon::prelude::*;

use super::drops::{Text, find_reason};
use super::report::{CleanReport, Rule};
use super::{CleanOptions, Cleaner};
use crate::error::{Error, Result};
use crate::io::is_text;
use crate::job::Job;

/// Columns that are cleaned unless others are named.
const COLUMNS: [&str; 5] = ["prompt", "response", "chosen", "rejected", "text"];
/// Column of the removed rows that names the rule which dropped them.
const REASON: &str = "reason";
/// Rows that one thread cleans at a time.
const SLICE_ROWS: usize = 1_024;

/// Which columns of a table are cleaned.
pub struct Plan {
    /// Number and name of each.
    columns: Vec<(usize, String)>,
    pub kept_schema: SchemaRef,
    pub removed_schema: SchemaRef,
    keep_removed: bool,
}

/// Some rows after cleaning.
pub struct Part {
    pub kept: RecordBatch,
    /// The dropped rows as they were, with the column `reason`.
    pub removed: Option<RecordBatch>,
    pub report: CleanReport,
}

impl Plan {
    /// Finds the columns to clean; dropped rows are kept apart if `keep_removed`.
    ///
    /// # Errors
    /// A message with the columns that are there, or the name of one that dropped rows get too.
    pub fn new(schema: &Schema, options: &CleanOptions, keep_removed: bool) -> Result<Self, String> {
        if keep_removed && schema.column_with_name(REASON).is_some() {
            return Err(format!("has a column {REASON:?}, which the removed rows get too; rename it"));
        }
        let names: Vec<&str> = match options.columns.as_slice() {
            [] => COLUMNS.into_iter().filter(|name| schema.index_of(name).is_ok()).collect(),
            named => named.iter().map(String::as_str).collect(),
        };
        let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
        let there = fields.iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ");
        if names.is_empty() {
            return Err(format!("no column to clean among {there}; name some with the option columns"));
        }
        let mut columns = Vec::new();
        for name in names {
            let i =
                schema.index_of(name).map_err(|_| format!("column {name:?} not found (columns: {there})"))?;
            if !is_text(fields[i].data_type()) {
                return Err(format!("column {name:?} is {}, not text", fields[i].data_type()));
            }
            fields[i] = Arc::new(Field::new(name, DataType::Utf8, true));
            columns.push((i, name.to_owned()));
        }
        let kept_schema = Arc::new(Schema::new(fields.clone()));
        fields.push(Arc::new(Field::new(REASON, DataType::Utf8, true)));
        Ok(Self { columns, kept_schema, removed_schema: Arc::new(Schema::new(fields)), keep_removed })
    }

    /// Cleans batches on all threads; the parts come back in order. `rows_before` rows came earlier.
    ///
    /// # Errors
    /// [`Error::Cancelled`] if the job was asked to stop.
    pub fn clean(
        &self,
        batches: &[RecordBatch],
        rows_before: u64,
        cleaner: &Cleaner,
        job: &Job,
    ) -> Result<Vec<Part>> {
        let mut slices = Vec::new();
        let mut first_row = rows_before;
        for batch in batches {
            for start in (0..batch.num_rows()).step_by(SLICE_ROWS) {
                let slice = batch.slice(start, SLICE_ROWS.min(batch.num_rows() - start));
                slices.push((slice, first_row + start as u64));
            }
            first_row += batch.num_rows() as u64;
        }
        let clean = |(slice, first_row): (RecordBatch, u64)| {
            let part = self.clean_slice(&slice, first_row, cleaner)?;
            job.advance(slice.num_rows() as u64)?;
            Ok(part)
        };
        job.run(|| slices.into_par_iter().map(clean).collect())
    }

    fn clean_slice(&self, slice: &RecordBatch, first_row: u64, cleaner: &Cleaner) -> Result<Part> {
        let slice = self.as_utf8(slice).map_err(internal)?;
        let mut work = Work::new(self, &slice);
        for row in 0..slice.num_rows() {
            work.clean_row(row, first_row + row as u64 + 1, cleaner);
        }
        self.part(&slice, work).map_err(internal)
    }

    fn part(&self, slice: &RecordBatch, mut work: Work<'_>) -> Result<Part, ArrowError> {
        let mut columns: Vec<ArrayRef> = slice.columns().to_vec();
        for (out, (i, _)) in work.out.iter_mut().zip(&self.columns) {
            columns[*i] = Arc::new(out.finish());
        }
        let kept = RecordBatch::try_new(self.kept_schema.clone(), columns)?;
        let drop: BooleanArray = work.reasons.iter().map(|reason| Some(reason.is_some())).collect();
        let mut report = work.report;
        report.rows_in = slice.num_rows() as u64;
        report.rows_out = report.rows_in - drop.true_count() as u64;
        if report.rows_out == report.rows_in {
            return Ok(Part { kept, removed: None, report });
        }
        let kept = filter_record_batch(&kept, &arrow::compute::not(&drop)?)?;
        if !self.keep_removed {
            return Ok(Part { kept, removed: None, report });
        }
        let reasons: StringArray = work.reasons.iter().map(|reason| reason.map(Rule::name)).collect();
        let originals = slice.columns().iter().cloned().chain([Arc::new(reasons) as ArrayRef]).collect();
        let originals = RecordBatch::try_new(self.removed_schema.clone(), originals)?;
        let removed = Some(filter_record_batch(&originals, &drop)?);
        Ok(Part { kept, removed, report })
    }

    fn as_utf8(&self, slice: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let columns = slice.columns().iter().zip(self.kept_schema.fields());
        let columns = columns.map(|(column, field)| match column.data_type() == field.data_type() {
            true => Ok(column.clone()),
            false => cast(column, field.data_type()),
        });
        RecordBatch::try_new(self.kept_schema.clone(), columns.collect::<Result<_, _>>()?)
    }
}

/// A slice under work.
struct Work<'s> {
    plan: &'s Plan,
    texts: Vec<&'s StringArray>,
    out: Vec<StringBuilder>,
    reasons: Vec<Option<Rule>>,
    report: CleanReport,
}

impl<'s> Work<'s> {
    fn new(plan: &'s Plan, slice: &'s RecordBatch) -> Self {
        let texts: Vec<&StringArray> =
            plan.columns.iter().map(|(i, _)| slice.column(*i).as_string()).collect();
        let out = texts.iter().map(|texts| StringBuilder::with_capacity(texts.len(), 0)).collect();
        Self { plan, texts, out, reasons: Vec::new(), report: CleanReport::default() }
    }

    /// Cleans the texts of a row and decides whether it stays. `number` is its place among all rows.
    fn clean_row(&mut self, row: usize, number: u64, cleaner: &Cleaner) {
        let mut changed = [false; Rule::ALL.len()];
        let mut cleaned: Vec<(&str, Cow<'_, str>)> = Vec::with_capacity(self.texts.len());
        for (texts, (_, column)) in self.texts.iter().zip(&self.plan.columns) {
            let before = if texts.is_null(row) { "" } else { texts.value(row) };
            let report = &mut self.report;
            let after = cleaner.clean(before, |rule, before, after| {
                let told = report.rule_mut(rule);
                // A row counts once for a rule, however many of its texts and rounds it changed.
                if !std::mem::replace(&mut changed[rule as usize], true) {
                    told.rows_changed += 1;
                    told.sample(number, column, before, after);
                }
                told.count_removed(before, after);
            });
            cleaned.push((before, after));
        }
        self.report.rows_changed += u64::from(changed.contains(&true));
        let names = self.plan.columns.iter().map(|(_, name)| name.as_str());
        let texts = names.zip(&cleaned).map(|(column, (before, after))| Text { column, before, after });
        let texts: Vec<Text<'_>> = texts.collect();
        let reason = find_reason(&texts, cleaner.options());
        if let Some((rule, text)) = reason {
            let told = self.report.rule_mut(rule);
            told.rows_dropped += 1;
            told.sample(number, text.column, text.before, "");
        }
        self.reasons.push(reason.map(|(rule, _)| rule));
        for ((out, texts), (_, after)) in self.out.iter_mut().zip(&self.texts).zip(&cleaned) {
            out.append_option((!texts.is_null(row)).then_some(after));
        }
    }
}

fn internal(error: ArrowError) -> Error {
    Error::Internal(error.to_string())
}
