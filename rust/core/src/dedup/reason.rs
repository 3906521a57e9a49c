//! Why rows were removed; and that as columns of a table.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::error::{Error, Result};

/// A row that goes, and why.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Removed {
    /// The row, counted from 0.
    pub row: u64,
    /// The first kept row that it is similar to; the longest one, if these stay.
    pub kept_row: u64,
    /// True if `kept_row` counts the rows of `against`.
    pub in_against: bool,
    /// Exact Jaccard similarity of the two, or the share of the n-grams of `kept_row` that it contains.
    pub similarity: f64,
}

/// The removed rows as `row`, `kept_row`, `similarity` and `in_against`.
///
/// # Errors
/// [`Error::Internal`] only.
pub fn reasons(removed: &[Removed]) -> Result<RecordBatch> {
    let rows: Int64Array = removed.iter().map(|removed| removed.row as i64).collect();
    let kept_rows: Int64Array = removed.iter().map(|removed| removed.kept_row as i64).collect();
    let similarities: Float64Array = removed.iter().map(|removed| removed.similarity).collect();
    let in_against: BooleanArray = removed.iter().map(|removed| Some(removed.in_against)).collect();
    let columns: Vec<ArrayRef> =
        vec![Arc::new(rows), Arc::new(kept_rows), Arc::new(similarities), Arc::new(in_against)];
    RecordBatch::try_new(Arc::new(Schema::new(fields())), columns)
        .map_err(|error| Error::Internal(error.to_string()))
}

/// The columns of `schema`, then those of [`reasons`]; the name of one that is there already is refused.
pub(super) fn with_reasons(schema: &Schema) -> Result<SchemaRef, String> {
    let fields = fields();
    if let Some(field) = fields.iter().find(|field| schema.column_with_name(field.name()).is_some()) {
        return Err(format!("has a column {:?}, which the removed rows get too; rename it", field.name()));
    }
    let all = schema.fields().iter().cloned().chain(fields.into_iter().map(Arc::new));
    Ok(Arc::new(Schema::new(all.collect::<Vec<_>>())))
}

fn fields() -> Vec<Field> {
    vec![
        Field::new("row", DataType::Int64, false),
        Field::new("kept_row", DataType::Int64, false),
        Field::new("similarity", DataType::Float64, false),
        Field::new("in_against", DataType::Boolean, false),
    ]
}
