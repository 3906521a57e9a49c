//! NEON: eight products of bytes as 16-bit numbers, whose pairs are added to 32-bit sums.

use std::arch::aarch64::{
    int32x4_t, vdupq_n_s32, vget_low_s8, vld1q_s8, vmull_high_s8, vmull_s8, vpadalq_s16, vpaddq_s32,
    vreinterpretq_s8_s32, vst1q_s32,
};

use super::{Dot, GROUP, PANEL, Sums};

pub struct Neon;

/// Four outputs at a time; pairs of each output's products lie in two registers.
const PARTS: usize = 4;

impl Dot for Neon {
    type Lane = i8;
    const OFFSET: i32 = 0;

    fn lane(value: i8) -> i8 {
        value
    }

    fn shape(_: usize) -> (usize, usize) {
        (2, 1)
    }

    // SAFETY: called as the trait asks; every 64-bit ARM has NEON.
    #[target_feature(enable = "neon")]
    #[allow(clippy::needless_range_loop)] // numbers of registers
    unsafe fn tile<const R: usize, const P: usize>(rows: [&[i8]; R], panels: [&[i8]; P]) -> [[Sums; P]; R] {
        let mut sums: [[[[int32x4_t; 2]; PARTS]; P]; R] = [[[[vdupq_n_s32(0); 2]; PARTS]; P]; R];
        for group in 0..rows[0].len() / GROUP {
            for p in 0..P {
                for part in 0..PARTS {
                    let at = (group * PARTS + part) * 16;
                    // SAFETY: a panel has four times 16 bytes for each group.
                    let weights = unsafe { vld1q_s8(panels[p].as_ptr().add(at)) };
                    for r in 0..R {
                        // SAFETY: a row has four bytes for each group.
                        let four =
                            unsafe { rows[r].as_ptr().add(group * GROUP).cast::<i32>().read_unaligned() };
                        let row = vreinterpretq_s8_s32(vdupq_n_s32(four));
                        let [low, high] = &mut sums[r][p][part];
                        *low = vpadalq_s16(*low, vmull_s8(vget_low_s8(row), vget_low_s8(weights)));
                        *high = vpadalq_s16(*high, vmull_high_s8(row, weights));
                    }
                }
            }
        }
        let mut found = [[[0; PANEL]; P]; R];
        for r in 0..R {
            for p in 0..P {
                for part in 0..PARTS {
                    let [low, high] = sums[r][p][part];
                    // SAFETY: a panel has four times four sums.
                    unsafe { vst1q_s32(found[r][p].as_mut_ptr().add(part * 4), vpaddq_s32(low, high)) };
                }
            }
        }
        found
    }
}
