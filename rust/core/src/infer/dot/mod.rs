//! The inner loop of a product: a tile of rows of activations times panels of weights.
//!
//! A panel holds the weights of [`PANEL`] outputs, [`GROUP`] inputs of each side by side: `[groups][PANEL][GROUP]`.
//! So a register's lanes are outputs, sums need no adding up across lanes, and weights are read in the order they
//! lie in. Against weights output by output this took 20 and not 10 GB/s through one core with AVX512-VNNI.
//!
//! Each set of instructions wants its activations in another form, so quantised numbers are stored as its
//! [`Dot::Lane`].

#[cfg(target_arch = "x86_64")]
pub mod avx2;
#[cfg(target_arch = "aarch64")]
pub mod neon;
pub mod portable;
#[cfg(target_arch = "x86_64")]
pub mod vnni;

/// Outputs of a panel: 32-bit sums in the widest register.
pub const PANEL: usize = 16;
/// Inputs that lie side by side: what one lane adds up in a step.
pub const GROUP: usize = 4;

/// Sums of a panel's outputs.
pub type Sums = [i32; PANEL];

/// One set of instructions.
pub trait Dot {
    /// How a quantised activation is stored.
    type Lane: Copy + Default + Send + Sync;
    /// What is added to an activation when it is stored, and taken out of the sums again.
    const OFFSET: i32;

    /// A quantised activation as it is stored.
    fn lane(value: i8) -> Self::Lane;

    /// The most rows and panels of a tile, as many sums as registers hold, when so many rows are left.
    fn shape(rows: usize) -> (usize, usize);

    /// Sums of the products of each of `R` rows of activations with each of `P` panels.
    ///
    /// # Safety
    /// The processor must have the instructions; rows have the same length, a multiple of [`GROUP`], and
    /// panels [`PANEL`] times that.
    unsafe fn tile<const R: usize, const P: usize>(
        rows: [&[Self::Lane]; R],
        panels: [&[i8]; P],
    ) -> [[Sums; P]; R];
}
