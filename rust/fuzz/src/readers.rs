//! Raw files of every format, damaged: each record becomes a row or is counted, whatever the threads.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use proptest::sample::select;
use smolchat_core::io::Rows;
use smolchat_core::sources::{SourceOptions, SourceReport, TextUnit, read_files};

use crate::{Jobs, folder, mutate};

#[derive(Debug, Clone)]
pub struct Case {
    name: &'static str,
    content: Vec<u8>,
    gzip: bool,
    strict: bool,
    text_unit: TextUnit,
}

const NAMES: [&str; 7] = ["a.jsonl", "a.json", "a.csv", "a.tsv", "a.txt", "wiki_00", "a"];

pub fn case() -> impl Strategy<Value = Case> {
    let units = vec![TextUnit::Line, TextUnit::Paragraph, TextUnit::File];
    let content = mutate::bytes(seeds(), tokens());
    (select(NAMES.to_vec()), content, prop::bool::weighted(0.1), prop::bool::weighted(0.1), select(units))
        .prop_map(|(name, content, gzip, strict, text_unit)| Case { name, content, gzip, strict, text_unit })
}

pub fn check(case: &Case, jobs: &Jobs) -> Result<bool, TestCaseError> {
    let folder = folder();
    let input = folder.path().join(case.name);
    std::fs::write(&input, if case.gzip { gzip(&case.content) } else { case.content.clone() })?;
    let options =
        SourceOptions { strict: case.strict, text_unit: case.text_unit, ..SourceOptions::default() };
    let out = folder.path().join("out.parquet");
    let read = |job| {
        let report = read_files(std::slice::from_ref(&input), &out, &options, job);
        (report.map_err(|error| error.to_string()), std::fs::read(&out).ok())
    };
    let (one, two) = (read(&jobs.one), read(&jobs.two));
    prop_assert_eq!(&one.1, &two.1, "one and two threads write other bytes");
    let telling = one.0.as_ref().is_ok_and(|report| report.rows > 0);
    match (one.0, two.0) {
        (Ok(one), Ok(two)) => {
            prop_assert_eq!(counts(&one), counts(&two));
            prop_assert_eq!(one.rows + one.bad.values().sum::<u64>(), one.records, "a record is lost");
            prop_assert!(!case.strict || one.bad.is_empty());
            let mut rows = 0;
            for found in Rows::open(&[out]).map_err(failed)? {
                rows += found.map_err(failed)?.batch.num_rows() as u64;
            }
            prop_assert_eq!(rows, one.rows);
        }
        (Err(one), Err(two)) => {
            prop_assert_eq!(&one, &two);
            prop_assert!(!one.contains("internal"), "{}", one);
            prop_assert!(!folder.path().join("out.parquet.partial").exists(), "half an output is left");
        }
        (one, two) => prop_assert!(false, "{:?} on one thread, {:?} on two", one.err(), two.err()),
    }
    Ok(telling)
}

fn counts(report: &SourceReport) -> (u64, u64, String) {
    (report.records, report.rows, format!("{:?}", report.bad))
}

fn failed(error: smolchat_core::Error) -> TestCaseError {
    TestCaseError::fail(format!("the output cannot be read: {error}"))
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).and_then(|()| encoder.finish()).expect("memory is enough")
}

fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        "{\"prompt\": \"天为什么是蓝的？\", \"response\": \"因为散射。\\n\\u4f60\"}\n{\"prompt\": \"一\", \"response\": \"1\"}\n",
        "{\"instruction\": \"翻译\", \"input\": \"hello\", \"output\": \"你好\"}\n",
        "[\n  {\"q\": \"一\", \"a\": \"1\"},\n  {\"q\": \"二\", \"a\": [\"2\", null, 3.5e1]}\n]\n",
        "{\"messages\": [{\"role\": \"user\", \"content\": \"问\"}, {\"role\": \"assistant\", \"content\": \"答\"}]}\n",
        "{\"conversations\": [{\"from\": \"human\", \"value\": \"问\"}, {\"from\": \"gpt\", \"value\": \"答\"}]}\n",
        "{\"prompt\": \"问\", \"chosen\": \"好\", \"rejected\": \"坏\"}\n",
        "{\"text\": \"北京是首都。\", \"spo_list\": [{\"subject\": \"中国\", \"predicate\": \"首都\", \"object\": {\"@value\": \"北京\"}}]}\n",
        "department,title,ask,answer\n内科,高血压,\"能吃盐吗？\n还有，能喝茶吗？\",\"少吃。\"\"好\"\"\"\n",
        "prompt\tresponse\n一\t1\n二\t\"2\n3\"\n",
        "<doc id=\"1\" url=\"u\" title=\"数学\">\n数学\n\n数学是一门学科。它很老。\n</doc>\n",
        "{\"id\": \"1\", \"url\": \"u\", \"title\": \"数学\", \"text\": \"数学\\n\\n数学是一门学科。\"}\n",
        "第一行\r\n\r\n第二行\n第三段，有标点。\n",
    ];
    let mut seeds: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    for text in texts {
        seeds.push(encoding_rs::GB18030.encode(text).0.into_owned());
    }
    seeds.push(
        encoding_rs::BIG5
            .encode("question,answer\n臺灣最高的山是哪一座？,臺灣最高的山是玉山。\n")
            .0
            .into_owned(),
    );
    let utf16: Vec<u8> = texts[7].encode_utf16().flat_map(u16::to_le_bytes).collect();
    seeds.push([b"\xFF\xFE".to_vec(), utf16].concat());
    seeds
}

fn tokens() -> Vec<Vec<u8>> {
    let tokens: [&[u8]; 40] = [
        b"\"",
        b"\\",
        b"\\\"",
        b"\\u",
        b"\\ud83d",
        b"\\u0000",
        b",",
        b"\t",
        b"\n",
        b"\r\n",
        b"\r",
        b"\n\n",
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b"null",
        b"1e999",
        b"-0",
        b"true",
        b"\"prompt\": ",
        b"\"text\"",
        b"<doc id=\"1\" title=\"",
        b"<doc>",
        b"</doc>\n",
        b"\">\n",
        b"\xEF\xBB\xBF",
        b"\xFF\xFE",
        b"\xFE\xFF",
        b"\0",
        b"\xFF",
        b"\xC4\xE3",
        b"\x81\x30\x81\x30",
        b"\xE5\xA4",
        b"\xED\xA0\x80",
        b"PAR1",
        b"\x1F\x8B",
        b"BZh9",
        b"\x28\xB5\x2F\xFD",
    ];
    tokens.iter().map(|token| token.to_vec()).collect()
}
