//! The special tokens and the byte tokens: the one place that knows their names and ids.

/// Fills a batch; id 0, which is also what a decoder starts from.
pub const PAD: &str = "[PAD]";
/// Ends every text; id 1.
pub const EOS: &str = "[EOS]";
/// Stands for what the vocabulary lacks; with byte tokens it is never produced. Id 6.
pub const UNK: &str = "[UNK]";

/// The special tokens, each at its id.
pub const SPECIALS: [&str; 7] = [PAD, EOS, "[SEP]", "[BOS]", "[CLS]", "[MASK]", UNK];

/// Id of the first token that is neither special nor a byte.
pub const FIRST_CHARACTER: usize = SPECIALS.len() + 256;

/// Name of the token of one byte, as the `tokenizers` and sentencepiece libraries expect it.
pub fn byte_token(byte: u8) -> String {
    format!("<{byte:#04X}>")
}

/// What cuts the name of a special or byte token in two wherever it stands in a text, so that a model
/// that looks for whole entries does not find it.
pub fn name_cutter() -> String {
    let names = SPECIALS.map(|token| token.trim_matches(['[', ']']));
    format!(r"\[(?:{})(?=\])|<0x(?=[0-9A-F]{{2}}>)", names.join("|"))
}

/// The special tokens and the byte tokens, in the order of their ids.
pub fn fixed_tokens() -> impl Iterator<Item = String> {
    SPECIALS.into_iter().map(str::to_owned).chain((0..=u8::MAX).map(byte_token))
}
