//! Raw files as people have them: any encoding, compression and shape, to rows.
//!
//! ```text
//! bytes --input--> plain bytes --encoding--> UTF-8 --frame--> blocks of whole records
//!       --parse--> fields by name --layout--> rows (prompt, response | chosen, rejected | text)
//! ```
//! Blocks are parsed independently of each other, so that a caller may parse many at a time.

mod bad; // why a record was left out
mod builder; // fields of records -> rows
mod columns; // names of fields -> columns; wanted fields of a record -> row
mod encoding; // bytes -> UTF-8
mod fields; // names of fields -> layout
mod file; // path -> blocks, with everything found out from the beginning of the file
mod format; // beginning of a file -> format
mod frame; // UTF-8 -> blocks that end where a record ends
mod header; // first record of a CSV file -> its fields
mod input; // path -> decompressed bytes
mod layout; // what the columns of a row are made of
mod nested; // list columns of Parquet -> turns
mod options;
mod parse; // block -> rows
mod table; // a table of CSV or Parquet -> records
#[cfg(test)]
mod tests;
mod value; // JSON record -> the wanted fields
mod wiki; // article -> question and answer

pub use bad::{Bad, BadRecord, Reason};
pub use builder::Parsed;
pub use file::{FileFormat, Piece, RawFile};
pub use format::Format;
pub use options::{Shape, SourceOptions, TextUnit};
pub use parse::parse;
