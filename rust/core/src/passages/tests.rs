use proptest::prelude::*;

use super::*;

fn without_spaces<'t>(texts: impl IntoIterator<Item = &'t str>) -> String {
    texts.into_iter().flat_map(|text| text.chars().filter(|c| !c.is_whitespace())).collect()
}

proptest! {
    #[test]
    fn passages_joined_are_the_text_and_none_is_too_long(
        text in "([天气好a]{0,6}[，。！ \n”]?){0,30}", min_chars in 2_usize..4, more in 0_usize..30,
    ) {
        let options = PassageOptions { min_chars, max_chars: min_chars + more, ..PassageOptions::default() };
        let pairs: Vec<_> = passages(&text, &options).collect();
        for (prompt, response) in &pairs {
            prop_assert!(!prompt.is_empty() && !response.is_empty());
            prop_assert!(prompt.chars().count() + response.chars().count() <= options.max_chars);
        }
        // What is left out are passages of one character.
        let all = PassageOptions { min_chars: 2, ..options.clone() };
        let joined = without_spaces(passages(&text, &all).flat_map(<[&str; 2]>::from));
        let whole = without_spaces([&*text]);
        let mut rest = whole.chars();
        prop_assert!(joined.chars().all(|c| rest.any(|other| other == c)), "{joined} of {whole}");
        if options.max_chars >= text.chars().count() && whole.chars().count() > 1 {
            prop_assert_eq!(joined, whole);
        }
    }
}

#[test]
fn cuts_are_where_sentences_end_and_lie_all_over_the_middle() {
    let sentence = |n: usize| format!("这是第{n}句话，它不长也不短。");
    let text: String = (0..4000).map(sentence).collect();
    let options = PassageOptions { max_chars: 200, ..PassageOptions::default() };
    let pairs: Vec<_> = passages(&text, &options).collect();
    assert_eq!(pairs.iter().flat_map(|&(one, two)| [one, two]).collect::<String>(), text);
    assert!(pairs.iter().all(|(prompt, response)| prompt.ends_with('。') && response.ends_with('。')));
    let share =
        |(prompt, response): &(&str, &str)| prompt.len() as f64 / (prompt.len() + response.len()) as f64;
    let shares: Vec<f64> = pairs.iter().map(share).collect();
    let mean = shares.iter().sum::<f64>() / shares.len() as f64;
    assert!((0.45..0.55).contains(&mean), "{mean}");
    for tenth in 3..7 {
        let range = f64::from(tenth) / 10.0..f64::from(tenth + 1) / 10.0;
        assert!(shares.iter().filter(|share| range.contains(share)).count() > shares.len() / 10, "{range:?}");
    }
}

#[test]
fn text_without_marks_is_cut_between_characters() {
    let options = PassageOptions { max_chars: 10, min_chars: 2, ..PassageOptions::default() };
    let text = "一二三四五六七八九十百千";
    let pairs: Vec<_> = passages(text, &options).collect();
    assert_eq!(pairs.iter().flat_map(|&(one, two)| [one, two]).collect::<String>(), text);
    assert_eq!(pairs.len(), 2);
    assert_eq!(passages(" \n ", &options).count(), 0);
    assert_eq!(passages("短", &options).count(), 0);
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let message = |min_chars, max_chars| {
        let options = PassageOptions { min_chars, max_chars, ..PassageOptions::default() };
        options.check().expect_err("refused").to_string()
    };
    assert_eq!(message(1, 9), "option min_chars = 1: must be at least 2");
    assert_eq!(message(16, 9), "option max_chars = 9: must be at least min_chars = 16");
}
