//! Text columns of any Arrow producer, without a copy where the producer has plain UTF-8.

use arrow::array::{Array, AsArray, StringArray};
use arrow::compute::{cast, concat};
use arrow::datatypes::DataType;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3_arrow::input::AnyArray;
use smolchat_core::io::is_text;

use crate::error::DataError;

/// A column of strings without nulls.
pub struct TextColumn(StringArray);

impl TextColumn {
    /// The strings, borrowed.
    pub fn texts(&self) -> Vec<&str> {
        (0..self.0.len()).map(|i| self.0.value(i)).collect()
    }
}

impl<'py> FromPyObject<'_, 'py> for TextColumn {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let input: AnyArray = object.extract()?;
        let chunks = input.into_chunked_array()?.into_inner().0;
        let chunks: Vec<&dyn Array> = chunks.iter().map(AsRef::as_ref).collect();
        let Some(first) = chunks.first() else { return Ok(Self(StringArray::new_null(0))) };
        if !is_text(first.data_type()) {
            return Err(PyTypeError::new_err(format!(
                "expected a column of strings, got {}",
                first.data_type()
            )));
        }
        let plain = |chunk: &&dyn Array| cast(*chunk, &DataType::Utf8);
        let joined = chunks.iter().map(plain).collect::<Result<Vec<_>, _>>().and_then(|chunks| {
            let chunks: Vec<&dyn Array> = chunks.iter().map(AsRef::as_ref).collect();
            // One chunk is handed on as it is.
            concat(&chunks)
        });
        let column = joined.map_err(|error| PyTypeError::new_err(error.to_string()))?;
        let column = column.as_string::<i32>().clone();
        if let Some(row) = (0..column.len()).find(|&i| column.is_null(i)) {
            return Err(DataError::new_err(format!("row {} is null; drop such rows first", row + 1)));
        }
        Ok(Self(column))
    }
}
