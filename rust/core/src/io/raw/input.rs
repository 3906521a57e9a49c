use std::fs::File;
use std::io::{Chain, Cursor, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bzip2::read::MultiBzDecoder;
use flate2::read::MultiGzDecoder;

use crate::error::{Error, Result};

const GZIP: [u8; 2] = [0x1F, 0x8B];
const BZIP2: [u8; 3] = *b"BZh";
const ZSTD: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// The bytes of a file, decompressed if they are gzip, zstd or bzip2, which the first bytes tell.
pub struct Input {
    path: PathBuf,
    bytes: Box<dyn Read + Send>,
    compression: Option<&'static str>,
    taken: Arc<AtomicU64>,
}

impl Input {
    pub fn open(path: &Path) -> Result<Self> {
        let mut file = File::open(path).map_err(Error::io(path))?;
        let mut magic = Vec::with_capacity(4);
        file.by_ref().take(4).read_to_end(&mut magic).map_err(Error::io(path))?;
        let compression = match magic.as_slice() {
            m if m.starts_with(&ZSTD) => Some("zstd"),
            m if m.starts_with(&GZIP) => Some("gzip"),
            // Its fourth byte is the size of a block, a digit: text that begins with BZh is rare enough.
            [rest @ .., b'1'..=b'9'] if rest == BZIP2 => Some("bzip2"),
            _ => None,
        };
        let taken = Arc::new(AtomicU64::new(0));
        let raw = Counted { inner: Cursor::new(magic).chain(file), taken: taken.clone() };
        let bytes: Box<dyn Read + Send> = match compression {
            Some("zstd") => Box::new(zstd::Decoder::new(raw).map_err(Error::io(path))?),
            Some("bzip2") => Box::new(MultiBzDecoder::new(raw)),
            Some(_) => Box::new(MultiGzDecoder::new(raw)),
            None => Box::new(raw),
        };
        Ok(Self { path: path.to_owned(), bytes, compression, taken })
    }

    pub fn compression(&self) -> Option<&'static str> {
        self.compression
    }

    /// Bytes of the file itself that were read so far.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Fills `buffer` as far as the file reaches.
    pub fn read_full(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.bytes.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.explain(error)),
            }
        }
        Ok(filled)
    }

    fn explain(&self, error: std::io::Error) -> Error {
        match self.compression {
            Some(kind) if error.raw_os_error().is_none() => {
                Error::file(&self.path, format!("the {kind} data is damaged or cut off ({error})"))
            }
            _ => Error::io(&self.path)(error),
        }
    }
}

struct Counted {
    inner: Chain<Cursor<Vec<u8>>, File>,
    taken: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.taken.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}
