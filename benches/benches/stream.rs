//! `cargo bench --bench stream`: one epoch from a Parquet file to batches of token ids.

use divan::Bencher;
use divan::counter::BytesCount;
use smolchat_benches::{job, short_qa};
use smolchat_core::stream::{Share, Stream, StreamOptions};
use smolchat_core::tokenizer::{TokenizerOptions, build_from_texts};

fn main() {
    divan::main();
}

#[divan::bench(args = [1, 2], sample_count = 5)]
fn epoch(bencher: Bencher, threads: usize) {
    let corpus = short_qa(50_000, 1);
    let folder = tempfile::tempdir().expect("a folder");
    let rows = [folder.path().join("rows.parquet")];
    corpus.write(&rows[0]);
    let some: Vec<&str> = corpus.rows[..5_000].iter().map(String::as_str).collect();
    let options = TokenizerOptions { vocab_size: 8_000, ..TokenizerOptions::default() };
    let built = build_from_texts(&some, &options, &job(2)).expect("builds");
    std::fs::write(folder.path().join("tokenizer.json"), built.json).expect("writes");
    bencher.counter(BytesCount::new(corpus.bytes())).bench_local(|| {
        let options = StreamOptions::default();
        let stream = Stream::open(&rows, folder.path(), options, Share::WHOLE, Some(1), Some(threads)).expect("opens");
        stream.map(|batch| batch.expect("streams")).count()
    });
}
