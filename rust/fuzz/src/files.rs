//! Damaged Parquet files and indexes: they are read as they were, or refused.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use proptest::prelude::*;
use smolchat_core::dedup::{IndexReader, IndexWriter};
use smolchat_core::io::{ParquetOutput, Rows};

use crate::{Jobs, folder, mutate};

#[derive(Debug, Clone)]
pub struct Case {
    index: bool,
    content: Vec<u8>,
}

pub fn case() -> impl Strategy<Value = Case> {
    let tokens: Vec<Vec<u8>> =
        [&b"PAR1"[..], &[0], &[0xFF; 4], &[0x80; 9], &[0, 0, 0, 0x7F]].map(<[u8]>::to_vec).to_vec();
    let content = |write: fn(&Path, &RecordBatch)| mutate::bytes(vec![seed(write)], tokens.clone());
    prop_oneof![
        content(write_rows).prop_map(|content| Case { index: false, content }),
        content(write_index).prop_map(|content| Case { index: true, content }),
    ]
}

pub fn check(case: &Case, _: &Jobs) -> Result<bool, TestCaseError> {
    let folder = folder();
    let path = folder.path().join("a.parquet");
    std::fs::write(&path, &case.content)?;
    if case.index {
        let whole = IndexReader::open(&path).and_then(|index| index.collect::<Result<Vec<_>, _>>());
        let telling = whole.is_err();
        if let Ok(batches) = whole {
            let rows =
                arrow::compute::concat_batches(&rows().schema(), &batches).expect("columns of the index");
            prop_assert_eq!(rows, self::rows(), "a damaged index is believed");
        }
        return Ok(telling);
    }
    let read = Rows::open(&[path]).and_then(|mut rows| rows.try_for_each(|found| found.map(drop)));
    Ok(read.is_err())
}

fn rows() -> RecordBatch {
    let texts: StringArray =
        (0..40).map(|row| Some(format!("第{row}行文字，每一行都不一样{}", row * 7919))).collect();
    RecordBatch::try_from_iter([("text", Arc::new(texts) as ArrayRef)]).expect("one column")
}

fn seed(write: fn(&Path, &RecordBatch)) -> Vec<u8> {
    let folder = folder();
    let path = folder.path().join("a.parquet");
    write(&path, &rows());
    std::fs::read(path).expect("just written")
}

fn write_rows(path: &Path, rows: &RecordBatch) {
    let mut output = ParquetOutput::create(path, rows.schema()).expect("a new file");
    output.write(rows).expect("room");
    output.finish().expect("room");
}

fn write_index(path: &Path, rows: &RecordBatch) {
    let mut index = IndexWriter::create(path, &["text".to_owned()]).expect("a new file");
    index.write(rows).expect("room");
    index.finish().expect("room");
}
