//! Texts and tables: cleaning twice is cleaning once, and no row is lost, whatever is switched on.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use proptest::collection::vec;
use proptest::prelude::*;
use smolchat_core::clean::{CleanOptions, clean_batches, clean_text};

use crate::{Jobs, mutate};

#[derive(Debug, Clone)]
pub struct Case {
    rows: Vec<(Option<String>, String)>,
    options: CleanOptions,
}

pub fn case() -> impl Strategy<Value = Case> {
    let row = (prop::option::weighted(0.95, mutate::text()), mutate::text());
    (vec(row, 1..6), options()).prop_map(|(rows, options)| Case { rows, options })
}

fn options() -> impl Strategy<Value = CleanOptions> {
    let defaults = Just(CleanOptions::default());
    let any = any::<[bool; 10]>().prop_map(|on| {
        let [control, templates, html, pages, width, punctuation, repeats, spaces, simplified, personal] = on;
        let rest = CleanOptions::default();
        CleanOptions {
            control,
            templates,
            html,
            pages,
            width,
            punctuation,
            repeats,
            spaces,
            simplified,
            personal,
            ..rest
        }
    });
    prop_oneof![defaults, any]
}

pub fn check(case: &Case, jobs: &Jobs) -> Result<bool, TestCaseError> {
    let failed = |error: smolchat_core::Error| TestCaseError::fail(error.to_string());
    for text in case.rows.iter().flat_map(|(prompt, response)| prompt.iter().chain([response])) {
        let once = clean_text(text, &case.options).map_err(failed)?;
        let twice = clean_text(&once, &case.options).map_err(failed)?;
        prop_assert_eq!(&once, &twice, "cleaned again");
    }
    let prompts: StringArray = case.rows.iter().map(|(prompt, _)| prompt.as_deref()).collect();
    let responses: StringArray = case.rows.iter().map(|(_, response)| Some(response.as_str())).collect();
    let columns: [(&str, ArrayRef, bool); 2] =
        [("prompt", Arc::new(prompts), true), ("response", Arc::new(responses), true)];
    let batch = RecordBatch::try_from_iter_with_nullable(columns).expect("two columns of one length");
    let schema = batch.schema();
    let clean = |batches: &[RecordBatch], job| clean_batches(batches, &schema, &case.options, job);
    let one = clean(std::slice::from_ref(&batch), &jobs.one).map_err(failed)?;
    let two = clean(&[batch.slice(0, 1), batch.slice(1, batch.num_rows() - 1)], &jobs.two).map_err(failed)?;
    let rows = |batches: &[RecordBatch]| batches.iter().map(RecordBatch::num_rows).sum::<usize>();
    prop_assert_eq!(rows(&one.kept) + rows(&one.removed), case.rows.len(), "a row is lost");
    prop_assert_eq!(format!("{:?}", one.report), format!("{:?}", two.report));
    let texts = |batches: &[RecordBatch]| -> String {
        arrow::compute::concat_batches(&schema, batches)
            .map_or_else(|error| error.to_string(), |all| format!("{all:?}"))
    };
    prop_assert_eq!(texts(&one.kept), texts(&two.kept));
    let again = clean(&one.kept, &jobs.one).map_err(failed)?;
    prop_assert_eq!(rows(&again.removed), 0, "a clean row is dropped");
    prop_assert_eq!(texts(&again.kept), texts(&one.kept));
    Ok(one.report.rows_changed > 0)
}
