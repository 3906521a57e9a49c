//! Seeded corpora shared by the benches: the same rows on every machine, from no data files.
//!
//! Text is made of words that are drawn by a Zipf law from a vocabulary of common Chinese words and
//! of words composed of common characters, so that characters, words and n-grams repeat about as
//! often as in real text.

mod vocabulary;

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use fastrand::Rng;
use smolchat_core::io::ParquetOutput;
use smolchat_core::job::Job;
use vocabulary::Vocabulary;

/// Share of the rows that are near copies of an earlier row.
const COPIES: f64 = 0.1;
const BATCH_ROWS: usize = 8192;

/// Rows of one bench.
#[derive(Debug, Clone)]
pub struct Corpus {
    /// One text per row.
    pub rows: Vec<String>,
}

impl Corpus {
    /// UTF-8 bytes of all rows.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.rows.iter().map(String::len).sum()
    }

    /// The rows as a table: the first line is the prompt, the rest the response.
    #[must_use]
    pub fn batches(&self) -> Vec<RecordBatch> {
        let batch = |rows: &[String]| {
            let parts = || rows.iter().map(|row| row.split_once('\n').unwrap_or((row, "")));
            let prompts: StringArray = parts().map(|(prompt, _)| Some(prompt)).collect();
            let responses: StringArray = parts().map(|(_, response)| Some(response)).collect();
            let columns: [(&str, ArrayRef); 2] =
                [("prompt", Arc::new(prompts)), ("response", Arc::new(responses))];
            RecordBatch::try_from_iter(columns).expect("two columns of one length")
        };
        self.rows.chunks(BATCH_ROWS).map(batch).collect()
    }

    /// Writes the table to a Parquet file.
    pub fn write(&self, path: &Path) {
        let batches = self.batches();
        let mut output = ParquetOutput::create(path, batches[0].schema()).expect("a new file");
        batches.iter().for_each(|batch| output.write(batch).expect("room on the disk"));
        output.finish().expect("room on the disk");
    }
}

/// A job on this many threads.
#[must_use]
pub fn job(threads: usize) -> Job {
    Job::new(Some(threads)).expect("one thread or more")
}

/// The corpus called `short_qa` or `web_pages`, of about this many bytes.
#[must_use]
pub fn corpus(name: &str, bytes: usize) -> Corpus {
    match name {
        "short_qa" => short_qa(bytes / 435, 1),
        _ => web_pages(bytes / 3_500, 1),
    }
}

/// Questions with their answers, about 435 bytes a row; one row in ten is a near copy.
#[must_use]
pub fn short_qa(rows: usize, seed: u64) -> Corpus {
    let mut writer = Writer::new(seed);
    writer.corpus(rows, |writer| {
        let mut text = writer.sentence('？');
        text.push('\n');
        for _ in 0..writer.rng.usize(2..9) {
            text.push_str(&writer.sentence('。'));
        }
        text
    })
}

/// Pages as a crawler finds them, a few kilobytes of paragraphs, tags, links and numbers each; one in
/// ten is a near copy of another.
#[must_use]
pub fn web_pages(rows: usize, seed: u64) -> Corpus {
    let mut writer = Writer::new(seed);
    writer.corpus(rows, |writer| {
        let mut text = format!("<h1>{}</h1>\n", writer.sentence('！'));
        for _ in 0..writer.rng.usize(3..15) {
            text.push_str("<p>");
            for _ in 0..writer.rng.usize(2..9) {
                text.push_str(&writer.sentence('。'));
            }
            match writer.rng.u8(0..4) {
                0 => text.push_str(&format!(
                    "&nbsp;<a href=\"https://example.com/{}\">更多</a>",
                    writer.rng.u32(..)
                )),
                1 => text.push_str(&format!(
                    "　２０{}年 ，浏览：{} 次！！！",
                    writer.rng.u8(10..30),
                    writer.rng.u16(..)
                )),
                _ => {}
            }
            text.push_str("</p>\n");
        }
        text
    })
}

/// Makes text; each call goes on with the same random numbers.
struct Writer {
    rng: Rng,
    vocabulary: Vocabulary,
}

impl Writer {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let vocabulary = Vocabulary::new(&mut rng);
        Self { rng, vocabulary }
    }

    fn corpus(&mut self, rows: usize, mut row: impl FnMut(&mut Self) -> String) -> Corpus {
        let mut all: Vec<String> = Vec::with_capacity(rows);
        while all.len() < rows {
            let text = if !all.is_empty() && self.rng.f64() < COPIES {
                let original = self.rng.usize(..all.len());
                self.near_copy(&all[original])
            } else {
                row(self)
            };
            all.push(text);
        }
        Corpus { rows: all }
    }

    fn sentence(&mut self, end: char) -> String {
        let mut text = String::new();
        for word in 0..self.rng.usize(5..18) {
            if word > 3 && self.rng.u8(0..7) == 0 {
                text.push('，');
            }
            if self.rng.u8(0..60) == 0 {
                text.push_str(&self.rng.u16(..2100).to_string());
            }
            text.push_str(self.vocabulary.word(&mut self.rng));
        }
        text.push(end);
        text
    }

    /// A few characters changed, put in or left out; one copy in four is exact.
    fn near_copy(&mut self, text: &str) -> String {
        let mut chars: Vec<char> = text.chars().collect();
        for _ in 0..[0, 1, 2, 5][self.rng.usize(0..4)] {
            let at = self.rng.usize(..chars.len());
            let other = self.vocabulary.word(&mut self.rng).chars().next();
            match self.rng.u8(0..3) {
                0 => drop(chars.remove(at)),
                1 => chars.splice(at..=at, other).for_each(drop),
                _ => chars.splice(at..at, other).for_each(drop),
            }
        }
        chars.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_fixes_the_rows() {
        assert_eq!(short_qa(200, 1).rows, short_qa(200, 1).rows);
        assert_ne!(short_qa(200, 1).rows, short_qa(200, 2).rows);
    }

    #[test]
    fn rows_have_the_size_they_are_said_to_have() {
        let corpus = short_qa(2000, 1);
        let mean = corpus.bytes() / corpus.rows.len();
        assert!((380..490).contains(&mean), "{mean}");
    }
}
