//! Which slices an epoch holds, and in what order: all of them, or of each file as much as its weight says.

use super::StreamOptions;
use super::order::Shuffler;
use crate::error::{Error, Result};
use crate::io::Slice;

/// Slices of a weighted file that a window has room for.
const SLICES_A_WINDOW: u64 = 4;

/// The share of each file in an epoch.
///
/// The rows of a weighted file form an endless sequence of passes, each in an order of its own; an epoch
/// takes the next `weight` times its rows of it. So every row comes exactly once a pass, whatever the
/// weight, and where a pass is cut depends on nothing but the number of the epoch.
pub struct Mix {
    /// Rows of all files.
    rows: u64,
    /// Rows of each file and its weight; empty if all files are one set.
    files: Vec<(u64, f64)>,
}

impl Mix {
    pub fn new(slices: &[Slice], files: usize, weights: &[f64]) -> Result<Self> {
        if !weights.is_empty() && weights.len() != files {
            let rule = format!("must be one for each of the {files} input files, or none");
            return Err(Error::option("weights", weights.len(), rule));
        }
        let mut mix = Self { rows: 0, files: weights.iter().map(|&weight| (0, weight)).collect() };
        for slice in slices {
            mix.rows += slice.rows() as u64;
            if let Some((rows, _)) = mix.files.get_mut(slice.file()) {
                *rows += slice.rows() as u64;
            }
        }
        if mix.rows_before(1) == 0 {
            return Err(Error::Data("the weights leave no row in an epoch; raise them".into()));
        }
        Ok(mix)
    }

    /// Rows of all epochs before this one.
    pub fn rows_before(&self, epoch: u64) -> u64 {
        if self.files.is_empty() {
            return epoch * self.rows;
        }
        self.files.iter().map(|&file| passed(file, epoch)).sum()
    }

    /// The slices of an epoch in their order.
    pub fn slices(&self, all: &[Slice], epoch: u64, options: &StreamOptions) -> Vec<Slice> {
        if self.files.is_empty() {
            let mut slices = all.to_vec();
            Shuffler::new(&[options.seed, epoch]).shuffle(&mut slices);
            return slices;
        }
        let epoch_rows = self.rows_before(epoch + 1) - self.rows_before(epoch);
        let windows = epoch_rows.div_ceil(options.shuffle_rows as u64);
        let mut keyed = Vec::new();
        for (number, &file) in self.files.iter().enumerate() {
            let own: Vec<Slice> = all.iter().copied().filter(|slice| slice.file() == number).collect();
            let (from, to) = (passed(file, epoch), passed(file, epoch + 1));
            // No window is to go without a file that has rows for it, wherever the others make it end.
            let most = (to - from).div_ceil(SLICES_A_WINDOW * windows).max(1) as usize;
            let taken = cut(take(&own, file.0, from, to, options.seed, number as u64), most);
            let mut shuffler = Shuffler::new(&[options.seed, epoch, number as u64, 0, 1]);
            let count = taken.len() as u128;
            // Spread evenly over the epoch, each a little off its place.
            keyed.extend(taken.into_iter().enumerate().map(|(place, slice)| {
                let off = u128::from(shuffler.next() >> 32);
                ((((place as u128) << 32) + off) / count, number, place, slice)
            }));
        }
        keyed.sort_unstable_by_key(|&(at, number, place, _)| (at, number, place));
        keyed.into_iter().map(|(.., slice)| slice).collect()
    }
}

/// Rows of a file in all epochs before this one.
fn passed((rows, weight): (u64, f64), epoch: u64) -> u64 {
    (epoch as f64 * weight * rows as f64) as u64
}

/// The rows `from..to` of the endless sequence of passes over a file of `rows` rows.
fn take(slices: &[Slice], rows: u64, from: u64, to: u64, seed: u64, file: u64) -> Vec<Slice> {
    let mut taken = Vec::new();
    if rows == 0 {
        return taken;
    }
    for pass in from / rows..to.div_ceil(rows) {
        let mut order = slices.to_vec();
        Shuffler::new(&[seed, pass, file, 0, 0]).shuffle(&mut order);
        let mut first = pass * rows;
        for slice in order {
            let end = first + slice.rows() as u64;
            let (start, stop) = (from.clamp(first, end), to.clamp(first, end));
            if start < stop {
                taken.push(slice.part((start - first) as usize..(stop - first) as usize));
            }
            first = end;
        }
    }
    taken
}

/// The same rows in slices of at most `most` rows.
fn cut(slices: Vec<Slice>, most: usize) -> Vec<Slice> {
    let pieces = |slice: Slice| {
        (0..slice.rows()).step_by(most).map(move |start| slice.part(start..slice.rows().min(start + most)))
    };
    slices.into_iter().flat_map(pieces).collect()
}
