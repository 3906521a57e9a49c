use memchr::{memchr, memchr_iter, memchr2, memmem, memrchr};

use super::bad::Reason;
use super::encoding::Utf8Reader;
use super::format::FileFormat;
use super::options::TextUnit;
use crate::error::Result;

/// Bytes of a block.
const BLOCK: usize = 1 << 20;
/// Bytes of the longest record.
const MAX_RECORD: usize = 64 << 20;

/// Some whole records of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Block {
    pub bytes: Vec<u8>,
    /// Line of the file where the block begins, counted from 1.
    pub first_line: u64,
}

/// What comes next in a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Framed {
    Block(Block),
    /// A record that cannot be told from what follows it.
    Bad(Block, Reason),
}

/// Cuts a file into blocks that end where a record ends.
pub struct Blocks {
    reader: Utf8Reader,
    framing: Framing,
    buffer: Vec<u8>,
    line: u64,
    ended: bool,
    block: usize,
    max_record: usize,
}

/// How records end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    Lines,
    Csv(u8),
    Values { in_array: bool },
    Documents,
    Paragraphs,
    Whole,
}

enum Cut {
    /// Whole records up to here.
    Records(usize),
    /// A bad record up to here.
    Bad(usize, Reason),
    /// No record ends yet.
    More,
}

impl Framing {
    pub fn of(format: FileFormat, unit: TextUnit) -> Self {
        match format {
            FileFormat::Csv(separator) => Self::Csv(separator),
            FileFormat::Json(in_array) => Self::Values { in_array },
            FileFormat::Wiki => Self::Documents,
            FileFormat::Text if unit == TextUnit::Paragraph => Self::Paragraphs,
            FileFormat::Text if unit == TextUnit::File => Self::Whole,
            _ => Self::Lines,
        }
    }

    fn cut(self, bytes: &[u8], at_end: bool) -> Cut {
        let end = match self {
            Self::Csv(separator) => return cut_csv(bytes, separator, at_end),
            _ if at_end => Some(bytes.len()),
            Self::Lines => memrchr(b'\n', bytes).map(|i| i + 1),
            Self::Values { .. } => last_value_end(bytes),
            Self::Documents => memmem::rfind(bytes, b"</doc>").map(|i| i + 6),
            Self::Paragraphs => {
                let ends = [&b"\n\n"[..], b"\n\r\n"]
                    .map(|blank| memmem::rfind(bytes, blank).map(|i| i + blank.len()));
                ends.into_iter().max().flatten()
            }
            Self::Whole => None,
        };
        end.filter(|end| *end > 0).map_or(Cut::More, Cut::Records)
    }
}

impl Blocks {
    pub fn new(reader: Utf8Reader, framing: Framing) -> Self {
        Self::with_sizes(reader, framing, BLOCK, MAX_RECORD)
    }

    pub fn with_sizes(reader: Utf8Reader, framing: Framing, block: usize, max_record: usize) -> Self {
        Self { reader, framing, buffer: Vec::new(), line: 1, ended: false, block, max_record }
    }

    /// Bytes of the file itself that were read so far.
    pub fn taken(&self) -> u64 {
        self.reader.input().taken()
    }

    pub fn next(&mut self) -> Result<Option<Framed>> {
        let mut wanted = self.block;
        loop {
            while !self.ended && self.buffer.len() < wanted {
                let missing = wanted - self.buffer.len();
                self.ended = !self.reader.fill(&mut self.buffer, missing)?;
            }
            if self.framing == (Framing::Values { in_array: true }) {
                self.skip_opening_bracket();
            }
            match (self.buffer.is_empty(), self.ended) {
                (true, true) => return Ok(None),
                (true, false) => continue,
                _ => {}
            }
            match self.framing.cut(&self.buffer, self.ended) {
                Cut::Records(end) => return Ok(Some(Framed::Block(self.take(end)))),
                Cut::Bad(end, reason) => return Ok(Some(Framed::Bad(self.take(end), reason))),
                Cut::More if self.buffer.len() >= self.max_record => return self.skip_line().map(Some),
                Cut::More => wanted = (2 * self.buffer.len().max(self.block)).min(self.max_record),
            }
        }
    }

    fn take(&mut self, end: usize) -> Block {
        let rest = self.buffer.split_off(end);
        let bytes = std::mem::replace(&mut self.buffer, rest);
        let first_line = self.line;
        self.line += memchr_iter(b'\n', &bytes).count() as u64;
        Block { bytes, first_line }
    }

