//! Norm, exp, softmax and gelu, each in one fixed order of summation.
//!
//! Sums run in eight lanes that are added at the end. The compiler may put these lanes into registers of
//! any width, but may not change their order, so results are the same on every processor.

/// Lanes of a sum.
pub const LANES: usize = 8;

/// Compiles a function for AVX2 as well, and calls what the kernel says there is: x86-64 by itself has
/// registers of four floats, AVX2 of eight. The function may have one generic type.
macro_rules! for_each_width {
    ($(#[$doc:meta])* $vis:vis fn $name:ident $(<$of:ident: $bound:path>)? (
        $($arg:ident: $kind:ty),* $(,)?
    ) $(-> $out:ty)? $body:block) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)] // attention has many
        $vis fn $name $(<$of: $bound>)? (kernel: $crate::infer::Kernel, $($arg: $kind),*) $(-> $out)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn body $(<$of: $bound>)? ($($arg: $kind),*) $(-> $out)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                #[allow(clippy::too_many_arguments)]
                fn wide $(<$of: $bound>)? ($($arg: $kind),*) $(-> $out)? {
                    body($($arg),*)
                }
                if matches!(kernel, $crate::infer::Kernel::Avx2 | $crate::infer::Kernel::Avx512Vnni) {
                    // SAFETY: a kernel is only made where its instructions, AVX2 among them, exist.
                    return unsafe { wide($($arg),*) };
                }
            }
            let _ = kernel;
            body($($arg),*)
        }
    };
}
pub(super) use for_each_width;

/// A number as it is stored.
pub trait Number: Copy {
    /// The number to compute with.
    fn wide(self) -> f32;
}

impl Number for f32 {
    #[inline(always)]
    fn wide(self) -> f32 {
        self
    }
}

/// A float of 8 significant bits, the upper half of one of 24: bfloat16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Short(u16);

impl Number for Short {
    #[inline(always)]
    fn wide(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }
}

impl From<f32> for Short {
    /// The nearest one, the even one if halfway; to be called with finite numbers.
    #[inline(always)]
    fn from(number: f32) -> Self {
        let bits = number.to_bits();
        Self((bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16)
    }
}

/// Sum of the products of two slices of the same length.
#[inline(always)]
pub fn dot<T: Number>(a: &[f32], b: &[T]) -> f32 {
    total(lanes_of_products(a, b))
}

/// Sums of the products of two slices of the same length, to be added up by [`total`].
#[inline(always)]
pub fn lanes_of_products<T: Number>(a: &[f32], b: &[T]) -> [f32; LANES] {
    let mut lanes = [0.0; LANES];
    let (mut left, mut right) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    for (a, b) in left.by_ref().zip(right.by_ref()) {
        for lane in 0..LANES {
            lanes[lane] += a[lane] * b[lane].wide();
        }
    }
    for (lane, (a, b)) in lanes.iter_mut().zip(left.remainder().iter().zip(right.remainder())) {
        *lane += a * b.wide();
    }
    lanes
}

/// The sum of lanes.
#[inline(always)]
pub fn total(lanes: [f32; LANES]) -> f32 {
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

/// The largest magnitude; in lanes, because one chain of comparisons waits for each of them.
#[inline(always)]
pub fn largest(row: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    for chunk in row.chunks(LANES) {
        for (lane, number) in lanes.iter_mut().zip(chunk) {
            let size = number.abs();
            *lane = if size > *lane { size } else { *lane };
        }
    }
    lanes.into_iter().fold(0.0, f32::max)
}

/// `e` to the power of x, to 2 units in the last place; below -87 it is the smallest normal number.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Added to a number, this leaves its rounded value in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let whole = shifted - ROUND;
    // ln 2 in two parts, the first with zeros at its end (Cephes, expf).
    let rest = x - whole * 0.693_359_4 - whole * -2.121_944_4e-4;
    let mut sum = 1.987_569_1e-4;
    for factor in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        sum = sum * rest + factor;
    }
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    (sum * rest * rest + rest + 1.0) * power
}

/// Softmax in place.
#[inline(always)]
pub fn softmax(scores: &mut [f32]) {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in scores.chunks(LANES) {
        for (lane, &score) in lanes.iter_mut().zip(chunk) {
            *lane = if score > *lane { score } else { *lane };
        }
    }
    let highest = lanes.into_iter().fold(f32::NEG_INFINITY, f32::max);
    for score in scores.iter_mut() {
        *score = exp(*score - highest);
    }
    let mut lanes = [0.0; LANES];
    for chunk in scores.chunks(LANES) {
        for (lane, score) in lanes.iter_mut().zip(chunk) {
            *lane += score;
        }
    }
    let factor = 1.0 / total(lanes);
    for score in scores.iter_mut() {
        *score *= factor;
    }
}

for_each_width! {
    /// 1 / root mean square of a row.
    pub fn norm_factor(row: &[f32], epsilon: f32) -> f32 {
        1.0 / (dot(row, row) / row.len() as f32 + epsilon).sqrt()
    }
}

for_each_width! {
    /// Each row's gelu of its first half, by the approximation with tanh, times its second half.
    pub fn gate(inner: &[f32], width: usize, out: &mut [f32]) {
        for (row, out) in inner.chunks_exact(2 * width).zip(out.chunks_exact_mut(width)) {
            let (gates, values) = row.split_at(width);
            for ((out, &gate), &value) in out.iter_mut().zip(gates).zip(values) {
                // tanh(u) = 2 / (1 + exp(-2u)) - 1
                let twice = 1.595_769 * (gate + 0.044_715 * gate * gate * gate);
                *out = gate / (1.0 + exp(-twice)) * value;
            }
        }
    }
}

for_each_width! {
    /// Negative numbers become 0.
    pub fn relu(values: &mut [f32]) {
        for value in values {
            *value = value.max(0.0);
        }
    }
}
