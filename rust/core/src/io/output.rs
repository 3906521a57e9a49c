//! The one way to a final file name: write `NAME.partial`, then rename.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

const SUFFIX: &str = ".partial";

/// A file that appears under its name only when it is whole.
///
/// Bytes go to `NAME.partial`; [`Output::finish`] renames it. Dropped before that, it is removed.
/// A name that already ends in `.partial` is written as it is: then the caller renames it.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    partial: PathBuf,
    file: Option<BufWriter<File>>,
}

impl Output {
    /// Opens `path` for writing, making its folder if needed.
    ///
    /// # Errors
    /// [`Error::Io`] with the path.
    pub fn create(path: &Path) -> Result<Self> {
        if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(Error::io(folder))?;
        }
        let partial = partial_name(path);
        let file = File::create(&partial).map_err(Error::io(&partial))?;
        Ok(Self { path: path.to_owned(), partial, file: Some(BufWriter::with_capacity(1 << 20, file)) })
    }

    /// The final name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Flushes everything to disk and gives the file its final name.
    ///
    /// # Errors
    /// [`Error::Io`], for example a full disk; nothing is left behind then.
    pub fn finish(mut self) -> Result<()> {
        let Some(writer) = self.file.take() else { return Ok(()) };
        let stored = writer
            .into_inner()
            .map_err(io::IntoInnerError::into_error)
            .and_then(|file| file.sync_all())
            .and_then(|()| fs::rename(&self.partial, &self.path));
        stored.map_err(|source| {
            self.remove();
            Error::Io { path: self.path.clone(), source }
        })
    }

    fn remove(&self) {
        // The first error is what the user has to hear; a leftover partial file is overwritten next time.
        let _ = fs::remove_file(&self.partial);
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.file {
            Some(file) => file.write(bytes),
            None => Err(io::Error::other("already finished")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            self.remove();
        }
    }
}

fn partial_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    if !name.to_string_lossy().ends_with(SUFFIX) {
        name.push(SUFFIX);
    }
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_its_name_only_when_finished() {
        let folder = tempfile::tempdir().expect("temp folder");
        let path = folder.path().join("made/rows.txt");
        let mut output = Output::create(&path).expect("creates folder and file");
        output.write_all(b"whole").expect("writes");
        assert!(!path.exists());
        output.finish().expect("renames");
        assert_eq!(fs::read(&path).expect("reads"), b"whole");
    }

    #[test]
    fn an_abandoned_file_leaves_nothing() {
        let folder = tempfile::tempdir().expect("temp folder");
        drop(Output::create(&folder.path().join("rows.txt")).expect("creates"));
        assert_eq!(fs::read_dir(folder.path()).expect("lists").count(), 0);
    }
}
