//! See `smolchat_fast.words`.

use std::path::PathBuf;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3_arrow::PyTable;
use smolchat_core::words::{self, WordCounts, WordOptions};

use crate::column::TextColumn;
use crate::error::to_python;
use crate::job;
use crate::options::{Options, to_json};

#[pyfunction]
#[pyo3(signature = (columns, options, *, threads=None, progress=None))]
pub fn count_words<'py>(
    py: Python<'py>,
    columns: Vec<TextColumn>,
    options: Options<WordOptions>,
    threads: Option<usize>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let texts: Vec<&str> = columns.iter().flat_map(TextColumn::texts).collect();
    to_table(py, &job::run(py, threads, progress, |job| words::count_words(&texts, &options.0, job))?)
}

#[pyfunction]
#[pyo3(signature = (inputs, out, parts, options, *, threads=None, progress=None))]
pub fn count_words_files(
    py: Python<'_>,
    inputs: Vec<PathBuf>,
    out: PathBuf,
    parts: PathBuf,
    options: Options<WordOptions>,
    threads: Option<usize>,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let work = |job: &_| words::count_words_files(&inputs, &out, &parts, &options.0, job);
    to_json(&job::run(py, threads, progress, work)?)
}

#[pyfunction]
#[pyo3(signature = (inputs, out, parts, memory_mb, *, threads=None, progress=None))]
pub fn merge_word_count_files(
    py: Python<'_>,
    inputs: Vec<PathBuf>,
    out: PathBuf,
    parts: PathBuf,
    memory_mb: usize,
    threads: Option<usize>,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let work = |job: &_| words::merge_files(&inputs, &out, &parts, memory_mb, job);
    to_json(&job::run(py, threads, progress, work)?)
}

#[pyfunction]
pub fn merge_word_counts<'py>(py: Python<'py>, tables: Vec<PyTable>) -> PyResult<Bound<'py, PyAny>> {
    let batches = tables.iter().flat_map(PyTable::batches);
    let tables = batches.map(WordCounts::from_batch).collect::<Result<Vec<_>, _>>().map_err(to_python)?;
    to_table(py, &py.detach(|| words::merge(tables)))
}

/// The table of a file of counts; none if it holds rows of text.
#[pyfunction]
pub fn read_word_counts(py: Python<'_>, path: PathBuf) -> PyResult<Option<Bound<'_, PyAny>>> {
    let counts = py.detach(|| WordCounts::read_if_table(&path)).map_err(to_python)?;
    counts.map(|counts| to_table(py, &counts)).transpose()
}

/// The dictionary, loaded once for many texts.
#[pyclass(frozen)]
pub struct Segmenter(Arc<words::Segmenter>);

#[pymethods]
impl Segmenter {
    #[new]
    #[pyo3(signature = (user_dict=None))]
    fn new(user_dict: Option<PathBuf>) -> PyResult<Self> {
        let options = WordOptions { user_dict, ..WordOptions::default() };
        options.segmenter().map(Self).map_err(to_python)
    }

    fn cut<'a>(&self, text: &'a str, hmm: bool) -> Vec<&'a str> {
        self.0.cut(text, hmm)
    }
}

fn to_table<'py>(py: Python<'py>, counts: &WordCounts) -> PyResult<Bound<'py, PyAny>> {
    let batches = counts.to_batches().map_err(to_python)?;
    PyTable::try_new(batches, WordCounts::schema())?.into_pyarrow(py)
}
