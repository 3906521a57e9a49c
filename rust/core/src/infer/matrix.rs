//! Float matrix to int8 matrix, and its product with activations.

use std::ops::Range;

use rayon::prelude::*;

use super::Kernel;
use super::dot::portable::Portable;
use super::dot::{Dot, GROUP, PANEL, Sums};
use super::math::{for_each_width, largest, norm_factor};
use crate::error::{Error, Result};

/// Panels of a task: small enough that threads end together, large enough to be worth a hand-over.
const TASK: usize = 8;
/// Rows of activations that go through a task's weights together; they fit into the second cache.
const BLOCK: usize = 64;
/// Rows of activations that are worth handing to another thread.
const SHARE: usize = 8;

/// A matrix of int8 numbers, `[outputs, inputs]`, with a scale for each output.
#[derive(Debug, Clone)]
pub struct Matrix8 {
    outputs: usize,
    inputs: usize,
    /// Panels, as [`super::dot`] describes them, filled up with zeros.
    values: Vec<i8>,
    /// Of each output, filled up to whole panels.
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
        let size = PANEL * inputs.next_multiple_of(GROUP);
        let mut values = vec![0; outputs.div_ceil(PANEL) * size];
        let mut scales = vec![0.0; outputs.next_multiple_of(PANEL)];
        values
            .par_chunks_mut(size)
            .zip(scales.par_chunks_mut(PANEL))
            .zip(weights.par_chunks(PANEL * inputs))
            .for_each(|((values, scales), weights)| {
                for (output, weights) in weights.chunks_exact(inputs).enumerate() {
                    let (scale, factor) = scale_of(weights);
                    scales[output] = scale;
                    for (group, four) in weights.chunks(GROUP).enumerate() {
                        let to = &mut values[(group * PANEL + output) * GROUP..][..four.len()];
                        for (value, weight) in to.iter_mut().zip(four) {
                            *value = round(weight * factor);
                        }
                    }
                }
            });
        Self::from_parts(outputs, inputs, values, scales)
    }

    /// A matrix of what [`Self::values`] and [`Self::scales`] gave.
    ///
    /// # Errors
    /// [`Error::Data`] if the sizes do not fit.
    pub fn from_parts(outputs: usize, inputs: usize, values: Vec<i8>, scales: Vec<f32>) -> Result<Self> {
        let size = PANEL * inputs.next_multiple_of(GROUP);
        let panels = outputs.div_ceil(PANEL);
        if inputs == 0 || values.len() != panels * size || scales.len() != panels * PANEL {
            return Err(Error::Data(format!(
                "{} packed numbers and {} scales are no matrix of {outputs} x {inputs}",
                values.len(),
                scales.len()
            )));
        }
        let sums = values.par_chunks(size).flat_map_iter(output_sums).collect();
        Ok(Self { outputs, inputs, values, scales, sums })
    }

    /// The numbers as they are stored, to be kept.
    #[must_use]
    pub fn values(&self) -> &[i8] {
        &self.values
    }

    /// The scales as they are stored, to be kept.
    #[must_use]
    pub fn scales(&self) -> &[f32] {
        &self.scales
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
        self.product_into(kernel, rows, norm, false, out);
    }

    /// `out += norm(rows) x self^T`.
    ///
    /// # Panics
    /// If the sizes do not fit.
    pub fn add_product(&self, kernel: Kernel, rows: &[f32], norm: Norm, out: &mut [f32]) {
        self.product_into(kernel, rows, norm, true, out);
    }

    fn product_into(&self, kernel: Kernel, rows: &[f32], norm: Norm, add: bool, out: &mut [f32]) {
        match kernel {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512Vnni => self.run::<super::dot::vnni::Vnni>(kernel, rows, norm, add, out),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => self.run::<super::dot::avx2::Avx2>(kernel, rows, norm, add, out),
            #[cfg(target_arch = "aarch64")]
            Kernel::Neon => self.run::<super::dot::neon::Neon>(kernel, rows, norm, add, out),
            _ => self.run::<Portable>(kernel, rows, norm, add, out),
        }
    }

    fn run<D: Dot>(&self, kernel: Kernel, rows: &[f32], norm: Norm, add: bool, out: &mut [f32]) {
        let count = rows.len() / self.inputs;
        assert!(rows.len() == count * self.inputs && out.len() == count * self.outputs, "sizes do not fit");
        let activations = Activations::<D>::quantize(kernel, rows, self.inputs, norm);
        columns(out, self.outputs, TASK * PANEL).into_par_iter().enumerate().for_each(|(task, mut out)| {
            for first in (0..count).step_by(BLOCK) {
                let rows = first..(first + BLOCK).min(count);
                self.run_task(kernel, &activations, rows, task * TASK, add, &mut out);
            }
        });
    }

    /// All outputs of a task, panels from `first` on, for a block of rows; `out` holds the task's columns of each row.
    fn run_task<D: Dot>(
        &self,
        kernel: Kernel,
        activations: &Activations<D>,
        block: Range<usize>,
        first: usize,
        add: bool,
        out: &mut [&mut [f32]],
    ) {
        let last = first + out[0].len().div_ceil(PANEL);
        let mut panel = first;
        while panel < last {
            let panels = part_of(last - panel, D::shape(block.len()).1);
            let mut row = block.start;
            while row < block.end {
                let rows = part_of(block.end - row, D::shape(block.len()).0);
                let mut done = |r: usize, p: usize, sums: &Sums| {
                    let panel = panel + p;
                    let (scales, offsets) = (&self.scales[panel * PANEL..], &self.sums[panel * PANEL..]);
                    let column = (panel - first) * PANEL;
                    let out = &mut out[row + r][column..];
                    finish(kernel, sums, D::OFFSET, offsets, activations.scales[row + r], scales, add, out);
                };
                match (rows, panels) {
                    (1, 1) => self.run_tile::<D, 1, 1>(activations, row, panel, &mut done),
                    (1, 2) => self.run_tile::<D, 1, 2>(activations, row, panel, &mut done),
                    (1, 4) => self.run_tile::<D, 1, 4>(activations, row, panel, &mut done),
                    (2, 1) => self.run_tile::<D, 2, 1>(activations, row, panel, &mut done),
                    (2, 2) => self.run_tile::<D, 2, 2>(activations, row, panel, &mut done),
                    (2, 4) => self.run_tile::<D, 2, 4>(activations, row, panel, &mut done),
                    (4, 1) => self.run_tile::<D, 4, 1>(activations, row, panel, &mut done),
                    (4, 2) => self.run_tile::<D, 4, 2>(activations, row, panel, &mut done),
                    _ => self.run_tile::<D, 4, 4>(activations, row, panel, &mut done),
                }
                row += rows;
            }
            panel += panels;
        }
    }

    #[inline]
    fn run_tile<D: Dot, const R: usize, const P: usize>(
        &self,
        activations: &Activations<D>,
        row: usize,
        panel: usize,
        done: &mut impl FnMut(usize, usize, &Sums),
    ) {
        let size = PANEL * activations.stride;
        let rows = std::array::from_fn(|r| activations.row(row + r));
        let panels = std::array::from_fn(|p| &self.values[(panel + p) * size..][..size]);
        // SAFETY: a kernel is only made where its instructions exist; rows have `stride` numbers, a multiple of
        // GROUP, and panels PANEL times that.
        let sums = unsafe { D::tile::<R, P>(rows, panels) };
        for (r, sums) in sums.iter().enumerate() {
            for (p, sums) in sums.iter().enumerate() {
                done(r, p, sums);
            }
        }
    }
}

