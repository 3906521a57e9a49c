//! Word counts, exactly those of Python jieba 0.42.1.
//!
//! Text is cut by the most probable path through jieba's dictionary; what the path leaves as single
//! characters goes through jieba's Markov model. The dictionary is a double-array trie and words are
//! counted by their place in it, so that hardly a word is hashed. Memory is that of the distinct words;
//! of files with more than fit in `memory_mb` they go through sorted runs on disk.
//!
//! ```
//! use smolchat_core::{job::Job, words::{count_words, WordOptions}};
//! let counts = count_words(&["今天下雨", "今天晴天"], &WordOptions::default(), &Job::new(None)?)?;
//! assert_eq!(counts.iter().next(), Some(("今天", 2)));
//! # Ok::<(), smolchat_core::Error>(())
//! ```

mod classes; // character classes of jieba's expressions
pub(crate) mod count; // texts -> counts
mod counter; // words -> counts, by place
mod data; // the built-in dictionary and model
mod files; // row files, tables -> a table
mod frequencies; // dictionary files -> frequencies
mod markov; // what the dictionary lacks -> words
mod runs; // counts that do not fit in memory -> a table
mod segment; // text -> words
pub(crate) mod table; // counts as a table, in memory and on disk
pub(crate) mod tally; // counts of all workers
pub(crate) mod trie; // dictionary words -> double array

pub use count::{WordOptions, count_words};
pub use files::{MergeReport, WordReport, count_words_files, merge_files};
pub use segment::Segmenter;
pub use table::{WordCounts, merge};
