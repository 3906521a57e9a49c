//! AVX2: both sides as 16-bit numbers, whose products are summed in pairs as 32-bit ones.
//!
//! `vpmaddubsw` would take bytes as they are, but its 16-bit sums overflow, and what is then needed to
//! widen them costs as many multiplications.

use std::arch::x86_64::{
    _mm_loadu_si128, _mm256_add_epi32, _mm256_cvtepi8_epi16, _mm256_madd_epi16, _mm256_set1_epi64x,
    _mm256_setzero_si256, _mm256_storeu_si256,
};

use super::{Dot, GROUP, PANEL, Sums};

pub struct Avx2;

/// Registers of a panel's sums: two halves of each of four outputs in one.
const REGISTERS: usize = 4;

impl Dot for Avx2 {
    type Lane = i16;
    const OFFSET: i32 = 0;

    fn lane(value: i8) -> i16 {
        value.into()
    }

    fn shape(rows: usize) -> (usize, usize) {
        if rows == 1 { (1, 2) } else { (2, 1) }
    }

    // SAFETY: called as the trait asks, on a processor with AVX2.
    #[expect(clippy::needless_range_loop, reason = "`part` is a place in the panel as well")]
    #[target_feature(enable = "avx2")]
    unsafe fn tile<const R: usize, const P: usize>(rows: [&[i16]; R], panels: [&[i8]; P]) -> [[Sums; P]; R] {
        let mut sums = [[[_mm256_setzero_si256(); REGISTERS]; P]; R];
        for group in 0..rows[0].len() / GROUP {
            let mut fours = [_mm256_setzero_si256(); R];
            for r in 0..R {
                // SAFETY: a row has four 16-bit numbers for each group.
                let four = unsafe { rows[r].as_ptr().add(group * GROUP).cast::<i64>().read_unaligned() };
                fours[r] = _mm256_set1_epi64x(four);
            }
            for p in 0..P {
                for part in 0..REGISTERS {
                    let at = (group * REGISTERS + part) * 16;
                    // SAFETY: a panel has four times 16 bytes for each group.
                    let bytes = unsafe { _mm_loadu_si128(panels[p].as_ptr().add(at).cast()) };
                    let weights = _mm256_cvtepi8_epi16(bytes);
                    for r in 0..R {
                        let products = _mm256_madd_epi16(fours[r], weights);
                        sums[r][p][part] = _mm256_add_epi32(sums[r][p][part], products);
                    }
                }
            }
        }
        let mut found = [[[0; PANEL]; P]; R];
        for r in 0..R {
            for p in 0..P {
                let mut halves = [0; 2 * PANEL];
                for (register, eight) in sums[r][p].iter().zip(halves.chunks_exact_mut(8)) {
                    // SAFETY: eight numbers of 32 bits are a register.
                    unsafe { _mm256_storeu_si256(eight.as_mut_ptr().cast(), *register) };
                }
                for (sum, pair) in found[r][p].iter_mut().zip(halves.chunks_exact(2)) {
                    *sum = pair[0] + pair[1];
                }
            }
        }
        found
    }
}