/// The largest of 4, 2, 1 that is neither over `left` nor over `most`.
fn part_of(left: usize, most: usize) -> usize {
    match left.min(most) {
        0 | 1 => 1,
        2 | 3 => 2,
        _ => 4,
    }
}

/// The sum of each output's values in a panel.
fn output_sums(panel: &[i8]) -> Sums {
    let mut sums = [0; PANEL];
    for group in panel.chunks_exact(PANEL * GROUP) {
        for (sum, four) in sums.iter_mut().zip(group.chunks_exact(GROUP)) {
            *sum += four.iter().map(|&value| i32::from(value)).sum::<i32>();
        }
    }
    sums
}

for_each_width! {
    /// Sums of a panel to outputs of a row; `out` may be shorter than a panel at the matrix's end.
    fn finish(
        sums: &Sums,
        offset: i32,
        offsets: &[i32],
        scale: f32,
        scales: &[f32],
        add: bool,
        out: &mut [f32],
    ) {
        let mut found = [0.0; PANEL];
        for (((found, sum), offsets), scales) in found.iter_mut().zip(sums).zip(offsets).zip(scales) {
            *found = (sum - offset * offsets) as f32 * (scale * scales);
        }
        let count = out.len().min(PANEL);
        if add {
            for (out, found) in out[..count].iter_mut().zip(&found) {
                *out += found;
            }
        } else {
            out[..count].copy_from_slice(&found[..count]);
        }
    }
}

/// Rows of activations as int8 numbers, each with its scale.
struct Activations<D: Dot> {
    stride: usize,
    lanes: Vec<D::Lane>,
    scales: Vec<f32>,
}

impl<D: Dot> Activations<D> {
    fn quantize(kernel: Kernel, rows: &[f32], inputs: usize, norm: Norm) -> Self {
        let (count, stride) = (rows.len() / inputs, inputs.next_multiple_of(GROUP));
        let mut lanes = vec![D::lane(0); count * stride];
        let mut scales = vec![0.0; count];
        lanes
            .par_chunks_exact_mut(stride)
            .zip(scales.par_iter_mut())
            .zip(rows.par_chunks_exact(inputs))
            .with_min_len(SHARE)
            .for_each_init(
                || vec![0; inputs],
                |values, ((lanes, scale), row)| {
                    *scale = quantize_row(kernel, row, values);
                    // A factor of the whole row changes its scale alone.
                    if let Norm::RootMeanSquare(epsilon) = norm {
                        *scale *= norm_factor(kernel, row, epsilon);
                    }
                    for (lane, &value) in lanes.iter_mut().zip(values.iter()) {
                        *lane = D::lane(value);
                    }
                },
            );
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
    let largest = largest(row);
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
