//! See `smolchat_fast.split`.

use std::path::PathBuf;

use pyo3::prelude::*;
use smolchat_core::split::{self, SplitOptions};

use crate::job;
use crate::options::{Options, to_json};

#[pyfunction]
#[pyo3(signature = (inputs, train, valid, options, *, threads=None, progress=None))]
pub fn split_files(
    py: Python<'_>,
    inputs: Vec<PathBuf>,
    train: PathBuf,
    valid: PathBuf,
    options: Options<SplitOptions>,
    threads: Option<usize>,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let work = |job: &_| split::split_files(&inputs, &train, &valid, &options.0, job);
    to_json(&job::run(py, threads, progress, work)?)
}
