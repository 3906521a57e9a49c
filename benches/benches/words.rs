//! `cargo bench --bench words`: word counts, in memory.

use divan::Bencher;
use divan::counter::BytesCount;
use smolchat_benches::{job, short_qa};
use smolchat_core::words::{WordOptions, count_words};

fn main() {
    divan::main();
}

#[divan::bench(args = [("markov", 1), ("markov", 2), ("dictionary", 1), ("dictionary", 2)], sample_count = 5)]
fn count(bencher: Bencher, (model, threads): (&str, usize)) {
    let (corpus, job) = (short_qa(20_000, 1), job(threads));
    let texts: Vec<&str> = corpus.rows.iter().map(String::as_str).collect();
    let options = WordOptions { hmm: model == "markov", ..WordOptions::default() };
    bencher
        .counter(BytesCount::new(corpus.bytes()))
        .bench_local(|| count_words(&texts, &options, &job).expect("runs"));
}
