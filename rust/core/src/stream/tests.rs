//! What must hold of a stream as a whole, whatever it is made of.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use proptest::prelude::*;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::error::Result;

/// Rows in files of given row groups, and a tokenizer with one id per letter.
struct Corpus {
    folder: TempDir,
    files: Vec<PathBuf>,
}

impl Corpus {
    fn write(files: &[Vec<usize>]) -> Self {
        let folder = tempfile::tempdir().expect("temp folder");
        let mut next = 0;
        let files = files
            .iter()
            .enumerate()
            .map(|(number, groups)| {
                let path = folder.path().join(format!("{number}.parquet"));
                let groups: Vec<RecordBatch> = groups
                    .iter()
                    .map(|&rows| {
                        next += rows;
                        batch(
                            (next - rows..next).map(|row| Some(source(row))).collect(),
                            (next - rows..next).map(target).collect(),
                        )
                    })
                    .collect();
                write(&path, &groups);
                path
            })
            .collect();
        write_tokenizer(folder.path());
        Self { folder, files }
    }

    fn open(&self, options: &StreamOptions, share: Share, epochs: u64, threads: usize) -> Stream {
        Stream::open(&self.files, self.folder.path(), options.clone(), share, Some(epochs), Some(threads))
            .expect("opens")
    }

    fn batches(&self, options: &StreamOptions, epochs: u64) -> Vec<Batch> {
        self.open(options, Share::WHOLE, epochs, 1).collect::<Result<_>>().expect("streams")
    }
}

/// Row numbers spread over lengths, so that sorting by length mixes them.
fn source(row: usize) -> String {
    format!("{row}{}", "a".repeat(row * 7 % 23))
}

fn target(row: usize) -> String {
    format!("{}{row}", "b".repeat(row * 5 % 17))
}

fn batch(sources: Vec<Option<String>>, targets: Vec<String>) -> RecordBatch {
    let columns: [(&str, ArrayRef, bool); 2] = [
        ("prompt", Arc::new(StringArray::from(sources)), true),
        ("response", Arc::new(StringArray::from(targets)), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).expect("columns of one length")
}

/// One row group per batch.
fn write(path: &Path, groups: &[RecordBatch]) {
    let file = std::fs::File::create(path).expect("creates");
    let schema = batch(vec![], vec![]).schema();
    let mut writer = ArrowWriter::try_new(file, schema, None).expect("writer");
    for group in groups {
        writer.write(group).expect("writes");
        writer.flush().expect("ends the row group");
    }
    writer.close().expect("closes");
}

fn write_tokenizer(folder: &Path) {
    let specials = crate::tokenizer::SPECIALS;
    let letters = (b'0'..=b'9').chain(b'a'..=b'z').map(|byte| char::from(byte).to_string());
    let vocab: serde_json::Map<_, _> = specials
        .iter()
        .map(ToString::to_string)
        .chain(letters)
        .enumerate()
        .map(|(id, token)| (token, json!(id)))
        .collect();
    let added: Vec<_> = specials
        .iter()
        .enumerate()
        .map(|(id, token)| {
            json!({
                "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true,
            })
        })
        .collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {"type": "BPE", "dropout": null, "unk_token": "[UNK]", "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": []},
    });
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).expect("writes");
}

fn small_options() -> impl Strategy<Value = StreamOptions> {
    (1usize..200, 1usize..12, prop_oneof![Just(0), 1usize..20], 64usize..300, 1usize..9, any::<u64>())
        .prop_map(|(shuffle_rows, bucket_batches, batch_rows, batch_tokens, pad_multiple, seed)| {
            StreamOptions {
                shuffle_rows,
                bucket_batches,
                batch_rows,
                batch_tokens,
                pad_multiple,
                seed,
                max_source: 24,
                max_target: 24,
                ..StreamOptions::default()
            }
        })
}

fn files() -> impl Strategy<Value = Vec<Vec<usize>>> {
    prop::collection::vec(prop::collection::vec(1usize..40, 1..5), 1..4)
}

