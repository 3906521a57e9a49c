//! See `smolchat_fast.dedup`.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::Int64Array;
use arrow::datatypes::{DataType, Field, Schema};
use pyo3::prelude::*;
use pyo3_arrow::input::AnyRecordBatch;
use pyo3_arrow::{PyArray, PyRecordBatch, PyTable};
use smolchat_core::dedup::{self, DedupFiles, DedupOptions, IndexReader, IndexWriter, TableTexts};

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
    let schema = data.schema()?;
    let columns = dedup::compared_columns(&schema, &options.0.columns).map_err(to_python)?;
    let texts = texts(Some(data), &columns)?;
    let against = self::texts(against, options.0.columns_of_against(&columns))?;
    let groups = job::run(py, threads, progress, |job| {
        dedup::find_duplicates_against(&texts, &against, &options.0, job)
    })?;
    let kept: Int64Array = groups.kept().into_iter().map(|row| row as i64).collect();
    let kept = PyArray::from_array_ref(Arc::new(kept)).to_pyarrow(py)?.unbind();
    let removed = PyRecordBatch::new(dedup::reasons(groups.removed()).map_err(to_python)?);
    Ok((kept, removed.into_pyarrow(py)?.unbind()))
}

fn texts(table: Option<AnyRecordBatch>, columns: &[String]) -> PyResult<TableTexts> {
    let batches = table.map_or(Ok(Vec::new()), |table| table.into_table().map(|table| table.into_inner().0));
    TableTexts::new(&batches?, columns).map_err(to_python)
}

/// The columns of a table that are compared if none are named.
#[pyfunction]
pub fn compared_columns(table: AnyRecordBatch) -> PyResult<Vec<String>> {
    let schema = table.schema()?;
    dedup::compared_columns(&schema, &[]).map_err(to_python)
}

/// Writes the named columns of a table as an index.
#[pyfunction]
pub fn save_index(table: AnyRecordBatch, columns: Vec<String>, path: PathBuf) -> PyResult<u64> {
    let mut index = IndexWriter::create(&path, &columns).map_err(to_python)?;
    for batch in table.into_table()?.into_inner().0 {
        index.write(&batch).map_err(to_python)?;
    }
    index.finish().map_err(to_python)
}

/// Columns and rows of an index.
#[pyfunction]
pub fn load_index(py: Python<'_>, path: PathBuf) -> PyResult<(Vec<String>, Py<PyAny>)> {
    let index = IndexReader::open(&path).map_err(to_python)?;
    let columns = index.columns().to_vec();
    let fields = columns.iter().map(|name| Field::new(name, DataType::Utf8, false));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let batches = index.map(|batch| batch.map_err(to_python)).collect::<PyResult<Vec<_>>>()?;
    Ok((columns, PyTable::try_new(batches, schema)?.into_pyarrow(py)?.unbind()))
}

#[pyfunction]
#[pyo3(signature = (inputs, out, options, *, removed=None, against=Vec::new(), index=None, grown=None, threads=None, progress=None))]
#[allow(clippy::too_many_arguments)] // each is a keyword in Python
pub fn deduplicate_files(
    py: Python<'_>,
    inputs: Vec<PathBuf>,
    out: PathBuf,
    options: Options<DedupOptions>,
    removed: Option<PathBuf>,
    against: Vec<PathBuf>,
    index: Option<PathBuf>,
    grown: Option<PathBuf>,
    threads: Option<usize>,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let files = DedupFiles {
        inputs: &inputs,
        against: &against,
        index: index.as_deref(),
        out: &out,
        removed: removed.as_deref(),
        grown: grown.as_deref(),
    };
    let work = |job: &_| dedup::deduplicate_files(&files, &options.0, job);
    to_json(&job::run(py, threads, progress, work)?)
}
