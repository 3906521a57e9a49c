//! `cargo bench --bench clean`: cleaning of text that is clean already, short rows, and pages full of markup.

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use smolchat_benches::{Corpus, short_qa, web_pages};
use smolchat_core::clean::{CleanOptions, Cleaner};

fn main() {
    divan::main();
}

fn corpus(name: &str) -> Corpus {
    match name {
        "web_pages" => web_pages(5_000, 1),
        _ => short_qa(50_000, 1),
    }
}

/// One core; rows are independent, so more cores clean in proportion.
#[divan::bench(args = ["short_qa", "web_pages", "clean"], sample_count = 5, sample_size = 1)]
fn clean_texts(bencher: Bencher, name: &str) {
    let cleaner = Cleaner::new(&CleanOptions::default()).expect("default options are valid");
    let clean = |text: &String| cleaner.clean(text, |_, _, _| {}).into_owned();
    let mut corpus = corpus(name);
    if name == "clean" {
        corpus.rows = corpus.rows.iter().map(clean).collect();
    }
    let checked = corpus.rows.iter().take(1_000).map(clean).all(|once| clean(&once) == once);
    assert!(checked, "cleaning twice must be cleaning once");
    let counters = (BytesCount::new(corpus.bytes()), ItemsCount::new(corpus.rows.len()));
    bencher
        .counter(counters.0)
        .counter(counters.1)
        .bench_local(|| corpus.rows.iter().map(clean).map(|text| text.len()).sum::<usize>());
}
