//! Row files to a table of counts, and such tables to that of the whole, in bounded memory.

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use arrow::array::{Array, StringArray};
use serde::{Deserialize, Serialize};

use super::count::{Counters, WordOptions, text_columns};
use super::runs::Runs;
use super::table::read_table;
use super::tally::Tally;
use crate::error::{Error, Result};
use crate::io::{Output, RowBatch, Rows};
use crate::job::Job;
use crate::string_counts::StringCounts;

/// Batches of rows that are in memory at a time, for each thread.
const BATCHES_A_THREAD: usize = 2;

/// Text, at least, between two places from which an interrupted count goes on: some seconds of work.
const CHECKPOINT_BYTES: u64 = 512 << 20;

/// File of the folder of parts that says which of them count.
const DONE: &str = "done.json";

/// Rows of a table between two looks at how much memory is taken.
const GROUP_ROWS: usize = 1 << 16;

/// What a count did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct WordReport {
    /// Rows read.
    pub rows: u64,
    /// Bytes of text counted.
    pub bytes: u64,
    /// Words counted.
    pub words: u64,
    /// Distinct words.
    pub distinct_words: u64,
}

/// What a merge of counts did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct MergeReport {
    /// Tables read.
    pub tables: u64,
    /// Words counted in all.
    pub words: u64,
    /// Distinct words.
    pub distinct_words: u64,
}

/// What of a count is safe on disk.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Done {
    /// The first so many inputs are counted.
    files: usize,
    rows: u64,
    bytes: u64,
    /// Their counts.
    runs: Vec<String>,
}

/// Counts the words of row files into one table `word, count`, Parquet or, if `out` is called so, TSV.
///
/// Parts are kept in the folder `parts` until the caller removes it: a count that was interrupted goes
/// on after the last file that is whole there. The caller sees to it that inputs and options are the same.
///
/// # Errors
/// [`Error::File`], [`Error::Record`] and [`Error::Io`] name the file; [`Error::Option`] if
/// `memory_mb` is 0; [`Error::Cancelled`].
pub fn count_words_files(
    inputs: &[PathBuf],
    out: &Path,
    parts: &Path,
    options: &WordOptions,
    job: &Job,
) -> Result<WordReport> {
    let memory = memory_bytes(options.memory_mb)?;
    count_with(inputs, out, parts, options, memory, CHECKPOINT_BYTES, job)
}

fn count_with(
    inputs: &[PathBuf],
    out: &Path,
    parts: &Path,
    options: &WordOptions,
    memory: usize,
    checkpoint_bytes: u64,
    job: &Job,
) -> Result<WordReport> {
    let segmenter = options.segmenter()?;
    let all = Rows::open(inputs)?;
    let columns =
        text_columns(all.schema(), &options.columns).map_err(|problem| Error::file(&inputs[0], problem))?;
    let mut done = Done::read(parts);
    let mut runs = Runs::new(parts, done.runs.clone());
    job.phase("count", all.rows());
    job.advance(done.rows)?;

    let totals = Tally::new();
    let mut counters = Counters::new(&segmenter, &totals, options.hmm, job);
    let mut since = 0;
    while let Some(path) = inputs.get(done.files) {
        let mut rows = Rows::open(std::slice::from_ref(path))?;
        let mut batches = next_batches(&mut rows, job)?;
        while !batches.is_empty() {
            let texts = texts(&batches, &columns)?;
            let bytes = texts.iter().map(|text| text.len() as u64).sum::<u64>();
            // The next batches are read while these are counted.
            let (counted, next) = job.run(|| {
                rayon::join(|| counters.count(&texts, |_| job.check()), || next_batches(&mut rows, job))
            });
            counted?;
            if totals.bytes() >= memory {
                counters.flush();
                runs.add(totals.take(), job)?;
            }
            let read = batches.iter().map(|batch| batch.batch.num_rows() as u64).sum();
            (done.rows, done.bytes, since) = (done.rows + read, done.bytes + bytes, since + bytes);
            job.advance(read)?;
            batches = next?;
        }
        done.files += 1;
        if since >= checkpoint_bytes && done.files < inputs.len() {
            counters.flush();
            runs.add(totals.take(), job)?;
            done.runs = runs.names().to_vec();
            done.write(parts)?;
            since = 0;
        }
    }
    counters.flush();
    let (words, distinct_words) = finish(runs, &totals, out, memory, job)?;
    Ok(WordReport { rows: done.rows, bytes: done.bytes, words, distinct_words })
}

