use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

fn job(threads: usize) -> Job {
    Job::new(Some(threads)).expect("threads")
}

fn ngrams(text: &str, ngram: usize) -> HashSet<Vec<char>> {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() < ngram {
        HashSet::from([chars])
    } else {
        chars.windows(ngram).map(<[char]>::to_vec).collect()
    }
}

fn jaccard(one: &str, other: &str, ngram: usize) -> f64 {
    let (one, other) = (ngrams(one, ngram), ngrams(other, ngram));
    let shared = one.intersection(&other).count();
    shared as f64 / (one.len() + other.len() - shared) as f64
}

/// All pairs, in order: what the whole is to find.
fn by_brute_force(against: &[String], rows: &[String], options: &DedupOptions) -> Vec<Removed> {
    let (mut kept, mut removed): (Vec<usize>, Vec<Removed>) = (Vec::new(), Vec::new());
    for (row, text) in rows.iter().enumerate() {
        let earlier = against.iter().enumerate().map(|(i, text)| (i, true, text));
        let earlier = earlier.chain(kept.iter().map(|&i| (i, false, &rows[i])));
        let similar = |other: &String| jaccard(text, other, options.ngram);
        let near = |&(_, _, other): &(usize, bool, &String)| similar(other) >= options.threshold;
        let same = earlier.clone().find(|&(_, _, other)| other == text);
        match same.or_else(|| earlier.clone().find(near)) {
            Some((i, in_against, other)) => removed.push(Removed {
                row: row as u64,
                kept_row: i as u64,
                in_against,
                similarity: similar(other),
            }),
            None => kept.push(row),
        }
    }
    removed
}

/// So many bands of so few values that a pair at 0.5 is missed once in 10^31.
const ALL_PAIRS: Plan = Plan { bands: 256, width: 2 };

fn plain(ngram: usize, threshold: f64) -> DedupOptions {
    DedupOptions { ngram, threshold, normalize: false, distinct_numbers: false, ..DedupOptions::default() }
}

