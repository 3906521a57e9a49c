//! Words, texts or row files to a tokenizer.

use std::path::{Path, PathBuf};

use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use tokenizers::Tokenizer;

use super::chunks::{ChunkCounter, Chunks, chunks_of};
use super::options::{Kind, TokenizerOptions, check_added};
use super::vocabulary::{Vocabulary, unreachable};
use super::{bpe, merges, unigram};
use crate::error::{Error, Result};
use crate::io::Rows;
use crate::job::Job;
use crate::words::count::text_columns;
use crate::words::table::is_table;
use crate::words::{WordCounts, WordOptions, count_words};

/// Batches of rows that are in memory at a time, for each thread.
const BATCHES_A_THREAD: usize = 2;

/// A finished tokenizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// Content of `tokenizer.json`.
    pub json: String,
    /// What was built.
    pub report: TokenizerReport,
}

/// What the trainer of another library has learned.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearnedElsewhere {
    /// Characters and longer entries, in the order of their ids.
    pub entries: Vec<String>,
    /// Merges by rank; none for a vocabulary with scores.
    pub merges: Vec<(String, String)>,
    /// Log probabilities of the entries; none for a list of merges.
    pub scores: Vec<f64>,
    /// Whether tokens stay inside runs of one kind of character.
    pub split: bool,
}

/// What a build did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TokenizerReport {
    /// Entries in all.
    pub vocab_size: usize,
    /// Entries that are one character.
    pub characters: usize,
    /// Entries that are longer.
    pub longer: usize,
    /// Different pieces of text, or words, that it was learned from.
    pub distinct_pieces: usize,
}

/// Builds a tokenizer from counted words; tokens never cross a word then.
///
/// # Errors
/// [`Error::Option`] if an option is out of range; [`Error::Cancelled`].
pub fn build_from_words(words: &WordCounts, options: &TokenizerOptions, job: &Job) -> Result<Built> {
    options.check()?;
    build(chunks_of(words), options, job)
}

/// Builds a tokenizer from texts; for the kind `merges` their words are counted first.
///
/// # Errors
/// [`Error::Option`] if an option is out of range; [`Error::Cancelled`].
pub fn build_from_texts(texts: &[&str], options: &TokenizerOptions, job: &Job) -> Result<Built> {
    options.check()?;
    if options.kind == Kind::Merges {
        return build_from_words(&count_words(texts, &WordOptions::default(), job)?, options, job);
    }
    let counter = ChunkCounter::new(options.share_of(texts.iter().map(|text| text.len() as u64).sum()));
    job.phase("read", texts.len() as u64);
    counter.add(texts, job, |texts| job.advance(texts as u64))?;
    build(counter.finish(), options, job)
}

/// Builds a tokenizer from Parquet files: rows of text, or tables `word, count`.
///
/// # Errors
/// [`Error::Option`] if an option is out of range or does not fit the files; [`Error::File`],
/// [`Error::Record`] and [`Error::Io`] name the file; [`Error::Cancelled`].
pub fn build_from_files(inputs: &[PathBuf], options: &TokenizerOptions, job: &Job) -> Result<Built> {
    options.check()?;
    let first = inputs.first().ok_or_else(|| Error::Data("no input files".into()))?;
    if is_table(first)? {
        let tables = inputs.iter().map(|path| WordCounts::read(path)).collect::<Result<Vec<_>>>()?;
        return build_from_words(&crate::words::merge(tables), options, job);
    }
    if options.kind == Kind::Merges {
        let problem =
            "holds rows; the kind merges needs a table of word counts (the command `count` makes it)";
        return Err(Error::file(first, problem));
    }
    build(read_chunks(inputs, options, job)?, options, job)
}

fn read_chunks(inputs: &[PathBuf], options: &TokenizerOptions, job: &Job) -> Result<Chunks> {
    let mut rows = Rows::open(inputs)?;
    let problem = |problem: String| Error::file(inputs.first().map_or(Path::new(""), |path| path), problem);
    let columns = text_columns(rows.schema(), &options.columns).map_err(problem)?;
    let counter = ChunkCounter::new(options.share_of(estimate_bytes(inputs, &columns)?));
    job.phase("read", rows.rows());
    loop {
        let batches = rows.by_ref().take(BATCHES_A_THREAD * job.threads()).collect::<Result<Vec<_>>>()?;
        if batches.is_empty() {
            return Ok(counter.finish());
        }
        let mut texts = Vec::new();
        for batch in &batches {
            for column in &columns {
                texts.extend(batch.text(column)?.iter().flatten());
            }
        }
        counter.add(&texts, job, |_| job.check())?;
        job.advance(batches.iter().map(|batch| batch.batch.num_rows() as u64).sum())?;
    }
}

