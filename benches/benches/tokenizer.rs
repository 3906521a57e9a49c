//! `cargo bench --bench tokenizer`: building each kind from text, and encoding.

use std::path::Path;

use divan::Bencher;
use divan::counter::BytesCount;
use smolchat_benches::{Corpus, short_qa};
use smolchat_core::job::Job;
use smolchat_core::tokenizer::{Encoder, Kind, TokenizerOptions, build_from_texts};

const ROWS: usize = 20_000;

fn main() {
    divan::main();
}

fn built(corpus: &Corpus, kind: Kind) -> String {
    let texts: Vec<&str> = corpus.rows.iter().map(String::as_str).collect();
    let options = TokenizerOptions { kind, vocab_size: 8_000, ..TokenizerOptions::default() };
    build_from_texts(&texts, &options, &Job::new(Some(2)).expect("threads")).expect("builds").json
}

#[divan::bench(args = [Kind::Merges, Kind::Bpe, Kind::Unigram], sample_count = 3)]
fn build(bencher: Bencher, kind: Kind) {
    let corpus = short_qa(ROWS, 1);
    bencher.counter(BytesCount::new(corpus.bytes())).bench_local(|| built(&corpus, kind));
}

#[divan::bench(args = [1, 2], sample_count = 5)]
fn encode(bencher: Bencher, threads: usize) {
    let corpus = short_qa(ROWS, 1);
    let texts: Vec<&str> = corpus.rows.iter().map(String::as_str).collect();
    let folder = tempfile::tempdir().expect("temp folder");
    let path = folder.path().join("tokenizer.json");
    std::fs::write(&path, built(&corpus, Kind::Bpe)).expect("writes");
    let encoder = Encoder::load(Path::new(&path)).expect("loads");
    let job = Job::new(Some(threads)).expect("threads");
    bencher
        .counter(BytesCount::new(corpus.bytes()))
        .bench_local(|| job.run(|| encoder.encode_batch(&texts, 512)).expect("encodes").len());
}
