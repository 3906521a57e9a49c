//! Words are those of jieba 0.42.1: `golden/jieba.json`, written by `golden/make_jieba.py`.

use proptest::prelude::*;
use serde_json::Value;
use smolchat_core::job::Job;
use smolchat_core::words::{Segmenter, WordCounts, WordOptions, count_words, merge};

#[test]
fn words_are_those_of_jieba() {
    let golden: Vec<Value> = serde_json::from_str(include_str!("golden/jieba.json")).expect("golden file");
    let segmenter = Segmenter::built_in().expect("built in");
    for cut in golden {
        let text = cut["text"].as_str().expect("text");
        for (hmm, key) in [(true, "hmm"), (false, "plain")] {
            let expected: Vec<&str> =
                cut[key].as_array().expect("words").iter().filter_map(Value::as_str).collect();
            assert_eq!(segmenter.cut(text, hmm), expected, "{text:?}, {key}");
        }
    }
}

fn text() -> impl Strategy<Value = String> {
    "([一-龥]|[a-c.%-]|[\r\n ，。]|今天|天气|\\PC){0,30}"
}

fn count(texts: &[&str], hmm: bool, threads: usize) -> WordCounts {
    let options = WordOptions { hmm, ..WordOptions::default() };
    count_words(texts, &options, &Job::new(Some(threads)).expect("threads")).expect("counts")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn joined_words_are_the_text_and_are_what_is_counted(texts in prop::collection::vec(text(), 0..8), hmm: bool) {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let segmenter = Segmenter::built_in().expect("built in");
        let cuts: Vec<Vec<&str>> = texts.iter().map(|text| segmenter.cut(text, hmm)).collect();
        for (text, words) in texts.iter().zip(&cuts) {
            prop_assert_eq!(&words.concat(), text);
        }
        let expected = WordCounts::new(cuts.iter().flatten().map(|word| (*word, 1)));
        prop_assert_eq!(&count(&texts, hmm, 1), &expected);
        prop_assert_eq!(&count(&texts, hmm, 3), &expected);
        let parts = texts.iter().map(|text| count(&[text], hmm, 1));
        prop_assert_eq!(&merge(parts), &expected);
    }
}

#[test]
fn a_long_text_is_counted_as_its_lines() {
    let lines = 200_000;
    let long = "今天天气很好\r\n".repeat(lines);
    let one = count(&["今天天气很好\r\n"], true, 1);
    let expected = WordCounts::new(one.iter().map(|(word, n)| (word, n * lines as u64)));
    assert_eq!(count(&[&long], true, 2), expected);
}