/// The sum of tables of counts as one table; `parts` is a folder for what does not fit in `memory_mb`.
///
/// # Errors
/// As [`count_words_files`].
pub fn merge_files(
    inputs: &[PathBuf],
    out: &Path,
    parts: &Path,
    memory_mb: usize,
    job: &Job,
) -> Result<MergeReport> {
    let memory = memory_bytes(memory_mb)?;
    let (totals, mut runs) = (Tally::new(), Runs::new(parts, Vec::new()));
    job.phase("merge", 0);
    for path in inputs {
        let mut group = StringCounts::default();
        read_table(path, |word, count| {
            if count > 0 {
                group.add(word, count);
            }
            if group.len() < GROUP_ROWS {
                return Ok(());
            }
            totals.add(group.iter());
            group.clear();
            if totals.bytes() >= memory {
                runs.add(totals.take(), job)?;
            }
            job.advance(GROUP_ROWS as u64)
        })?;
        totals.add(group.iter());
    }
    let (words, distinct_words) = finish(runs, &totals, out, memory, job)?;
    Ok(MergeReport { tables: inputs.len() as u64, words, distinct_words })
}

fn memory_bytes(memory_mb: usize) -> Result<usize> {
    if memory_mb == 0 {
        return Err(Error::option("memory_mb", memory_mb, "must be at least 1"));
    }
    Ok(memory_mb.saturating_mul(1 << 20))
}

/// Writes what was gathered to `out`; returns words and distinct words.
fn finish(mut runs: Runs, totals: &Tally, out: &Path, memory: usize, job: &Job) -> Result<(u64, u64)> {
    if !runs.names().is_empty() {
        runs.add(totals.take(), job)?;
        return runs.into_table(out, memory, job);
    }
    let counts = super::WordCounts::from_distinct(totals.take());
    job.phase("write", counts.len() as u64);
    counts.write(out, job)?;
    Ok((counts.total(), counts.len() as u64))
}

fn next_batches(rows: &mut Rows, job: &Job) -> Result<Vec<RowBatch>> {
    rows.by_ref().take(BATCHES_A_THREAD * job.threads()).collect()
}

fn texts<'b>(batches: &'b [RowBatch], columns: &[String]) -> Result<Vec<&'b str>> {
    let mut texts = Vec::new();
    for batch in batches {
        for column in columns {
            let column: &StringArray = batch.text(column)?;
            texts.extend((0..column.len()).map(|i| column.value(i)));
        }
    }
    Ok(texts)
}

impl Done {
    /// What an interrupted count left in `parts`; other files there are removed.
    fn read(parts: &Path) -> Self {
        let read = fs::read(parts.join(DONE)).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let done: Self = read.unwrap_or_default();
        let kept: HashSet<&str> = done.runs.iter().map(String::as_str).collect();
        for file in fs::read_dir(parts).into_iter().flatten().flatten() {
            let name = file.file_name();
            if name != DONE && !kept.contains(&*name.to_string_lossy()) {
                // One that cannot be removed is written over.
                let _ = fs::remove_file(file.path());
            }
        }
        done
    }

