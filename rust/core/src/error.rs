//! The one error type of the core. The function that knows the row adds the row, the one that
//! opened the file adds the path; the Python binding maps each variant once.

use std::path::{Path, PathBuf};

/// What every fallible function of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a job ended without a result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A record of a file cannot be used. `place` is `row 7` or `line 7`.
    #[error("{}, {place}: {problem}", .path.display())]
    Record {
        /// File that holds the record.
        path: PathBuf,
        /// Row or line, counted from 1.
        place: Place,
        /// What was found, what was expected, what to do.
        problem: String,
    },
    /// A file as a whole cannot be used: wrong format, missing column, truncated.
    #[error("{}: {problem}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was found, what was expected, what to do.
        problem: String,
    },
    /// Data handed over in memory cannot be used.
    #[error("{0}")]
    Data(String),
    /// An option is out of range or contradicts another one.
    #[error("option {name} = {value}: {rule}")]
    Option {
        /// Field of the options struct.
        name: &'static str,
        /// The refused value.
        value: String,
        /// The rule that it breaks.
        rule: String,
    },
    /// The operating system refused something.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The job was asked to stop.
    #[error("stopped before the end")]
    Cancelled,
    /// A defect of this crate: a worker panicked.
    #[error("internal error: {0}")]
    Internal(String),
}

/// Where a record stands in its file, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Line of a text file.
    Line(u64),
    /// Row of a table.
    Row(u64),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Line(n) => write!(f, "line {n}"),
            Self::Row(n) => write!(f, "row {n}"),
        }
    }
}

impl Error {
    /// An option out of range.
    pub fn option(name: &'static str, value: impl ToString, rule: impl Into<String>) -> Self {
        Self::Option { name, value: value.to_string(), rule: rule.into() }
    }

    /// A file that cannot be used as a whole.
    pub fn file(path: &Path, problem: impl Into<String>) -> Self {
        Self::File { path: path.to_owned(), problem: problem.into() }
    }

    /// An I/O error at `path`; to be used as `.map_err(Error::io(path))`.
    pub fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    /// A Parquet error at `path`: a truncated or foreign file, or the I/O error below it.
    pub fn parquet(path: &Path) -> impl FnOnce(parquet::errors::ParquetError) -> Self + '_ {
        move |error| match error {
            parquet::errors::ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
                Ok(source) => Self::Io { path: path.to_owned(), source: *source },
                Err(other) => Self::file(path, format!("not a readable Parquet file ({other})")),
            },
            other => Self::file(path, format!("not a readable Parquet file ({other})")),
        }
    }
}
