//! See `smolchat_fast.clean`.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3_arrow::PyTable;
use pyo3_arrow::input::AnyRecordBatch;
use smolchat_core::clean::{self, CleanOptions};

use crate::error::to_python;
use crate::job;
use crate::options::{Options, to_json};

#[pyfunction]
pub fn clean_text(text: &str, options: Options<CleanOptions>) -> PyResult<String> {
    clean::clean_text(text, &options.0).map(std::borrow::Cow::into_owned).map_err(to_python)
}

/// Returns the rows that are kept, those that are removed, and the report.
#[pyfunction]
#[pyo3(signature = (data, options, *, threads=None, progress=None))]
pub fn clean_table(
    py: Python<'_>,
    data: AnyRecordBatch,
    options: Options<CleanOptions>,
    threads: Option<usize>,
    progress: Option<Py<PyAny>>,
) -> PyResult<(PyTable, PyTable, String)> {
    let (batches, schema) = data.into_table()?.into_inner();
    let cleaned =
        job::run(py, threads, progress, |job| clean::clean_batches(&batches, &schema, &options.0, job))?;
    let (kept, removed) = cleaned.schemas;
    let report = to_json(&cleaned.report)?;
    Ok((PyTable::try_new(cleaned.kept, kept)?, PyTable::try_new(cleaned.removed, removed)?, report))
}

#[pyfunction]
#[pyo3(signature = (inputs, out, options, *, removed=None, threads=None, progress=None))]
pub fn clean_files(
    py: Python<'_>,
    inputs: Vec<PathBuf>,
    out: PathBuf,
    options: Options<CleanOptions>,
    removed: Option<PathBuf>,
    threads: Option<usize>,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let work = |job: &_| clean::clean_files(&inputs, &out, removed.as_deref(), &options.0, job);
    to_json(&job::run(py, threads, progress, work)?)
}
