//! `cargo bench --bench split`: Parquet file to two Parquet files.

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use smolchat_benches::{job, short_qa};
use smolchat_core::split::{SplitOptions, split_files};

fn main() {
    divan::main();
}

#[divan::bench(sample_count = 5)]
fn files(bencher: Bencher) {
    let (corpus, options, job) = (short_qa(50_000, 1), SplitOptions::default(), job(2));
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    corpus.write(&path("rows.parquet"));
    let inputs = [path("rows.parquet")];
    let counters = (BytesCount::new(corpus.bytes()), ItemsCount::new(corpus.rows.len()));
    bencher.counter(counters.0).counter(counters.1).bench_local(|| {
        split_files(&inputs, &path("train.parquet"), &[path("valid.parquet")], &options, &job).expect("runs")
    });
}
