//! Chunks: rows of a window, encoded and parted into batches.

use std::ops::Range;
use std::path::Path;

use rayon::prelude::*;

use super::batch::{Batch, EncodedRow};
use super::order::Shuffler;
use super::pack::{Lengths, pack};
use super::state::MadeFrom;
use super::{Row, Shuffle, StreamOptions, Window};
use crate::error::{Error, Result};
use crate::io::Slice;
use crate::job::Job;
use crate::tokenizer::Encoder;

/// Files, tokenizer and options of a stream: all that the batches depend on.
pub struct Source {
    shuffle: Shuffle,
    encoder: Encoder,
    made_from: MadeFrom,
}

/// A chunk of a window of an epoch, each counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ChunkId {
    epoch: u64,
    window: usize,
    chunk: usize,
}

/// Rows of the batches that a state names, about: some eight batches of usual rows, 4 KB.
const COMING_ROWS: usize = 512;

/// Some tens of thousands of encoded rows and the batches they form.
pub struct Chunk {
    /// Batches of it that come before the place it was prepared for.
    pub passed: usize,
    /// Rows that are handed out when its last batch is.
    pub end: u64,
    rows: Vec<EncodedRow>,
    order: Vec<u32>,
    batches: Vec<Range<usize>>,
}

impl Source {
    pub fn open(shuffle: Shuffle, tokenizer: &Path) -> Result<Self> {
        let encoder = Encoder::load(tokenizer)?;
        shuffle.require_tokenizer(&encoder.fingerprint())?;
        let made_from = MadeFrom {
            rows: shuffle.rows(),
            files: format!("{:016x}", shuffle.fingerprint()),
            tokenizer: encoder.fingerprint(),
            options: shuffle.options().clone(),
        };
        Ok(Self { shuffle, encoder, made_from })
    }

    pub fn made_from(&self) -> &MadeFrom {
        &self.made_from
    }

    /// Rows of the first epoch; with weights, others may have one more of each file.
    pub fn epoch_rows(&self) -> u64 {
        self.shuffle.rows_before(1)
    }

    fn options(&self) -> &StreamOptions {
        &self.made_from.options
    }

    /// The batch at a place of a chunk.
    pub fn batch(&self, chunk: &Chunk, index: usize) -> Batch {
        let places = &chunk.order[chunk.batches[index].clone()];
        let rows = places.iter().map(|&row| &chunk.rows[row as usize]);
        Batch::collate(rows, self.encoder.pad_id(), self.options())
    }

    pub fn blank(&self) -> Batch {
        Batch::blank(self.encoder.eos_id(), self.encoder.pad_id(), self.options())
    }
}

impl Chunk {
    /// Batches.
    pub fn len(&self) -> usize {
        self.batches.len()
    }

    /// Rows of a batch.
    pub fn batch_rows(&self, index: usize) -> usize {
        self.batches[index].len()
    }

    /// Rows of the next few batches, of a round of `world` ranks at least.
    pub fn coming(&self, world: usize) -> Vec<Vec<u64>> {
        let (mut rows, mut coming) = (0, Vec::new());
        for index in self.passed..self.len() {
            rows += self.batch_rows(index);
            if rows > COMING_ROWS && coming.len() >= world {
                break;
            }
            coming.push(self.numbers(index).collect());
        }
        coming
    }

    /// Whether its batches before `passed` end with these.
    fn follows(&self, coming: &[Vec<u64>]) -> bool {
        let first = self.passed.checked_sub(coming.len());
        first.is_some_and(|first| {
            coming.iter().zip(first..).all(|(rows, i)| self.numbers(i).eq(rows.iter().copied()))
        })
    }

    /// Numbers of the rows of a batch.
    fn numbers(&self, index: usize) -> impl Iterator<Item = u64> {
        let places = &self.order[self.batches[index].clone()];
        places.iter().map(|&row| self.rows[row as usize].number)
    }
}

/// Prepares one chunk after the other; holds the window they come from.
pub struct Preparer<'a> {
    source: &'a Source,
    job: &'a Job,
    epoch: Option<(u64, Vec<Vec<Slice>>)>,
    window: Option<(u64, usize, Window)>,
    /// What a state said of the batches before the place of the next chunk; still to be compared.
    told: Vec<Vec<u64>>,
}

/// A window and the rows of all epochs before it.
struct Place {
    epoch: u64,
    window: usize,
    before: u64,
}

impl<'a> Preparer<'a> {
    pub fn new(source: &'a Source, job: &'a Job) -> Self {
        Self { source, job, epoch: None, window: None, told: Vec::new() }
    }

    /// The chunk that goes on after `position` rows were handed out, the same whatever was prepared
    /// before; none after the last epoch.
    ///
    /// Footers tell the window, the bytes of its rows the chunk, and its encoded rows the batch.
    pub fn prepare(&mut self, position: u64, epochs: Option<u64>) -> Result<Option<Chunk>> {
        let Some(Place { epoch, window, before }) = self.turn_to(position, epochs)? else { return Ok(None) };
        let Some((_, _, rows)) = &self.window else { return Err(no_such_place(position)) };
        let chunks = rows.chunks(self.source.options());
        let in_window = (position - before) as usize;
        let found = chunks.into_iter().enumerate().find(|(_, range)| range.contains(&in_window));
        let (chunk, range) = found.ok_or_else(|| no_such_place(position))?;
        let (start, end) = (before + range.start as u64, before + range.end as u64);
        let mut chunk = self.encode(rows, range, ChunkId { epoch, window, chunk }, end)?;
        let mut at = start;
        while at < position {
            at += chunk.batch_rows(chunk.passed) as u64;
            chunk.passed += 1;
        }
        let told = std::mem::take(&mut self.told);
        if at != position {
            return Err(no_such_place(position));
        }
        // At the start of a chunk the batches before belong to another, which nobody needs any more.
        if chunk.passed > 0 && !chunk.follows(&told) {
            return Err(no_such_rows(position));
        }
        Ok(Some(chunk))
    }

