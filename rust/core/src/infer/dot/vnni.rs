//! AVX512-VNNI: unsigned activations times signed weights, four products a lane and step.

use std::arch::x86_64::{
    __m512i, _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_reduce_add_epi32, _mm512_setzero_si512,
};

use super::Dot;

pub struct Vnni;

impl Dot for Vnni {
    type Lane = u8;
    const OFFSET: i32 = 128;
    const ROWS: usize = 4;

    fn lane(value: i8) -> u8 {
        (i16::from(value) + 128) as u8
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn tile<const R: usize, const C: usize>(
        activations: [&[u8]; R],
        weights: [&[i8]; C],
    ) -> [[i32; C]; R] {
        let mut sums = [[_mm512_setzero_si512(); C]; R];
        for at in (0..weights[0].len()).step_by(64) {
            // SAFETY: `at + 64` is within every slice, since all have the same length, a multiple of 64.
            let columns: [__m512i; C] =
                std::array::from_fn(|c| unsafe { _mm512_loadu_si512(weights[c].as_ptr().add(at).cast()) });
            for r in 0..R {
                // SAFETY: as above.
                let row = unsafe { _mm512_loadu_si512(activations[r].as_ptr().add(at).cast()) };
                for c in 0..C {
                    sums[r][c] = _mm512_dpbusd_epi32(sums[r][c], row, columns[c]);
                }
            }
        }
        let mut found = [[0; C]; R];
        for r in 0..R {
            for c in 0..C {
                found[r][c] = _mm512_reduce_add_epi32(sums[r][c]);
            }
        }
        found
    }
}
