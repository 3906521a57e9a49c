//! Core errors to Python classes, once.

use std::io::ErrorKind;

use pyo3::exceptions::{PyKeyboardInterrupt, PyOSError, PyRuntimeError, PyValueError};
use pyo3::import_exception;
use pyo3::prelude::*;
use smolchat_core::Error;

import_exception!(smolchat_fast.errors, DataError);

/// The Python exception that says the same.
pub fn to_python(error: Error) -> PyErr {
    let message = error.to_string();
    match error {
        Error::Record { .. } | Error::File { .. } | Error::Data(_) => DataError::new_err(message),
        Error::Option { .. } => PyValueError::new_err(message),
        Error::Io { path, source } => os_error(&path.to_string_lossy(), &source),
        Error::Cancelled => PyKeyboardInterrupt::new_err(()),
        _ => PyRuntimeError::new_err(message),
    }
}

/// `OSError(errno, text, file)` becomes FileNotFoundError, PermissionError and so on by itself.
fn os_error(path: &str, source: &std::io::Error) -> PyErr {
    let errno = source.raw_os_error().unwrap_or(match source.kind() {
        ErrorKind::NotFound => 2,
        ErrorKind::PermissionDenied => 13,
        _ => 5,
    });
    let text = source.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text).to_owned();
    PyOSError::new_err((errno, text, path.to_owned()))
}
