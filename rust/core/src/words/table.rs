//! A table of words and their counts, in memory, as Parquet and as TSV.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch, StringArray, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use compact_str::CompactString;
use rustc_hash::FxHashMap;

use crate::error::{Error, Place, Result};
use crate::io::{Output, ParquetOutput, Rows, as_utf8, names, text_column, to_utf8};
use crate::job::Job;

/// Rows of a batch; 32-bit offsets always suffice for so few.
const BATCH_ROWS: usize = 1 << 16;

/// First line of the TSV form.
const TSV_HEADER: &str = "word\tcount";

/// Words and how often each was counted, by count descending, then by word.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WordCounts {
    rows: Vec<(CompactString, u64)>,
}

impl WordCounts {
    /// The table of these words; a word may stand there several times.
    pub fn new<'a>(counts: impl IntoIterator<Item = (&'a str, u64)>) -> Self {
        let mut sums: FxHashMap<CompactString, u64> = FxHashMap::default();
        for (word, count) in counts {
            add(&mut sums, word.into(), count);
        }
        Self::from_distinct(sums)
    }

    pub(super) fn from_distinct(counts: impl IntoIterator<Item = (CompactString, u64)>) -> Self {
        let mut rows: Vec<_> = counts.into_iter().filter(|&(_, count)| count > 0).collect();
        rows.sort_unstable_by(|(a, m), (b, n)| n.cmp(m).then_with(|| a.cmp(b)));
        Self { rows }
    }

    /// Words with their counts, the most frequent first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, u64)> {
        self.rows.iter().map(|(word, count)| (word.as_str(), *count))
    }

    /// Distinct words.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Words in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.rows.iter().fold(0, |total, &(_, count)| total.saturating_add(count))
    }

    /// Columns of the Arrow and Parquet form: `word: string, count: int64`.
    #[must_use]
    pub fn schema() -> SchemaRef {
        let word = Field::new("word", DataType::Utf8, false);
        Arc::new(Schema::new(vec![word, Field::new("count", DataType::Int64, false)]))
    }

    /// The table as record batches.
    ///
    /// # Errors
    /// [`Error::Internal`] if Arrow refuses them.
    pub fn to_batches(&self) -> Result<Vec<RecordBatch>> {
        self.rows.chunks(BATCH_ROWS).map(to_batch).collect()
    }

    /// Writes the table to a Parquet file, or to a TSV file if it is called so.
    ///
    /// TSV has the first line `word<TAB>count`; tab, line feed, carriage return and backslash in a word
    /// are written `\t`, `\n`, `\r`, `\\`.
    ///
    /// # Errors
    /// [`Error::Io`], for example a full disk; nothing is left behind then. [`Error::Cancelled`].
    pub fn write(&self, path: &Path, job: &Job) -> Result<()> {
        let mut output = TableOutput::create(path)?;
        output.push_all(&self.rows, |rows| job.advance(rows))?;
        output.finish()
    }

    /// The table of a batch with the columns `word, count`, as of [`WordCounts::to_batches`].
    ///
    /// # Errors
    /// [`Error::Data`] if a column is missing or a value is null or negative.
    pub fn from_batch(batch: &RecordBatch) -> Result<Self> {
        let mut sums: FxHashMap<CompactString, u64> = FxHashMap::default();
        let found = |word: &str, count| {
            add(&mut sums, word.into(), count);
            Ok(())
        };
        let batch =
            to_utf8(batch, &as_utf8(batch.schema_ref())).map_err(|error| Error::Data(error.to_string()))?;
        for_each_row(&batch, found, |problem| match problem {
            Problem::Table(problem) => Error::Data(problem),
            Problem::Row(row, problem) => Error::Data(format!("row {}: {problem}", row + 1)),
        })?;
        Ok(Self::from_distinct(sums))
    }

    /// [`WordCounts::read`], or nothing if the file holds rows of text.
    ///
    /// # Errors
    /// As [`WordCounts::read`].
    pub fn read_if_table(path: &Path) -> Result<Option<Self>> {
        is_table(path)?.then(|| Self::read(path)).transpose()
    }

    /// Reads a table that [`WordCounts::write`] wrote, or another Parquet file with these two columns.
    ///
    /// # Errors
    /// [`Error::File`] or [`Error::Record`] naming the file, and the row of a negative count.
    pub fn read(path: &Path) -> Result<Self> {
        let mut sums: FxHashMap<CompactString, u64> = FxHashMap::default();
        read_table(path, |word, count| {
            add(&mut sums, word.into(), count);
            Ok(())
        })?;
        Ok(Self::from_distinct(sums))
    }
}

