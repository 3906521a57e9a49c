//! `cargo bench --bench stream`: rows shuffled, batches encoded and padded, and a stream taken up late,
//! from a Parquet file with a tokenizer built from its rows.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use smolchat_benches::short_qa;
use smolchat_core::io::ParquetOutput;
use smolchat_core::job::Job;
use smolchat_core::stream::{Share, Shuffle, Stream, StreamOptions, StreamState};
use smolchat_core::tokenizer::{TokenizerOptions, build_from_texts};
use tempfile::TempDir;

const ROWS: usize = 100_000;

fn main() {
    divan::main();
}

/// A folder with rows and a tokenizer, made once for all benches.
struct Files {
    folder: TempDir,
    rows: [PathBuf; 1],
    bytes: usize,
}

static FILES: LazyLock<Files> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("temporary folder");
    let corpus = short_qa(ROWS, 1);
    let pairs: Vec<(&str, &str)> =
        corpus.rows.iter().map(|row| row.split_once('\n').unwrap_or((row, ""))).collect();
    let prompts: ArrayRef = Arc::new(StringArray::from_iter_values(pairs.iter().map(|pair| pair.0)));
    let responses: ArrayRef = Arc::new(StringArray::from_iter_values(pairs.iter().map(|pair| pair.1)));
    let table =
        RecordBatch::try_from_iter([("prompt", prompts), ("response", responses)]).expect("two columns");
    let rows = [folder.path().join("rows.parquet")];
    let mut output = ParquetOutput::create(&rows[0], table.schema()).expect("creates");
    output.write(&table).expect("writes");
    output.finish().expect("closes");

    let sample: Vec<&str> = corpus.rows.iter().take(10_000).map(String::as_str).collect();
    let tokenizer = build_from_texts(&sample, &TokenizerOptions::default(), &job(2)).expect("builds");
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer.json).expect("writes");
    Files { folder, rows, bytes: corpus.bytes() }
});

fn job(threads: usize) -> Job {
    Job::new(Some(threads)).expect("threads")
}

fn options() -> StreamOptions {
    StreamOptions { bucket_batches: 400, ..StreamOptions::default() }
}

fn stream(threads: usize) -> Stream {
    let files = &*FILES;
    Stream::open(&files.rows, files.folder.path(), options(), Share::WHOLE, Some(1), Some(threads))
        .expect("opens")
}

/// Rows read and permuted, nothing encoded: what a streaming shuffle does.
#[divan::bench(args = [1, 2], sample_count = 5)]
fn shuffled_rows(bencher: Bencher, threads: usize) {
    let (files, job) = (&*FILES, job(threads));
    let shuffle = Shuffle::open(&files.rows, options()).expect("opens");
    bencher.counter(ItemsCount::new(ROWS)).counter(BytesCount::new(files.bytes)).bench_local(|| {
        let mut bytes = 0;
        for (number, slices) in shuffle.windows(0).iter().enumerate() {
            let window = shuffle.read(0, number, slices, &job).expect("reads");
            let rows = (0..window.len()).map(|place| window.row(place));
            bytes += rows.map(|row| row.source.bytes() + row.target.bytes()).sum::<usize>();
        }
        bytes
    });
}

/// One epoch of batches.
#[divan::bench(args = [1, 2], sample_count = 3, sample_size = 1)]
fn padded_batches(bencher: Bencher, threads: usize) {
    bencher
        .counter(ItemsCount::new(ROWS))
        .counter(BytesCount::new(FILES.bytes))
        .bench_local(|| stream(threads).map(|batch| batch.expect("streams").rows.len()).sum::<usize>());
}

/// From a state at 90 % of an epoch to the batch after it.
#[divan::bench(args = [1, 2], sample_count = 5, sample_size = 1)]
fn taken_up_at_90_percent(bencher: Bencher, threads: usize) {
    let state = state_at(ROWS * 9 / 10);
    bencher.bench_local(|| {
        let mut stream = stream(threads);
        stream.load_state(&state).expect("the same stream");
        stream.next_batch().expect("streams")
    });
}

fn state_at(rows: usize) -> StreamState {
    let (mut stream, mut passed) = (stream(2), 0);
    while passed < rows {
        passed += stream.next_batch().expect("streams").map_or(rows, |batch| batch.rows.len());
    }
    stream.state()
}
