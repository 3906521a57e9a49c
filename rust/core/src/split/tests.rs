//! Rows to sides.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn options(parts: &[&str]) -> SplitOptions {
    SplitOptions { parts: parts.iter().map(|&part| part.to_owned()).collect(), ..SplitOptions::default() }
}

fn sides(prompts: &[String], options: &SplitOptions, threads: usize) -> Vec<u32> {
    assign(&prompts, options, &Job::new(Some(threads)).expect("threads")).expect("splits")
}

/// Prompts of which number n stands in `sizes[n]` rows.
fn prompts(sizes: &[usize]) -> Vec<String> {
    let of = |(n, &size): (usize, &usize)| vec![format!("第{n}个问题"); size];
    sizes.iter().enumerate().flat_map(of).collect()
}

/// The largest sum of some of the sizes that is at most `rows`.
fn best(sizes: &[usize], rows: usize) -> usize {
    let mut sums = BTreeSet::from([0]);
    for size in sizes {
        sums.extend(sums.clone().into_iter().map(|sum| sum + size));
    }
    sums.into_iter().rev().find(|&sum| sum <= rows).unwrap_or(0)
}

proptest! {
    #[test]
    fn a_count_is_met_as_nearly_as_whole_prompts_can(
        sizes in prop::collection::vec(1_usize..6, 1..12), share in 0.0..1.0, seed: u64,
    ) {
        let rows = prompts(&sizes);
        let wanted = (share * rows.len() as f64) as usize;
        let options = SplitOptions { seed, ..options(&[&format!("valid={wanted}")]) };
        let valid = sides(&rows, &options, 2).into_iter().filter(|&side| side == 1).count();
        prop_assert_eq!(valid, best(&sizes, wanted));
    }

    #[test]
    fn the_side_depends_on_the_prompt_alone(
        sizes in prop::collection::vec(1_usize..4, 15..30), order in prop::collection::vec(any::<u32>(), 90),
    ) {
        let rows = prompts(&sizes);
        let mut shuffled: Vec<_> = rows.iter().cloned().zip(order).collect();
        shuffled.sort_by_key(|&(_, key)| key);
        let shuffled: Vec<String> = shuffled.into_iter().map(|(row, _)| row).collect();
        let options = options(&["valid=0.2", "test=1", "dev=0.1"]);
        let by_prompt = |rows: &[String], threads| -> BTreeMap<_, _> {
            rows.iter().cloned().zip(sides(rows, &options, threads)).collect()
        };
        let found = by_prompt(&rows, 1);
        prop_assert!(rows.iter().zip(sides(&rows, &options, 3)).all(|(row, side)| found[row] == side));
        prop_assert_eq!(found, by_prompt(&shuffled, 3));
    }
}

#[test]
fn the_same_question_in_other_dress_stays_on_its_side() {
    let job = Job::new(Some(1)).expect("one thread");
    let dresses = ["什么是Ｐｙｔｈｏｎ？", "什么是python", "  什么是 Python ！"];
    for seed in 0..50 {
        let options = SplitOptions { seed, ..options(&["a=0.3", "b=0.3"]) };
        let sides = assign(&&dresses[..], &options, &job).expect("splits");
        assert_eq!(sides, [sides[0]; 3]);
    }
}

#[test]
fn rows_added_later_move_none_of_a_share() {
    let rows = prompts(&[1; 2000]);
    let options = options(&["valid=10%", "test=0.05"]);
    let all = sides(&rows, &options, 2);
    assert_eq!(all[..500], sides(&rows[..500], &options, 2));
    let count = |wanted| all.iter().filter(|&&side| side == wanted).count();
    assert!((150..250).contains(&count(1)) && (60..140).contains(&count(2)));
}

#[test]
fn parts_that_mean_nothing_are_refused() {
    let cases: [(&[&str], &str); 9] = [
        (&["valid"], "option parts = valid: must be NAME=ROWS or NAME=SHARE"),
        (&["valid=x"], "option parts = valid=x: must be NAME=ROWS or NAME=SHARE"),
        (&["valid=-1"], "option parts = valid=-1: must be NAME=ROWS or NAME=SHARE"),
        (&["valid=1.5"], "option parts = valid=1.5: must be NAME=ROWS or NAME=SHARE"),
        (&["valid=NaN"], "option parts = valid=NaN: must be NAME=ROWS or NAME=SHARE"),
        (&["=3"], "option parts = =3: a name consists of"),
        (&["../x=3"], "option parts = ../x=3: a name consists of"),
        (&["a=1", "a=2"], "option parts = a=2: two parts have this name"),
        (&["a=60%", "b=0.4"], "option parts = a=60% b=0.4: must leave rows for training"),
    ];
    for (parts, told) in cases {
        let message = options(parts).parsed().expect_err("refuses").to_string();
        assert!(message.starts_with(told), "{message}");
    }
    let job = Job::new(Some(1)).expect("one thread");
    let message = assign(&&["甲"][..], &options(&["valid=2"]), &job).expect_err("refuses").to_string();
    assert_eq!(message, "option parts = valid=2: only 1 rows are left");
}