/// Bytes of text, judged by the first rows of each file.
fn estimate_bytes(inputs: &[PathBuf], columns: &[String]) -> Result<u64> {
    let mut bytes = 0;
    for path in inputs {
        let mut rows = Rows::open(std::slice::from_ref(path))?;
        if let Some(first) = rows.next().transpose()? {
            let sizes =
                columns.iter().map(|column| first.text(column).map(|texts| texts.value_data().len() as u64));
            bytes += (sizes.sum::<Result<u64>>()? as f64 / rows.share_read()?) as u64;
        }
    }
    Ok(bytes)
}

fn build(chunks: Chunks, options: &TokenizerOptions, job: &Job) -> Result<Built> {
    let distinct_pieces = chunks.len();
    let mut vocabulary = match options.kind {
        Kind::Merges => merges::build(chunks, options, job)?,
        Kind::Bpe => bpe::train(chunks, options, job)?,
        Kind::Unigram => unigram::train(chunks, options, job)?,
    };
    job.phase("check", options.vocab_size as u64);
    let mut tokenizer = vocabulary.to_tokenizer(&options.added_tokens, true)?;
    let lost = unreachable(&tokenizer, job)?;
    if !lost.is_empty() {
        vocabulary.remove(&lost)?;
        tokenizer = vocabulary.to_tokenizer(&options.added_tokens, true)?;
    }
    finish(&vocabulary, &tokenizer, distinct_pieces)
}

/// Writes down a vocabulary that another library has learned; every entry of it stays.
///
/// # Errors
/// [`Error::Option`] if an added token is refused; [`Error::Data`] if the parts do not fit together.
pub fn assemble(learned: LearnedElsewhere, added_tokens: &[String]) -> Result<Built> {
    check_added(added_tokens)?;
    let pieces = learned.entries.into_iter().map(CompactString::from);
    let vocabulary = if learned.scores.is_empty() {
        let merges = learned.merges.into_iter().map(|(left, right)| (left.into(), right.into()));
        Vocabulary::Merged { entries: pieces.collect(), merges: merges.collect() }
    } else {
        Vocabulary::Scored(pieces.zip(learned.scores).collect())
    };
    let tokenizer = vocabulary
        .to_tokenizer(added_tokens, learned.split)
        .map_err(|error| Error::Data(format!("the vocabulary cannot be used ({error})")))?;
    finish(&vocabulary, &tokenizer, 0)
}

fn finish(vocabulary: &Vocabulary, tokenizer: &Tokenizer, distinct_pieces: usize) -> Result<Built> {
    let (characters, longer) = vocabulary.sizes();
    let report =
        TokenizerReport { vocab_size: tokenizer.get_vocab_size(true), characters, longer, distinct_pieces };
    let json = tokenizer.to_string(false).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(Built { json, report })
}

impl Vocabulary {
    /// Characters and longer entries.
    fn sizes(&self) -> (usize, usize) {
        let characters = self.entries().filter(|entry| entry.chars().count() == 1).count();
        (characters, self.entries().count() - characters)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    #[test]
    fn of_files_in_any_form_about_the_part_is_taken_that_was_asked_for() {
        let folder = tempfile::tempdir().expect("temp folder");
        let rows: String = (0..30_000u32)
            .map(|row| {
                let text: String =
                    (0..40).filter_map(|at| char::from_u32(0x4E00 + (row * 7 + at * at) % 5_000)).collect();
                format!("{{\"text\": \"{text}\"}}\n")
            })
            .collect();
        let (plain, packed) = (folder.path().join("rows.jsonl"), folder.path().join("rows.jsonl.gz"));
        std::fs::write(&plain, &rows).expect("writes");
        let mut file = GzEncoder::new(std::fs::File::create(&packed).expect("creates"), Compression::fast());
        file.write_all(rows.as_bytes()).and_then(|()| file.finish().map(drop)).expect("writes");
        let job = Job::new(Some(2)).expect("threads");
        for path in [plain, packed] {
            let taken = |train_mb| {
                let options = TokenizerOptions { train_mb, vocab_size: 6_000, ..TokenizerOptions::default() };
                let built = build_from_files(std::slice::from_ref(&path), &options, &job).expect("builds");
                built.report.distinct_pieces
            };
            // 3.4 MiB of text.
            let (all, part) = (taken(9), taken(1));
            assert!((0.2..0.4).contains(&(part as f64 / all as f64)), "{part} of {all}, {}", path.display());
        }
    }

    #[test]
    fn an_added_token_that_is_an_entry_is_refused() {
        let job = Job::new(Some(1)).expect("a thread");
        let options = TokenizerOptions { added_tokens: vec!["天气".into()], ..TokenizerOptions::default() };
        for kind in [Kind::Bpe, Kind::Merges, Kind::Unigram] {
            let options = TokenizerOptions { kind, ..options.clone() };
            let refused =
                build_from_texts(&["天气"; 9], &options, &job).expect_err("it is an entry").to_string();
            assert!(refused.starts_with("option added_tokens = \"天气\""), "{refused}");
        }
    }
}
