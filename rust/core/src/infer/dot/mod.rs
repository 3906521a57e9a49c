//! The inner loop of a product: a tile of rows of activations times rows of weights.
//!
//! Each set of instructions wants its activations in another form, so quantised numbers are stored as its
//! [`Dot::Lane`]. Lengths are multiples of [`STEP`], filled up with zeros.
//!
//! The instructions are worth their `unsafe`: AVX2 takes 56, 102, 373 us for 1, 4, 16 rows times 2,048 x 768
//! weights on one core, plain Rust 231, 737, 2,646 us. AVX512-VNNI and NEON have not been run yet.

#[cfg(target_arch = "x86_64")]
pub mod avx2;
#[cfg(target_arch = "aarch64")]
pub mod neon;
pub mod portable;
#[cfg(target_arch = "x86_64")]
pub mod vnni;

/// Rows of weights and activations are filled up to a multiple of this many numbers.
pub const STEP: usize = 64;

/// One set of instructions.
pub trait Dot {
    /// How a quantised activation is stored.
    type Lane: Copy + Default + Send + Sync;
    /// What is added to an activation when it is stored, and taken out of the sums again.
    const OFFSET: i32;
    /// Rows of activations and of weights in a tile: as many sums as registers hold.
    const ROWS: usize;

    /// A quantised activation as it is stored.
    fn lane(value: i8) -> Self::Lane;

    /// Sums of the products of each of `R` rows of activations with each of `C` rows of weights.
    ///
    /// # Safety
    /// The processor must have the instructions, and all slices the same length, a multiple of [`STEP`].
    unsafe fn tile<const R: usize, const C: usize>(
        activations: [&[Self::Lane]; R],
        weights: [&[i8]; C],
    ) -> [[i32; C]; R];
}
