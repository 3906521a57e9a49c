//! A T5 on a CPU: int8 matrices, float32 between them, many answers at once.
//!
//! Every matrix row and every row of activations has a scale of its own, products are summed as whole
//! numbers, and floats are summed in one fixed order. So an answer depends neither on its neighbours in
//! the batch, nor on the number of threads, nor on which instructions the processor has.
//!
//! ```
//! use smolchat_core::infer::{Kernel, Matrix8, Norm};
//! let weights = [0.5, -1.0, 2.0, 0.25]; // two outputs of two inputs
//! let matrix = Matrix8::pack(&weights, 2, 2)?;
//! let mut out = [0.0; 2];
//! matrix.product(Kernel::detect(), &[3.0, 1.0], Norm::None, &mut out);
//! assert!((out[0] - 0.5).abs() < 0.05 && (out[1] - 6.25).abs() < 0.05);
//! # Ok::<(), smolchat_core::Error>(())
//! ```
mod attention; // one query, many keys and values
mod dot; // the inner loop of a product, for each set of instructions
mod kernel; // which instructions there are
mod math; // norm, exp, softmax, gelu in a fixed order of summation
mod matrix; // float matrix -> int8 matrix; activations x int8 matrix -> activations
mod model; // the layers
mod rows; // keys and values of each answer under way
#[cfg(test)]
mod tests;

pub use kernel::Kernel;
pub use matrix::{Matrix8, Norm};
pub use model::{DecoderLayer, Encoding, Layer, Model, Shape};
