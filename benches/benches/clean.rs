//! `cargo bench --bench clean`: all cleaning rules that are on by default, in memory.

use divan::Bencher;
use divan::counter::BytesCount;
use smolchat_benches::{corpus, job};
use smolchat_core::clean::{CleanOptions, clean_batches};

fn main() {
    divan::main();
}

#[divan::bench(args = [("short_qa", 1), ("short_qa", 2), ("web_pages", 1), ("web_pages", 2)], sample_count = 5)]
fn table(bencher: Bencher, (name, threads): (&str, usize)) {
    let (corpus, options, job) = (corpus(name, 20_000_000), CleanOptions::default(), job(threads));
    let batches = corpus.batches();
    let schema = batches[0].schema();
    bencher
        .counter(BytesCount::new(corpus.bytes()))
        .bench_local(|| clean_batches(&batches, &schema, &options, &job).expect("runs"));
}