    /// The next batches alone, of which a state tells the rows.
    pub fn prepare_coming(
        &mut self,
        position: u64,
        epochs: Option<u64>,
        coming: Vec<Vec<u64>>,
    ) -> Result<Option<Chunk>> {
        if self.turn_to(position, epochs)?.is_none() {
            return Ok(None);
        }
        let Some((_, _, window)) = &self.window else { return Err(no_such_place(position)) };
        let found: Option<Vec<Row<'_>>> =
            coming.iter().flatten().map(|&number| window.find(number)).collect();
        let found = found.filter(|_| coming.iter().all(|rows| !rows.is_empty()));
        let rows = self.encode_rows(found.ok_or_else(|| no_such_rows(position))?.into_par_iter())?;
        let mut batches = Vec::with_capacity(coming.len());
        let mut start = 0;
        for batch in &coming {
            batches.push(start..start + batch.len());
            start += batch.len();
        }
        self.told = coming;
        let order = (0..rows.len() as u32).collect();
        Ok(Some(Chunk { passed: 0, end: position + start as u64, rows, order, batches }))
    }

    /// Has the window of the row that comes after `position` rows at hand; none after the last epoch.
    fn turn_to(&mut self, position: u64, epochs: Option<u64>) -> Result<Option<Place>> {
        let epoch = self.source.shuffle.epoch_of(position);
        if epochs.is_some_and(|epochs| epoch >= epochs) {
            return Ok(None);
        }
        let mut before = self.source.shuffle.rows_before(epoch);
        let windows = self.turn_to_epoch(epoch);
        let mut window = 0;
        while let Some(rows) = windows.get(window).map(|slices| rows_of(slices))
            && before + rows <= position
        {
            before += rows;
            window += 1;
        }
        self.turn_to_window(epoch, window)?;
        Ok(Some(Place { epoch, window, before }))
    }

    fn turn_to_epoch(&mut self, epoch: u64) -> &[Vec<Slice>] {
        if self.epoch.as_ref().is_none_or(|(at_hand, _)| *at_hand != epoch) {
            self.epoch = None;
        }
        &self.epoch.get_or_insert_with(|| (epoch, self.source.shuffle.windows(epoch))).1
    }

    fn turn_to_window(&mut self, epoch: u64, number: usize) -> Result<()> {
        if !matches!(&self.window, Some((e, n, _)) if (*e, *n) == (epoch, number)) {
            // Two windows at once would double the memory.
            self.window = None;
            let slices = self.turn_to_epoch(epoch).get(number).cloned().unwrap_or_default();
            let window = self.source.shuffle.read(epoch, number, &slices, self.job)?;
            self.window = Some((epoch, number, window));
        }
        Ok(())
    }

    fn encode(&self, window: &Window, range: Range<usize>, id: ChunkId, end: u64) -> Result<Chunk> {
        let options = self.source.options();
        let rows = self.encode_rows(range.into_par_iter().map(|place| window.row(place)))?;
        let padded = |ids: &[u32]| options.padded(ids.len()).min(usize::from(u16::MAX)) as u16;
        let lengths: Vec<Lengths> = rows
            .iter()
            .map(|row| Lengths { source: padded(&row.source), target: padded(&row.target) })
            .collect();
        let mut packing = self.job.run(|| pack(&lengths, options.limit()));
        let key = [options.seed, id.epoch, id.window as u64, id.chunk as u64];
        Shuffler::new(&key).shuffle(&mut packing.batches);
        Ok(Chunk { passed: 0, end, rows, order: packing.order, batches: packing.batches })
    }

    fn encode_rows<'w>(&self, rows: impl IndexedParallelIterator<Item = Row<'w>>) -> Result<Vec<EncodedRow>> {
        let (encoder, options) = (&self.source.encoder, self.source.options());
        let encode = |row: Row<'_>| {
            self.job.check()?;
            let source = row.source.ids(encoder, options.max_source)?;
            let target = row.target.ids(encoder, options.max_target)?;
            Ok(EncodedRow { number: row.number, source, target })
        };
        // In order: of two faulty rows the first is told.
        let encoded: Vec<Result<EncodedRow>> = self.job.run(|| rows.map(encode).collect());
        encoded.into_iter().collect()
    }
}

fn rows_of(slices: &[Slice]) -> u64 {
    slices.iter().map(|slice| slice.rows() as u64).sum()
}

fn no_such_place(position: u64) -> Error {
    Error::Data(format!("the state names position {position}, where no batch of these rows ends"))
}

fn no_such_rows(position: u64) -> Error {
    Error::Data(format!(
        "the state names rows (`coming`) that do not come after position {position}; take them out of it, or \
         go on from another state"
    ))
}