/// Rows that are often near to each other: a few texts with a few characters changed.
fn near_rows() -> impl Strategy<Value = Vec<String>> {
    let bases = prop::collection::vec("[天地人你好今日月]{0,24}", 1..5);
    let edits = prop::collection::vec(
        (any::<prop::sample::Index>(), prop::collection::vec(("[山水]?", 0_usize..24), 0..3)),
        0..40,
    );
    (bases, edits).prop_map(|(bases, edits)| {
        let edit = |(base, changes): (prop::sample::Index, Vec<(String, usize)>)| {
            let mut text: Vec<char> = base.get(&bases).chars().collect();
            for (with, at) in changes {
                let at = at.min(text.len());
                text.splice(at..text.len().min(at + 1), with.chars());
            }
            text.into_iter().collect()
        };
        edits.into_iter().map(edit).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn finds_what_comparing_all_pairs_finds(
        rows in near_rows(), against in near_rows(), ngram in 1_usize..6, threshold in 0.5_f64..1.0, threads in 1_usize..4,
    ) {
        let options = plain(ngram, threshold);
        let found = find(&rows.as_slice(), &against.as_slice(), &options, ALL_PAIRS, &job(threads)).expect("runs");
        prop_assert_eq!(found.removed(), by_brute_force(&against, &rows, &options));
        prop_assert_eq!(found.kept().len() + found.removed().len(), rows.len());
    }

    #[test]
    fn any_text_with_any_options_is_kept_or_names_an_earlier_kept_row(
        rows in prop::collection::vec(any::<String>(), 0..30), normalize: bool, distinct_numbers: bool,
    ) {
        let options = DedupOptions { normalize, distinct_numbers, ngram: 2, threshold: 0.5, ..DedupOptions::default() };
        let found = find_duplicates(&rows, &options, &job(2)).expect("runs");
        let kept: HashSet<u64> = found.kept().into_iter().collect();
        for removed in found.removed() {
            prop_assert!(removed.kept_row < removed.row && kept.contains(&removed.kept_row));
            prop_assert!(removed.similarity >= 0.5 && removed.similarity <= 1.0);
        }
    }
}

/// Rows of unlike text, each with near copies of a known kind.
fn planted(rows: usize) -> Vec<String> {
    let mut state = 7_u64;
    let mut random = move |below: u64| {
        state = shingle::mix(state.wrapping_add(0x9E37_79B9_7F4A_7C15));
        state % below
    };
    let mut all: Vec<String> = Vec::new();
    for _ in 0..rows {
        let original: Vec<char> =
            (0..30 + random(200)).filter_map(|_| char::from_u32(0x4E00 + random(3000) as u32)).collect();
        let mut copy = original.clone();
        for _ in 0..1 + random(1 + original.len() as u64 / 40) {
            let at = random(copy.len() as u64) as usize;
            copy[at] = '改';
        }
        all.push(original.into_iter().collect());
        all.push(copy.into_iter().collect());
    }
    all
}

#[test]
fn planted_near_copies_are_found_at_the_default_options() {
    let rows = planted(4000);
    let options = DedupOptions::default();
    let found = find_duplicates(&rows, &options, &job(2)).expect("runs");
    let near = rows.chunks(2).filter(|pair| jaccard(&pair[0], &pair[1], 5) >= options.threshold).count();
    assert!(near > 1000, "{near}");
    assert!(found.removed().len() as f64 >= 0.997 * near as f64, "{} of {near}", found.removed().len());
    for removed in found.removed() {
        let exact = jaccard(&rows[removed.row as usize], &rows[removed.kept_row as usize], 5);
        assert_eq!(removed.similarity, exact);
    }
}

#[test]
fn the_result_does_not_depend_on_threads() {
    let rows = planted(3000);
    let options = DedupOptions { threshold: 0.6, ..DedupOptions::default() };
    let one = find_duplicates(&rows, &options, &job(1)).expect("runs");
    for threads in [2, 3] {
        assert_eq!(find_duplicates(&rows, &options, &job(threads)).expect("runs"), one);
    }
}

#[test]
fn short_rows_are_found_as_reliably_as_long_ones() {
    // 12 to 15 shingles each, far fewer than MinHash values: 2000 pairs at 0.83 to 0.87.
    let rows: Vec<String> = (0..2000_u32)
        .flat_map(|i| {
            let text: String = (0..16)
                .filter_map(|k| {
                    char::from_u32(0x4E00 + (shingle::mix(u64::from(i * 16 + k) + 1) % 8000) as u32)
                })
                .collect();
            [text.clone(), text + "吗"]
        })
        .collect();
    let options = DedupOptions { distinct_numbers: false, ..DedupOptions::default() };
    let found = find_duplicates(&rows, &options, &job(2)).expect("runs");
    assert!(found.removed().len() >= 1990, "{} of 2000", found.removed().len());
}

#[test]
fn ten_thousand_rows_that_are_nearly_the_same_take_no_all_pairs() {
    let base: String = (0..120).filter_map(|k| char::from_u32(0x4E00 + k)).collect();
    let rows: Vec<String> =
        (0..10_000).filter_map(|i| char::from_u32(0x6000 + i)).map(|c| format!("{base}{c}")).collect();
    let found = find_duplicates(&rows, &DedupOptions::default(), &job(2)).expect("runs");
    assert_eq!(found.removed().len(), 9_999);
}

#[test]
fn rows_that_differ_in_numbers_alone_stay_unless_told_otherwise() {
    let rows = ["小明买了12支铅笔，每支3元，一共要付多少钱？", "小明买了15支铅笔，每支3元，一共要付多少钱？"];
    let kept = |distinct_numbers| {
        let options = DedupOptions { distinct_numbers, threshold: 0.5, ..DedupOptions::default() };
        find_duplicates(&rows, &options, &job(1)).expect("runs").kept()
    };
    assert_eq!(kept(true), [0, 1]);
    assert_eq!(kept(false), [0]);
}

#[test]
fn a_cancelled_job_ends_with_nothing() {
    let job = job(1);
    job.cancel();
    let found = find_duplicates(&["一", "二"], &DedupOptions::default(), &job);
    assert!(matches!(found, Err(crate::Error::Cancelled)));
}

#[test]
fn the_longest_row_stays_if_asked_for_and_rows_of_against_stand_before_all() {
    let base: String = (0..60).filter_map(|k| char::from_u32(0x4E00 + k)).collect();
    let rows = [format!("{base}甲"), format!("{base}乙丙"), "别的文字在这里".to_owned(), format!("{base}丁")];
    let options = DedupOptions { keep: Keep::Longest, ..DedupOptions::default() };
    let found = find_duplicates(&rows, &options, &job(2)).expect("runs");
    assert_eq!(found.kept(), [1, 2]);
    assert!(found.removed().iter().all(|removed| removed.kept_row == 1));
    let found = find_duplicates_against(&&rows[..], &&rows[..1], &options, &job(2)).expect("runs");
    assert_eq!(found.kept(), [2]);
}

#[test]
fn a_row_that_contains_a_question_goes_and_its_numbers_count() {
    let rows = [
        "请先想一想再回答：小明有12个苹果，吃了3个，还剩几个？谢谢你的帮助，请写出过程。",
        "请先想一想再回答：小明有12个苹果，吃了4个，还剩几个？谢谢你的帮助，请写出过程。",
        "请先想一想再回答：谢谢你的帮助，请写出过程。",
    ];
    let questions = ["小明有12个苹果，吃了3个，还剩几个？"];
    let kept = |contained, distinct_numbers| {
        let options = DedupOptions { contained, distinct_numbers, ..DedupOptions::default() };
        find_duplicates_against(&&rows[..], &&questions[..], &options, &job(1)).expect("runs").kept()
    };
    assert_eq!(kept(0.0, true), [0, 1, 2]);
    assert_eq!(kept(0.7, true), [1, 2]);
    assert_eq!(kept(0.5, false), [2]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_is_contained_is_what_counting_finds(
        rows in near_rows(), questions in near_rows(), ngram in 1_usize..6, contained in 0.3_f64..=1.0,
    ) {
        let options = DedupOptions { contained, threshold: 1.0, ..plain(ngram, 1.0) };
        let mut asked = contain::Questions::new(&options);
        asked.extend(&questions.as_slice());
        asked.prepare();
        let found = asked.find(&rows.as_slice(), 0, &job(2)).expect("runs");
        let expected: Vec<Removed> = rows.iter().enumerate().filter_map(|(row, text)| {
            let has = ngrams(text, ngram);
            let share = |question: &String| {
                let wanted = ngrams(question, ngram);
                wanted.intersection(&has).count() as f64 / wanted.len() as f64
            };
            let first = questions.iter().position(|question| share(question) >= contained)?;
            let similarity = share(&questions[first]);
            Some(Removed { row: row as u64, kept_row: first as u64, in_against: true, similarity })
        }).collect();
        prop_assert_eq!(found, expected);
    }
}
