//! `cargo bench --bench tokenizer`: text to a tokenizer of 8,000 entries, and text to ids.

use divan::Bencher;
use divan::counter::BytesCount;
use smolchat_benches::{job, short_qa};
use smolchat_core::tokenizer::{Encoder, Kind, TokenizerOptions, build_from_texts};

fn main() {
    divan::main();
}

#[divan::bench(args = ["merges", "bpe", "unigram"], sample_count = 3)]
fn build(bencher: Bencher, kind: &str) {
    let kind = match kind {
        "merges" => Kind::Merges,
        "bpe" => Kind::Bpe,
        _ => Kind::Unigram,
    };
    let (corpus, job) = (short_qa(20_000, 1), job(2));
    let texts: Vec<&str> = corpus.rows.iter().map(String::as_str).collect();
    let options = TokenizerOptions { kind, vocab_size: 8_000, ..TokenizerOptions::default() };
    bencher
        .counter(BytesCount::new(corpus.bytes()))
        .bench_local(|| build_from_texts(&texts, &options, &job).expect("builds"));
}

#[divan::bench(args = [1, 2], sample_count = 5)]
fn encode(bencher: Bencher, threads: usize) {
    let (corpus, job) = (short_qa(20_000, 1), job(threads));
    let texts: Vec<&str> = corpus.rows.iter().map(String::as_str).collect();
    let options = TokenizerOptions { vocab_size: 8_000, ..TokenizerOptions::default() };
    let folder = tempfile::tempdir().expect("temp folder");
    let built = build_from_texts(&texts, &options, &job).expect("builds");
    std::fs::write(folder.path().join("tokenizer.json"), built.json).expect("writes");
    let encoder = Encoder::load(folder.path()).expect("loads");
    bencher
        .counter(BytesCount::new(corpus.bytes()))
        .bench_local(|| job.run(|| encoder.encode_batch(&texts, 512)).expect("encodes"));
}
