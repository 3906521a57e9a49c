//! Entries and merges, and the file that the `tokenizers` library reads.

use compact_str::CompactString;
use rayon::prelude::*;
use rustc_hash::FxHashSet;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::models::unigram::Unigram;
use tokenizers::{
    AddedToken, DecoderWrapper, ModelWrapper, PostProcessorWrapper, PreTokenizerWrapper, Tokenizer,
};

use super::pieces::pattern;
use super::special::{EOS, FIRST_CHARACTER, SPECIALS, UNK, fixed_tokens, name_cutter};
use crate::error::{Error, Result};
use crate::job::Job;

/// What a tokenizer knows beside special and byte tokens.
#[derive(Debug, Clone, PartialEq)]
pub enum Vocabulary {
    /// Characters, then what the merges make, in the order of the merges.
    Merged { entries: Vec<CompactString>, merges: Vec<(CompactString, CompactString)> },
    /// Pieces with log probabilities.
    Scored(Vec<(CompactString, f64)>),
}

impl Vocabulary {
    /// Characters and merges; each merge adds what it makes, if that is not there yet.
    pub fn with_merges(characters: Vec<char>, merges: Vec<(CompactString, CompactString)>) -> Self {
        let mut entries: Vec<CompactString> = characters.iter().map(|c| c.to_string().into()).collect();
        let mut known: FxHashSet<CompactString> = entries.iter().cloned().collect();
        for (left, right) in &merges {
            let mut made = left.clone();
            made.push_str(right);
            if known.insert(made.clone()) {
                entries.push(made);
            }
        }
        Self::Merged { entries, merges }
    }

    /// The tokenizer with these entries: lossless, `[EOS]` appended by its post-processor.
    ///
    /// `added` are further special tokens, after all others; `split` keeps tokens inside runs of one kind
    /// of character.
    pub fn to_tokenizer(&self, added: &[String], split: bool) -> Result<Tokenizer> {
        if let Some(token) = added.iter().find(|token| self.entries().any(|entry| entry == *token)) {
            let rule = "is an entry that ordinary text is made of, which as a special token would be lost from \
                        every text; choose a name that no text holds, such as \"[NAME]\"";
            return Err(Error::option("added_tokens", format!("{token:?}"), rule));
        }
        let pre_tokenizer = match self {
            _ if split => Some(cut_at(&pattern())),
            Self::Scored(_) => Some(cut_at(&name_cutter())),
            // No merge leads to a name.
            Self::Merged { .. } => None,
        };
        let sequence = |id: &str, kind: u32| json!({"Sequence": {"id": id, "type_id": kind}});
        let end = |kind: u32| json!({"SpecialToken": {"id": EOS, "type_id": kind}});
        let post_processor = json!({
            "type": "TemplateProcessing",
            "single": [sequence("A", 0), end(0)],
            "pair": [sequence("A", 0), end(0), sequence("B", 1), end(1)],
            "special_tokens": {EOS: {"id": EOS, "ids": [1], "tokens": [EOS]}},
        });
        let decoder = json!({"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]});
        let specials = SPECIALS.into_iter().chain(added.iter().map(String::as_str));
        let specials = specials.map(|token| AddedToken::from(token, true).normalized(false));

        let mut tokenizer = Tokenizer::new(self.model().map_err(internal)?);
        tokenizer
            .with_pre_tokenizer(pre_tokenizer.map(part::<PreTokenizerWrapper>).transpose()?)
            .with_post_processor(Some(part::<PostProcessorWrapper>(post_processor)?))
            .with_decoder(Some(part::<DecoderWrapper>(decoder)?));
        tokenizer.add_special_tokens(specials).map_err(internal)?;
        tokenizer.set_encode_special_tokens(true);
        Ok(tokenizer)
    }

    /// Characters and longer entries, in the order of their ids.
    pub fn entries(&self) -> impl Iterator<Item = &str> {
        let (merged, scored): (&[CompactString], &[(CompactString, f64)]) = match self {
            Self::Merged { entries, .. } => (entries, &[]),
            Self::Scored(scored) => (&[], scored),
        };
        merged.iter().chain(scored.iter().map(|(piece, _)| piece)).map(CompactString::as_str)
    }

    /// Takes out entries that no text can reach, which changes no text's tokens.
    pub fn remove(&mut self, lost: &[String]) -> Result<()> {
        let lost: FxHashSet<&str> = lost.iter().map(String::as_str).collect();
        match self {
            Self::Scored(scored) => scored.retain(|(piece, _)| !lost.contains(&**piece)),
            // A merge is only ever added where the ones before lead to it.
            Self::Merged { .. } => {
                return Err(Error::Internal(format!(
                    "{} entries cannot be reached, such as {lost:?}",
                    lost.len()
                )));
            }
        }
        Ok(())
    }

    fn model(&self) -> tokenizers::Result<ModelWrapper> {
        match self {
            Self::Merged { entries, merges } => {
                let tokens = fixed_tokens().chain(entries.iter().map(|entry| entry.to_string()));
                let merges = merges.iter().map(|(left, right)| (left.to_string(), right.to_string()));
                let model = BPE::builder()
                    .vocab_and_merges(tokens.zip(0..).collect::<Vocab>(), merges.collect())
                    .unk_token(UNK.into())
                    .byte_fallback(true);
                model.build().map(ModelWrapper::from)
            }
            Self::Scored(scored) => {
                // What is never to be chosen for its string lies below every piece.
                let lowest = scored.iter().map(|&(_, score)| score).fold(0.0, f64::min) - 10.0;
                let fixed = fixed_tokens().map(|token| (token, lowest));
                let scored = scored.iter().map(|(piece, score)| (piece.to_string(), *score));
                Unigram::from(fixed.chain(scored).collect(), Some(SPECIALS.len() - 1), true)
                    .map(ModelWrapper::from)
            }
        }
    }
}

/// A part of a tokenizer as `tokenizer.json` writes it.
fn part<T: DeserializeOwned>(described: Value) -> Result<T> {
    serde_json::from_value(described).map_err(internal)
}

fn internal(error: impl std::fmt::Display) -> Error {
    Error::Internal(format!("tokenizer: {error}"))
}

/// A pre-tokenizer whose pieces are the matches of a pattern, and what is between them.
pub fn cut_at(pattern: &str) -> Value {
    json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false})
}

/// Entries, longer than a character, that the tokenizer never makes of their own text.
pub fn unreachable(tokenizer: &Tokenizer, job: &Job) -> Result<Vec<String>> {
    let ids = FIRST_CHARACTER as u32..tokenizer.get_vocab_size(false) as u32;
    let lost = ids.into_par_iter().map(|id| {
        job.advance(1)?;
        let entry = tokenizer.id_to_token(id).ok_or_else(|| internal(format!("id {id} has no entry")))?;
        let encoded = tokenizer.encode_fast(entry.as_str(), false).map_err(internal)?;
        Ok((encoded.get_ids() != [id]).then_some(entry))
    });
    job.run(|| lost.filter_map(Result::transpose).collect())
}
