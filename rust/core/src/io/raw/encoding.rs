use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{CoderResult, Decoder, GB18030, GBK, UTF_8, UTF_16BE, UTF_16LE};

use super::input::Input;
use crate::error::{Error, Result};

/// Bytes looked at for one guess.
const CHUNK: usize = 256 << 10;
/// Chunks with non-ASCII bytes that are enough for a guess.
const TELLING_CHUNKS: usize = 4;
/// Of so many bytes one is zero, at least, in wide encodings and in binary data.
const SHARE_OF_ZEROS: usize = 200;
/// How far a beginning of plain ASCII, or a first line, is followed.
const MAX_SAMPLE: usize = 16 << 20;

/// How files begin that hold no text, and what they are.
const BINARY: [(&[u8], &str); 12] = [
    (b"PK\x03\x04", "a ZIP archive or an Office document"),
    (b"%PDF-", "a PDF"),
    (b"\xD0\xCF\x11\xE0", "an Office document"),
    (b"7z\xBC\xAF\x27\x1C", "a 7z archive"),
    (b"Rar!\x1A\x07", "a RAR archive"),
    (b"\xFD7zXZ\x00", "xz data"),
    (b"ARROW1", "an Arrow file"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"\x89PNG", "a picture"),
    (b"\xFF\xD8\xFF", "a picture"),
    (b"GIF8", "a picture"),
    (b"\x7FELF", "a program"),
];

/// The encoding of a file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Encoding {
    codec: &'static encoding_rs::Encoding,
    bom: bool,
}

impl Encoding {
    /// An encoding by one of its usual names.
    pub fn named(label: &str) -> Result<Self> {
        let codec = encoding_rs::Encoding::for_label(label.trim().as_bytes()).ok_or_else(|| {
            Error::option("encoding", label, "unknown; for example utf-8, gb18030, big5 or utf-16le")
        })?;
        Ok(Self { codec: if codec == GBK { GB18030 } else { codec }, bom: false })
    }

    /// What the beginning of a file is written in.
    pub fn detect(sample: &[u8]) -> Self {
        if let Some((codec, _)) = encoding_rs::Encoding::for_bom(sample) {
            return Self { codec, bom: true };
        }
        let codec = utf16_by_zeros(sample)
            .unwrap_or_else(|| if is_mostly_utf8(sample) { UTF_8 } else { by_frequencies(sample) });
        Self { codec, bom: false }
    }

    /// The beginning of a file as text, to find out more from it.
    pub fn decode_head(self, sample: &[u8]) -> String {
        let (text, _) = self.codec.decode_with_bom_removal(sample);
        text.into_owned()
    }

    pub fn is_utf8(self) -> bool {
        self.codec == UTF_8
    }

    /// Its name as reports tell it.
    pub fn name(self) -> String {
        match (self.bom, self.codec.name()) {
            (true, "UTF-8") => "UTF-8 with BOM".into(),
            (_, "gb18030") => "GB18030".into(),
            (_, name) => name.into(),
        }
    }
}

/// What a file is that holds no text, as its beginning tells.
pub fn binary(sample: &[u8]) -> Option<&'static str> {
    let named = BINARY.iter().find(|(magic, _)| sample.starts_with(magic));
    let has_zeros = || memchr::memchr_iter(0, sample).count() > sample.len() / SHARE_OF_ZEROS;
    let is_wide = || encoding_rs::Encoding::for_bom(sample).is_some() || utf16_by_zeros(sample).is_some();
    named.map(|&(_, kind)| kind).or_else(|| (has_zeros() && !is_wide()).then_some("binary data"))
}

/// Reads the beginning of a file, past a long stretch of ASCII, for [`Encoding::detect`]; its first line is
/// whole, however long, so that a record can be looked at.
pub fn sample(input: &mut Input) -> Result<Vec<u8>> {
    let mut kept = Vec::new();
    let (mut telling, mut seen, mut in_first_line) = (0, 0, true);
    while (telling < TELLING_CHUNKS || in_first_line) && seen < MAX_SAMPLE {
        let mut chunk = vec![0; CHUNK];
        let n = input.read_full(&mut chunk)?;
        chunk.truncate(n);
        telling += usize::from(!chunk.is_ascii());
        if in_first_line || !chunk.is_ascii() {
            kept.extend_from_slice(&chunk);
        }
        in_first_line &= memchr::memchr(b'\n', &chunk).is_none();
        seen += n;
        if n < CHUNK {
            break;
        }
    }
    Ok(kept)
}

