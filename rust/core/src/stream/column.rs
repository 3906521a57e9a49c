//! A column of rows to stream: text, or the ids that `encode` made of it.

use arrow::array::{Array, AsArray, ListArray, StringArray};
use arrow::datatypes::{UInt16Type, UInt32Type};

use crate::error::Result;
use crate::io::RowBatch;
use crate::tokenizer::Encoder;

/// A column without nulls.
pub enum Column {
    Text(StringArray),
    Ids(ListArray),
}

/// One row of a column, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content<'a> {
    /// Text that is still to be encoded.
    Text(&'a str),
    /// Its ids, `[EOS]` the last.
    Short(&'a [u16]),
    /// The same in a vocabulary of over 65,536 entries.
    Long(&'a [u32]),
}

impl Column {
    pub fn of(batch: &RowBatch, name: &str) -> Result<Self> {
        match batch.batch.column_by_name(name).and_then(|column| column.as_list_opt()) {
            Some(ids) => batch.without_null(name, ids.clone()).map(Self::Ids),
            None => batch.text(name).cloned().map(Self::Text),
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Self::Text(texts) => texts.len(),
            Self::Ids(ids) => ids.len(),
        }
    }

    pub fn row(&self, row: usize) -> Content<'_> {
        match self {
            Self::Text(texts) => Content::Text(texts.value(row)),
            Self::Ids(ids) => {
                let range = ids.value_offsets()[row] as usize..ids.value_offsets()[row + 1] as usize;
                match ids.values().as_primitive_opt::<UInt16Type>() {
                    Some(short) => Content::Short(&short.values()[range]),
                    None => Content::Long(&ids.values().as_primitive::<UInt32Type>().values()[range]),
                }
            }
        }
    }

    /// Tokens of its rows, each at most `most`: judged by the bytes where it is text.
    pub fn guess_tokens(&self, bytes_per_token: usize, most: usize) -> u128 {
        let sum = |lengths: &mut dyn Iterator<Item = usize>| lengths.map(|n| n.min(most) as u128).sum();
        match self {
            Self::Text(texts) => sum(&mut texts.offsets().lengths().map(|bytes| bytes / bytes_per_token + 1)),
            Self::Ids(ids) => sum(&mut ids.offsets().lengths()),
        }
    }
}

impl Content<'_> {
    /// Bytes that it takes: of the text in UTF-8, or of the ids.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Content::Text(text) => text.len(),
            Content::Short(ids) => size_of_val(ids),
            Content::Long(ids) => size_of_val(ids),
        }
    }

    /// The ids, at most `max_tokens` of them, `[EOS]` always the last.
    pub fn ids(self, encoder: &Encoder, max_tokens: usize) -> Result<Vec<u32>> {
        match self {
            Content::Text(text) => encoder.encode(text, max_tokens),
            Content::Short(ids) => Ok(encoder.cut(ids.iter().map(|&id| u32::from(id)), max_tokens)),
            Content::Long(ids) => Ok(encoder.cut(ids.iter().copied(), max_tokens)),
        }
    }
}
