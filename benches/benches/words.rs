//! `cargo bench --bench words`: word counts in memory, and the same through jieba-rs and a hash map.

use divan::Bencher;
use divan::counter::BytesCount;
use jieba_rs::Jieba;
use rustc_hash::FxHashMap;
use smolchat_benches::short_qa;
use smolchat_core::job::Job;
use smolchat_core::words::{Segmenter, WordOptions, count_words};

const ROWS: usize = 40_000;

fn main() {
    // Loaded once a process; what follows measures the work.
    Segmenter::built_in().expect("built in");
    divan::main();
}

#[divan::bench(args = [(true, 1), (true, 2), (false, 1), (false, 2)], sample_count = 5)]
fn count(bencher: Bencher, (hmm, threads): (bool, usize)) {
    let corpus = short_qa(ROWS, 1);
    let texts: Vec<&str> = corpus.rows.iter().map(String::as_str).collect();
    let (options, job) = (WordOptions { hmm, ..WordOptions::default() }, Job::new(Some(threads)).expect("threads"));
    bencher
        .counter(BytesCount::new(corpus.bytes()))
        .bench_local(|| count_words(&texts, &options, &job).expect("counts").len());
}

#[divan::bench(args = [true, false], sample_count = 5)]
fn cut(bencher: Bencher, hmm: bool) {
    let corpus = short_qa(ROWS, 1);
    let segmenter = Segmenter::built_in().expect("built in");
    bencher
        .counter(BytesCount::new(corpus.bytes()))
        .bench_local(|| corpus.rows.iter().map(|text| segmenter.cut(text, hmm).len()).sum::<usize>());
}

/// One thread, to be compared with `count` on one.
#[divan::bench(args = [true, false], sample_count = 5)]
fn count_with_jieba_rs(bencher: Bencher, hmm: bool) {
    let corpus = short_qa(ROWS, 1);
    let jieba = Jieba::new();
    bencher.counter(BytesCount::new(corpus.bytes())).bench_local(|| {
        let mut counts: FxHashMap<&str, u64> = FxHashMap::default();
        for text in &corpus.rows {
            for token in jieba.cut(text, hmm) {
                *counts.entry(token.word).or_insert(0) += 1;
            }
        }
        counts.len()
    });
}
