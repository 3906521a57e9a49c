//! What is built into the crate, unpacked; `data/README.md` tells where it comes from.

use crate::error::{Error, Result};

/// Lines `word frequency` of jieba's dictionary.
pub fn dictionary() -> Result<String> {
    unpack(include_bytes!("data/dict.zst"))
}

/// Lines of jieba's Markov model; see `data/make.py`.
pub fn markov_model() -> Result<String> {
    unpack(include_bytes!("data/hmm.zst"))
}

/// The error of a build whose data does not read as it should.
pub fn damaged() -> Error {
    Error::Internal("the built-in word data is damaged".into())
}

fn unpack(packed: &[u8]) -> Result<String> {
    let bytes = zstd::decode_all(packed).map_err(|_| damaged())?;
    String::from_utf8(bytes).map_err(|_| damaged())
}