    fn write(&self, parts: &Path) -> Result<()> {
        let path = parts.join(DONE);
        let mut output = Output::create(&path)?;
        let text = serde_json::to_string(self).map_err(|error| Error::Internal(error.to_string()))?;
        output.write_all(text.as_bytes()).map_err(Error::io(&path))?;
        output.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{WordCounts, count_words};
    use super::*;
    use crate::io::ParquetOutput;
    use arrow::array::{ArrayRef, RecordBatch};
    use std::sync::Arc;

    /// Some files of rows with many different words, and their counts.
    fn corpus(folder: &Path) -> (Vec<PathBuf>, WordCounts) {
        let rows: Vec<Vec<String>> = (0..4)
            .map(|file| {
                (0..300).map(|row| format!("今天{}下雨了 a{file}x{row}", "天气".repeat(row % 7))).collect()
            })
            .collect();
        let write = |(number, texts): (usize, &Vec<String>)| {
            let path = folder.join(format!("{number}.parquet"));
            let column: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
            let batch = RecordBatch::try_from_iter([("text", column)]).expect("one column");
            let mut output = ParquetOutput::create(&path, batch.schema()).expect("creates");
            output.write(&batch).and_then(|()| output.finish()).expect("writes");
            path
        };
        let texts: Vec<&str> = rows.iter().flatten().map(String::as_str).collect();
        let counts = count_words(&texts, &WordOptions::default(), &job()).expect("counts");
        (rows.iter().enumerate().map(write).collect(), counts)
    }

    fn job() -> Job {
        Job::new(Some(2)).expect("threads")
    }

    #[test]
    fn what_does_not_fit_in_memory_is_counted_the_same() {
        let folder = tempfile::tempdir().expect("temp folder");
        let (inputs, expected) = corpus(folder.path());
        let (out, options) = (folder.path().join("counts.parquet"), WordOptions::default());
        for (name, memory) in [("little", 1), ("some", 20_000), ("much", usize::MAX)] {
            let parts = folder.path().join(name);
            let told = count_with(&inputs, &out, &parts, &options, memory, u64::MAX, &job()).expect("counts");
            assert_eq!(WordCounts::read(&out).expect("reads"), expected, "{name}");
            assert_eq!((told.words, told.distinct_words), (expected.total(), expected.len() as u64));
        }
    }

    #[test]
    fn a_stopped_count_goes_on_after_the_last_whole_file() {
        let folder = tempfile::tempdir().expect("temp folder");
        let (mut inputs, expected) = corpus(folder.path());
        let (out, parts) = (folder.path().join("counts.parquet"), folder.path().join("parts"));
        let count =
            |inputs: &[PathBuf]| count_with(inputs, &out, &parts, &WordOptions::default(), 30_000, 1, &job());
        let third = inputs[2].clone();
        inputs[2] = folder.path().join("damaged.parquet");
        let mut bytes = fs::read(&third).expect("reads");
        let middle = bytes.len() / 3;
        bytes[4..middle].fill(0xFF);
        fs::write(&inputs[2], bytes).expect("writes");
        count(&inputs).expect_err("the third file is damaged");
        assert_eq!(Done::read(&parts).files, 2);

        // Were the first two read again, they would be found damaged now.
        inputs[2] = third;
        fs::write(parts.join("99999.parquet"), "of a file that was under way").expect("writes");
        let told = count(&inputs).expect("goes on");
        assert_eq!(WordCounts::read(&out).expect("reads"), expected);
        assert_eq!(told.rows, 1_200);
    }

    #[test]
    fn merged_tables_are_the_counts_of_the_whole() {
        let folder = tempfile::tempdir().expect("temp folder");
        let (inputs, expected) = corpus(folder.path());
        let tables: Vec<PathBuf> = inputs
            .iter()
            .map(|input| {
                let out = input.with_extension("tsv");
                let parts = folder.path().join("parts");
                count_words_files(std::slice::from_ref(input), &out, &parts, &WordOptions::default(), &job())
                    .expect("counts");
                out
            })
            .collect();
        let out = folder.path().join("all.parquet");
        let told = merge_files(&tables, &out, &folder.path().join("runs"), 1, &job()).expect("merges");
        assert_eq!(WordCounts::read(&out).expect("reads"), expected);
        assert_eq!((told.tables, told.distinct_words), (4, expected.len() as u64));
    }
}
