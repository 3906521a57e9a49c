use std::borrow::Cow;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;

use super::bad::Reason;
use super::builder::Builder;
use super::columns::Refusal;
use super::frame::Block;
use super::header::{Header, csv_reader};
use super::nested;
use super::value::{Turn, Value};
use crate::error::{Error, Result};

pub fn parse_csv(block: &Block, separator: u8, rows: &mut Builder<'_>) {
    let Some(header) = &rows.plan.header else { return };
    let mut reader = csv_reader(&block.bytes, separator);
    let mut record = csv::ByteRecord::new();
    let mut skip = header.named && block.first_line == 1;
    // Reading from memory cannot fail, and a flexible reader takes any number of fields.
    while reader.read_byte_record(&mut record).unwrap_or(false) {
        let blank = record.len() == 1 && record[0].trim_ascii().is_empty();
        if !std::mem::take(&mut skip) && !blank {
            let line =
                block.first_line + record.position().map_or(0, |place| lines_before(&block.bytes, place));
            let fields = csv_fields(&record, header, rows);
            rows.push(line, record.as_slice(), fields);
        }
    }
}

/// Lines before a record; its place is told from where the one before it ended, blank lines in between.
fn lines_before(bytes: &[u8], place: &csv::Position) -> u64 {
    let start = usize::try_from(place.byte()).unwrap_or(usize::MAX).min(bytes.len());
    let blank = bytes[start..].iter().take_while(|b| matches!(b, b'\r' | b'\n'));
    place.line() - 1 + blank.filter(|b| **b == b'\n').count() as u64
}

fn csv_fields<'r>(
    record: &'r csv::ByteRecord,
    header: &Header,
    rows: &Builder<'_>,
) -> Result<Vec<Value<'r>>, Refusal> {
    let count = || format!("{} instead of {}", record.len(), header.fields);
    if record.len() < header.fields {
        return Err((Reason::TooFewColumns, count()));
    }
    if record.iter().skip(header.fields).any(|field| !field.is_empty()) {
        return Err((Reason::TooManyColumns, count()));
    }
    header.wanted.iter().map(|&i| Ok(Value::Text(rows.utf8(&record[i])?.into()))).collect()
}

pub fn parse_batch(batch: &RecordBatch, first_row: u64, rows: &mut Builder<'_>) -> Result<()> {
    let plan = rows.plan;
    let columns = plan.columns.wanted.iter().map(|name| Column::of(batch.column_by_name(name)));
    let columns =
        columns.collect::<Result<Vec<_>, _>>().map_err(|problem| Error::file(&plan.path, problem))?;
    for row in 0..batch.num_rows() {
        let fields = columns.iter().map(|column| column.value(row)).collect();
        let shown = columns.iter().find_map(|column| match column.value(row) {
            Value::Text(text) if !text.is_empty() => Some(text),
            _ => None,
        });
        rows.push(first_row + row as u64 + 1, shown.unwrap_or_default().as_bytes(), Ok(fields));
    }
    Ok(())
}

enum Column {
    Missing,
    Text(StringArray),
    Turns(Vec<Option<Vec<Turn<'static>>>>),
}

impl Column {
    fn of(array: Option<&ArrayRef>) -> Result<Self, String> {
        let Some(array) = array else { return Ok(Self::Missing) };
        if matches!(array.data_type(), DataType::List(_) | DataType::LargeList(_)) {
            return nested::turns(array).map(Self::Turns);
        }
        let text = cast(array, &DataType::Utf8).map_err(|error| error.to_string())?;
        Ok(Self::Text(text.as_string::<i32>().clone()))
    }

    fn value(&self, row: usize) -> Value<'_> {
        match self {
            Self::Missing => Value::Missing,
            Self::Text(texts) if texts.is_null(row) => Value::Null,
            Self::Text(texts) => Value::Text(Cow::Borrowed(texts.value(row))),
            Self::Turns(turns) => turns[row].clone().map_or(Value::Null, Value::Turns),
        }
    }
}
