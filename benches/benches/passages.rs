//! `cargo bench --bench passages`: texts to prompts and how they go on.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use smolchat_benches::{job, web_pages};
use smolchat_core::passages::{PassageOptions, cut_passages};

fn main() {
    divan::main();
}

#[divan::bench(args = [1, 2], sample_count = 5)]
fn table(bencher: Bencher, threads: usize) {
    let (corpus, options, job) = (web_pages(5_000, 1), PassageOptions::default(), job(threads));
    let batch = |rows: &[String]| {
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values(rows));
        RecordBatch::try_from_iter([("text", texts)]).expect("one column")
    };
    let batches: Vec<RecordBatch> = corpus.rows.chunks(1_024).map(batch).collect();
    let schema = batches[0].schema();
    bencher
        .counter(BytesCount::new(corpus.bytes()))
        .counter(ItemsCount::new(corpus.rows.len()))
        .bench_local(|| cut_passages(&batches, &schema, &options, &job).expect("runs"));
}
