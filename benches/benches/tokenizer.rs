//! `cargo bench --bench tokenizer`: text to a tokenizer of 8,000 entries.

use divan::Bencher;
use divan::counter::BytesCount;
use smolchat_benches::{job, short_qa};
use smolchat_core::tokenizer::{Kind, TokenizerOptions, build_from_texts};

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
