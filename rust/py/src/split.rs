//! See `smolchat_fast.split`.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::UInt32Array;
use pyo3::prelude::*;
use pyo3_arrow::PyArray;
use pyo3_arrow::input::AnyRecordBatch;
use smolchat_core::dedup::TableTexts;
use smolchat_core::split::{self, SplitOptions};

use crate::error::to_python;
use crate::job;
use crate::options::{Options, to_json};

/// The names of the parts that are held out.
#[pyfunction]
pub fn split_names(options: Options<SplitOptions>) -> PyResult<Vec<String>> {
    let parts = options.0.parsed().map_err(to_python)?;
    Ok(parts.into_iter().map(|part| part.name).collect())
}

/// Returns the side of each row: 0 for training, n for the n-th part.
#[pyfunction]
#[pyo3(signature = (data, options, *, threads=None, progress=None))]
pub fn split_table(
    py: Python<'_>,
    data: AnyRecordBatch,
    options: Options<SplitOptions>,
    threads: Option<usize>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Py<PyAny>> {
    let columns = split::columns(data.schema()?.as_ref(), &options.0).map_err(to_python)?;
    let texts = TableTexts::new(&data.into_table()?.into_inner().0, &columns).map_err(to_python)?;
    let sides = job::run(py, threads, progress, |job| split::assign(&texts, &options.0, job))?;
    let sides = PyArray::from_array_ref(Arc::new(UInt32Array::from(sides)));
    Ok(sides.to_pyarrow(py)?.unbind())
}

#[pyfunction]
#[pyo3(signature = (inputs, train, parts, options, *, threads=None, progress=None))]
pub fn split_files(
    py: Python<'_>,
    inputs: Vec<PathBuf>,
    train: PathBuf,
    parts: Vec<PathBuf>,
    options: Options<SplitOptions>,
    threads: Option<usize>,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let work = |job: &_| split::split_files(&inputs, &train, &parts, &options.0, job);
    to_json(&job::run(py, threads, progress, work)?)
}
