//! See `smolchat_fast.stats`.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3_arrow::input::AnyRecordBatch;
use smolchat_core::stats::{self, StatsOptions};

use crate::job;
use crate::options::{Options, to_json};

#[pyfunction]
#[pyo3(signature = (data, options, *, threads=None, progress=None))]
pub fn describe_table(
    py: Python<'_>,
    data: AnyRecordBatch,
    options: Options<StatsOptions>,
    threads: Option<usize>,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let (batches, schema) = data.into_table()?.into_inner();
    let work = |job: &_| stats::describe_batches(&batches, &schema, &options.0, job);
    to_json(&job::run(py, threads, progress, work)?)
}

#[pyfunction]
#[pyo3(signature = (inputs, options, *, threads=None, progress=None))]
pub fn describe_files(
    py: Python<'_>,
    inputs: Vec<PathBuf>,
    options: Options<StatsOptions>,
    threads: Option<usize>,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    to_json(&job::run(py, threads, progress, |job| stats::describe_files(&inputs, &options.0, job))?)
}
