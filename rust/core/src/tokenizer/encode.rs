//! Text to token ids, as the stream and every other reader of a tokenizer folder does it.

use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde_json::Value;
use tokenizers::Tokenizer;
use xxhash_rust::xxh3::xxh3_64;

use super::special::{EOS, PAD};
use crate::error::{Error, Result};

/// A tokenizer loaded for encoding.
///
/// Special tokens in the text are text: `[EOS]` typed by a user never becomes the id that ends a
/// sequence. That id is appended by [`Encoder::encode`] alone.
pub struct Encoder {
    tokenizer: Tokenizer,
    path: PathBuf,
    eos_id: u32,
    pad_id: u32,
    highest_id: u32,
    fingerprint: u64,
}

impl Encoder {
    /// Loads a tokenizer folder, or the `tokenizer.json` in it.
    ///
    /// The end and padding tokens are those of `tokenizer_config.json` beside it, or else `[EOS]`
    /// and `[PAD]`.
    ///
    /// # Errors
    /// [`Error::Io`] if a file cannot be read, [`Error::File`] if it is no tokenizer or lacks a token.
    pub fn load(path: &Path) -> Result<Self> {
        let path = if path.is_dir() { path.join("tokenizer.json") } else { path.to_owned() };
        let bytes = fs::read(&path).map_err(Error::io(&path))?;
        let fingerprint = xxh3_64(&bytes);
        let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(|error| {
            Error::file(&path, format!("not a tokenizer of the `tokenizers` library ({error})"))
        })?;
        tokenizer.set_encode_special_tokens(true);
        // What a file has stored of these would cut or pad behind the caller's back.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|error| Error::Internal(error.to_string()))?;

        let config = read_config(&path.with_file_name("tokenizer_config.json"))?;
        let id_of = |key: &str, default: &str| {
            let token = token_text(&config[key]).unwrap_or(default);
            tokenizer.token_to_id(token).ok_or_else(|| {
                Error::file(&path, format!("has no token {token}, its {key}; build it with `tokenizer`"))
            })
        };
        let (eos_id, pad_id) = (id_of("eos_token", EOS)?, id_of("pad_token", PAD)?);
        let highest_id = tokenizer.get_vocab(true).into_values().max().unwrap_or(0);
        Ok(Self { tokenizer, path, eos_id, pad_id, highest_id, fingerprint })
    }

    /// The ids of `text`, at most `max_tokens` of them, `[EOS]` always the last.
    ///
    /// # Errors
    /// [`Error::Option`] if `max_tokens` is 0; [`Error::File`] if the tokenizer fails on the text.
    pub fn encode(&self, text: &str, max_tokens: usize) -> Result<Vec<u32>> {
        if max_tokens == 0 {
            let rule = "must be at least 1, the token that ends a text";
            return Err(Error::option("max_tokens", max_tokens, rule));
        }
        let encoding = self
            .tokenizer
            .encode_fast(text, false)
            .map_err(|error| Error::file(&self.path, format!("cannot encode a text ({error})")))?;
        Ok(self.cut(encoding.get_ids().iter().copied(), max_tokens))
    }

    /// At most `max_tokens` of these ids, of which `[EOS]` may be the last; it is in any case then.
    pub(crate) fn cut(&self, ids: impl ExactSizeIterator<Item = u32>, max_tokens: usize) -> Vec<u32> {
        let room = max_tokens.saturating_sub(1);
        let mut cut = Vec::with_capacity(ids.len().min(room) + 1);
        cut.extend(ids.take(room));
        if cut.last() != Some(&self.eos_id) {
            cut.push(self.eos_id);
        }
        cut
    }

    /// [`Encoder::encode`] of many texts, on the threads of the pool that calls it.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    pub fn encode_batch(&self, texts: &[&str], max_tokens: usize) -> Result<Vec<Vec<u32>>> {
        texts.par_iter().map(|text| self.encode(text, max_tokens)).collect()
    }

    /// Ids in all, added tokens too.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    /// The largest id of any token.
    pub(crate) fn highest_id(&self) -> u32 {
        self.highest_id
    }

    /// Hash of `tokenizer.json`: ids of one tokenizer mean nothing to another.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        format!("{:016x}", self.fingerprint)
    }

    /// The id that ends every text.
    #[must_use]
    pub fn eos_id(&self) -> u32 {
        self.eos_id
    }

    /// The id that fills a batch.
    #[must_use]
    pub fn pad_id(&self) -> u32 {
        self.pad_id
    }
}

fn read_config(path: &Path) -> Result<Value> {
    match fs::read(path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).map_err(|error| Error::file(path, format!("not JSON ({error})")))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Value::Null),
        Err(error) => Err(Error::io(path)(error)),
    }
}

/// A token is written as its text or as an object with the field `content`.
fn token_text(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value["content"].as_str())
}
