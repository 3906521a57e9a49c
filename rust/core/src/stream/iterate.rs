//! Chunks to the batches of one rank, and the state after each.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::batch::Batch;
use super::chunk::{Chunk, Source};
use super::feed::{Fed, Feed, Start};
use super::state::StreamState;
use super::{Shuffle, StreamOptions};
use crate::error::{Error, Result};

/// How long a blocking call waits between two looks.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which batches of the global sequence a stream hands out: `rank`, `rank + world`, ...
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// This process, from 0.
    pub rank: usize,
    /// Processes that share the batches.
    pub world: usize,
}

impl Share {
    /// All batches.
    pub const WHOLE: Self = Self { rank: 0, world: 1 };
}

/// What a stream has to give within the time it was given.
#[derive(Debug)]
pub enum Step {
    /// The next batch of this rank.
    Batch(Batch),
    /// All epochs are over.
    End,
    /// The batch is not ready yet; ask again.
    Waiting,
}

/// Batches of one rank, prepared ahead by threads of its own. See the module for the order.
pub struct Stream {
    source: Arc<Source>,
    share: Share,
    epochs: Option<u64>,
    threads: Option<usize>,
    /// Rows handed out in whole rounds.
    position: u64,
    /// Rows of the batches after the state that was loaded.
    coming: Vec<Vec<u64>>,
    round: Round,
    feed: Option<Feed>,
    chunk: Option<Chunk>,
}

/// The round under way: every rank walks past the batches of all ranks and takes its own.
#[derive(Default)]
struct Round {
    batches: usize,
    rows: u64,
    mine: Option<Batch>,
}

enum Reached {
    Batch,
    End,
    Waiting,
}

impl Stream {
    /// Opens files and tokenizer; nothing is read or encoded before the first batch is asked for.
    ///
    /// `epochs` counts from the very beginning, also for a stream that goes on from a state.
    ///
    /// # Errors
    /// [`Error::Option`] for an option out of range; [`Error::File`] or [`Error::Io`] with the path of a
    /// file that cannot be used; [`Error::Data`] if there are no rows at all.
    pub fn open(
        paths: &[PathBuf],
        tokenizer: &Path,
        options: StreamOptions,
        share: Share,
        epochs: Option<u64>,
        threads: Option<usize>,
    ) -> Result<Self> {
        if share.rank >= share.world {
            return Err(Error::option("rank", share.rank, format!("must be below world = {}", share.world)));
        }
        let source = Arc::new(Source::open(Shuffle::open(paths, options)?, tokenizer)?);
        Ok(Self {
            source,
            share,
            epochs,
            threads,
            position: 0,
            coming: Vec::new(),
            round: Round::default(),
            feed: None,
            chunk: None,
        })
    }

    /// Rows of an epoch: of all files, or by their weights.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.source.epoch_rows()
    }

    /// The state after the last batch handed out: what [`Stream::load_state`] of any rank goes on from.
    #[must_use]
    pub fn state(&self) -> StreamState {
        let coming = match &self.chunk {
            // An interrupt may have left a round half walked; the chunk is then ahead of the position.
            Some(chunk) if self.round.batches == 0 => chunk.coming(self.share.world),
            Some(_) => Vec::new(),
            None => self.coming.clone(),
        };
        StreamState { position: self.position, made_from: self.source.made_from().clone(), coming }
    }

    /// Goes on after the batches that were handed out when the state was taken.
    ///
    /// # Errors
    /// [`Error::Data`] if the state belongs to other files, another tokenizer or other options.
    pub fn load_state(&mut self, state: &StreamState) -> Result<()> {
        self.source.made_from().require_same(&state.made_from)?;
        self.turn_to(state.position);
        self.coming.clone_from(&state.coming);
        Ok(())
    }

    /// The next batch, or none after the last epoch.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Record`] or [`Error::Io`] with the file, and the row if it is one. The
    /// stream then stands where it stood before, so that the next call meets the same error.
    pub fn next_batch(&mut self) -> Result<Option<Batch>> {
        loop {
            match self.next_within(PATIENCE)? {
                Step::Batch(batch) => return Ok(Some(batch)),
                Step::End => return Ok(None),
                Step::Waiting => {}
            }
        }
    }

    /// The next batch if it is ready within `patience`.
    ///
    /// # Errors
    /// As [`Stream::next_batch`].
    pub fn next_within(&mut self, patience: Duration) -> Result<Step> {
        let step = self.go_round(patience);
        if step.is_err() {
            self.turn_to(self.position);
        }
        step
    }

    #[cfg(test)]
    pub(super) fn source(&self) -> Arc<Source> {
        self.source.clone()
    }

    fn go_round(&mut self, patience: Duration) -> Result<Step> {
        while self.round.batches < self.share.world {
            match self.reach_batch(patience)? {
                Reached::Waiting => return Ok(Step::Waiting),
                Reached::End if self.round.batches == 0 => return Ok(Step::End),
                Reached::End => break,
                Reached::Batch => self.pass_batch(),
            }
        }
        let round = std::mem::take(&mut self.round);
        self.position += round.rows;
        Ok(Step::Batch(round.mine.unwrap_or_else(|| self.source.blank())))
    }

    /// Makes `chunk` one that has a batch left.
    fn reach_batch(&mut self, patience: Duration) -> Result<Reached> {
        while self.chunk.as_ref().is_none_or(|chunk| chunk.passed >= chunk.len()) {
            let feed = match &mut self.feed {
                Some(feed) => feed,
                none => {
                    let start = Start { position: self.position, coming: self.coming.clone() };
                    none.insert(Feed::start(self.source.clone(), start, self.epochs, self.threads)?)
                }
            };
            match feed.next_within(patience)? {
                Fed::Waiting => return Ok(Reached::Waiting),
                Fed::End => return Ok(Reached::End),
                Fed::Chunk(chunk) => self.chunk = Some(chunk),
            }
        }
        Ok(Reached::Batch)
    }

    fn pass_batch(&mut self) {
        let Some(chunk) = &mut self.chunk else { return };
        if self.round.batches == self.share.rank {
            self.round.mine = Some(self.source.batch(chunk, chunk.passed));
        }
        self.round.batches += 1;
        self.round.rows += chunk.batch_rows(chunk.passed) as u64;
        chunk.passed += 1;
    }

    fn turn_to(&mut self, position: u64) {
        self.feed = None;
        self.chunk = None;
        self.coming.clear();
        self.round = Round::default();
        self.position = position;
    }
}

impl Iterator for Stream {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_batch().transpose()
    }
}
