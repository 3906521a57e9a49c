use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use serde::de::IgnoredAny;

use super::bad::Reason;
use super::columns::Columns;
use super::encoding::{Encoding, Utf8Reader, binary, sample};
use super::fields::is_known_name;
pub use super::format::FileFormat;
use super::format::Format;
use super::frame::{Block, Blocks, Framed, Framing, next_value};
use super::header::{Header, csv_reader};
use super::input::Input;
use super::options::SourceOptions;
use crate::error::{Error, Result};
use crate::io::parquet::{BATCH_ROWS, next_batch, open_parquet};

/// Records whose fields are looked at.
const RECORDS: usize = 100;

/// How the pieces of one file become rows: all that was found out from its beginning.
#[derive(Debug)]
pub struct Plan {
    pub path: Arc<Path>,
    pub format: FileFormat,
    /// `None` for Parquet.
    pub encoding: Option<Encoding>,
    pub compression: Option<&'static str>,
    /// The text was decoded; U+FFFD marks bytes that meant nothing.
    pub transcoded: bool,
    pub columns: Columns,
    pub header: Option<Header>,
    pub schema: SchemaRef,
    /// What the column `source` says.
    pub source: String,
    pub options: SourceOptions,
    pub keep_empty: bool,
}

impl Plan {
    pub fn encoding_name(&self) -> String {
        self.encoding.map_or_else(String::new, Encoding::name)
    }
}

/// An open file.
pub struct RawFile {
    plan: Arc<Plan>,
    pieces: Pieces,
    blank: bool,
}

enum Pieces {
    Blocks(Box<Blocks>),
    Table { reader: ParquetRecordBatchReader, next_row: u64 },
}

/// A part of a file that can be parsed by itself.
#[derive(Debug)]
pub enum Piece {
    /// Whole records.
    Block(Block),
    /// Rows of a table.
    Table {
        /// The rows.
        batch: RecordBatch,
        /// Number of the first one in its file, counted from 0.
        first_row: u64,
    },
    /// A record that cannot be told from what follows it.
    Bad(Block, Reason),
}

impl RawFile {
    /// Opens a file and finds out its format, encoding and columns. Rows with empty texts are refused
    /// unless `keep_empty`.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::File`] with the path, [`Error::Option`] for an unknown encoding.
    pub fn open(path: &Path, options: &SourceOptions, keep_empty: bool) -> Result<Self> {
        let mut input = Input::open(path)?;
        let head = sample(&mut input)?;
        if options.format == Format::Parquet || (options.format == Format::Auto && head.starts_with(b"PAR1"))
        {
            return Self::open_table(path, options, keep_empty);
        }
        let encoding = match &options.encoding {
            Some(label) => Encoding::named(label)?,
            None => match binary(&head) {
                None => Encoding::detect(&head),
                Some(kind) => {
                    let problem = format!("is {kind}, which is not read as text; unpack or convert it first");
                    return Err(Error::file(path, problem));
                }
            },
        };
        let head = encoding.decode_head(&head);
        let format = FileFormat::detect(path, &head, options.format, options.separator_byte()?);
        let found = find_columns(&head, format, options).map_err(|problem| Error::file(path, problem))?;
        let mut plan = Plan::new(path, format, found, options, keep_empty);
        plan.encoding = Some(encoding);
        plan.compression = input.compression();
        plan.transcoded = !encoding.is_utf8();
        let reader = Utf8Reader::new(Input::open(path)?, encoding);
        let blocks = Blocks::new(reader, Framing::of(format, options.text_unit));
        let blank = head.trim().is_empty();
        Ok(Self { plan: Arc::new(plan), pieces: Pieces::Blocks(Box::new(blocks)), blank })
    }

    fn open_table(path: &Path, options: &SourceOptions, keep_empty: bool) -> Result<Self> {
        let builder = open_parquet(path)?;
        let names: Vec<String> = builder.schema().fields().iter().map(|field| field.name().clone()).collect();
        let columns = Columns::find(&names, options).map_err(|problem| Error::file(path, problem))?;
        let reader = builder.with_batch_size(BATCH_ROWS).build().map_err(Error::parquet(path))?;
        let plan = Plan::new(path, FileFormat::Parquet, (columns, None), options, keep_empty);
        Ok(Self { plan: Arc::new(plan), pieces: Pieces::Table { reader, next_row: 0 }, blank: false })
    }

