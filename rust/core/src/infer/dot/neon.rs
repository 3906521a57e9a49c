//! NEON: eight products of bytes as 16-bit numbers, whose pairs are added to 32-bit sums.

use std::arch::aarch64::{
    int32x4_t, vaddvq_s32, vdupq_n_s32, vget_low_s8, vld1q_s8, vmull_high_s8, vmull_s8, vpadalq_s16,
};

use super::Dot;

pub struct Neon;

impl Dot for Neon {
    type Lane = i8;
    const OFFSET: i32 = 0;
    const ROWS: usize = 4;

    fn lane(value: i8) -> i8 {
        value
    }

    #[target_feature(enable = "neon")]
    unsafe fn tile<const R: usize, const C: usize>(
        activations: [&[i8]; R],
        weights: [&[i8]; C],
    ) -> [[i32; C]; R] {
        let mut sums: [[int32x4_t; C]; R] = [[vdupq_n_s32(0); C]; R];
        for at in (0..weights[0].len()).step_by(16) {
            for r in 0..R {
                // SAFETY: `at + 16` is within every slice: all have the same length, a multiple of 16.
                let row = unsafe { vld1q_s8(activations[r].as_ptr().add(at)) };
                for c in 0..C {
                    // SAFETY: as above.
                    let column = unsafe { vld1q_s8(weights[c].as_ptr().add(at)) };
                    let low = vmull_s8(vget_low_s8(row), vget_low_s8(column));
                    sums[r][c] = vpadalq_s16(sums[r][c], low);
                    sums[r][c] = vpadalq_s16(sums[r][c], vmull_high_s8(row, column));
                }
            }
        }
        let mut found = [[0; C]; R];
        for r in 0..R {
            for c in 0..C {
                found[r][c] = vaddvq_s32(sums[r][c]);
            }
        }
        found
    }
}