/// Calls `found` with each row of a table of counts, Parquet or TSV.
pub(super) fn read_table(path: &Path, mut found: impl FnMut(&str, u64) -> Result<()>) -> Result<()> {
    if is_tsv(path) {
        return read_tsv(path, found);
    }
    for rows in Rows::open(&[path.to_owned()])? {
        let rows = rows?;
        for_each_row(&rows.batch, &mut found, |problem| match problem {
            Problem::Table(problem) => Error::file(path, problem),
            Problem::Row(row, problem) => {
                let place = Place::Row(rows.first_row + row as u64 + 1);
                Error::Record { path: path.to_owned(), place, problem: problem.into() }
            }
        })?;
    }
    Ok(())
}

/// Whether a file is a table `word, count` and not rows of text.
///
/// # Errors
/// [`Error::Io`] or [`Error::File`] if it cannot be read.
pub(crate) fn is_table(path: &Path) -> Result<bool> {
    if is_tsv(path) {
        let file = std::fs::File::open(path).map_err(Error::io(path))?;
        let mut first = Vec::new();
        let mut head = std::io::Read::take(file, TSV_HEADER.len() as u64 + 1);
        std::io::Read::read_to_end(&mut head, &mut first).map_err(Error::io(path))?;
        return Ok(first.trim_ascii_end() == TSV_HEADER.as_bytes());
    }
    let rows = Rows::open(&[path.to_owned()])?;
    let mut names = names(rows.schema());
    names.sort_unstable();
    Ok(names == ["count", "word"])
}

/// The counts of several parts of a corpus as those of the whole.
#[must_use]
pub fn merge(tables: impl IntoIterator<Item = WordCounts>) -> WordCounts {
    let mut tables = tables.into_iter();
    let first = tables.next().unwrap_or_default();
    let mut sums: FxHashMap<CompactString, u64> = first.rows.into_iter().collect();
    for (word, count) in tables.flat_map(|table| table.rows) {
        add(&mut sums, word, count);
    }
    WordCounts::from_distinct(sums)
}

/// Sums stop at 64 bits; what is over 63 is refused when it is written.
fn add(sums: &mut FxHashMap<CompactString, u64>, word: CompactString, count: u64) {
    let sum = sums.entry(word).or_insert(0);
    *sum = sum.saturating_add(count);
}