/// UTF-8 with a few damaged places is still UTF-8: its damaged records are told one by one.
fn is_mostly_utf8(sample: &[u8]) -> bool {
    let (mut valid, mut invalid) = (0usize, 0usize);
    for chunk in sample.utf8_chunks() {
        valid += chunk.valid().bytes().filter(|b| *b >= 0xC0).count();
        invalid += usize::from(!chunk.invalid().is_empty());
    }
    // The sample may end in the middle of a character, hence the one.
    invalid <= 1 + valid / 4
}

/// UTF-16 without a mark: ASCII characters and line ends have a zero byte on one side.
fn utf16_by_zeros(sample: &[u8]) -> Option<&'static encoding_rs::Encoding> {
    let mut zeros = [0usize; 2];
    for pair in sample.chunks_exact(2) {
        zeros[0] += usize::from(pair[0] == 0);
        zeros[1] += usize::from(pair[1] == 0);
    }
    let enough = sample.len() / SHARE_OF_ZEROS + 1;
    match zeros {
        [even, odd] if odd >= enough && odd > 8 * even => Some(UTF_16LE),
        [even, odd] if even >= enough && even > 8 * odd => Some(UTF_16BE),
        _ => None,
    }
}

fn by_frequencies(sample: &[u8]) -> &'static encoding_rs::Encoding {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(sample, true);
    let guess = detector.guess(None, Utf8Detection::Deny);
    // Little text, or text full of ASCII, is sometimes taken for a Western one.
    let is_gb = || GB18030.decode_without_bom_handling_and_without_replacement(whole_lines(sample)).is_some();
    if guess == GBK || (guess.is_single_byte() && is_gb()) { GB18030 } else { guess }
}

fn whole_lines(sample: &[u8]) -> &[u8] {
    memchr::memrchr(b'\n', sample).map_or(sample, |end| &sample[..end])
}

/// A file as UTF-8, without its byte order mark. Bytes that mean nothing in another encoding become
/// U+FFFD; those of a UTF-8 file are passed on as they are.
pub struct Utf8Reader {
    input: Input,
    decoder: Option<Decoder>,
    raw: Vec<u8>,
    begun: bool,
    ended: bool,
}

impl Utf8Reader {
    pub fn new(input: Input, encoding: Encoding) -> Self {
        let decoder = (!encoding.is_utf8()).then(|| encoding.codec.new_decoder_with_bom_removal());
        Self { input, decoder, raw: Vec::new(), begun: false, ended: false }
    }

    pub fn input(&self) -> &Input {
        &self.input
    }

    /// Appends about `want` bytes; false if the file is at its end.
    pub fn fill(&mut self, out: &mut Vec<u8>, want: usize) -> Result<bool> {
        if self.ended {
            return Ok(false);
        }
        match &mut self.decoder {
            None => {
                let start = out.len();
                out.resize(start + want, 0);
                let n = self.input.read_full(&mut out[start..])?;
                out.truncate(start + n);
                self.ended = n < want;
                if !self.begun && out[start..].starts_with(b"\xEF\xBB\xBF") {
                    out.drain(start..start + 3);
                }
                self.begun = true;
            }
            Some(decoder) => {
                self.raw.resize(want, 0);
                let n = self.input.read_full(&mut self.raw)?;
                self.ended = n < want;
                decode(decoder, &self.raw[..n], self.ended, out)?;
            }
        }
        Ok(!self.ended)
    }
}

fn decode(decoder: &mut Decoder, mut bytes: &[u8], last: bool, out: &mut Vec<u8>) -> Result<()> {
    let room = decoder.max_utf8_buffer_length(bytes.len());
    let room = room.ok_or_else(|| Error::Internal("block too large to decode".into()))?;
    loop {
        let start = out.len();
        out.resize(start + room, 0);
        let (outcome, read, written, _) = decoder.decode_to_utf8(bytes, &mut out[start..], last);
        out.truncate(start + written);
        bytes = &bytes[read..];
        if outcome == CoderResult::InputEmpty {
            return Ok(());
        }
    }
}
