//! See `smolchat_fast.serve.core_network`. Arrays are borrowed, never copied; a step takes milliseconds, so
//! it lets go of the GIL and is not asked to stop.

use std::sync::{Arc, Mutex, PoisonError};

use numpy::{PyArray1, PyReadonlyArray1, PyReadonlyArray2, PyReadwriteArray2};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use smolchat_core::infer::{self, DecoderLayer, Kernel, Layer, Matrix8, Norm, Shape};
use smolchat_core::{Error, Result};

use crate::error::to_python;
use crate::job;
use crate::options::Options;

/// The instructions that products can be computed with here, the fastest first.
#[pyfunction]
pub fn infer_kernels() -> Vec<String> {
    Kernel::available().iter().map(ToString::to_string).collect()
}

/// A matrix of int8 numbers with a scale for each row.
#[pyclass(frozen, module = "smolchat_fast._core")]
pub struct Int8Matrix(Arc<Matrix8>);

#[pymethods]
impl Int8Matrix {
    #[new]
    fn new(py: Python<'_>, weights: PyReadonlyArray2<'_, f32>) -> PyResult<Self> {
        let (outputs, inputs) = weights.as_array().dim();
        let weights = weights.as_slice().map_err(contiguous)?;
        job::short(py, || Matrix8::pack(weights, outputs, inputs)).map(|matrix| Self(Arc::new(matrix)))
    }

    /// A matrix of what `parts` gave.
    #[staticmethod]
    fn from_parts(
        py: Python<'_>,
        shape: (usize, usize),
        values: PyReadonlyArray1<'_, i8>,
        scales: PyReadonlyArray1<'_, f32>,
    ) -> PyResult<Self> {
        let values = values.as_slice().map_err(contiguous)?;
        let scales = scales.as_slice().map_err(contiguous)?;
        job::short(py, || Matrix8::from_parts(shape.0, shape.1, values.to_vec(), scales.to_vec()))
            .map(|matrix| Self(Arc::new(matrix)))
    }

    /// Its numbers and their scales, to be kept.
    fn parts<'py>(&self, py: Python<'py>) -> (Bound<'py, PyArray1<i8>>, Bound<'py, PyArray1<f32>>) {
        (PyArray1::from_slice(py, self.0.values()), PyArray1::from_slice(py, self.0.scales()))
    }

    #[getter]
    fn shape(&self) -> (usize, usize) {
        (self.0.outputs(), self.0.inputs())
    }

    /// `out = rows x self^T`.
    #[pyo3(signature = (rows, out, *, kernel=None))]
    fn product(
        &self,
        py: Python<'_>,
        rows: PyReadonlyArray2<'_, f32>,
        mut out: PyReadwriteArray2<'_, f32>,
        kernel: Option<&str>,
    ) -> PyResult<()> {
        let (found, wanted) = (out.as_array().dim(), (rows.as_array().dim().0, self.0.outputs()));
        if rows.as_array().dim().1 != self.0.inputs() || found != wanted {
            return Err(PyValueError::new_err(format!("sizes do not fit a matrix of {:?}", self.shape())));
        }
        let kernel = parse(kernel)?;
        let rows = rows.as_slice().map_err(contiguous)?;
        let out = out.as_slice_mut().map_err(contiguous)?;
        job::short(py, || {
            self.0.product(kernel, rows, Norm::None, out);
            Ok(())
        })
    }
}

/// Four matrices of an encoder layer: qkv, o, wi, wo.
type LayerParts<'py> = [PyRef<'py, Int8Matrix>; 4];
/// Six of a decoder layer: qkv, o, cross q, cross o, wi, wo.
type DecoderParts<'py> = [PyRef<'py, Int8Matrix>; 6];

/// A prompt on its way through the encoder.
#[pyclass(frozen, module = "smolchat_fast._core")]
pub struct Int8Encoding(Mutex<infer::Encoding>);

#[pymethods]
impl Int8Encoding {
    #[getter]
    fn tokens(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).tokens()
    }
}

/// A T5 and the answers it is giving.
#[pyclass(module = "smolchat_fast._core")]
pub struct Int8Model(infer::Model);

