//! Blocks, encodings and records: what is read does not depend on where a file is cut.

use std::path::Path;

use arrow::array::AsArray;
use proptest::prelude::*;

use super::encoding::Utf8Reader;
use super::frame::{Blocks, Framed, Framing};
use super::input::Input;
use super::*;

/// Texts of the rows, and what was left out.
type Read = (Vec<Vec<String>>, Bad);

fn read(path: &Path, options: &SourceOptions, block: usize) -> Option<Read> {
    let file = RawFile::open(path, options, true).ok()?;
    let plan = file.plan();
    let reader = Utf8Reader::new(Input::open(path).expect("opens"), plan.encoding?);
    let mut blocks = Blocks::with_sizes(reader, Framing::of(plan.format, options.text_unit), block, 1 << 20);
    let (mut rows, mut bad) = (Vec::new(), Bad::default());
    while let Some(framed) = blocks.next().expect("reads") {
        let piece = match framed {
            Framed::Block(block) => Piece::Block(block),
            Framed::Bad(block, reason) => Piece::Bad(block, reason),
        };
        let parsed = parse(plan, piece).expect("parses");
        let columns = parsed.batch.columns().iter().map(|column| column.as_string::<i32>());
        let columns: Vec<_> = columns.take(parsed.batch.num_columns() - 1).collect();
        rows.extend(
            (0..parsed.batch.num_rows()).map(|i| columns.iter().map(|c| c.value(i).to_owned()).collect()),
        );
        bad.merge(parsed.bad);
    }
    Some((rows, bad))
}

fn write(name: &str, bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().expect("temp folder");
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).expect("writes");
    (folder, path)
}

fn text() -> impl Strategy<Value = String> {
    "[天气很好,，\"'a-z0-9;{}\\[\\]\\\\<> \n\t]{0,24}"
}

fn pairs() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::vec((text(), text()), 1..12)
}

fn as_rows(pairs: &[(String, String)]) -> Vec<Vec<String>> {
    pairs.iter().map(|(prompt, response)| vec![prompt.clone(), response.clone()]).collect()
}

proptest! {
    #[test]
    fn json_of_any_form_gives_back_its_texts(pairs in pairs(), block in 1usize..200, form in 0..3) {
        let records: Vec<_> = pairs.iter().map(|(q, a)| serde_json::json!({"question": q, "n": {"x": [1]}, "answer": a})).collect();
        let lines = || records.iter().map(|record| format!("{record}\n")).collect::<String>();
        let text = match form {
            0 => lines(),
            1 => serde_json::to_string(&records).expect("serializes"),
            _ => serde_json::to_string_pretty(&records).expect("serializes"),
        };
        let (_folder, path) = write("a.json", text.as_bytes());
        prop_assert_eq!(read(&path, &SourceOptions::default(), block), Some((as_rows(&pairs), Bad::default())));
    }

    #[test]
    fn csv_in_any_encoding_gives_back_its_texts(pairs in pairs(), block in 1usize..200, encoding in 0..4, separator in 0usize..2) {
        let separator = [b',', b'\t'][separator];
        let mut writer = csv::WriterBuilder::new().delimiter(separator).from_writer(Vec::new());
        // Text that leaves no doubt about the encoding, which a guess needs.
        writer.write_record(["问题", "答案"]).expect("writes");
        writer.write_record(["中华人民共和国的首都是哪一座城市？", "中国的首都是北京，这是大家都知道的。"]).expect("writes");
        for (prompt, response) in &pairs {
            writer.write_record([prompt, response]).expect("writes");
        }
        let text = String::from_utf8(writer.into_inner().expect("flushes")).expect("is UTF-8");
        let bytes = match encoding {
            0 => text.clone().into_bytes(),
            1 => [b"\xEF\xBB\xBF", text.as_bytes()].concat(),
            2 => encoding_rs::GB18030.encode(&text).0.into_owned(),
            _ => std::iter::once(0xFEFF).chain(text.encode_utf16()).flat_map(u16::to_be_bytes).collect(),
        };
        let (_folder, path) = write("a.csv", &bytes);
        let separator = Some(if separator == b',' { "," } else { "tab" }.to_owned());
        let (rows, bad) = read(&path, &SourceOptions { separator, ..Default::default() }, block).expect("is a table");
        prop_assert_eq!(&rows[1..], &as_rows(&pairs)[..]);
        prop_assert_eq!(bad, Bad::default());
    }

    #[test]
    fn damaged_files_give_the_same_wherever_they_are_cut(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "{\"q\": \"一\", \"a\": \"二\"}", "{\"q\": ", "\"", "\\", "[", "]", "{", "}", ",", "\n", "\n", "\r\n", "一,二", "\"一\n二\",三",
            "<doc id=\"1\" title=\"题\">\n", "正文。\n", "</doc>\n", "</doc>", "q,a", " ", "问\t答",
        ]), 0..30),
        block in 1usize..40,
        name in prop::sample::select(vec!["a.jsonl", "a.json", "a.csv", "wiki", "a.txt"]),
        begin in prop::sample::select(vec!["{\"q\": \"一\", \"a\": \"二\"}\n", "[{\"q\": \"一\", \"a\": \"二\"},\n", "q,a\n", "<doc id=\"0\" title=\"题\">\n正文。\n</doc>\n", ""]),
    ) {
        let (_folder, path) = write(name, format!("{begin}{}", pieces.concat()).as_bytes());
        let options = SourceOptions::default();
        prop_assert_eq!(read(&path, &options, block), read(&path, &options, 1 << 20));
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), name in prop::sample::select(vec!["a.json", "a.csv", "a.txt", "a"])) {
        let (_folder, path) = write(name, &bytes);
        read(&path, &SourceOptions::default(), 64);
    }
}
