//! Tokenizers: built from word counts or from text, and used to encode.

mod encode; // text -> ids
mod special; // names and ids that are fixed

pub use encode::Encoder;
pub use special::{EOS, PAD, SPECIALS, UNK};
