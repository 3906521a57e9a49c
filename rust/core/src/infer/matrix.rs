//! Float matrix to int8 matrix, and its product with activations.

use rayon::prelude::*;

use super::Kernel;
use super::dot::portable::Portable;
use super::dot::{Dot, STEP};
use super::math::{for_each_width, norm_factor};
use crate::error::{Error, Result};

/// Columns of a task: small enough to share work among threads, large enough to be worth a hand-over.
const TASK: usize = 256;
/// Rows of activations that go through a task's weights together; they fit into the second cache.
const BLOCK: usize = 64;

/// A matrix of int8 numbers, `[outputs, inputs]`, with a scale for each output.
#[derive(Debug, Clone)]
pub struct Matrix8 {
    outputs: usize,
    inputs: usize,
    stride: usize,
    values: Vec<i8>,
    scales: Vec<f32>,
    /// Sum of each output's values, for kernels that store activations with an offset.
    sums: Vec<i32>,
}

/// What is done to activations on the way into a product.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Norm {
    /// Nothing.
    None,
    /// Each row is divided by its root mean square; this is added under the root.
    RootMeanSquare(f32),
}

impl Matrix8 {
    /// Quantises a matrix, `[outputs, inputs]`, row by row to -127..127.
    ///
    /// # Errors
    /// [`Error::Data`] if the sizes do not fit or a number is not finite.
    pub fn pack(weights: &[f32], outputs: usize, inputs: usize) -> Result<Self> {
        if inputs == 0 || weights.len() != outputs * inputs {
            return Err(Error::Data(format!(
                "a matrix of {outputs} x {inputs} has {} numbers, {} are given",
                outputs * inputs,
                weights.len()
            )));
        }
        if let Some(at) = weights.iter().position(|weight| !weight.is_finite()) {
            let (row, column) = (at / inputs, at % inputs);
            return Err(Error::Data(format!("weight [{row}, {column}] is {}, not a number", weights[at])));
        }
        let stride = inputs.next_multiple_of(STEP);
        let mut values = vec![0; outputs * stride];
        let packed: Vec<(f32, i32)> = values
            .par_chunks_mut(stride)
            .zip(weights.par_chunks(inputs))
            .map(|(values, weights)| {
                let (scale, factor) = scale_of(weights);
                for (value, weight) in values.iter_mut().zip(weights) {
                    *value = round(weight * factor);
                }
                (scale, values.iter().map(|&value| i32::from(value)).sum())
            })
            .collect();
        let (scales, sums) = packed.into_iter().unzip();
        Ok(Self { outputs, inputs, stride, values, scales, sums })
    }

    /// Numbers that a product gives for each row.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Numbers that a product takes of each row.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Bytes of its numbers.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.values.len() + 4 * (self.scales.len() + self.sums.len())
    }

    /// `out = norm(rows) x self^T`: `rows` is `[N, inputs]`, `out` is `[N, outputs]`.
    ///
    /// # Panics
    /// If the sizes do not fit.
    pub fn product(&self, kernel: Kernel, rows: &[f32], norm: Norm, out: &mut [f32]) {
        self.product_into::<false>(kernel, rows, norm, out);
    }

    /// `out += norm(rows) x self^T`.
    ///
    /// # Panics
    /// If the sizes do not fit.
    pub fn add_product(&self, kernel: Kernel, rows: &[f32], norm: Norm, out: &mut [f32]) {
        self.product_into::<true>(kernel, rows, norm, out);
    }

    fn product_into<const ADD: bool>(&self, kernel: Kernel, rows: &[f32], norm: Norm, out: &mut [f32]) {
        match kernel {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512Vnni => self.run::<super::dot::vnni::Vnni, ADD>(kernel, rows, norm, out),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => self.run::<super::dot::avx2::Avx2, ADD>(kernel, rows, norm, out),
            #[cfg(target_arch = "aarch64")]
            Kernel::Neon => self.run::<super::dot::neon::Neon, ADD>(kernel, rows, norm, out),
            _ => self.run::<Portable, ADD>(kernel, rows, norm, out),
        }
    }

    fn run<D: Dot, const ADD: bool>(&self, kernel: Kernel, rows: &[f32], norm: Norm, out: &mut [f32]) {
        let count = rows.len() / self.inputs;
        assert!(rows.len() == count * self.inputs && out.len() == count * self.outputs, "sizes do not fit");
        let activations = Activations::<D>::quantize(kernel, rows, self.inputs, self.stride, norm);
        columns(out, self.outputs, TASK).into_par_iter().enumerate().for_each(|(task, mut out)| {
            for first in (0..count).step_by(BLOCK) {
                let block = first..(first + BLOCK).min(count);
                self.run_task::<D, ADD>(&activations, block, task * TASK, &mut out);
            }
        });
    }

    /// All outputs of a task for a block of rows; `out` holds the task's columns of each row.
    fn run_task<D: Dot, const ADD: bool>(
        &self,
        activations: &Activations<D>,
        block: std::ops::Range<usize>,
        first: usize,
        out: &mut [&mut [f32]],
    ) {
        let width = out[0].len();
        // One row alone leaves registers for four columns; more rows share two.
        let step = if block.len() == 1 { 4 } else { 2 };
        let mut column = 0;
        while column < width {
            let columns = step.min(width - column);
            let mut row = block.start;
            while row < block.end {
                let rows = D::ROWS.min(block.end - row);
                let tile = Tile { row, column, first };
                match (rows, columns) {
                    (1, 4) => self.run_tile::<D, ADD, 1, 4>(activations, tile, out),
                    (1, 2) => self.run_tile::<D, ADD, 1, 2>(activations, tile, out),
                    (2, 2) => self.run_tile::<D, ADD, 2, 2>(activations, tile, out),
                    (3, 2) => self.run_tile::<D, ADD, 3, 2>(activations, tile, out),
                    (4, 2) => self.run_tile::<D, ADD, 4, 2>(activations, tile, out),
                    _ => {
                        for row in row..row + rows {
                            for column in column..column + columns {
                                let tile = Tile { row, column, first };
                                self.run_tile::<D, ADD, 1, 1>(activations, tile, out);
                            }
                        }
                    }
                }
                row += rows;
            }
            column += columns;
        }
    }

    #[inline]
    fn run_tile<D: Dot, const ADD: bool, const R: usize, const C: usize>(
        &self,
        activations: &Activations<D>,
        tile: Tile,
        out: &mut [&mut [f32]],
    ) {
        let output = tile.first + tile.column;
        let rows = std::array::from_fn(|r| activations.row(tile.row + r));
        let columns =
            std::array::from_fn(|c| &self.values[(output + c) * self.stride..(output + c + 1) * self.stride]);
        // SAFETY: a kernel is only made where its instructions exist, and rows of both sides have `stride`
        // numbers, a multiple of STEP.
        let sums = unsafe { D::tile::<R, C>(rows, columns) };
        for (r, sums) in sums.iter().enumerate() {
            let scale = activations.scales[tile.row + r];
            for (c, &sum) in sums.iter().enumerate() {
                let sum = sum - D::OFFSET * self.sums[output + c];
                let found = sum as f32 * (scale * self.scales[output + c]);
                let out = &mut out[tile.row + r][tile.column + c];
                *out = if ADD { *out + found } else { found };
            }
        }
    }
}

