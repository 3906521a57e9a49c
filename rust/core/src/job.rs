//! What every long function takes along: threads, a way to be stopped, a place to tell progress.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};

/// Threads, cancellation and progress of one piece of work.
///
/// Clones share the same state, so that one clone can watch while another works.
///
/// ```
/// use smolchat_core::job::Job;
/// let job = Job::new(Some(2))?;
/// job.phase("double", 3);
/// let doubled: Vec<i32> = job.run(|| [1, 2, 3].iter().map(|x| x * 2).collect());
/// job.advance(3)?;
/// assert_eq!(doubled, [2, 4, 6]);
/// assert_eq!(job.progress().done, 3);
/// # Ok::<(), smolchat_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Job {
    pool: Arc<rayon::ThreadPool>,
    watch: Arc<Watch>,
}

#[derive(Default)]
struct Watch {
    cancelled: AtomicBool,
    phase: Mutex<&'static str>,
    done: AtomicU64,
    total: AtomicU64,
}

/// A reading of the progress of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The step under way, for example `verify`.
    pub phase: &'static str,
    /// Units done in this phase.
    pub done: u64,
    /// Units in all; 0 if not known.
    pub total: u64,
}

impl Job {
    /// A job on `threads` worker threads; `None` reads `SMOLCHAT_THREADS`, then takes all cores.
    ///
    /// # Errors
    /// [`Error::Option`] if the number is 0 or is not a number.
    pub fn new(threads: Option<usize>) -> Result<Self> {
        let threads = match threads {
            Some(n) => n,
            None => threads_from_environment()?,
        };
        if threads == 0 {
            return Err(Error::option("threads", threads, "must be at least 1"));
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("smolchat-{i}"))
            .build()
            .map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Self { pool: Arc::new(pool), watch: Arc::default() })
    }

    /// Worker threads of this job.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Runs `work` with rayon's parallel iterators on the threads of this job.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.pool.install(work)
    }

    /// Begins a phase of `total` units (0: not known).
    pub fn phase(&self, name: &'static str, total: u64) {
        *self.watch.phase.lock().unwrap_or_else(PoisonError::into_inner) = name;
        self.watch.done.store(0, Ordering::Relaxed);
        self.watch.total.store(total, Ordering::Relaxed);
    }

    /// Adds `units` to what is done in this phase.
    ///
    /// # Errors
    /// [`Error::Cancelled`] if the job was asked to stop.
    pub fn advance(&self, units: u64) -> Result<()> {
        self.watch.done.fetch_add(units, Ordering::Relaxed);
        self.check()
    }

    /// Returns early from work that is no longer wanted; cheap enough for inner loops.
    ///
    /// # Errors
    /// [`Error::Cancelled`] if the job was asked to stop.
    pub fn check(&self) -> Result<()> {
        if self.watch.cancelled.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// Asks the job to stop at its next check.
    pub fn cancel(&self) {
        self.watch.cancelled.store(true, Ordering::Relaxed);
    }

    /// Where the job stands.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress {
            phase: *self.watch.phase.lock().unwrap_or_else(PoisonError::into_inner),
            done: self.watch.done.load(Ordering::Relaxed),
            total: self.watch.total.load(Ordering::Relaxed),
        }
    }
}

fn threads_from_environment() -> Result<usize> {
    match std::env::var("SMOLCHAT_THREADS") {
        Ok(text) => text
            .trim()
            .parse()
            .map_err(|_| Error::option("threads", &text, "SMOLCHAT_THREADS must be a number of at least 1")),
        Err(_) => Ok(std::thread::available_parallelism().map_or(1, usize::from)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_threads_are_refused_by_name() {
        let message = Job::new(Some(0)).err().map(|e| e.to_string());
        assert_eq!(message.as_deref(), Some("option threads = 0: must be at least 1"));
    }

    #[test]
    fn a_cancelled_job_stops_at_its_next_check() {
        let job = Job::new(Some(1)).expect("one thread");
        job.clone().cancel();
        assert!(matches!(job.advance(1), Err(Error::Cancelled)));
    }
}
