//! The data-heavy half of smolchat-fast, without Python: raw Chinese text to batches of token ids.
//!
//! ```text
//! raw files --sources--> rows --clean--> rows --dedup--> rows --split--> train / valid
//!                                          |
//!                                          +--words--> counts --tokenizer--> merge list
//!                                          +--passages--> pairs, of rows of plain text
//! tokenizer + train --encode--> ids --stream--> batches
//! ```
//!
//! Every stage is one module with one options struct, one report and one entry function; those that
//! read and write files end in `_files` and hold a bounded number of rows. A [`job::Job`] carries the
//! threads, the wish to stop and the progress of each.

mod char_map;
pub mod clean;
pub mod dedup;
pub mod encode;
mod error;
pub mod infer;
pub mod io;
pub mod job;
pub mod passages;
pub mod sources;
pub mod split;
pub mod stats;
pub mod stream;
mod string_counts;
pub mod text;
pub mod tokenizer;
pub mod words;

pub use error::{Error, Place, Result};
