//! Entries and merges, and the file that the `tokenizers` library reads.

use compact_str::CompactString;
use rustc_hash::FxHashSet;
use serde_json::{Map, Value, json};
use tokenizers::Tokenizer;

use super::pieces::pattern;
use super::special::{EOS, FIRST_CHARACTER, SPECIALS, UNK, fixed_tokens, name_cutter};
use crate::error::{Error, Result};

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
        let internal = |error: &dyn std::fmt::Display| Error::Internal(format!("tokenizer.json: {error}"));
        let mut tokenizer: Tokenizer =
            serde_json::from_value(self.to_json(added, split)).map_err(|error| internal(&error))?;
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

    fn to_json(&self, more: &[String], split: bool) -> Value {
        let added = |(id, token): (usize, &str)| {
            json!({
                "id": id, "content": token, "special": true, "normalized": false,
                "single_word": false, "lstrip": false, "rstrip": false,
            })
        };
        let pre_tokenizer = match self {
            _ if split => cut_at(&pattern()),
            Self::Scored(_) => cut_at(&name_cutter()),
            // No merge leads to a name.
            Self::Merged { .. } => Value::Null,
        };
        let first_added = FIRST_CHARACTER + self.entries().count();
        let sequence = |id: &str, kind: u32| json!({"Sequence": {"id": id, "type_id": kind}});
        let end = |kind: u32| json!({"SpecialToken": {"id": EOS, "type_id": kind}});
        json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": SPECIALS
                .into_iter()
                .enumerate()
                .chain((first_added..).zip(more.iter().map(String::as_str)))
                .map(added)
                .collect::<Vec<_>>(),
            "normalizer": null,
            "pre_tokenizer": pre_tokenizer,
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [sequence("A", 0), end(0)],
                "pair": [sequence("A", 0), end(0), sequence("B", 1), end(1)],
                "special_tokens": {EOS: {"id": EOS, "ids": [1], "tokens": [EOS]}},
            },
            "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
            "model": self.model(),
        })
    }

    fn model(&self) -> Value {
        match self {
            Self::Merged { entries, merges } => {
                let tokens = fixed_tokens().chain(entries.iter().map(|entry| entry.to_string()));
                let vocab: Map<String, Value> =
                    tokens.zip(0u32..).map(|(token, id)| (token, id.into())).collect();
                let merges: Vec<[&str; 2]> = merges.iter().map(|(left, right)| [&**left, &**right]).collect();
                json!({
                    "type": "BPE", "dropout": null, "unk_token": UNK, "continuing_subword_prefix": null,
                    "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": true,
                    "ignore_merges": false, "vocab": vocab, "merges": merges,
                })
            }
            Self::Scored(scored) => {
                // What is never to be chosen for its string lies below every piece.
                let lowest = scored.iter().map(|&(_, score)| score).fold(0.0, f64::min) - 10.0;
                let fixed = fixed_tokens().map(|token| (token, lowest));
                let scored = scored.iter().map(|(piece, score)| (piece.to_string(), *score));
                let vocab: Vec<(String, f64)> = fixed.chain(scored).collect();
                json!({"type": "Unigram", "unk_id": SPECIALS.len() - 1, "vocab": vocab, "byte_fallback": true})
            }
        }
    }
}

/// A pre-tokenizer whose pieces are the matches of a pattern, and what is between them.
pub fn cut_at(pattern: &str) -> Value {
    json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false})
}

/// Entries, longer than a character, that the tokenizer never makes of their own text.
pub fn unreachable(tokenizer: &Tokenizer) -> Result<Vec<String>> {
    let internal = |error: tokenizers::Error| Error::Internal(error.to_string());
    let mut lost = Vec::new();
    for id in FIRST_CHARACTER as u32..tokenizer.get_vocab_size(false) as u32 {
        let entry =
            tokenizer.id_to_token(id).ok_or_else(|| Error::Internal(format!("id {id} has no entry")))?;
        if tokenizer.encode_fast(entry.as_str(), false).map_err(internal)?.get_ids() != [id] {
            lost.push(entry);
        }
    }
    Ok(lost)
}
