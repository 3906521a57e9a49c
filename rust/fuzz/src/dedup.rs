//! Rows with copies of rows: each is kept, or names a kept row that is as similar as told.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use rustc_hash::FxHashSet;
use smolchat_core::dedup::{DedupOptions, Groups, Keep, QuestionLine, find_duplicates_against};

use crate::{Jobs, mutate};

#[derive(Debug, Clone)]
pub struct Case {
    rows: Vec<String>,
    against: Vec<String>,
    options: DedupOptions,
}

pub fn case() -> impl Strategy<Value = Case> {
    let edit = (any::<Index>(), any::<Index>(), "[天气aB1。， ]{0,3}", 0_usize..3);
    let rows = (vec(mutate::text(), 1..12), vec(edit, 0..24)).prop_map(|(mut rows, edits)| {
        for (row, at, inserted, removed) in edits {
            let mut copy: Vec<char> = rows[row.index(rows.len())].chars().collect();
            let at = at.index(copy.len() + 1);
            let end = (at + removed).min(copy.len());
            copy.splice(at..end, inserted.chars());
            rows.push(copy.into_iter().collect());
        }
        rows
    });
    (rows, any::<Index>(), options()).prop_map(|(mut rows, at, options)| {
        let against = if options.contained > 0.0 { rows.split_off(at.index(rows.len())) } else { Vec::new() };
        Case { rows, against, options }
    })
}

fn options() -> impl Strategy<Value = DedupOptions> {
    let keep = select(vec![Keep::First, Keep::Longest]);
    let threshold = select(vec![0.3, 0.5, 0.8, 1.0]);
    let contained = select(vec![0.0, 0.0, 0.5, 1.0]);
    let questions = select(vec![QuestionLine::No, QuestionLine::FirstLine, QuestionLine::LastLine]);
    (1_usize..8, threshold, any::<[bool; 2]>(), questions, keep, contained).prop_map(
        |(ngram, threshold, [normalize, distinct_numbers], distinct_questions, keep, contained)| {
            DedupOptions {
                // So many that no pair is missed by chance.
                hashes: 256,
                ngram,
                threshold,
                normalize,
                distinct_numbers,
                distinct_questions,
                keep,
                contained,
                ..DedupOptions::default()
            }
        },
    )
}

pub fn check(case: &Case, jobs: &Jobs) -> Result<bool, TestCaseError> {
    let find = |job| {
        find_duplicates_against(&&case.rows[..], &&case.against[..], &case.options, job)
            .map_err(|error| TestCaseError::fail(error.to_string()))
    };
    let found: Groups = find(&jobs.one)?;
    prop_assert_eq!(&found, &find(&jobs.two)?, "one and two threads differ");
    let kept: BTreeSet<u64> = found.kept().into_iter().collect();
    prop_assert_eq!(kept.len() + found.removed().len(), case.rows.len(), "a row is lost");
    for removed in found.removed() {
        prop_assert!(!kept.contains(&removed.row));
        let text = &case.rows[removed.row as usize];
        let other = if removed.in_against {
            &case.against[removed.kept_row as usize]
        } else {
            prop_assert!(kept.contains(&removed.kept_row), "{:?} names a row that goes", removed);
            &case.rows[removed.kept_row as usize]
        };
        let least = if removed.in_against && case.options.contained > 0.0 {
            case.options.threshold.min(case.options.contained)
        } else {
            case.options.threshold
        };
        prop_assert!(removed.similarity >= least && removed.similarity <= 1.0, "{:?}", removed);
        if !case.options.normalize && !removed.in_against {
            let Case { options: DedupOptions { ngram, threshold, distinct_questions, .. }, .. } = *case;
            prop_assert_eq!(removed.similarity, jaccard(text, other, ngram), "{:?}", removed);
            let asked =
                jaccard(question(text, distinct_questions), question(other, distinct_questions), ngram);
            prop_assert!(asked >= threshold || text == other, "{:?} asks something else", removed);
        }
    }
    let mut seen = FxHashSet::default();
    for row in kept {
        prop_assert!(seen.insert(&case.rows[row as usize]), "two kept rows are the same");
    }
    Ok(!found.removed().is_empty())
}

/// The line that is asked; nothing if that is no matter.
fn question(text: &str, line: QuestionLine) -> &str {
    let lines = text.trim().split('\n');
    let line = match line {
        QuestionLine::No => None,
        QuestionLine::FirstLine => lines.clone().next(),
        QuestionLine::LastLine => lines.clone().next_back(),
    };
    line.map_or("", |line| line.strip_suffix('\r').unwrap_or(line))
}

fn jaccard(one: &str, other: &str, ngram: usize) -> f64 {
    let ngrams = |text: &str| -> BTreeSet<Vec<char>> {
        let chars: Vec<char> = text.chars().collect();
        if chars.len() < ngram {
            BTreeSet::from([chars])
        } else {
            chars.windows(ngram).map(<[char]>::to_vec).collect()
        }
    };
    let (one, other) = (ngrams(one), ngrams(other));
    let shared = one.intersection(&other).count();
    shared as f64 / (one.len() + other.len() - shared) as f64
}
