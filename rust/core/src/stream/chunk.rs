//! Chunks: rows of a window, encoded and parted into batches.

use std::ops::Range;
use std::path::Path;

use rayon::prelude::*;

use super::batch::{Batch, EncodedRow};
use super::order::Shuffler;
use super::pack::{Lengths, pack};
use super::state::{ChunkId, MadeFrom};
use super::{Shuffle, StreamOptions, Window};
use crate::error::{Error, Result};
use crate::job::Job;
use crate::tokenizer::Encoder;

/// Files, tokenizer and options of a stream: all that the batches depend on.
pub struct Source {
    shuffle: Shuffle,
    encoder: Encoder,
    made_from: MadeFrom,
}

/// Some tens of thousands of encoded rows and the batches they form.
pub struct Chunk {
    /// Its place.
    pub id: ChunkId,
    /// The place after it.
    pub next: ChunkId,
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
}

/// Prepares one chunk after the other; holds the window they come from.
pub struct Preparer<'a> {
    source: &'a Source,
    job: &'a Job,
    epoch: Option<(u64, Vec<Vec<usize>>)>,
    window: Option<(u64, usize, Window)>,
}

impl<'a> Preparer<'a> {
    pub fn new(source: &'a Source, job: &'a Job) -> Self {
        Self { source, job, epoch: None, window: None }
    }

    /// The chunk at a place; the same whatever was prepared before.
    pub fn prepare(&mut self, id: ChunkId) -> Result<Chunk> {
        let windows = self.turn_to(id)?;
        let Some((_, _, window)) = &self.window else { return Err(no_such_place(id)) };
        let chunks = window.chunks(self.source.options());
        let range = chunks.get(id.chunk).ok_or_else(|| no_such_place(id))?;
        let next = if id.chunk + 1 < chunks.len() {
            ChunkId { chunk: id.chunk + 1, ..id }
        } else if id.window + 1 < windows {
            ChunkId { window: id.window + 1, chunk: 0, ..id }
        } else {
            ChunkId { epoch: id.epoch + 1, window: 0, chunk: 0 }
        };
        self.encode(window, range.clone(), id, next)
    }

    /// Makes the window of `id` the one at hand; returns the windows of its epoch.
    fn turn_to(&mut self, id: ChunkId) -> Result<usize> {
        let shuffle = &self.source.shuffle;
        let windows = match &mut self.epoch {
            Some((epoch, windows)) if *epoch == id.epoch => windows,
            epoch => &mut epoch.insert((id.epoch, shuffle.windows(id.epoch))).1,
        };
        if !matches!(&self.window, Some((epoch, window, _)) if (*epoch, *window) == (id.epoch, id.window)) {
            let slices = windows.get(id.window).ok_or_else(|| no_such_place(id))?;
            // Two windows at once would double the memory.
            self.window = None;
            self.window = Some((id.epoch, id.window, shuffle.read(id.epoch, id.window, slices, self.job)?));
        }
        Ok(windows.len())
    }

    fn encode(&self, window: &Window, range: Range<usize>, id: ChunkId, next: ChunkId) -> Result<Chunk> {
        let (encoder, options) = (&self.source.encoder, self.source.options());
        let encode = |place| {
            self.job.check()?;
            let row = window.row(place);
            let source = row.source.ids(encoder, options.max_source)?;
            let target = row.target.ids(encoder, options.max_target)?;
            Ok(EncodedRow { number: row.number, source, target })
        };
        let rows: Vec<Result<EncodedRow>> = self.job.run(|| range.into_par_iter().map(encode).collect());
        let rows = rows.into_iter().collect::<Result<Vec<_>>>()?;
        let padded = |ids: &[u32]| options.padded(ids.len()).min(usize::from(u16::MAX)) as u16;
        let lengths: Vec<Lengths> = rows
            .iter()
            .map(|row| Lengths { source: padded(&row.source), target: padded(&row.target) })
            .collect();
        let mut packing = self.job.run(|| pack(&lengths, options.limit()));
        let key = [options.seed, id.epoch, id.window as u64, id.chunk as u64];
        Shuffler::new(&key).shuffle(&mut packing.batches);
        Ok(Chunk { id, next, rows, order: packing.order, batches: packing.batches })
    }
}

fn no_such_place(id: ChunkId) -> Error {
    let ChunkId { epoch, window, chunk } = id;
    Error::Data(format!(
        "the state names epoch {epoch}, window {window}, chunk {chunk}, which these rows do not have"
    ))
}
