//! Tokenizers for Chinese: built from word counts or from text, lossless, every entry reachable.
//!
//! Ids 0 to 6 are the special tokens, then come 256 byte tokens, which spell what has no entry, then
//! characters, then longer entries. Text is cut into runs of one kind of character first, so no token
//! mixes words with punctuation and every digit stands alone.
//!
//! ```
//! use smolchat_core::{job::Job, tokenizer::{build_from_texts, TokenizerOptions}};
//! let texts = ["今天天气很好。", "今天下雨，明天天气好。"];
//! let options = TokenizerOptions { vocab_size: 300, ..TokenizerOptions::default() };
//! let built = build_from_texts(&texts, &options, &Job::new(None)?)?;
//! assert!(built.json.contains("[EOS]"));
//! # Ok::<(), smolchat_core::Error>(())
//! ```

mod alphabet; // chunks -> characters that get an entry
mod bpe; // chunks -> merges, learned
mod build; // words, texts, files -> tokenizer.json
mod chunks; // texts, words -> chunks with counts
mod encode; // text -> ids
mod merges; // words -> merges that reach each
mod options;
mod pairs; // ids -> neighbours, how often and where
mod part; // a part of the text as ids, where pairs are merged
mod pieces; // text -> runs that no token crosses
mod special; // names and ids that are fixed
mod unigram; // chunks -> pieces with probabilities
mod vocabulary; // entries and merges -> tokenizer.json

pub use build::{
    Built, LearnedElsewhere, TokenizerReport, assemble, build_from_files, build_from_texts, build_from_words,
};
pub use encode::Encoder;
pub use options::{Kind, TokenizerOptions};
pub use pieces::pattern;
pub use special::{EOS, PAD, SPECIALS, UNK};
