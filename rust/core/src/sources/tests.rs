//! Raw files of every kind to rows.

use std::io::Write;

use super::*;
use crate::io::Rows;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("temp folder"))
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).expect("writes");
        path
    }

    /// Reads files and returns the report with the texts of each row, without the source.
    fn read(&self, inputs: &[PathBuf], options: &SourceOptions) -> Result<(SourceReport, Vec<Vec<String>>)> {
        let out = self.0.path().join("out.parquet");
        let report = read_files(inputs, &out, options, &Job::new(Some(2))?)?;
        let mut rows = Vec::new();
        for batch in Rows::open(&[out])? {
            let batch = batch?;
            let names: Vec<String> = batch.batch.schema().fields().iter().map(|f| f.name().clone()).collect();
            let columns: Vec<_> =
                names.iter().filter(|n| *n != "source").map(|n| batch.text(n)).collect::<Result<_>>()?;
            rows.extend(
                (0..batch.batch.num_rows()).map(|i| columns.iter().map(|c| c.value(i).to_owned()).collect()),
            );
        }
        Ok((report, rows))
    }

    fn read_one(&self, name: &str, bytes: impl AsRef<[u8]>) -> (SourceReport, Vec<Vec<String>>) {
        let path = self.write(name, bytes);
        self.read(&[path], &SourceOptions::default()).expect("reads")
    }
}

fn rows(texts: &[&[&str]]) -> Vec<Vec<String>> {
    texts.iter().map(|row| row.iter().map(|text| (*text).to_owned()).collect()).collect()
}

#[test]
fn what_is_no_text_is_refused_by_what_it_is() {
    let folder = Folder::new();
    let mut noise = vec![0u8; 4_000];
    noise.iter_mut().step_by(3).for_each(|byte| *byte = 0x81);
    for (bytes, kind) in [
        (&b"PK\x03\x04\x14\0word/document.xml"[..], "a ZIP archive or an Office document"),
        (b"%PDF-1.7\n1 0 obj", "a PDF"),
        (b"\x89PNG\r\n\x1A\n", "a picture"),
        (&noise, "binary data"),
    ] {
        let path = folder.write("data", bytes);
        let refused = folder.read(&[path], &SourceOptions::default()).expect_err("no text").to_string();
        assert!(refused.contains(&format!("data: is {kind}")), "{refused}");
    }
    // A zero byte here and there is damage, not a kind of file.
    let (report, _) =
        folder.read_one("rows.txt", "今天天气很好。\0\n".repeat(9) + &"明天下雨。\n".repeat(900));
    assert_eq!(report.rows, 909);
}

#[test]
fn pairs_come_from_every_usual_naming() {
    let folder = Folder::new();
    let records = [
        r#"{"prompt": "问", "response": "答"}"#,
        r#"{"question": "问", "answer": "答", "id": 7}"#,
        r#"{"title": "问", "ask": "", "answer": "答"}"#,
        r#"{"title": "问？", "ask": "问", "answer": "答"}"#,
        r#"{"INSTRUCTION": "问", "RESPONSE": "答"}"#,
        r#"{"q": "问", "a": "答"}"#,
        r#"{"instruction": "问", "input": null, "output": "答"}"#,
        r#"{"messages": [{"role": "system", "content": "乖"}, {"role": "user", "content": "问"}, {"role": "assistant", "content": "答"}]}"#,
        r#"{"conversations": [{"from": "human", "value": "问"}, {"from": "gpt", "value": "答"}]}"#,
        r#"{"conversation": [{"system": "乖", "input": "问", "output": "答"}]}"#,
        r#"[{"role": "client", "content": "问"}, {"role": "counselor", "content": "答"}]"#,
    ];
    for record in records {
        let (report, found) = folder.read_one("a.jsonl", format!("{record}\n{record}\n"));
        assert_eq!((report.bad.len(), found), (0, rows(&[&["问", "答"], &["问", "答"]])), "{record}");
    }
}