/// Where a tile lies: its first row, its first column within a task, the task's first output.
#[derive(Clone, Copy)]
struct Tile {
    row: usize,
    column: usize,
    first: usize,
}

/// Rows of activations as int8 numbers, each with its scale.
struct Activations<D: Dot> {
    stride: usize,
    lanes: Vec<D::Lane>,
    scales: Vec<f32>,
}

impl<D: Dot> Activations<D> {
    fn quantize(kernel: Kernel, rows: &[f32], inputs: usize, stride: usize, norm: Norm) -> Self {
        let count = rows.len() / inputs;
        let mut lanes = vec![D::lane(0); count * stride];
        let mut scales = Vec::with_capacity(count);
        let mut values = vec![0; inputs];
        for (row, lanes) in rows.chunks_exact(inputs).zip(lanes.chunks_exact_mut(stride)) {
            let scale = quantize_row(kernel, row, &mut values);
            for (lane, &value) in lanes.iter_mut().zip(&values) {
                *lane = D::lane(value);
            }
            // A factor of the whole row changes its scale alone.
            scales.push(match norm {
                Norm::None => scale,
                Norm::RootMeanSquare(epsilon) => scale * norm_factor(kernel, row, epsilon),
            });
        }
        Self { stride, lanes, scales }
    }

    fn row(&self, row: usize) -> &[D::Lane] {
        &self.lanes[row * self.stride..(row + 1) * self.stride]
    }
}

for_each_width! {
    fn quantize_row(row: &[f32], values: &mut [i8]) -> f32 {
        let (scale, factor) = scale_of(row);
        for (value, number) in values.iter_mut().zip(row) {
            *value = round(number * factor);
        }
        scale
    }
}

/// The scale of a row, and what its numbers are multiplied with to be in -127..127.
#[inline(always)]
fn scale_of(row: &[f32]) -> (f32, f32) {
    let largest = row.iter().fold(0.0_f32, |largest, number| largest.max(number.abs()));
    if largest < f32::MIN_POSITIVE { (0.0, 0.0) } else { (largest / 127.0, 127.0 / largest) }
}

/// The nearest whole number of one within -127.5..127.5, even if halfway.
#[inline(always)]
fn round(number: f32) -> i8 {
    // Added to a number, this leaves its rounded value in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    (number + ROUND).to_bits() as u8 as i8
}

/// Each row's part of `width` columns, for tasks of `task` columns: `[tasks][rows]`.
fn columns(out: &mut [f32], width: usize, task: usize) -> Vec<Vec<&mut [f32]>> {
    let mut parts: Vec<Vec<&mut [f32]>> = Vec::new();
    parts.resize_with(width.div_ceil(task), Vec::new);
    for row in out.chunks_exact_mut(width) {
        for (part, columns) in parts.iter_mut().zip(row.chunks_mut(task)) {
            part.push(columns);
        }
    }
    parts
}
