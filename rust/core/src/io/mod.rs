//! Files in and out: row files read batch by batch, and the one way to a final file name.

mod hash; // file -> hash of its content
mod output; // partial file -> final name
mod parquet; // Parquet file <-> batches
pub mod raw; // files of any format -> rows
mod rows; // row files -> batches
mod slices; // row groups -> batches, in any order

/// Key of a file's schema metadata: the hash of the tokenizer whose ids its lists are.
pub const TOKENIZER_KEY: &str = "smolchat.tokenizer";

pub use hash::file_hash;
pub use output::Output;
pub use parquet::{ParquetOutput, parquet_metadata};
pub use rows::{RowBatch, Rows, is_text, text_column};
pub(crate) use rows::{as_utf8, names, not_found, to_utf8};
pub use slices::{Slice, Slices};