/// What is wrong with a batch of counts.
enum Problem {
    Table(String),
    Row(usize, &'static str),
}

fn for_each_row(
    batch: &RecordBatch,
    mut found: impl FnMut(&str, u64) -> Result<()>,
    refuse: impl Fn(Problem) -> Error,
) -> Result<()> {
    let (words, counts) = columns(batch).map_err(|problem| refuse(Problem::Table(problem)))?;
    for (i, (word, count)) in words.iter().zip(&counts).enumerate() {
        let word = word.ok_or_else(|| refuse(Problem::Row(i, "column \"word\" is null")))?;
        let count = count.and_then(|count| u64::try_from(count).ok());
        let problem = "column \"count\" is null, negative or over 63 bits";
        found(word, count.ok_or_else(|| refuse(Problem::Row(i, problem)))?)?;
    }
    Ok(())
}

/// The columns `word` and `count`, or what is there instead.
pub(super) fn columns(batch: &RecordBatch) -> Result<(StringArray, Int64Array), String> {
    Ok((text_column(batch, "word")?.clone(), count_column(batch)?))
}

fn count_column(batch: &RecordBatch) -> Result<Int64Array, String> {
    let column =
        batch.column_by_name("count").ok_or("column \"count\" not found; expected a table word, count")?;
    if !column.data_type().is_integer() {
        return Err(format!("column \"count\" is {}, not int64", column.data_type()));
    }
    // What does not fit becomes null.
    let column = cast(column, &DataType::Int64).map_err(|error| error.to_string())?;
    Ok(column.as_primitive::<Int64Type>().clone())
}

fn to_batch(rows: &[(CompactString, u64)]) -> Result<RecordBatch> {
    let mut words = StringBuilder::with_capacity(rows.len(), rows.iter().map(|(word, _)| word.len()).sum());
    rows.iter().for_each(|(word, _)| words.append_value(word));
    let words: StringArray = words.finish();
    let counts: Vec<i64> = rows.iter().map(|(word, count)| signed(word, *count)).collect::<Result<_>>()?;
    RecordBatch::try_new(WordCounts::schema(), vec![Arc::new(words), Arc::new(Int64Array::from(counts))])
        .map_err(|error| Error::Internal(error.to_string()))
}

/// A count as the table holds it.
fn signed(word: &str, count: u64) -> Result<i64> {
    let problem =
        |_| Error::Data(format!("the counts of {word:?} add up to over 63 bits; no table holds that"));
    i64::try_from(count).map_err(problem)
}

/// A file of counts that is written row by row, as its name asks: `.tsv`, or else Parquet.
pub(super) enum TableOutput {
    Parquet(Box<ParquetOutput>, Vec<(CompactString, u64)>),
    Tsv(Output),
}

impl TableOutput {
    pub fn create(path: &Path) -> Result<Self> {
        if !is_tsv(path) {
            let output = ParquetOutput::create(path, WordCounts::schema())?;
            return Ok(Self::Parquet(Box::new(output), Vec::new()));
        }
        let mut output = Output::create(path)?;
        writeln!(output, "{TSV_HEADER}").map_err(Error::io(path))?;
        Ok(Self::Tsv(output))
    }

    pub fn push(&mut self, word: &str, count: u64) -> Result<()> {
        match self {
            Self::Parquet(output, rows) => {
                rows.push((word.into(), count));
                if rows.len() == BATCH_ROWS {
                    output.write(&to_batch(rows)?)?;
                    rows.clear();
                }
                Ok(())
            }
            Self::Tsv(output) => {
                let written = writeln!(output, "{}\t{}", escaped(word), signed(word, count)?);
                written.map_err(|source| Error::Io { path: output.path().to_owned(), source })
            }
        }
    }

    /// Appends rows; calls `done` with their number now and then.
    pub fn push_all(
        &mut self,
        rows: &[(CompactString, u64)],
        done: impl Fn(u64) -> Result<()>,
    ) -> Result<()> {
        for rows in rows.chunks(BATCH_ROWS) {
            match self {
                Self::Parquet(output, _) => output.write(&to_batch(rows)?)?,
                Self::Tsv(_) => rows.iter().try_for_each(|(word, count)| self.push(word, *count))?,
            }
            done(rows.len() as u64)?;
        }
        Ok(())
    }

    pub fn finish(self) -> Result<()> {
        match self {
            Self::Parquet(mut output, rows) => {
                output.write(&to_batch(&rows)?)?;
                output.finish().map(drop)
            }
            Self::Tsv(output) => output.finish(),
        }
    }
}

fn is_tsv(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("tsv"))
}

/// Tabs and line ends are words too; they are written as in PostgreSQL's COPY.
fn escaped(word: &str) -> std::borrow::Cow<'_, str> {
    if !word.contains(['\t', '\n', '\r', '\\']) {
        return word.into();
    }
    let escape = |c| match c {
        '\t' => Some('t'),
        '\n' => Some('n'),
        '\r' => Some('r'),
        '\\' => Some('\\'),
        _ => None,
    };
    let mut text = String::with_capacity(word.len() + 2);
    for c in word.chars() {
        match escape(c) {
            Some(letter) => text.extend(['\\', letter]),
            None => text.push(c),
        }
    }
    text.into()
}

