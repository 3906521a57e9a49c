//! The one place that lets go of the GIL, looks for signals, forwards progress, and turns panics and
//! errors into Python exceptions.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};
use pyo3::prelude::*;
use smolchat_core::job::Job;
use smolchat_core::{Error, Result};

use crate::error::to_python;

/// How often signals are looked at and progress is told.
const POLL: Duration = Duration::from_millis(100);

/// Runs `work` off the GIL. `progress(phase, done, total)` is called at most ten times a second;
/// an exception it raises, like Ctrl+C, stops the work and is raised.
pub fn run<T: Send>(
    py: Python<'_>,
    threads: Option<usize>,
    progress: Option<Py<PyAny>>,
    work: impl FnOnce(&Job) -> Result<T> + Send,
) -> PyResult<T> {
    let job = Job::new(threads).map_err(to_python)?;
    let (sender, receiver) = bounded(1);
    let mut interrupt: Option<PyErr> = None;
    let outcome = thread::scope(|scope| {
        let worker = job.clone();
        scope.spawn(move || {
            let outcome =
                catch_unwind(AssertUnwindSafe(|| work(&worker))).unwrap_or_else(|panic| Err(told(&*panic)));
            // The receiver lives until this scope ends.
            let _ = sender.send(outcome);
        });
        loop {
            match py.detach(|| receiver.recv_timeout(POLL)) {
                Ok(outcome) => break outcome,
                Err(RecvTimeoutError::Disconnected) => {
                    break Err(Error::Internal("worker ended early".into()));
                }
                Err(RecvTimeoutError::Timeout) if interrupt.is_none() => {
                    if let Err(error) = py.check_signals().and_then(|()| tell(py, &job, progress.as_ref())) {
                        interrupt = Some(error);
                        job.cancel();
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    });
    if let Some(error) = interrupt {
        return Err(error);
    }
    tell(py, &job, progress.as_ref())?;
    outcome.map_err(to_python)
}

/// Runs work of milliseconds off the GIL, on the calling thread; it cannot be stopped and tells no progress.
pub fn short<T: Send>(py: Python<'_>, work: impl FnOnce() -> Result<T> + Send) -> PyResult<T> {
    py.detach(|| catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(told(&*panic))))
        .map_err(to_python)
}

/// Asks `look` off the GIL again and again until it has something; Ctrl+C ends the wait.
pub fn wait<T: Send>(
    py: Python<'_>,
    mut look: impl FnMut(Duration) -> Result<Option<T>> + Send,
) -> PyResult<T> {
    loop {
        if let Some(found) = py.detach(|| look(POLL)).map_err(to_python)? {
            return Ok(found);
        }
        py.check_signals()?;
    }
}

fn tell(py: Python<'_>, job: &Job, progress: Option<&Py<PyAny>>) -> PyResult<()> {
    if let Some(progress) = progress {
        let now = job.progress();
        if !now.phase.is_empty() {
            progress.call1(py, (now.phase, now.done, now.total))?;
        }
    }
    Ok(())
}

fn told(panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    Error::Internal(
        text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic".into()),
    )
}
