//! `cargo bench --bench words`: word counts, in memory, and the same through jieba-rs and a hash map.

use divan::Bencher;
use divan::counter::BytesCount;
use jieba_rs::Jieba;
use rustc_hash::FxHashMap;
use smolchat_benches::{job, short_qa};
use smolchat_core::words::{WordOptions, count_words};

fn main() {
    divan::main();
}

#[divan::bench(args = [("markov", 1), ("markov", 2), ("dictionary", 1), ("dictionary", 2)], sample_count = 5)]
fn count(bencher: Bencher, (model, threads): (&str, usize)) {
    let (corpus, job) = (short_qa(100_000, 1), job(threads));
    let texts: Vec<&str> = corpus.rows.iter().map(String::as_str).collect();
    let options = WordOptions { hmm: model == "markov", ..WordOptions::default() };
    bencher
        .counter(BytesCount::new(corpus.bytes()))
        .bench_local(|| count_words(&texts, &options, &job).expect("runs"));
}

/// One thread, to be compared with `count` on one; the words differ a little from jieba's.
#[divan::bench(args = ["markov", "dictionary"], sample_count = 5)]
fn count_with_jieba_rs(bencher: Bencher, model: &str) {
    let (corpus, jieba) = (short_qa(100_000, 1), Jieba::new());
    bencher.counter(BytesCount::new(corpus.bytes())).bench_local(|| {
        let mut counts: FxHashMap<&str, u64> = FxHashMap::default();
        for token in corpus.rows.iter().flat_map(|text| jieba.cut(text, model == "markov")) {
            *counts.entry(token.word).or_insert(0) += 1;
        }
        counts.len()
    });
}
