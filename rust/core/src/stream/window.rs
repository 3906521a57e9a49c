//! Windows: the text of many row groups in random order.

use std::ops::Range;
use std::path::PathBuf;

use rayon::prelude::*;

use super::StreamOptions;
use super::column::{Column, Content};
use super::mix::Mix;
use super::order::{self, Shuffler};
use super::pack::Limit;
use crate::error::{Error, Result};
use crate::io::{RowBatch, Slice, Slices};
use crate::job::Job;

/// Rows of a slice at most: large row groups, as other writers make them, would fill a window alone.
const MAX_SLICE_ROWS: usize = 65_536;

/// Near enough for Chinese (three bytes a character) and for English; only the size of a chunk rests on it.
const BYTES_PER_TOKEN: usize = 4;

/// The rows of several Parquet files in the order of each epoch.
///
/// ```no_run
/// use smolchat_core::{job::Job, stream::{Shuffle, StreamOptions}};
/// let shuffle = Shuffle::open(&["train.parquet".into()], StreamOptions::default())?;
/// let (epoch, job) = (0, Job::new(None)?);
/// for (number, slices) in shuffle.windows(epoch).iter().enumerate() {
///     let window = shuffle.read(epoch, number, slices, &job)?;
///     for row in (0..window.len()).map(|i| window.row(i)) {
///         println!("{}: {:?} -> {:?}", row.number, row.source, row.target);
///     }
/// }
/// # Ok::<(), smolchat_core::Error>(())
/// ```
pub struct Shuffle {
    slices: Slices,
    mix: Mix,
    options: StreamOptions,
}

/// A few hundred thousand rows in memory, in random order.
pub struct Window {
    parts: Vec<Part>,
    /// Part and row in it.
    order: Vec<(u32, u32)>,
}

struct Part {
    source: Column,
    target: Column,
    first_row: u64,
}

/// One row of a window, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row<'a> {
    /// Position in the concatenated input, from 0.
    pub number: u64,
    /// What the model reads.
    pub source: Content<'a>,
    /// What it is to write.
    pub target: Content<'a>,
}

impl Shuffle {
    /// Reads the footers of the files.
    ///
    /// # Errors
    /// [`Error::Option`] for an option out of range; [`Error::File`] or [`Error::Io`] with the path of a
    /// file that cannot be used; [`Error::Data`] if there are no rows at all, or none in an epoch.
    pub fn open(paths: &[PathBuf], options: StreamOptions) -> Result<Self> {
        options.check()?;
        let columns = [options.source_column.as_str(), options.target_column.as_str()];
        let slices = Slices::open(paths, &columns, options.shuffle_rows.min(MAX_SLICE_ROWS))?;
        if slices.rows() == 0 {
            return Err(Error::Data(format!("no rows to stream in {} input files", paths.len())));
        }
        let mix = Mix::new(slices.slices(), paths.len(), &options.weights)?;
        Ok(Self { slices, mix, options })
    }

    /// Rows in all files.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.slices.rows()
    }

    /// Refuses files of ids that another tokenizer made.
    pub(super) fn require_tokenizer(&self, fingerprint: &str) -> Result<()> {
        self.slices.require_tokenizer(fingerprint)
    }

    /// Rows of all epochs before this one.
    #[must_use]
    pub fn rows_before(&self, epoch: u64) -> u64 {
        self.mix.rows_before(epoch)
    }

    /// The epoch of the row that comes after this many.
    pub(super) fn epoch_of(&self, position: u64) -> u64 {
        // With weights an epoch may have a few rows more than the first one, so this is never too small.
        let mut epoch = position / self.rows_before(1);
        while self.rows_before(epoch) > position {
            epoch -= 1;
        }
        epoch
    }

    pub(super) fn fingerprint(&self) -> u64 {
        self.slices.fingerprint()
    }

    pub(super) fn options(&self) -> &StreamOptions {
        &self.options
    }

    /// The windows of an epoch, each as its slices.
    #[must_use]
    pub fn windows(&self, epoch: u64) -> Vec<Vec<Slice>> {
        let slices = self.mix.slices(self.slices.slices(), epoch, &self.options);
        let slice_rows: Vec<usize> = slices.iter().map(Slice::rows).collect();
        let windows = order::windows(&slice_rows, self.options.shuffle_rows);
        windows.into_iter().map(|window| slices[window].to_vec()).collect()
    }

    /// Reads the window `number` of `epoch` on the threads of the job and permutes its rows.
    ///
    /// # Errors
    /// [`Error::File`] or [`Error::Io`] with the path, [`Error::Record`] naming the row of a null.
    pub fn read(&self, epoch: u64, number: usize, slices: &[Slice], job: &Job) -> Result<Window> {
        let read: Vec<Result<Vec<Part>>> =
            job.run(|| slices.par_iter().map(|slice| self.read_slice(slice, job)).collect());
        let mut parts = Vec::new();
        for slice in read {
            parts.append(&mut slice?);
        }
        let mut order = Vec::with_capacity(parts.iter().map(|part| part.source.len()).sum());
        for (number, part) in parts.iter().enumerate() {
            order.extend((0..part.source.len() as u32).map(|row| (number as u32, row)));
        }
        Shuffler::new(&[self.options.seed, epoch, number as u64]).shuffle(&mut order);
        Ok(Window { parts, order })
    }

    fn read_slice(&self, slice: &Slice, job: &Job) -> Result<Vec<Part>> {
        job.check()?;
        let mut first_row = slice.first_row();
        let part = |batch: RowBatch| {
            let source = Column::of(&batch, &self.options.source_column)?;
            let target = Column::of(&batch, &self.options.target_column)?;
            let part = Part { source, target, first_row };
            first_row += part.source.len() as u64;
            Ok(part)
        };
        self.slices.read(slice)?.into_iter().map(part).collect()
    }
}

impl Window {
    /// Rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The row at a place of the random order.
    #[must_use]
    pub fn row(&self, place: usize) -> Row<'_> {
        let (part, row) = self.order[place];
        let (part, row) = (&self.parts[part as usize], row as usize);
        Row {
            number: part.first_row + row as u64,
            source: part.source.row(row),
            target: part.target.row(row),
        }
    }

    /// The row of this number, if it is in the window.
    pub(super) fn find(&self, number: u64) -> Option<Row<'_>> {
        let row_of = |part: &'_ Part| number.checked_sub(part.first_row).map(|row| row as usize);
        let part = self.parts.iter().find(|part| row_of(part).is_some_and(|row| row < part.source.len()))?;
        let row = row_of(part)?;
        Some(Row { number, source: part.source.row(row), target: part.target.row(row) })
    }

    /// Parts the rows into chunks of about `bucket_batches` batches each.
    pub(super) fn chunks(&self, options: &StreamOptions) -> Vec<Range<usize>> {
        let rows = match options.limit() {
            Limit::Rows(batch) => options.bucket_batches.saturating_mul(batch),
            Limit::Tokens(batch) => {
                let tokens = self.parts.iter().map(|part| part.guess_tokens(options)).sum::<u128>().max(1);
                let room = options.bucket_batches as u128 * batch as u128;
                (room.saturating_mul(self.len() as u128) / tokens).min(self.len() as u128) as usize
            }
        };
        order::chunks(self.len(), rows, options.batch_rows)
    }
}

impl Part {
    /// Tokens of its rows after cutting.
    fn guess_tokens(&self, options: &StreamOptions) -> u128 {
        self.source.guess_tokens(BYTES_PER_TOKEN, options.max_source)
            + self.target.guess_tokens(BYTES_PER_TOKEN, options.max_target)
    }
}
