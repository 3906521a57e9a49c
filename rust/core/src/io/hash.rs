//! File -> hash of its content.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::{Error, Result};
use crate::job::Job;

/// Bytes that are read at a time: they are hashed while they are still near the processor.
const BLOCK: usize = 1 << 20;

/// BLAKE3 of a file as hexadecimal digits, as `b3sum` prints it (<https://github.com/BLAKE3-team/BLAKE3>).
///
/// # Errors
/// [`Error::Io`] with the path, [`Error::Cancelled`] if the job was asked to stop.
pub fn file_hash(path: &Path, job: &Job) -> Result<String> {
    let mut file = File::open(path).map_err(Error::io(path))?;
    let mut hasher = blake3::Hasher::new();
    let mut block = vec![0; BLOCK];
    loop {
        job.check()?;
        match file.read(&mut block).map_err(Error::io(path))? {
            0 => return Ok(hasher.finalize().to_hex().to_string()),
            read => hasher.update(&block[..read]),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_hash_of_the_reference_implementation() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let hash = |content: &[u8]| {
            std::fs::write(&path, content).expect("writes");
            file_hash(&path, &Job::new(Some(1)).expect("one thread")).expect("reads")
        };
        // From the project's test vectors: nothing, and 1,025 bytes that count 0, 1, ... 250, 0, ...
        assert_eq!(hash(b""), "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
        let counted: Vec<u8> = (0..1025_u32).map(|i| (i % 251) as u8).collect();
        assert_eq!(hash(&counted), "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444");
    }
}
