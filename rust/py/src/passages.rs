//! See `smolchat_fast.passages`.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3_arrow::PyTable;
use pyo3_arrow::input::AnyRecordBatch;
use smolchat_core::passages::{self, PassageOptions};

use crate::job;
use crate::options::{Options, to_json};

/// Returns the pairs.
#[pyfunction]
#[pyo3(signature = (data, options, *, threads=None, progress=None))]
pub fn cut_passages(
    py: Python<'_>,
    data: AnyRecordBatch,
    options: Options<PassageOptions>,
    threads: Option<usize>,
    progress: Option<Py<PyAny>>,
) -> PyResult<PyTable> {
    let (batches, schema) = data.into_table()?.into_inner();
    let (made, schema) =
        job::run(py, threads, progress, |job| passages::cut_passages(&batches, &schema, &options.0, job))?;
    PyTable::try_new(made, schema)
}

#[pyfunction]
#[pyo3(signature = (inputs, out, options, *, threads=None, progress=None))]
pub fn cut_passages_files(
    py: Python<'_>,
    inputs: Vec<PathBuf>,
    out: PathBuf,
    options: Options<PassageOptions>,
    threads: Option<usize>,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let work = |job: &_| passages::cut_passages_files(&inputs, &out, &options.0, job);
    to_json(&job::run(py, threads, progress, work)?)
}
