//! Options cross as JSON text, so that serde checks names and types in one place.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// An options struct of the core, read from the JSON text that the Python face sends.
pub struct Options<T>(pub T);

impl<'py, T: DeserializeOwned> FromPyObject<'_, 'py> for Options<T> {
    type Error = PyErr;

    fn extract(text: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let text: String = text.extract()?;
        serde_json::from_str(&text)
            .map(Self)
            .map_err(|error| PyValueError::new_err(format!("options: {error}")))
    }
}

/// A report of the core as JSON text.
pub fn to_json(report: &impl Serialize) -> PyResult<String> {
    serde_json::to_string(report).map_err(|error| PyValueError::new_err(error.to_string()))
}
