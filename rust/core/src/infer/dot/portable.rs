//! Plain Rust; also what the others are tested against.

use super::{Dot, GROUP, PANEL, Sums};

pub struct Portable;

impl Dot for Portable {
    type Lane = i16;
    const OFFSET: i32 = 0;

    fn lane(value: i8) -> i16 {
        value.into()
    }

    fn shape(_: usize) -> (usize, usize) {
        (1, 1)
    }

    // SAFETY: nothing here relies on what the trait asks: slices are cut with their lengths checked.
    unsafe fn tile<const R: usize, const P: usize>(rows: [&[i16]; R], panels: [&[i8]; P]) -> [[Sums; P]; R] {
        rows.map(|row| {
            panels.map(|panel| {
                let mut sums = [0; PANEL];
                for (four, weights) in row.chunks_exact(GROUP).zip(panel.chunks_exact(PANEL * GROUP)) {
                    for (sum, weights) in sums.iter_mut().zip(weights.chunks_exact(GROUP)) {
                        *sum +=
                            four.iter().zip(weights).map(|(&a, &w)| i32::from(a) * i32::from(w)).sum::<i32>();
                    }
                }
                sums
            })
        })
    }
}
