//! See `smolchat_fast.stream`.

use std::path::PathBuf;

use numpy::ndarray::Array2;
use numpy::{IntoPyArray, PyArray1, PyArray2};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use smolchat_core::stream::{self, Batch, Share, Step, StreamOptions};

use crate::error::to_python;
use crate::job;
use crate::options::{Options, to_json};

/// The batches of one rank.
#[pyclass(module = "smolchat_fast._core")]
pub struct Stream(stream::Stream);

type Matrix<'py> = Bound<'py, PyArray2<i64>>;
/// `input_ids`, `attention_mask`, `labels`, `rows`.
type Arrays<'py> = (Matrix<'py>, Matrix<'py>, Matrix<'py>, Bound<'py, PyArray1<i64>>);

#[pymethods]
impl Stream {
    #[new]
    #[pyo3(signature = (paths, tokenizer, options, *, share=(0, 1), epochs=None, threads=None))]
    fn new(
        py: Python<'_>,
        paths: Vec<PathBuf>,
        tokenizer: PathBuf,
        options: Options<StreamOptions>,
        share: (usize, usize),
        epochs: Option<u64>,
        threads: Option<usize>,
    ) -> PyResult<Self> {
        let share = Share { rank: share.0, world: share.1 };
        let open = || stream::Stream::open(&paths, &tokenizer, options.0, share, epochs, threads);
        py.detach(open).map(Self).map_err(to_python)
    }

    #[getter]
    fn rows(&self) -> u64 {
        self.0.rows()
    }

    fn next_batch<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Arrays<'py>>> {
        let found = job::wait(py, |patience| match self.0.next_within(patience)? {
            Step::Batch(batch) => Ok(Some(Some(batch))),
            Step::End => Ok(Some(None)),
            Step::Waiting => Ok(None),
        })?;
        found.map(|batch| arrays(py, batch)).transpose()
    }

    /// Position, what it is of as JSON, and the rows of the next batches: many numbers, and JSON is slow to read.
    fn state(&self) -> PyResult<(u64, String, Vec<Vec<u64>>)> {
        let state = self.0.state();
        Ok((state.position, to_json(&state.made_from)?, state.coming))
    }

    fn load_state(&mut self, py: Python<'_>, state: &str) -> PyResult<()> {
        let state =
            serde_json::from_str(state).map_err(|error| PyValueError::new_err(format!("state: {error}")))?;
        py.detach(|| self.0.load_state(&state)).map_err(to_python)
    }
}

/// The arrays take over the memory of the batch.
fn arrays(py: Python<'_>, batch: Batch) -> PyResult<Arrays<'_>> {
    let rows = batch.rows.len();
    let matrix = |ids: Vec<i64>, tokens: usize| {
        let matrix = Array2::from_shape_vec((rows, tokens), ids);
        matrix.map(|matrix| matrix.into_pyarray(py)).map_err(|error| PyValueError::new_err(error.to_string()))
    };
    Ok((
        matrix(batch.input_ids, batch.source_tokens)?,
        matrix(batch.attention_mask, batch.source_tokens)?,
        matrix(batch.labels, batch.target_tokens)?,
        batch.rows.into_pyarray(py),
    ))
}