/// What [`escaped`] was made from; None if a backslash stands before something else.
fn unescaped(text: &str) -> Option<CompactString> {
    let mut word = CompactString::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        word.push(match c {
            '\\' => match chars.next()? {
                't' => '\t',
                'n' => '\n',
                'r' => '\r',
                '\\' => '\\',
                _ => return None,
            },
            c => c,
        });
    }
    Some(word)
}

fn read_tsv(path: &Path, mut found: impl FnMut(&str, u64) -> Result<()>) -> Result<()> {
    let file = std::fs::File::open(path).map_err(Error::io(path))?;
    let lines = std::io::BufRead::split(std::io::BufReader::new(file), b'\n');
    for (line, number) in lines.zip(1u64..) {
        let line = line.map_err(Error::io(path))?;
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        if number == 1 && line == TSV_HEADER.as_bytes() {
            continue;
        }
        let parts = std::str::from_utf8(line).ok().and_then(|line| line.rsplit_once('\t'));
        let row = parts.and_then(|(word, count)| Some((unescaped(word)?, count.parse::<i64>().ok()?)));
        let row = row.and_then(|(word, count)| Some((word, u64::try_from(count).ok()?)));
        let (word, count) = row.ok_or_else(|| Error::Record {
            path: path.to_owned(),
            place: Place::Line(number),
            problem: "expected word, tab, count (0 to 63 bits), as the command `count` writes them".into(),
        })?;
        found(&word, count)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::ArrayRef;
    use proptest::prelude::*;

    #[test]
    fn counts_that_no_table_holds_are_refused() {
        let folder = tempfile::tempdir().expect("temp folder");
        let (path, job) = (folder.path().join("counts.tsv"), Job::new(Some(1)).expect("a thread"));
        std::fs::write(&path, "好\t18446744073709551615\n").expect("writes");
        let refused = WordCounts::read(&path).expect_err("over 63 bits").to_string();
        assert!(refused.contains("line 1") && refused.contains("63 bits"), "{refused}");

        let half = || WordCounts::new([("好", 1 << 62)]);
        let sum = merge([half(), half(), half(), half(), half()]);
        for name in ["counts.tsv", "counts.parquet"] {
            let refused = sum.write(&folder.path().join(name), &job).expect_err("over 63 bits").to_string();
            assert!(refused.contains("\"好\""), "{refused}");
        }
    }

    #[test]
    fn a_table_is_known_by_its_columns_in_whatever_order_and_width() {
        let counts: ArrayRef = Arc::new(arrow::array::UInt32Array::from(vec![2, 1]));
        let words: ArrayRef = Arc::new(arrow::array::StringViewArray::from(vec!["好", "天"]));
        let batch = RecordBatch::try_from_iter([("count", counts), ("word", words)]).expect("two columns");
        let expected = WordCounts::new([("好", 2), ("天", 1)]);
        assert_eq!(WordCounts::from_batch(&batch).expect("reads"), expected);

        let folder = tempfile::tempdir().expect("temp folder");
        let path = folder.path().join("counts.parquet");
        let mut output = ParquetOutput::create(&path, batch.schema()).expect("creates");
        output.write(&batch).and_then(|()| output.finish()).expect("writes");
        assert!(is_table(&path).expect("reads"));
        assert_eq!(WordCounts::read(&path).expect("reads"), expected);
    }

    proptest! {
        #[test]
        fn any_word_comes_back_from_either_form(words in prop::collection::btree_map("([\t\n\r\\\\nt今]|.){1,6}", 1u64..9, 1..20)) {
            let counts = WordCounts::new(words.iter().map(|(word, &count)| (word.as_str(), count)));
            let (folder, job) = (tempfile::tempdir().expect("temp folder"), Job::new(Some(1)).expect("a thread"));
            for name in ["counts.tsv", "counts.parquet"] {
                let path = folder.path().join(name);
                counts.write(&path, &job).expect("writes");
                prop_assert!(is_table(&path).expect("reads"));
                prop_assert_eq!(&WordCounts::read(&path).expect("reads"), &counts);
            }
        }
    }
}
