//! See `smolchat_fast.tokenizer`.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3_arrow::PyTable;
use smolchat_core::tokenizer::{self, Built, LearnedElsewhere, TokenizerOptions};
use smolchat_core::words::{self, WordCounts};

use crate::column::TextColumn;
use crate::error::to_python;
use crate::job;
use crate::options::{Options, to_json};

#[pyfunction]
#[pyo3(signature = (columns, options, *, threads=None, progress=None))]
pub fn build_tokenizer_from_texts(
    py: Python<'_>,
    columns: Vec<TextColumn>,
    options: Options<TokenizerOptions>,
    threads: Option<usize>,
    progress: Option<Py<PyAny>>,
) -> PyResult<(String, String)> {
    let texts: Vec<&str> = columns.iter().flat_map(TextColumn::texts).collect();
    let work = |job: &_| tokenizer::build_from_texts(&texts, &options.0, job);
    to_texts(job::run(py, threads, progress, work)?)
}

#[pyfunction]
#[pyo3(signature = (counts, options, *, threads=None, progress=None))]
pub fn build_tokenizer_from_words(
    py: Python<'_>,
    counts: PyTable,
    options: Options<TokenizerOptions>,
    threads: Option<usize>,
    progress: Option<Py<PyAny>>,
) -> PyResult<(String, String)> {
    let parts = counts.batches().iter().map(WordCounts::from_batch).collect::<Result<Vec<_>, _>>();
    let counts = words::merge(parts.map_err(to_python)?);
    let work = |job: &_| tokenizer::build_from_words(&counts, &options.0, job);
    to_texts(job::run(py, threads, progress, work)?)
}

#[pyfunction]
#[pyo3(signature = (inputs, options, *, threads=None, progress=None))]
pub fn build_tokenizer_from_files(
    py: Python<'_>,
    inputs: Vec<PathBuf>,
    options: Options<TokenizerOptions>,
    threads: Option<usize>,
    progress: Option<Py<PyAny>>,
) -> PyResult<(String, String)> {
    let work = |job: &_| tokenizer::build_from_files(&inputs, &options.0, job);
    to_texts(job::run(py, threads, progress, work)?)
}

/// The expression by which texts are cut before tokens are made.
#[pyfunction]
pub fn tokenizer_pattern() -> String {
    tokenizer::pattern()
}

/// A vocabulary that another library has learned, as JSON.
#[pyfunction]
pub fn assemble_tokenizer(
    learned: Options<LearnedElsewhere>,
    added_tokens: Vec<String>,
) -> PyResult<(String, String)> {
    to_texts(tokenizer::assemble(learned.0, &added_tokens).map_err(to_python)?)
}

/// The content of `tokenizer.json`, and the report as JSON.
fn to_texts(built: Built) -> PyResult<(String, String)> {
    Ok((built.json, to_json(&built.report)?))
}
