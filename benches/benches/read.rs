//! `cargo bench --bench read`: JSON lines and CSV to Parquet.

use std::io::Write;
use std::path::Path;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use smolchat_benches::{Corpus, job, short_qa};
use smolchat_core::io::raw::SourceOptions;
use smolchat_core::sources::read_files;

fn main() {
    divan::main();
}

const ROWS: usize = 100_000;

#[divan::bench(args = ["jsonl", "csv"], sample_count = 5, sample_size = 1)]
fn files(bencher: Bencher, format: &str) {
    let (corpus, options, job) = (short_qa(ROWS, 1), SourceOptions::default(), job(2));
    let folder = tempfile::tempdir().expect("a folder");
    let (input, out) =
        (folder.path().join("rows").with_extension(format), folder.path().join("rows.parquet"));
    let bytes = write(&corpus, &input);
    let read = || read_files(std::slice::from_ref(&input), &out, &options, &job).expect("runs");
    assert_eq!(read().rows, ROWS as u64, "all rows are read");
    bencher.counter(BytesCount::new(bytes)).counter(ItemsCount::new(ROWS)).bench_local(read);
}

/// Writes the rows as prompt and response in the format of the name and returns the bytes of the file.
fn write(corpus: &Corpus, path: &Path) -> u64 {
    let is_csv = path.extension().is_some_and(|extension| extension == "csv");
    let mut text = if is_csv { String::from("prompt,response\n") } else { String::new() };
    for row in &corpus.rows {
        let (prompt, response) = row.split_once('\n').unwrap_or((row, "无"));
        // No row holds a quote, a backslash or another line end.
        text.push_str(&match is_csv {
            true => format!("\"{prompt}\",\"{response}\"\n"),
            false => format!("{{\"prompt\": \"{prompt}\", \"response\": \"{response}\"}}\n"),
        });
    }
    std::fs::File::create(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .expect("room on the disk");
    text.len() as u64
}
