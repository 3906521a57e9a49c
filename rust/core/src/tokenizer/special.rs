//! The special tokens and the byte tokens: the one place that knows their names and ids.

/// Fills a batch; id 0, which is also what a decoder starts from.
pub const PAD: &str = "[PAD]";
/// Ends every text; id 1.
pub const EOS: &str = "[EOS]";
/// Stands for what the vocabulary lacks; with byte tokens it is never produced. Id 6.
pub const UNK: &str = "[UNK]";

/// The special tokens, each at its id.
pub const SPECIALS: [&str; 7] = [PAD, EOS, "[SEP]", "[BOS]", "[CLS]", "[MASK]", UNK];

/// Bytes, each a token of its own, from id 7 on.
pub const BYTES: usize = 256;

/// Name of the token of one byte, as the `tokenizers` and sentencepiece libraries expect it.
#[must_use]
pub fn byte_token(byte: u8) -> String {
    format!("<{byte:#04X}>")
}

/// Whether a piece of text would be mistaken for a special or a byte token.
#[must_use]
pub fn is_reserved(piece: &str) -> bool {
    let is_byte = piece.len() == 6 && piece.starts_with("<0x") && piece.ends_with('>');
    is_byte || SPECIALS.contains(&piece)
}
