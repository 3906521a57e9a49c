//! See `smolchat_fast.dedup`.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use pyo3::prelude::*;
use pyo3_arrow::input::AnyRecordBatch;
use pyo3_arrow::{PyArray, PyRecordBatch};
use smolchat_core::dedup::{self, DedupOptions, TableTexts};

use crate::error::to_python;
use crate::job;
use crate::options::{Options, to_json};

#[pyfunction]
#[pyo3(signature = (data, options, *, against=None, threads=None, progress=None))]
pub fn find_duplicates(
    py: Python<'_>,
    data: AnyRecordBatch,
    options: Options<DedupOptions>,
    against: Option<AnyRecordBatch>,
    threads: Option<usize>,
    progress: Option<Py<PyAny>>,
) -> PyResult<(Py<PyAny>, Py<PyAny>)> {
    let texts = texts(Some(data), &options.0)?;
    let against = self::texts(against, &options.0)?;
    let groups = job::run(py, threads, progress, |job| {
        dedup::find_duplicates_against(&texts, &against, &options.0, job)
    })?;
    let kept: Int64Array = groups.kept().into_iter().map(|row| row as i64).collect();
    let kept = PyArray::from_array_ref(Arc::new(kept)).to_pyarrow(py)?.unbind();
    let removed = PyRecordBatch::new(dedup::reasons(groups.removed()).map_err(to_python)?);
    Ok((kept, removed.into_pyarrow(py)?.unbind()))
}

fn texts(table: Option<AnyRecordBatch>, options: &DedupOptions) -> PyResult<TableTexts> {
    let Some(table) = table else { return TableTexts::new(&[], &[]).map_err(to_python) };
    let schema = table.schema()?;
    let columns = dedup::compared_columns(&schema, &options.columns).map_err(to_python)?;
    let batches: Vec<RecordBatch> = table.into_table()?.into_inner().0;
    TableTexts::new(&batches, &columns).map_err(to_python)
}

#[pyfunction]
#[pyo3(signature = (inputs, out, options, *, removed=None, against=Vec::new(), threads=None, progress=None))]
#[allow(clippy::too_many_arguments)] // each is a keyword in Python
pub fn deduplicate_files(
    py: Python<'_>,
    inputs: Vec<PathBuf>,
    out: PathBuf,
    options: Options<DedupOptions>,
    removed: Option<PathBuf>,
    against: Vec<PathBuf>,
    threads: Option<usize>,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let work =
        |job: &_| dedup::deduplicate_files(&inputs, &out, removed.as_deref(), &against, &options.0, job);
    to_json(&job::run(py, threads, progress, work)?)
}
