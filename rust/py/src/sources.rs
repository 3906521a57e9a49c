//! See `smolchat_fast.sources`.

use std::path::PathBuf;

use pyo3::prelude::*;
use smolchat_core::sources::{self, SourceOptions};

use crate::job;
use crate::options::{Options, to_json};

#[pyfunction]
#[pyo3(signature = (inputs, out, options, *, threads=None, progress=None))]
pub fn read_files(
    py: Python<'_>,
    inputs: Vec<PathBuf>,
    out: PathBuf,
    options: Options<SourceOptions>,
    threads: Option<usize>,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let work = |job: &_| sources::read_files(&inputs, &out, &options.0, job);
    to_json(&job::run(py, threads, progress, work)?)
}
