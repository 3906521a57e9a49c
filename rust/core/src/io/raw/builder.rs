use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringBuilder};
use memchr::memmem;

use super::bad::{Bad, Reason};
use super::columns::Refusal;
use super::file::Plan;
use super::value::Value;
use crate::error::{Error, Result};

/// Rows made of a piece of a file.
#[derive(Debug)]
pub struct Parsed {
    /// The rows.
    pub batch: RecordBatch,
    /// Records read, good and bad.
    pub records: u64,
    /// Records left out.
    pub bad: Bad,
}

/// Collects the rows of one piece.
pub struct Builder<'p> {
    pub plan: &'p Plan,
    columns: Vec<StringBuilder>,
    records: u64,
    bad: Bad,
}

impl<'p> Builder<'p> {
    pub fn new(plan: &'p Plan) -> Self {
        let columns = plan.schema.fields().iter().map(|_| StringBuilder::new()).collect();
        Self { plan, columns, records: 0, bad: Bad::default() }
    }

    /// Adds the row of a record, or the reason why there is none.
    pub fn push(&mut self, line: u64, record: &[u8], fields: Result<Vec<Value<'_>>, Refusal>) {
        let plan = self.plan;
        let row = fields.and_then(|mut values| {
            let source = plan.columns.source.map(|i| std::mem::take(&mut values[i]));
            Ok((plan.columns.row(values, &plan.options, plan.keep_empty)?, source))
        });
        match row {
            Err(refusal) => self.refuse(line, record, refusal),
            Ok((row, source)) => {
                self.records += 1;
                for (column, text) in self.columns.iter_mut().zip(&row) {
                    column.append_value(text);
                }
                if let Some(column) = self.columns.last_mut() {
                    match source {
                        Some(Value::Text(source)) if !source.trim().is_empty() => column.append_value(source),
                        _ => column.append_value(&plan.source),
                    }
                }
            }
        }
    }

    /// Leaves out a record.
    pub fn refuse(&mut self, line: u64, record: &[u8], (reason, detail): Refusal) {
        self.records += 1;
        self.bad.add(line, reason, detail, record);
    }

    /// The text of a record.
    pub fn utf8<'a>(&self, record: &'a [u8]) -> Result<&'a str, Refusal> {
        match simdutf8::basic::from_utf8(record) {
            Ok(text) if !self.plan.transcoded || memmem::find(record, "\u{FFFD}".as_bytes()).is_none() => {
                Ok(text)
            }
            _ => Err((Reason::InvalidBytes, format!("not {}", self.plan.encoding_name()))),
        }
    }

    /// The rows of the piece.
    pub fn finish(mut self) -> Result<Parsed> {
        let columns = self.columns.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef).collect();
        let batch = RecordBatch::try_new(self.plan.schema.clone(), columns);
        let batch = batch.map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Parsed { batch, records: self.records, bad: self.bad })
    }
}