#[test]
fn the_input_of_an_instruction_and_the_title_of_a_question_are_kept() {
    let folder = Folder::new();
    let (_, found) =
        folder.read_one("a.json", r#"[{"instruction": "翻译", "input": "hello", "output": "你好"}]"#);
    assert_eq!(found, rows(&[&["翻译\nhello", "你好"]]));
    let csv =
        "department,title,ask,answer\n内科,高血压,能吃盐吗？,少吃。\n内科,能喝茶吗？,医生，能喝茶吗,能。\n";
    let (_, found) = folder.read_one("a.csv", csv);
    assert_eq!(found, rows(&[&["高血压\n能吃盐吗？", "少吃。"], &["医生，能喝茶吗", "能。"]]));
}

#[test]
fn any_encoding_and_compression_gives_the_same_rows() {
    let folder = Folder::new();
    let text = "title,ask,answer\n感冒,感冒了怎么办？,多喝水，多休息，必要的时候去医院看看。\n头疼,头疼怎么办？,\"先量体温,\n再看医生。\"\n".repeat(3);
    let (report, expected) = folder.read_one("utf8.csv", &text);
    assert_eq!(report.files[0].encoding, "UTF-8");
    assert_eq!(expected[1], ["头疼怎么办？", "先量体温,\n再看医生。"]);
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let files: [(&str, Vec<u8>); 4] = [
        ("UTF-8 with BOM", [b"\xEF\xBB\xBF", text.as_bytes()].concat()),
        ("GB18030", encoding_rs::GB18030.encode(&text).0.into_owned()),
        ("UTF-16LE", utf16.clone()),
        ("UTF-16LE", [b"\xFF\xFE".to_vec(), utf16].concat()),
    ];
    for (encoding, bytes) in files {
        let (report, found) = folder.read_one("other.csv", bytes);
        assert_eq!((report.files[0].encoding.as_str(), &found), (encoding, &expected));
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).expect("compresses");
    let zstd = zstd::encode_all(text.as_bytes(), 1).expect("compresses");
    for (kind, bytes) in [("gzip", gzip.finish().expect("ends")), ("zstd", zstd)] {
        let (report, found) = folder.read_one("c.csv", bytes);
        assert_eq!((report.files[0].compression, found), (Some(kind), expected.clone()));
    }
}

#[test]
fn the_format_is_told_by_the_content_and_by_the_name_without_its_compression() {
    let pair = r#"{"prompt": "问", "response": "答"}"#;
    let csv = "prompt,response\n问,答\n";
    let array = format!("[\n  {pair}\n]");
    for (name, text, format) in [
        ("a.txt", pair, "JSON lines"),
        ("a.txt", array.as_str(), "JSON"),
        ("a.csv.gz", csv, "CSV"),
        ("a.csv.zst", csv, "CSV"),
        ("a.csv.bz2", csv, "CSV"),
    ] {
        let (report, found) = Folder::new().read_one(name, text);
        assert_eq!((report.files[0].format, found), (format, rows(&[&["问", "答"]])), "{name}");
    }
    for text in ["{今天}天气很好。", "[{一}] 二"] {
        assert_eq!(Folder::new().read_one("a.txt", text).1, rows(&[&[text]]));
    }
}

#[test]
fn traditional_chinese_in_big5_is_told() {
    let text =
        "question,answer\n臺灣最高的山是哪一座？,臺灣最高的山是玉山，海拔三千九百五十二公尺。\n".repeat(4);
    let (report, found) = Folder::new().read_one("a.csv", encoding_rs::BIG5.encode(&text).0);
    assert_eq!(report.files[0].encoding, "Big5");
    assert_eq!(found[0][0], "臺灣最高的山是哪一座？");
}

#[test]
fn bad_records_are_counted_with_reason_and_line() {
    let folder = Folder::new();
    let bytes = [
        r#"{"prompt": "一", "response": "1"}"#.as_bytes(),
        r#"{"prompt": "二", "resp"#.as_bytes(),
        r#"{"prompt": "三"}"#.as_bytes(),
        r#"{"prompt": "四", "response": " "}"#.as_bytes(),
        r#"{"prompt": "五", "response": true}"#.as_bytes(),
        b"{\"prompt\": \"\xE5\xE5\", \"response\": \"6\"}",
        b"",
        b"7",
        r#"{"prompt": "八", "response": 8}"#.as_bytes(),
    ]
    .join(&b'\n');
    let (report, found) = folder.read_one("a.jsonl", bytes);
    assert_eq!(found, rows(&[&["一", "1"], &["八", "8"]]));
    let told: Vec<_> = report.files[0].bad.samples.iter().map(|bad| (bad.line, bad.reason.text())).collect();
    assert_eq!(
        told,
        [
            (2, "broken JSON"),
            (3, "missing field"),
            (4, "empty field"),
            (5, "field is not text"),
            (6, "invalid bytes"),
            (8, "not an object"),
        ]
    );
    assert!(report.too_many_bad && report.records == 8 && report.rows == 2);
}

#[test]
fn broken_csv_costs_only_its_own_lines() {
    let csv = "prompt,response\n一,1\n二\n三,\"3\n四,4\n五,5,V\n六,\"6 \"\"VI\"\"\n6\"\n七,5\" disk\n";
    let (report, found) = Folder::new().read_one("a.csv", csv);
    assert_eq!(found, rows(&[&["一", "1"], &["四", "4"], &["六", "6 \"VI\"\n6"], &["七", "5\" disk"]]));
    let told: Vec<_> = report.files[0].bad.samples.iter().map(|bad| (bad.line, bad.reason.text())).collect();
    assert_eq!(told, [(3, "too few columns"), (4, "quote not closed"), (6, "too many columns")]);
}

#[test]
fn strict_stops_at_the_first_bad_record() {
    let folder = Folder::new();
    let path = folder.write("a.jsonl", "{\"prompt\": \"一\", \"response\": \"1\"}\n{\"prompt\": \"二\"}\n");
    let options = SourceOptions { strict: true, ..Default::default() };
    let message = folder.read(std::slice::from_ref(&path), &options).expect_err("stops").to_string();
    assert_eq!(message, format!("{}, line 2: missing field (response)", path.display()));
}

#[test]
fn articles_become_questions_and_answers_that_end_with_a_sentence() {
    let folder = Folder::new();
    let long = "数学是一门学科。".repeat(100);
    let wiki = format!(
        "<doc id=\"1\" url=\"u?curid=1\" title=\"数学\">\n数学\n\n{long}\n</doc>\n\
         <doc id=\"2\" url=\"u\" title=\"A&amp;B\">\nA&amp;B\n\n没有结尾\n</doc>\n<doc id=\"3\" title=\"坏\">\n坏\n"
    );
    let (report, found) = folder.read_one("wiki_00", &wiki);
    assert!(found[0][0].contains("数学") && found[0][1].ends_with("学科。"));
    assert_eq!(found[0][1].chars().count(), 512);
    assert!(found[1][0].contains("A&B"));
    assert_eq!(report.files[0].bad.samples[0].line, 11);
    assert_eq!(report.bad.keys().copied().collect::<Vec<_>>(), [Reason::UnclosedDocument]);
    let lines =
        format!("{{\"id\": \"1\", \"url\": \"u\", \"title\": \"数学\", \"text\": \"数学\\n\\n{long}\"}}\n");
    assert_eq!(folder.read_one("wiki.jsonl", lines).1[0], found[0]);
}

#[test]
fn json_arrays_survive_a_broken_element() {
    let json = "[\n  {\"q\": \"一\", \"a\": \"1\"},\n  {\"q\": \"二, \"a\": \"2\"},\n  {\"q\": \"三]\\\"\", \"a\": \"3\"}\n]\n";
    let (report, found) = Folder::new().read_one("a.json", json);
    assert_eq!(found, rows(&[&["一", "1"], &["三]\"", "3"]]));
    assert_eq!(report.files[0].bad.samples[0].line, 3);
}

#[test]
fn preference_rows_and_text_are_told_by_their_fields() {
    let folder = Folder::new();
    let (_, found) = folder.read_one("p.jsonl", r#"{"prompt": "问", "chosen": "好", "reject": "坏"}"#);
    assert_eq!(found, rows(&[&["问", "好", "坏"]]));
    let (_, found) = folder.read_one("t.txt", "第一行\r\n\r\n第二行");
    assert_eq!(found, rows(&[&["第一行"], &["第二行"]]));
    let path = folder.write("t.txt", "一\n二\n\n三\n");
    let options = SourceOptions { text_unit: TextUnit::Paragraph, ..Default::default() };
    assert_eq!(folder.read(&[path], &options).expect("reads").1, rows(&[&["一\n二"], &["三"]]));
}

#[test]
fn lines_of_any_kind_of_space_are_no_rows() {
    let folder = Folder::new();
    for blank in ["\u{B}", "\u{3000}\n\u{2028}\n", " \u{85}\r\n"] {
        let (report, found) = folder.read_one("t.txt", blank);
        assert_eq!((report.records, found), (0, rows(&[])), "{blank:?}");
        assert_eq!(folder.read_one("t.txt", format!("一\n{blank}\n二")).1, rows(&[&["一"], &["二"]]));
    }
}

#[test]
fn text_behind_a_megabyte_of_nothing_is_refused_line_by_line_if_it_should_be_pairs() {
    let folder = Folder::new();
    let path = folder.write("t.txt", "\n".repeat(17 << 20) + "一行\n");
    let options = SourceOptions { shape: Shape::Pairs, max_bad_share: 1.0, ..Default::default() };
    let (report, found) = folder.read(std::slice::from_ref(&path), &options).expect("reads");
    assert_eq!((report.bad.keys().copied().collect(), found), (vec![Reason::MissingField], rows(&[])));
    let options = SourceOptions { max_bad_share: 1.0, ..Default::default() };
    assert_eq!(folder.read(&[path], &options).expect("reads").1, rows(&[&["一行"]]));
}

#[test]
fn columns_can_be_named_and_unknown_ones_are_listed() {
    let folder = Folder::new();
    let path = folder.write("a.tsv", "wen\tda\n一\t1\n");
    let named = SourceOptions {
        prompt_columns: vec!["wen".into()],
        response_column: Some("da".into()),
        ..Default::default()
    };
    assert_eq!(folder.read(std::slice::from_ref(&path), &named).expect("reads").1, rows(&[&["一", "1"]]));
    let wrong = SourceOptions { prompt_columns: vec!["ask".into()], ..Default::default() };
    let message = folder.read(&[path], &wrong).expect_err("refuses").to_string();
    assert!(message.ends_with("field \"ask\" not found (fields: wen, da)"), "{message}");
    let path = folder.write("b.jsonl", "{\"foo\": 1}\n");
    let message = folder.read(&[path], &SourceOptions::default()).expect_err("refuses").to_string();
    assert!(message.contains("no known columns among the fields foo"), "{message}");
}

#[test]
fn later_stages_read_any_format_and_stop_at_a_bad_record() {
    let folder = Folder::new();
    let good = folder.write("good.csv", "question,answer\n一,\n二,2\n");
    let rows: u64 =
        Rows::open(&[good]).expect("opens").map(|b| b.expect("reads").batch.num_rows() as u64).sum();
    assert_eq!(rows, 2);
    let bad = folder.write("bad.jsonl", "{\"prompt\": \"一\", \"response\": \"1\"}\n{\n");
    let message = Rows::open(&[bad]).expect("opens").find_map(Result::err).expect("stops").to_string();
    assert!(message.contains("bad.jsonl, line 2: broken JSON"), "{message}");
}
