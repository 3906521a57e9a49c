//! The segmenter beside jieba-rs 0.11, which was written from the same algorithm by other people.
//!
//! Without the hidden Markov model the words are the same. With it jieba-rs differs from Python's jieba,
//! which ours equals: it joins letters and digits over `-`, `.` and `_`, keeps Han outside U+4E00-9FD5
//! together where jieba makes one word a character, and decides some nearly even cases otherwise.

use jieba_rs::Jieba;
use proptest::prelude::*;
use smolchat_benches::{short_qa, web_pages};
use smolchat_core::words::Segmenter;

fn by_jieba_rs<'t>(jieba: &Jieba, text: &'t str, hmm: bool) -> Vec<&'t str> {
    jieba.cut(text, hmm).into_iter().map(|token| token.word).collect()
}

/// Words with ASCII runs whole, since the two cut those differently.
fn alike(words: &[&str]) -> Vec<String> {
    let is_ascii = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+#&._%-".contains(&b));
    let mut joined: Vec<String> = Vec::new();
    for word in words {
        match joined.last_mut() {
            Some(last) if is_ascii(last) && is_ascii(word) => last.push_str(word),
            _ => joined.push((*word).to_owned()),
        }
    }
    joined
}

#[test]
fn generated_rows_are_cut_as_jieba_rs_cuts_them() {
    let (segmenter, jieba) = (Segmenter::built_in().expect("built in"), Jieba::new());
    let (short, long) = (short_qa(2_000, 3).rows, web_pages(200, 3).rows);
    let mut agreed = 0;
    for row in short.iter().chain(&long) {
        assert_eq!(segmenter.cut(row, false), by_jieba_rs(&jieba, row, false), "{row:?}");
        agreed += usize::from(alike(&segmenter.cut(row, true)) == alike(&by_jieba_rs(&jieba, row, true)));
    }
    let rows = short.len() + long.len();
    assert!(agreed * 100 > rows * 98, "with the Markov model {agreed} of {rows} rows agree");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_text_of_jiebas_characters_is_cut_alike(text in "([一-鿕]|[一-十]{2}|[a-c1-3]{1,3}|[ ，。\n]|中国|天气){0,40}") {
        static JIEBA: std::sync::LazyLock<Jieba> = std::sync::LazyLock::new(Jieba::new);
        let segmenter = Segmenter::built_in().expect("built in");
        prop_assert_eq!(alike(&segmenter.cut(&text, false)), alike(&by_jieba_rs(&JIEBA, &text, false)));
    }
}