    /// What was found out about the file.
    #[must_use]
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// True if there is nothing in the file.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.blank
    }

    /// Bytes of the file that were read so far (rows for Parquet).
    #[must_use]
    pub fn taken(&self) -> u64 {
        match &self.pieces {
            Pieces::Blocks(blocks) => blocks.taken(),
            Pieces::Table { .. } => 0,
        }
    }

    /// The next piece, `None` at the end.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::File`] if compressed data or a Parquet file is damaged.
    pub fn next_piece(&mut self) -> Result<Option<Piece>> {
        match &mut self.pieces {
            Pieces::Blocks(blocks) => Ok(blocks.next()?.map(|framed| match framed {
                Framed::Block(block) => Piece::Block(block),
                Framed::Bad(block, reason) => Piece::Bad(block, reason),
            })),
            Pieces::Table { reader, next_row } => {
                let Some(batch) = next_batch(&self.plan.path, reader)? else { return Ok(None) };
                let first_row = *next_row;
                *next_row += batch.num_rows() as u64;
                Ok(Some(Piece::Table { batch, first_row }))
            }
        }
    }
}

impl Plan {
    fn new(
        path: &Path,
        format: FileFormat,
        (columns, header): (Columns, Option<Header>),
        options: &SourceOptions,
        keep_empty: bool,
    ) -> Self {
        let fields = columns.names().iter().map(|name| Field::new(*name, DataType::Utf8, true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let source = options.source.clone().unwrap_or_else(|| stem(path));
        Self {
            path: path.into(),
            format,
            encoding: None,
            compression: None,
            transcoded: false,
            columns,
            header,
            schema,
            source,
            options: options.clone(),
            keep_empty,
        }
    }
}

/// The name of a file up to its first dot.
fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split('.').find(|part| !part.is_empty()).unwrap_or("unknown").to_owned()
}

fn find_columns(
    head: &str,
    format: FileFormat,
    options: &SourceOptions,
) -> Result<(Columns, Option<Header>), String> {
    let without_header = |columns| (columns, None);
    match format {
        _ if head.trim().is_empty() => {
            let text = Columns::by_position(1, options.shape).ok().filter(|_| format == FileFormat::Text);
            Ok(without_header(text.unwrap_or_else(|| Columns::of_nothing(options.shape))))
        }
        FileFormat::Csv(separator) => csv_columns(head, separator, options),
        FileFormat::Wiki => Ok(without_header(Columns::articles(options))),
        FileFormat::Text => Columns::by_position(1, options.shape).map(without_header),
        FileFormat::JsonLines | FileFormat::Json(_) | FileFormat::Parquet => {
            json_columns(head, format, options).map(without_header)
        }
    }
}

fn json_columns(head: &str, format: FileFormat, options: &SourceOptions) -> Result<Columns, String> {
    let head = head.trim_start();
    let head = if format == FileFormat::Json(true) {
        head.strip_prefix('[').unwrap_or(head).trim_start()
    } else {
        head
    };
    if head.starts_with('[') {
        return Ok(Columns::turns());
    }
    let mut names = BTreeSet::new();
    let mut at = 0;
    for _ in 0..RECORDS {
        let Some((start, Some(end))) = next_value(head.as_bytes(), at) else { break };
        at = end;
        if let Ok(record) = serde_json::from_str::<BTreeMap<String, IgnoredAny>>(&head[start..end]) {
            names.extend(record.into_keys());
        }
    }
    if names.is_empty() {
        return Err("no JSON object among its first records; if it is not JSON, name its format".into());
    }
    Columns::find(&names.into_iter().collect::<Vec<_>>(), options)
}

fn csv_columns(
    head: &str,
    separator: u8,
    options: &SourceOptions,
) -> Result<(Columns, Option<Header>), String> {
    let mut first = csv::StringRecord::new();
    // Reading from memory cannot fail, and the text is valid UTF-8.
    csv_reader(head.as_bytes(), separator).read_record(&mut first).unwrap_or(false);
    let names: Vec<String> = first.iter().map(|name| name.trim().to_owned()).collect();
    let named = options.names_columns() || names.iter().any(|name| is_known_name(name));
    let columns = match named {
        true => Columns::find(&names, options)?,
        false => Columns::by_position(names.len(), options.shape)
            .map_err(|problem| format!("{problem}; its first line is {}", names.join(" | ")))?,
    };
    let number = |(i, name): (usize, &String)| {
        if named { names.iter().position(|n| n == name).unwrap_or(0) } else { i }
    };
    let wanted = columns.wanted.iter().enumerate().map(number).collect();
    Ok((columns, Some(Header { fields: names.len(), wanted, named })))
}
