//! The thread that prepares chunks ahead of their use.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, never};

use super::chunk::{Chunk, Preparer, Source};
use crate::error::{Error, Result};
use crate::job::Job;

/// Chunks in order, one of them ready while another is used. Dropping it ends the thread.
pub struct Feed {
    chunks: Receiver<Result<Chunk>>,
    job: Job,
    worker: Option<JoinHandle<()>>,
}

/// Where a feed begins.
pub struct Start {
    /// Rows handed out before.
    pub position: u64,
    /// Rows of the next batches, as far as they are known.
    pub coming: Vec<Vec<u64>>,
}

/// What came within the time given.
pub enum Fed {
    Chunk(Chunk),
    /// There are no more.
    End,
    /// Not ready yet.
    Waiting,
}

impl Feed {
    /// Starts to prepare the chunks from `start`, up to the end of `epochs` (none: for ever).
    pub fn start(
        source: Arc<Source>,
        start: Start,
        epochs: Option<u64>,
        threads: Option<usize>,
    ) -> Result<Self> {
        let job = Job::new(threads)?;
        // Nothing is stored in the channel: one chunk waits in the hands of the worker.
        let (sender, chunks) = bounded(0);
        let at_work = job.clone();
        let worker = thread::Builder::new()
            .name("smolchat-stream".into())
            .spawn(move || send_chunks(&source, start, epochs, &at_work, &sender))
            .map_err(|error| Error::Internal(format!("cannot start a thread ({error})")))?;
        Ok(Self { chunks, job, worker: Some(worker) })
    }

    /// The next chunk, if it is ready within `patience`.
    pub fn next_within(&mut self, patience: Duration) -> Result<Fed> {
        match self.chunks.recv_timeout(patience) {
            Ok(chunk) => Ok(Fed::Chunk(chunk?)),
            Err(RecvTimeoutError::Timeout) => Ok(Fed::Waiting),
            Err(RecvTimeoutError::Disconnected) => match self.worker.take().map(JoinHandle::join) {
                Some(Err(_)) => Err(Error::Internal("the thread that prepares batches panicked".into())),
                _ => Ok(Fed::End),
            },
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.job.cancel();
        self.chunks = never(); // the worker may be waiting to hand over a chunk
        if let Some(worker) = self.worker.take() {
            let _ = worker.join(); // a panic in there no longer matters to anybody
        }
    }
}

fn send_chunks(
    source: &Source,
    start: Start,
    epochs: Option<u64>,
    job: &Job,
    chunks: &Sender<Result<Chunk>>,
) {
    let (mut position, mut coming) = (start.position, Some(start.coming).filter(|rows| !rows.is_empty()));
    let mut preparer = Preparer::new(source, job);
    loop {
        let chunk = match coming.take() {
            Some(rows) => preparer.prepare_coming(position, epochs, rows),
            None => preparer.prepare(position, epochs),
        };
        let Some(chunk) = chunk.transpose() else { return };
        let failed = chunk.is_err();
        if let Ok(chunk) = &chunk {
            position = chunk.end;
        }
        if chunks.send(chunk).is_err() || failed {
            return;
        }
    }
}
