//! `cargo bench --bench dedup`: near-duplicate removal as a whole and step by step, in memory.

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use smolchat_benches::{corpus, job};
use smolchat_core::dedup::{DedupOptions, Verifier, candidates, find_duplicates, groups, signatures};

fn main() {
    divan::main();
}

/// 200,000 questions with answers, or 25,000 pages.
const BYTES: usize = 87_000_000;

#[divan::bench(args = [("short_qa", 1), ("short_qa", 2), ("web_pages", 1), ("web_pages", 2)], sample_count = 5)]
fn whole(bencher: Bencher, (name, threads): (&str, usize)) {
    let (corpus, options, job) = (corpus(name, BYTES), DedupOptions::default(), job(threads));
    bencher
        .counter(BytesCount::new(corpus.bytes()))
        .counter(ItemsCount::new(corpus.rows.len()))
        .bench_local(|| find_duplicates(&corpus.rows, &options, &job).expect("runs"));
}

#[divan::bench(args = ["short_qa", "web_pages"], sample_count = 5)]
fn step_signatures(bencher: Bencher, name: &str) {
    let (corpus, options, job) = (corpus(name, BYTES), DedupOptions::default(), job(1));
    bencher
        .counter(BytesCount::new(corpus.bytes()))
        .bench_local(|| signatures(&corpus.rows.as_slice(), &options, &job).expect("runs"));
}

#[divan::bench(args = ["short_qa", "web_pages"], sample_count = 5)]
fn step_candidates(bencher: Bencher, name: &str) {
    let (corpus, options, job) = (corpus(name, BYTES), DedupOptions::default(), job(1));
    let found = signatures(&corpus.rows.as_slice(), &options, &job).expect("runs");
    bencher
        .counter(BytesCount::new(corpus.bytes()))
        .bench_local(|| candidates(&found, 0, &job).expect("runs"));
}

#[divan::bench(args = ["short_qa", "web_pages"], sample_count = 5)]
fn step_verify(bencher: Bencher, name: &str) {
    let (corpus, options, job) = (corpus(name, BYTES), DedupOptions::default(), job(1));
    let found = signatures(&corpus.rows.as_slice(), &options, &job).expect("runs");
    let found = candidates(&found, 0, &job).expect("runs");
    bencher.counter(BytesCount::new(corpus.bytes())).with_inputs(|| found.clone()).bench_local_values(
        |found| {
            let mut verifier = Verifier::new(&options);
            verifier.extend(&corpus.rows.as_slice(), found.rows(), &job).expect("runs");
            groups(found, &verifier, &job).expect("runs")
        },
    );
}