    /// Gives up the first line of a record that never ends, and keeps only its beginning.
    fn skip_line(&mut self) -> Result<Framed> {
        let first_line = self.line;
        let kept = self.buffer[..self.buffer.len().min(1 << 10)].to_vec();
        loop {
            if let Some(i) = memchr(b'\n', &self.buffer) {
                self.take(i + 1);
                break;
            }
            self.buffer.clear();
            if self.ended {
                break;
            }
            self.ended = !self.reader.fill(&mut self.buffer, self.block)?;
        }
        Ok(Framed::Bad(Block { bytes: kept, first_line }, Reason::TooLong))
    }

    /// Past it, an array is values one after the other.
    fn skip_opening_bracket(&mut self) {
        let blank = self.buffer.iter().take_while(|b| b.is_ascii_whitespace()).count();
        let bracket = usize::from(self.buffer.get(blank) == Some(&b'['));
        if blank < self.buffer.len() {
            self.framing = Framing::Values { in_array: false };
        }
        self.take(blank + bracket);
    }
}

/// Quotes are read as the CSV reader reads them: one at the start of a field opens it. One that never
/// closes would swallow all that follows, so its first line alone is given up.
fn cut_csv(bytes: &[u8], separator: u8, at_end: bool) -> Cut {
    let (mut record, mut at) = (0, 0);
    let give_up = |record: usize| match record {
        0 => Cut::Bad(memchr(b'\n', bytes).map_or(bytes.len(), |i| i + 1), Reason::UnclosedQuote),
        _ => Cut::Records(record),
    };
    while let Some(found) = memchr2(b'"', b'\n', &bytes[at..]) {
        let i = at + found;
        at = i + 1;
        if bytes[i] == b'\n' {
            record = at;
        } else if i == record || bytes[i - 1] == separator {
            match closing_quote(bytes, at, separator, at_end) {
                Quote::Closed(end) => at = end,
                Quote::Stray => return give_up(record),
                Quote::Open if at_end => return give_up(record),
                Quote::Open => return if record > 0 { Cut::Records(record) } else { Cut::More },
            }
        }
    }
    match record {
        _ if at_end => Cut::Records(bytes.len()),
        0 => Cut::More,
        _ => Cut::Records(record),
    }
}

enum Quote {
    /// Closed; the field goes on or ends here.
    Closed(usize),
    /// Closed in the middle of a later line: it was never meant to reach there.
    Stray,
    Open,
}

fn closing_quote(bytes: &[u8], start: usize, separator: u8, at_end: bool) -> Quote {
    let mut at = start;
    while let Some(found) = memchr(b'"', &bytes[at..]) {
        let i = at + found;
        match bytes.get(i + 1) {
            Some(b'"') => at = i + 2,
            None if !at_end => return Quote::Open,
            None | Some(b'\n' | b'\r') => return Quote::Closed(i + 1),
            Some(&byte) if byte == separator => return Quote::Closed(i + 1),
            Some(_) if memchr(b'\n', &bytes[start..i]).is_some() => return Quote::Stray,
            Some(_) => return Quote::Closed(i + 1),
        }
    }
    Quote::Open
}

fn last_value_end(bytes: &[u8]) -> Option<usize> {
    let mut end = None;
    let mut at = 0;
    while let Some((_, Some(stop))) = next_value(bytes, at) {
        end = Some(stop);
        at = stop;
    }
    end
}

/// Start of the next JSON value at or after `at`, past separators and brackets of an array around it,
/// and its end if it is whole. A string broken by a line end breaks its record, which then ends where a
/// line begins with the next object.
pub fn next_value(bytes: &[u8], at: usize) -> Option<(usize, Option<usize>)> {
    let start =
        at + bytes[at..].iter().position(|b| !matches!(b, b' ' | b'\t' | b'\r' | b'\n' | b',' | b']'))?;
    let (mut depth, mut in_string, mut i) = (0u32, false, start);
    while let Some(&byte) = bytes.get(i) {
        i += 1;
        match byte {
            b'\\' if in_string => i += 1,
            b'"' => in_string = !in_string,
            b'\n' if in_string => return Some((start, next_object_line(bytes, i))),
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' | b'\n' if depth == 0 => return Some((start, Some(i - 1))),
            _ => continue,
        }
        if depth == 0 && !in_string && matches!(byte, b'}' | b']' | b'"') {
            return Some((start, Some(i)));
        }
    }
    Some((start, None))
}

fn next_object_line(bytes: &[u8], start_of_line: usize) -> Option<usize> {
    let mut line = start_of_line;
    loop {
        let indent = bytes[line..].iter().position(|b| !matches!(b, b' ' | b'\t'))?;
        if bytes[line + indent] == b'{' {
            return Some(line);
        }
        line += memchr(b'\n', &bytes[line..])? + 1;
    }
}
