//! Files, for Python code: row files batch by batch, and the hash of any file.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3_arrow::PyRecordBatch;
use smolchat_core::io::{self, Rows};

use crate::error::to_python;
use crate::job;

#[pyfunction]
pub fn file_hash(py: Python<'_>, path: PathBuf) -> PyResult<String> {
    job::run(py, Some(1), None, |job| io::file_hash(&path, job))
}

/// An iterator of record batches, read as the data stages read them.
#[pyclass(frozen, module = "smolchat_fast._core")]
pub struct RowBatches(Mutex<Rows>);

#[pymethods]
impl RowBatches {
    #[new]
    fn new(py: Python<'_>, paths: Vec<PathBuf>) -> PyResult<Self> {
        py.detach(|| Rows::open(&paths)).map(|rows| Self(Mutex::new(rows))).map_err(to_python)
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let next = || self.0.lock().unwrap_or_else(PoisonError::into_inner).next();
        let batch = py.detach(next).transpose().map_err(to_python)?;
        batch.map(|found| PyRecordBatch::new(found.batch).into_pyarrow(py)).transpose()
    }
}
