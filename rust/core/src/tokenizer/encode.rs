//! Text to token ids, as the stream and every other reader of a tokenizer folder does it.

use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde_json::Value;
use tokenizers::{Model, Tokenizer};
use xxhash_rust::xxh3::xxh3_64;

use super::pieces::{pattern, pieces};
use super::special::{EOS, PAD};
use super::vocabulary::cut_at;
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
    /// Whether a text is nothing but its [`pieces`], each encoded by the model.
    by_pieces: bool,
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
        let by_pieces = serde_json::from_slice(&bytes).is_ok_and(|json| is_by_pieces(&json));
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
        Ok(Self { tokenizer, path, eos_id, pad_id, highest_id, fingerprint, by_pieces })
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
        if self.by_pieces {
            return self.encode_pieces(text, max_tokens);
        }
        let encoding = self.tokenizer.encode_fast(text, false).map_err(|error| self.failed(error))?;
        Ok(self.cut(encoding.get_ids().iter().copied(), max_tokens))
    }

    /// The same ids without the regular expression and the offsets of the library, and none of the rest of
    /// a text that is cut: twice as fast.
    fn encode_pieces(&self, text: &str, max_tokens: usize) -> Result<Vec<u32>> {
        let model = self.tokenizer.get_model();
        let mut ids = Vec::new();
        for piece in pieces(text) {
            ids.extend(
                model.tokenize(piece).map_err(|error| self.failed(error))?.iter().map(|token| token.id),
            );
            if ids.len() >= max_tokens {
                break;
            }
        }
        Ok(self.cut(ids.into_iter(), max_tokens))
    }

    fn failed(&self, error: tokenizers::Error) -> Error {
        Error::file(&self.path, format!("cannot encode a text ({error})"))
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

/// Whether a `tokenizer.json` cuts by our pattern and does nothing else to a text. Special tokens in it are
/// text to an [`Encoder`]; other added tokens are not.
fn is_by_pieces(json: &Value) -> bool {
    let added = json["added_tokens"].as_array();
    json["normalizer"].is_null()
        && json["pre_tokenizer"] == cut_at(&pattern())
        && added.is_some_and(|tokens| tokens.iter().all(|token| token["special"] == true))
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::job::Job;
    use crate::tokenizer::{Kind, TokenizerOptions, build_from_texts};

    fn built(kind: Kind) -> Encoder {
        let texts = ["今天天气很好，我们去公园。Hello [EOS] 123", "今天很好。\r\n我们 hello，公园很好"];
        let options = TokenizerOptions { kind, vocab_size: 400, ..TokenizerOptions::default() };
        let json =
            build_from_texts(&texts, &options, &Job::new(Some(1)).expect("threads")).expect("builds").json;
        let folder = tempfile::tempdir().expect("temporary folder");
        fs::write(folder.path().join("tokenizer.json"), json).expect("writes");
        Encoder::load(folder.path()).expect("loads")
    }

    proptest! {
        #[test]
        fn pieces_give_the_ids_of_the_library(
            text in "(今天|天气|很好|我们|公园|[，。 \r\nHelo0-9é👍]|\\[EOS\\]|\\[PAD\\]|\\PC){0,30}",
            most in 1usize..40,
        ) {
            static ENCODER: std::sync::LazyLock<Encoder> = std::sync::LazyLock::new(|| built(Kind::Bpe));
            prop_assert!(ENCODER.by_pieces);
            let encoding = ENCODER.tokenizer.encode_fast(text.as_str(), false).expect("encodes");
            let expected = ENCODER.cut(encoding.get_ids().iter().copied(), most);
            prop_assert_eq!(ENCODER.encode(&text, most).expect("encodes"), expected);
        }
    }

    #[test]
    fn only_a_file_that_cuts_by_our_pattern_alone_is_read_by_pieces() {
        let ours =
            serde_json::json!({"pre_tokenizer": cut_at(&pattern()), "added_tokens": [{"special": true}]});
        assert!(is_by_pieces(&ours));
        for (name, value) in [
            ("normalizer", serde_json::json!({"type": "NFKC"})),
            ("pre_tokenizer", cut_at("[0-9]")),
            ("added_tokens", serde_json::json!([{"special": true}, {"special": false}])),
            ("added_tokens", Value::Null),
        ] {
            let mut other = ours.clone();
            other[name] = value;
            assert!(!is_by_pieces(&other), "{name}");
        }
    }
}