#[pymethods]
impl Int8Model {
    #[new]
    #[pyo3(signature = (shape, encoder, decoder, cross, out, encoder_bias, decoder_bias, *, threads=None, kernel=None))]
    #[allow(clippy::too_many_arguments)] // the parts of a model
    fn new(
        shape: Options<Shape>,
        encoder: Vec<LayerParts<'_>>,
        decoder: Vec<DecoderParts<'_>>,
        cross: PyRef<'_, Int8Matrix>,
        out: PyRef<'_, Int8Matrix>,
        encoder_bias: (PyReadonlyArray2<'_, f32>, isize),
        decoder_bias: (PyReadonlyArray2<'_, f32>, isize),
        threads: Option<usize>,
        kernel: Option<&str>,
    ) -> PyResult<Self> {
        let numbers =
            |array: &PyReadonlyArray2<'_, f32>| array.as_slice().map(<[f32]>::to_vec).map_err(contiguous);
        let share = |matrix: &PyRef<'_, Int8Matrix>| Arc::clone(&matrix.0);
        let layer = |[qkv, o, into, out]: [&PyRef<'_, Int8Matrix>; 4]| Layer {
            qkv: share(qkv),
            o: share(o),
            into: share(into),
            out: share(out),
        };
        let threads = threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        let model = infer::Model::new(
            shape.0,
            encoder.iter().map(|[qkv, o, into, out]| layer([qkv, o, into, out])).collect(),
            decoder
                .iter()
                .map(|[qkv, o, cross_q, cross_o, into, out]| DecoderLayer {
                    layer: layer([qkv, o, into, out]),
                    cross_q: share(cross_q),
                    cross_o: share(cross_o),
                })
                .collect(),
            share(&cross),
            share(&out),
            (numbers(&encoder_bias.0)?, encoder_bias.1),
            (numbers(&decoder_bias.0)?, decoder_bias.1),
            parse(kernel)?,
            threads,
        );
        model.map(Self).map_err(to_python)
    }

    #[getter]
    fn kernel(&self) -> String {
        self.0.kernel().to_string()
    }

    #[getter]
    fn bytes(&self) -> usize {
        self.0.bytes()
    }

    #[getter]
    fn rows(&self) -> usize {
        self.0.rows()
    }

    fn encode(&self, embedded: PyReadonlyArray2<'_, f32>) -> PyResult<Int8Encoding> {
        let embedded = embedded.as_slice().map_err(contiguous)?.to_vec();
        self.0.encode(embedded).map(|encoding| Int8Encoding(Mutex::new(encoding))).map_err(to_python)
    }

    fn advance(&self, py: Python<'_>, encoding: &Int8Encoding, layers: usize) -> PyResult<bool> {
        job::short(py, || {
            let mut encoding = encoding.0.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(self.0.advance(&mut encoding, layers))
        })
    }

    fn join(&mut self, py: Python<'_>, encoding: &Int8Encoding, rows: usize) -> PyResult<()> {
        job::short(py, || {
            let encoding = encoding.0.lock().unwrap_or_else(PoisonError::into_inner);
            self.0.join(&encoding, rows);
            Ok(())
        })
    }

    fn step(
        &mut self,
        py: Python<'_>,
        mut hidden: PyReadwriteArray2<'_, f32>,
        mut logits: PyReadwriteArray2<'_, f32>,
    ) -> PyResult<()> {
        let hidden = hidden.as_slice_mut().map_err(contiguous)?;
        let logits = logits.as_slice_mut().map_err(contiguous)?;
        job::short(py, || self.0.step(hidden, logits))
    }

    fn select(&mut self, py: Python<'_>, order: Vec<usize>) -> PyResult<()> {
        job::short(py, || self.0.select(&order))
    }
}

fn parse(kernel: Option<&str>) -> PyResult<Kernel> {
    let found: Result<Kernel, Error> = kernel.map_or_else(|| Ok(Kernel::detect()), str::parse);
    found.map_err(to_python)
}

fn contiguous(error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(format!("the array is not one C-contiguous piece: {error}"))
}