fn total(files: &[Vec<usize>]) -> i64 {
    files.iter().flatten().sum::<usize>() as i64
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_row_comes_once_an_epoch_whatever_the_ranks_and_threads(
        files in files(), options in small_options(), world in 1usize..4, threads in 1usize..4,
    ) {
        let corpus = Corpus::write(&files);
        let whole = corpus.batches(&options, 2);
        let mut shares: Vec<Stream> = (0..world).map(|rank| corpus.open(&options, Share { rank, world }, 2, threads)).collect();
        let mut interleaved = Vec::new();
        loop {
            let round: Vec<Batch> = shares.iter_mut().filter_map(|share| share.next_batch().expect("streams")).collect();
            prop_assert!(round.is_empty() || round.len() == world, "ranks must keep in step");
            let states: Vec<StreamState> = shares.iter().map(Stream::state).collect();
            prop_assert!(states.iter().all(|state| *state == states[0]), "the state is the same on every rank");
            if round.is_empty() { break }
            interleaved.extend(round.into_iter().filter(|batch| batch.rows != [NO_ROW]));
        }
        prop_assert_eq!(&interleaved, &whole);
        let mut rows: Vec<i64> = whole.iter().flat_map(|batch| batch.rows.clone()).collect();
        rows.sort_unstable();
        prop_assert_eq!(rows, (0..total(&files)).flat_map(|row| [row, row]).collect::<Vec<_>>());
    }

    #[test]
    fn each_epoch_is_whole_before_the_next_begins(files in files(), options in small_options()) {
        let corpus = Corpus::write(&files);
        let mut rows: Vec<i64> = corpus.batches(&options, 2).iter().flat_map(|batch| batch.rows.clone()).collect();
        rows.truncate(total(&files) as usize);
        rows.sort_unstable();
        prop_assert_eq!(rows, (0..total(&files)).collect::<Vec<_>>());
    }

    #[test]
    fn a_batch_holds_what_its_rows_say(files in files(), options in small_options()) {
        let corpus = Corpus::write(&files);
        let id = |letter: u8| i64::from(if letter.is_ascii_digit() { letter - b'0' + 7 } else { letter - b'a' + 17 });
        let ids = |text: String| {
            let mut ids: Vec<i64> = text.bytes().take(23).map(id).collect();
            ids.push(1);
            ids
        };
        for batch in corpus.batches(&options, 1) {
            prop_assert!(options.batch_rows > 0 || batch.input_ids.len() + batch.labels.len() <= options.batch_tokens);
            prop_assert!(batch.source_tokens % options.pad_multiple == 0 && batch.target_tokens % options.pad_multiple == 0);
            for (place, &row) in batch.rows.iter().enumerate() {
                let mut source = ids(source(row as usize));
                let tokens = source.len();
                source.resize(batch.source_tokens, 0);
                let mut target = ids(target(row as usize));
                target.resize(batch.target_tokens, IGNORED);
                let sources = place * batch.source_tokens..(place + 1) * batch.source_tokens;
                prop_assert_eq!(&batch.input_ids[sources.clone()], &source);
                prop_assert_eq!(batch.attention_mask[sources].iter().sum::<i64>(), tokens as i64);
                prop_assert_eq!(&batch.labels[place * batch.target_tokens..(place + 1) * batch.target_tokens], &target);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn a_resumed_stream_goes_on_with_the_same_batches_from_every_position(
        files in files(), options in small_options(), (before, after) in (1usize..4, 1usize..4),
    ) {
        let corpus = Corpus::write(&files);
        let whole = corpus.batches(&options, 2);
        let mut first = corpus.open(&options, Share { rank: 0, world: before }, 2, 1);
        let mut handed_out = 0;
        loop {
            let state = first.state();
            prop_assert_eq!(state.position, rows_in(&whole[..handed_out]));
            let text = serde_json::to_string(&state).expect("a state is JSON");
            let mut next = corpus.open(&options, Share { rank: after - 1, world: after }, 2, 2);
            next.load_state(&serde_json::from_str(&text).expect("and back")).expect("the same stream");
            for expected in whole[handed_out..].chunks(after).take(3) {
                let found = next.next_batch().expect("streams").filter(|batch| batch.rows != [NO_ROW]);
                prop_assert_eq!(found.as_ref(), expected.get(after - 1));
            }
            if first.next_batch().expect("streams").is_none() { break }
            handed_out = (handed_out + before).min(whole.len());
        }
        prop_assert_eq!(handed_out, whole.len());
    }
}

/// Batches of ten rows, of which a state names 51, in chunks of 200.
fn many_batches() -> (Corpus, StreamOptions) {
    let options = StreamOptions {
        batch_rows: 10,
        bucket_batches: 200,
        shuffle_rows: 4_000,
        ..StreamOptions::default()
    };
    (Corpus::write(&[vec![1_000; 7], vec![5_000]]), options)
}

#[test]
fn the_thousand_batches_after_a_resume_are_those_of_a_stream_that_went_on() {
    let (corpus, options) = many_batches();
    let mut first = corpus.open(&options, Share::WHOLE, 1, 2);
    let whole = corpus.batches(&options, 1);
    for place in 0..160 {
        if [0, 53, 106, 149].contains(&place) {
            for keeps_rows in [true, false] {
                let mut state = first.state();
                assert_eq!(state.coming.len(), if place == 0 { 0 } else { 51 });
                if !keeps_rows {
                    state.coming.clear();
                }
                let mut next = corpus.open(&options, Share::WHOLE, 1, 2);
                next.load_state(&state).expect("the same stream");
                let found: Vec<Batch> = next.by_ref().take(1_000).collect::<Result<_>>().expect("streams");
                assert_eq!(found, whole[place..place + 1_000], "from {place}, {keeps_rows}");
            }
        }
        first.next_batch().expect("streams");
    }
}

#[test]
fn a_stream_just_taken_up_can_be_left_again() {
    let (corpus, options) = many_batches();
    let whole = corpus.batches(&options, 1);
    let mut state = corpus.open(&options, Share::WHOLE, 1, 1).state();
    for expected in whole.iter().take(180) {
        let mut stream = corpus.open(&options, Share::WHOLE, 1, 1);
        stream.load_state(&state).expect("the same stream");
        assert_eq!(stream.state(), state);
        assert_eq!(stream.next_batch().expect("streams").as_ref(), Some(expected));
        state = stream.state();
    }
}

#[test]
fn rows_that_do_not_come_next_are_refused() {
    let (corpus, options) = many_batches();
    let mut stream = corpus.open(&options, Share::WHOLE, 1, 1);
    for _ in 0..100 {
        stream.next_batch().expect("streams");
    }
    let state = stream.state();
    let refused = |change: &dyn Fn(&mut Vec<Vec<u64>>)| {
        let mut state = state.clone();
        change(&mut state.coming);
        let mut stream = corpus.open(&options, Share::WHOLE, 1, 1);
        stream.load_state(&state).expect("nothing is read yet");
        let message = stream.collect::<Result<Vec<_>>>().expect_err("others come next").to_string();
        assert!(message.contains("(`coming`) that do not come after position 1"), "{message}");
    };
    refused(&|coming| coming[0][0] = 999_999);
    refused(&|coming| coming[3].clear());
    refused(&|coming| coming.swap(0, 1));
}

fn rows_in(batches: &[Batch]) -> u64 {
    batches.iter().map(|batch| batch.rows.len() as u64).sum()
}

fn weights(files: usize) -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(prop_oneof![Just(1.0), Just(2.0), 0.05f64..4.0], files)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn weighted_files_give_every_row_its_share_to_the_row(
        (files, weights) in files().prop_flat_map(|files| { let n = files.len(); (Just(files), weights(n)) }),
        options in small_options(),
        epochs in 1u64..6,
    ) {
        let corpus = Corpus::write(&files);
        let options = StreamOptions { weights: weights.clone(), ..options };
        prop_assume!(files.iter().zip(&weights).any(|(file, weight)| file.iter().sum::<usize>() as f64 * weight >= 1.0));
        let whole = corpus.batches(&options, epochs);
        let mut counts = vec![0u64; total(&files) as usize];
        whole.iter().flat_map(|batch| &batch.rows).for_each(|&row| counts[row as usize] += 1);
        let mut first = 0;
        for (file, weight) in files.iter().zip(&weights) {
            let rows = file.iter().sum::<usize>();
            let counts = &counts[first..first + rows];
            let passes = epochs as f64 * weight;
            prop_assert_eq!(counts.iter().sum::<u64>(), (passes * rows as f64) as u64);
            // As evenly as can be: every row comes once a pass.
            prop_assert!(counts.iter().all(|&n| (passes.floor() - 1.0..=passes.ceil() + 1.0).contains(&(n as f64))));
            prop_assert!(counts.iter().max().unwrap_or(&0) - counts.iter().min().unwrap_or(&0) <= 1);
            first += rows;
        }
    }

    #[test]
    fn a_mixture_goes_on_anywhere_from_its_position_alone(
        options in small_options(), weights in weights(2), resumed_at in 0.0f64..1.0,
    ) {
        let corpus = Corpus::write(&[vec![40, 23], vec![31]]);
        let options = StreamOptions { weights, ..options };
        prop_assume!(corpus.open(&options, Share::WHOLE, 1, 1).rows() > 0);
        let whole = corpus.batches(&options, 3);
        let place = (whole.len() as f64 * resumed_at) as usize;
        let mut stream = corpus.open(&options, Share::WHOLE, 3, 1);
        let mut state = stream.state();
        state.position = rows_in(&whole[..place]);
        stream.load_state(&state).expect("a place of this stream");
        let rest: Vec<Batch> = stream.collect::<Result<_>>().expect("streams");
        prop_assert_eq!(&rest, &whole[place..]);
    }
}

#[test]
fn every_window_has_rows_of_every_file_that_has_enough() {
    let corpus = Corpus::write(&[vec![900], vec![60]]);
    let options = StreamOptions { weights: vec![1.0, 1.0], shuffle_rows: 100, ..StreamOptions::default() };
    let shuffle = Shuffle::open(&corpus.files, options).expect("opens");
    let windows = shuffle.windows(0);
    assert!(windows.len() >= 9);
    for window in windows {
        let small: usize = window.iter().filter(|slice| slice.file() == 1).map(crate::io::Slice::rows).sum();
        assert!((1..=14).contains(&small), "{small} of 6 rows");
    }
}

#[test]
fn weights_that_fit_no_files_or_leave_nothing_are_refused() {
    let corpus = Corpus::write(&[vec![30], vec![30]]);
    for (weights, told) in [
        (vec![1.0], "option weights = 1: must be one for each of the 2 input files"),
        (vec![1.0, -1.0], "option weights = -1: must be above 0"),
        (vec![0.01, 0.01], "the weights leave no row in an epoch"),
    ] {
        let message = problem(&corpus, StreamOptions { weights, ..StreamOptions::default() });
        assert!(message.starts_with(told), "{message}");
    }
}

#[test]
fn a_position_inside_a_batch_is_refused() {
    let corpus = Corpus::write(&[vec![30]]);
    let options = StreamOptions { batch_rows: 8, ..StreamOptions::default() };
    let mut stream = corpus.open(&options, Share::WHOLE, 1, 1);
    let mut state = stream.state();
    state.position = 3;
    stream.load_state(&state).expect("nothing is read yet");
    let message = stream.next_batch().expect_err("batches end at 8, 16, 24, 30").to_string();
    assert!(message.contains("position 3, where no batch"), "{message}");
}

fn first_rows(corpus: &Corpus, options: &StreamOptions) -> Vec<Vec<i64>> {
    corpus.batches(options, 2).into_iter().map(|batch| batch.rows).collect()
}

#[test]
fn seeds_and_epochs_differ_in_their_order() {
    let corpus = Corpus::write(&[vec![60, 60], vec![80]]);
    let options = StreamOptions { batch_rows: 8, bucket_batches: 6, ..StreamOptions::default() };
    let one = first_rows(&corpus, &options);
    assert_eq!(one, first_rows(&corpus, &options));
    assert_ne!(one, first_rows(&corpus, &StreamOptions { seed: 2, ..options }));
    assert_ne!(one[..25], one[25..]);
}

fn problem(corpus: &Corpus, options: StreamOptions) -> String {
    match Stream::open(&corpus.files, corpus.folder.path(), options, Share::WHOLE, Some(1), Some(1)) {
        Err(error) => error.to_string(),
        Ok(stream) => stream.collect::<Result<Vec<_>>>().expect_err("a fault was planted").to_string(),
    }
}

#[test]
fn a_null_is_named_with_file_and_row_each_time_it_is_met() {
    let corpus = Corpus::write(&[vec![3]]);
    let rows = batch(vec![Some("a".into()), None], vec!["b".into(), "b".into()]);
    write(&corpus.files[0], &[batch(vec![Some("a".into())], vec!["b".into()]), rows]);
    let mut stream = corpus.open(&StreamOptions::default(), Share::WHOLE, 1, 1);
    for _ in 0..2 {
        let message = stream.next_batch().expect_err("row 3 is null").to_string();
        assert!(message.contains("0.parquet, row 3: column \"prompt\" is null"), "{message}");
    }
}

#[test]
fn a_truncated_file_is_named() {
    let corpus = Corpus::write(&[vec![30], vec![30]]);
    let bytes = std::fs::read(&corpus.files[1]).expect("reads");
    std::fs::write(&corpus.files[1], &bytes[..bytes.len() / 2]).expect("truncates");
    let message = problem(&corpus, StreamOptions::default());
    assert!(message.contains("1.parquet: not a readable Parquet file"), "{message}");
}

#[test]
fn damage_inside_a_file_is_named() {
    let corpus = Corpus::write(&[vec![3_000]]);
    let mut bytes = std::fs::read(&corpus.files[0]).expect("reads");
    bytes[4..2_000].fill(0xff);
    std::fs::write(&corpus.files[0], &bytes).expect("damages");
    let message = problem(&corpus, StreamOptions::default());
    assert!(message.contains("0.parquet: damaged"), "{message}");
}

#[test]
fn a_missing_column_is_named_with_the_columns_there_are() {
    let corpus = Corpus::write(&[vec![3]]);
    let message =
        problem(&corpus, StreamOptions { target_column: "answer".into(), ..StreamOptions::default() });
    assert!(
        message.ends_with("column \"answer\" not found (columns: prompt, response); name another one"),
        "{message}"
    );
}

#[test]
fn files_without_rows_are_refused() {
    let corpus = Corpus::write(&[vec![]]);
    assert_eq!(problem(&corpus, StreamOptions::default()), "no rows to stream in 1 input files");
}

#[test]
fn a_state_of_other_options_or_rows_is_refused_with_what_differs() {
    let corpus = Corpus::write(&[vec![30]]);
    let state = corpus.open(&StreamOptions::default(), Share::WHOLE, 1, 1).state();
    let mut other =
        corpus.open(&StreamOptions { batch_tokens: 4_096, ..StreamOptions::default() }, Share::WHOLE, 1, 1);
    let message = other.load_state(&state).expect_err("other options").to_string();
    assert!(message.contains("differs in: batch_tokens (8192 -> 4096);"), "{message}");
    let mut other = Corpus::write(&[vec![31]]).open(&StreamOptions::default(), Share::WHOLE, 1, 1);
    let message = other.load_state(&state).expect_err("other rows").to_string();
    assert!(message.contains("rows (30 -> 31)"), "{message}");
}

#[test]
fn a_dropped_stream_ends_its_threads_while_one_waits_to_hand_over() {
    let corpus = Corpus::write(&[vec![2_000]]);
    let options = StreamOptions { bucket_batches: 10, batch_rows: 10, ..StreamOptions::default() };
    let mut stream = corpus.open(&options, Share::WHOLE, 1_000, 2);
    stream.next_batch().expect("streams");
    let source = stream.source();
    drop(stream);
    assert_eq!(Arc::strong_count(&source), 1, "the worker is gone");
}

#[test]
fn the_last_round_is_filled_up_with_batches_that_teach_nothing() {
    let corpus = Corpus::write(&[vec![30]]);
    let options = StreamOptions { batch_rows: 10, pad_multiple: 2, ..StreamOptions::default() };
    let last = corpus
        .open(&options, Share { rank: 1, world: 2 }, 1, 1)
        .last()
        .expect("two rounds")
        .expect("streams");
    assert_eq!((last.rows, last.input_ids, last.labels), (vec![NO_ROW], vec![1, 0], vec![IGNORED, IGNORED]));
}
