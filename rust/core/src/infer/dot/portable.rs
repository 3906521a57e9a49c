//! Plain Rust; also what the others are tested against.

use super::Dot;

pub struct Portable;

impl Dot for Portable {
    type Lane = i16;
    const OFFSET: i32 = 0;
    const ROWS: usize = 4;

    fn lane(value: i8) -> i16 {
        value.into()
    }

    unsafe fn tile<const R: usize, const C: usize>(
        activations: [&[i16]; R],
        weights: [&[i8]; C],
    ) -> [[i32; C]; R] {
        activations.map(|row| {
            weights.map(|column| row.iter().zip(column).map(|(&a, &w)| i32::from(a) * i32::from(w)).sum())
        })
    }
}
