//! AVX2: both sides as 16-bit numbers, whose products are summed in pairs as 32-bit ones.
//!
//! `vpmaddubsw` would take bytes as they are, but its 16-bit sums overflow, and what is then needed to
//! widen them costs as many multiplications.

use std::arch::x86_64::{
    __m256i, _mm_add_epi32, _mm_cvtsi128_si32, _mm_loadu_si128, _mm_shuffle_epi32, _mm256_add_epi32,
    _mm256_castsi256_si128, _mm256_cvtepi8_epi16, _mm256_extracti128_si256, _mm256_loadu_si256,
    _mm256_madd_epi16, _mm256_setzero_si256,
};

use super::Dot;

pub struct Avx2;

impl Dot for Avx2 {
    type Lane = i16;
    const OFFSET: i32 = 0;
    const ROWS: usize = 4;

    fn lane(value: i8) -> i16 {
        value.into()
    }

    #[target_feature(enable = "avx2")]
    unsafe fn tile<const R: usize, const C: usize>(
        activations: [&[i16]; R],
        weights: [&[i8]; C],
    ) -> [[i32; C]; R] {
        let mut sums = [[_mm256_setzero_si256(); C]; R];
        for at in (0..weights[0].len()).step_by(16) {
            // SAFETY: `at + 16` is within every slice, since all have the same length, a multiple of 16.
            let columns: [__m256i; C] = std::array::from_fn(|c| unsafe {
                _mm256_cvtepi8_epi16(_mm_loadu_si128(weights[c].as_ptr().add(at).cast()))
            });
            for r in 0..R {
                // SAFETY: as above.
                let row = unsafe { _mm256_loadu_si256(activations[r].as_ptr().add(at).cast()) };
                for c in 0..C {
                    sums[r][c] = _mm256_add_epi32(sums[r][c], _mm256_madd_epi16(row, columns[c]));
                }
            }
        }
        // No closure: it would not have the instructions.
        let mut found = [[0; C]; R];
        for r in 0..R {
            for c in 0..C {
                found[r][c] = sum(sums[r][c]);
            }
        }
        found
    }
}

#[target_feature(enable = "avx2")]
fn sum(lanes: __m256i) -> i32 {
    let four = _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
    let two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0b0100_1110));
    _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0b1011_0001)))
}
