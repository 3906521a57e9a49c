//! See `smolchat_fast.tokenizer.encode`.

use std::path::PathBuf;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::Field;
use pyo3::prelude::*;
use pyo3_arrow::PyArray;
use smolchat_core::encode::{self, EncodeOptions};
use smolchat_core::tokenizer::Encoder;

use crate::column::TextColumn;
use crate::job;
use crate::options::{Options, to_json};

/// The ids of each column, and the hash of the tokenizer.
#[pyfunction]
#[pyo3(signature = (columns, tokenizer, *, threads=None, progress=None))]
pub fn encode_columns(
    py: Python<'_>,
    columns: Vec<TextColumn>,
    tokenizer: PathBuf,
    threads: Option<usize>,
    progress: Option<Py<PyAny>>,
) -> PyResult<(Vec<PyArray>, String)> {
    let columns: Vec<Vec<&str>> = columns.iter().map(TextColumn::texts).collect();
    let (ids, tokenizer) = job::run(py, threads, progress, |job| {
        let encoder = Encoder::load(&tokenizer)?;
        let ids = columns.iter().map(|texts| encode::encode_texts(texts, &encoder, job));
        Ok((ids.collect::<Result<Vec<_>, _>>()?, encoder.fingerprint()))
    })?;
    let as_array = |ids| {
        let ids: ArrayRef = std::sync::Arc::new(ids);
        let field = Field::new("ids", ids.data_type().clone(), false);
        PyArray::new(ids, field.into())
    };
    Ok((ids.into_iter().map(as_array).collect(), tokenizer))
}

#[pyfunction]
#[pyo3(signature = (inputs, tokenizer, out, options, *, threads=None, progress=None))]
pub fn encode_files(
    py: Python<'_>,
    inputs: Vec<PathBuf>,
    tokenizer: PathBuf,
    out: PathBuf,
    options: Options<EncodeOptions>,
    threads: Option<usize>,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let work = |job: &_| encode::encode_files(&inputs, &tokenizer, &out, &options.0, job);
    to_json(&job::run(py, threads, progress, work)?)
}
