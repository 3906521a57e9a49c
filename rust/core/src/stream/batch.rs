//! Rows of token ids to padded arrays.

use super::StreamOptions;

/// Label of a padded place, which the loss leaves out.
pub const IGNORED: i64 = -100;
/// Row number of a row that only fills a batch; see [`Batch::blank`].
pub const NO_ROW: i64 = -1;

/// Padded arrays in row-major order: B rows, S source and T target tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Source ids, [B, S].
    pub input_ids: Vec<i64>,
    /// 1 where `input_ids` is a token, 0 where it is padding, [B, S].
    pub attention_mask: Vec<i64>,
    /// Target ids, [B, T], padded with [`IGNORED`].
    pub labels: Vec<i64>,
    /// Positions of the rows in the concatenated input, [B].
    pub rows: Vec<i64>,
    /// S.
    pub source_tokens: usize,
    /// T.
    pub target_tokens: usize,
}

/// One encoded row.
#[derive(Debug, Clone)]
pub(super) struct EncodedRow {
    pub number: u64,
    pub source: Vec<u32>,
    pub target: Vec<u32>,
}

impl Batch {
    /// Pads rows to their longest.
    pub(super) fn collate<'a>(
        rows: impl ExactSizeIterator<Item = &'a EncodedRow> + Clone,
        pad_id: u32,
        options: &StreamOptions,
    ) -> Self {
        let longest = |of: fn(&EncodedRow) -> usize| options.padded(rows.clone().map(of).max().unwrap_or(0));
        let (source_tokens, target_tokens) =
            (longest(|row| row.source.len()), longest(|row| row.target.len()));
        let mut batch = Self {
            input_ids: Vec::with_capacity(rows.len() * source_tokens),
            attention_mask: Vec::with_capacity(rows.len() * source_tokens),
            labels: Vec::with_capacity(rows.len() * target_tokens),
            rows: Vec::with_capacity(rows.len()),
            source_tokens,
            target_tokens,
        };
        for (place, row) in rows.enumerate() {
            let (source_end, target_end) = ((place + 1) * source_tokens, (place + 1) * target_tokens);
            batch.input_ids.extend(row.source.iter().copied().map(i64::from));
            batch.attention_mask.resize(batch.input_ids.len(), 1);
            batch.input_ids.resize(source_end, i64::from(pad_id));
            batch.attention_mask.resize(source_end, 0);
            batch.labels.extend(row.target.iter().copied().map(i64::from));
            batch.labels.resize(target_end, IGNORED);
            batch.rows.push(row.number as i64);
        }
        batch
    }

    /// A batch of one row that teaches nothing: an ended source, all labels ignored.
    ///
    /// It stands in for the batches that the last round of a finite stream lacks, so that every rank
    /// makes the same number of steps and no row comes twice.
    pub(super) fn blank(eos_id: u32, pad_id: u32, options: &StreamOptions) -> Self {
        let row = EncodedRow { number: 0, source: vec![eos_id], target: vec![eos_id] };
        let mut batch = Self::collate(std::iter::once(&row), pad_id, options);
        batch.labels.fill(IGNORED);
        batch.rows.fill(NO_ROW);
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_padded_to_the_longest_and_to_the_multiple() {
        let rows = [
            EncodedRow { number: 7, source: vec![5, 6, 1], target: vec![1] },
            EncodedRow { number: 3, source: vec![1], target: vec![8, 9, 9, 9, 1] },
        ];
        let options = StreamOptions { pad_multiple: 4, ..StreamOptions::default() };
        let batch = Batch::collate(rows.iter(), 0, &options);
        assert_eq!((batch.source_tokens, batch.target_tokens), (4, 8));
        assert_eq!(batch.input_ids, [5, 6, 1, 0, 1, 0, 0, 0]);
        assert_eq!(batch.attention_mask, [1, 1, 1, 0, 1, 0, 0, 0]);
        assert_eq!(batch.labels[..9], [[1].as_slice(), &[IGNORED; 7], &[8]].concat());
        assert_eq!(batch.labels[12..], [1, IGNORED, IGNORED, IGNORED]);
        assert_eq!(batch.rows, [7, 3]);
    }
}
