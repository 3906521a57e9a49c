//! Counts that do not fit in memory: sorted runs on disk, merged row by row.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::{Path, PathBuf};

use arrow::array::{Int64Array, StringArray};
use compact_str::CompactString;

use super::table::{TableOutput, columns};
use crate::error::{Error, Result};
use crate::io::Rows;
use crate::job::Job;

/// Rows between two words on progress, and looks at whether the job was asked to stop.
const CHECK_EVERY: u64 = 1 << 16;

/// Memory of a row that waits to be sorted.
const BYTES_A_ROW: usize = 48;

/// A word with its count.
pub type Row = (CompactString, u64);

/// Counts of part of a corpus, gathered in runs that are sorted by word.
pub struct Runs {
    folder: PathBuf,
    names: Vec<String>,
    /// Number of the next run; a name is never used twice.
    next: usize,
}

impl Runs {
    /// Goes on with the runs of these names in `folder`, which is made if it is not there.
    pub fn new(folder: &Path, names: Vec<String>) -> Self {
        let numbers = names.iter().filter_map(|name| name.strip_suffix(".parquet")?.parse::<usize>().ok());
        let next = numbers.max().map_or(0, |last| last + 1);
        Self { folder: folder.to_owned(), names, next }
    }

    /// Their file names.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Writes counts of distinct words as a further run.
    pub fn add(&mut self, mut rows: Vec<Row>, job: &Job) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        rows.sort_unstable();
        let name = self.write(&rows, job)?;
        self.names.push(name);
        Ok(())
    }

    /// The sums of all runs as one table by count descending, then by word. Sorting holds about
    /// `memory` bytes of rows; more of them become runs in their turn.
    pub fn into_table(mut self, out: &Path, memory: usize, job: &Job) -> Result<(u64, u64)> {
        let by_word = std::mem::take(&mut self.names);
        let by_count = |rows: &mut Vec<Row>| rows.sort_unstable_by(|(a, m), (b, n)| (n, a).cmp(&(m, b)));
        let (mut words, mut distinct) = (0u64, 0);
        let (mut rows, mut bytes) = (Vec::new(), 0);
        job.phase("merge", 0);
        let mut take = |runs: &mut Self, word: CompactString, count: u64| {
            (words, distinct) = (words.saturating_add(count), distinct + 1);
            bytes += BYTES_A_ROW + if word.is_heap_allocated() { word.capacity() } else { 0 };
            rows.push((word, count));
            if bytes < memory {
                return Ok(());
            }
            bytes = 0;
            by_count(&mut rows);
            let name = runs.write(&std::mem::take(&mut rows), job)?;
            runs.names.push(name);
            Ok(())
        };
        let mut last: Option<Row> = None;
        merge(
            &self.paths(&by_word),
            |word, _| CompactString::from(word),
            job,
            |word, count| {
                match &mut last {
                    Some((same, sum)) if same == word => *sum = sum.saturating_add(count),
                    _ => {
                        if let Some((word, count)) = last.replace((word.into(), count)) {
                            take(&mut self, word, count)?;
                        }
                    }
                }
                Ok(())
            },
        )?;
        if let Some((word, count)) = last {
            take(&mut self, word, count)?;
        }

        by_count(&mut rows);
        let mut output = TableOutput::create(out)?;
        job.phase("write", distinct);
        if self.names.is_empty() {
            output.push_all(&rows, |rows| job.advance(rows))?;
        } else {
            let name = self.write(&rows, job)?;
            self.names.push(name);
            drop(rows);
            let key = |word: &str, count| (Reverse(count), CompactString::from(word));
            merge(&self.paths(&self.names), key, job, |word, count| output.push(word, count))?;
        }
        output.finish()?;
        Ok((words, distinct))
    }

    fn write(&mut self, rows: &[Row], job: &Job) -> Result<String> {
        let name = format!("{:05}.parquet", self.next);
        self.next += 1;
        let mut output = TableOutput::create(&self.folder.join(&name))?;
        output.push_all(rows, |_| job.check())?;
        output.finish()?;
        Ok(name)
    }

    fn paths(&self, names: &[String]) -> Vec<PathBuf> {
        names.iter().map(|name| self.folder.join(name)).collect()
    }
}

/// The rows of sorted runs as one sorted sequence; a word of several runs comes once for each.
fn merge<K: Ord>(
    paths: &[PathBuf],
    key: impl Fn(&str, u64) -> K,
    job: &Job,
    mut found: impl FnMut(&str, u64) -> Result<()>,
) -> Result<()> {
    let mut runs = paths.iter().map(|path| Run::open(path)).collect::<Result<Vec<_>>>()?;
    let mut heads = BinaryHeap::new();
    for (number, run) in runs.iter().enumerate() {
        heads.extend(run.head().map(|(word, count)| Reverse((key(word, count), number))));
    }
    let mut seen = 0u64;
    while let Some(Reverse((_, number))) = heads.pop() {
        let run = &mut runs[number];
        if let Some((word, count)) = run.head() {
            found(word, count)?;
        }
        run.advance()?;
        heads.extend(run.head().map(|(word, count)| Reverse((key(word, count), number))));
        seen += 1;
        if seen.is_multiple_of(CHECK_EVERY) {
            job.advance(CHECK_EVERY)?;
        }
    }
    Ok(())
}

/// One run while it is read.
struct Run {
    path: PathBuf,
    batches: Rows,
    words: StringArray,
    counts: Int64Array,
    at: usize,
}

impl Run {
    fn open(path: &Path) -> Result<Self> {
        let (words, counts) = (StringArray::new_null(0), Int64Array::new_null(0));
        let batches = Rows::open(&[path.to_owned()])?;
        let mut run = Self { path: path.to_owned(), batches, words, counts, at: 0 };
        run.refill()?;
        Ok(run)
    }

    /// The row that comes next.
    fn head(&self) -> Option<(&str, u64)> {
        (self.at < self.counts.len()).then(|| (self.words.value(self.at), self.counts.value(self.at) as u64))
    }

    fn advance(&mut self) -> Result<()> {
        self.at += 1;
        if self.at < self.counts.len() { Ok(()) } else { self.refill() }
    }

    fn refill(&mut self) -> Result<()> {
        if let Some(found) = self.batches.next().transpose()? {
            let (words, counts) =
                columns(&found.batch).map_err(|problem| Error::file(&self.path, problem))?;
            (self.words, self.counts, self.at) = (words.clone(), counts.clone(), 0);
        }
        Ok(())
    }
}
