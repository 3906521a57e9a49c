//! AVX512-VNNI: unsigned activations times signed weights, four products a lane and step.

use std::arch::x86_64::{
    __m512i, _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_setzero_si512,
    _mm512_storeu_si512,
};

use super::{Dot, GROUP, PANEL, Sums};

pub struct Vnni;

impl Dot for Vnni {
    type Lane = u8;
    const OFFSET: i32 = 128;

    fn lane(value: i8) -> u8 {
        (i16::from(value) + 128) as u8
    }

    fn shape(_: usize) -> (usize, usize) {
        (4, 4)
    }

    // SAFETY: called as the trait asks, on a processor with AVX512F, BW and VNNI.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn tile<const R: usize, const P: usize>(rows: [&[u8]; R], panels: [&[i8]; P]) -> [[Sums; P]; R] {
        let mut sums = [[_mm512_setzero_si512(); P]; R];
        for group in 0..rows[0].len() / GROUP {
            let mut weights: [__m512i; P] = [_mm512_setzero_si512(); P];
            for p in 0..P {
                // SAFETY: a panel has 64 bytes, a register, for each group.
                weights[p] =
                    unsafe { _mm512_loadu_si512(panels[p].as_ptr().add(group * PANEL * GROUP).cast()) };
            }
            for r in 0..R {
                // SAFETY: a row has four bytes for each group.
                let four = unsafe { rows[r].as_ptr().add(group * GROUP).cast::<i32>().read_unaligned() };
                let row = _mm512_set1_epi32(four);
                for p in 0..P {
                    sums[r][p] = _mm512_dpbusd_epi32(sums[r][p], row, weights[p]);
                }
            }
        }
        let mut found = [[[0; PANEL]; P]; R];
        for r in 0..R {
            for p in 0..P {
                // SAFETY: a panel's sums are sixteen numbers of 32 bits, a register.
                unsafe { _mm512_storeu_si512(found[r][p].as_mut_ptr().cast(), sums[r][p]) };
            }
        }
        found
    }
}
