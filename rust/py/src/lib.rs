//! `smolchat_fast._core`: thin wrappers over `smolchat-core`, one file per stage.
//!
//! A wrapper converts its arguments, calls [`job::run`] and converts the result; whatever is longer
//! belongs in the core.

mod clean;
mod column;
mod dedup;
mod encode;
mod error;
mod infer;
mod job;
mod options;
mod passages;
mod rows;
mod sources;
mod split;
mod stats;
mod stream;
mod tokenizer;
mod words;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use smolchat_core as core;

#[pymodule]
mod _core {
    #[pymodule_export]
    use super::{default_options, version};

    #[pymodule_export]
    use super::clean::{clean_files, clean_table, clean_text};
    #[pymodule_export]
    use super::dedup::{compared_columns, deduplicate_files, find_duplicates, load_index, save_index};
    #[pymodule_export]
    use super::encode::{encode_columns, encode_files};
    #[pymodule_export]
    use super::infer::{Int8Encoding, Int8Matrix, Int8Model, infer_kernels};
    #[pymodule_export]
    use super::passages::{cut_passages, cut_passages_files};
    #[pymodule_export]
    use super::rows::{RowBatches, file_hash};
    #[pymodule_export]
    use super::sources::read_files;
    #[pymodule_export]
    use super::split::{split_files, split_names, split_table};
    #[pymodule_export]
    use super::stats::{describe_files, describe_table};
    #[pymodule_export]
    use super::stream::Stream;
    #[pymodule_export]
    use super::tokenizer::{
        assemble_tokenizer, build_tokenizer_from_files, build_tokenizer_from_texts,
        build_tokenizer_from_words, tokenizer_pattern,
    };
    #[pymodule_export]
    use super::words::{
        Segmenter, count_words, count_words_files, merge_word_count_files, merge_word_counts,
        read_word_counts,
    };
}

/// Version of the compiled core.
#[pyfunction]
fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// The defaults of an options struct as JSON text, by its name.
#[pyfunction]
fn default_options(name: &str) -> PyResult<String> {
    match name {
        "CleanOptions" => options::to_json(&core::clean::CleanOptions::default()),
        "DedupOptions" => options::to_json(&core::dedup::DedupOptions::default()),
        "EncodeOptions" => options::to_json(&core::encode::EncodeOptions::default()),
        "PassageOptions" => options::to_json(&core::passages::PassageOptions::default()),
        "SourceOptions" => options::to_json(&core::sources::SourceOptions::default()),
        "SplitOptions" => options::to_json(&core::split::SplitOptions::default()),
        "StatsOptions" => options::to_json(&core::stats::StatsOptions::default()),
        "StreamOptions" => options::to_json(&core::stream::StreamOptions::default()),
        "TokenizerOptions" => options::to_json(&core::tokenizer::TokenizerOptions::default()),
        "WordOptions" => options::to_json(&core::words::WordOptions::default()),
        _ => Err(PyValueError::new_err(format!("no options struct is called {name:?}"))),
    }
}
