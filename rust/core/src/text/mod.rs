//! What several stages need to know of characters: classes, widths, sentence ends, entities.

mod class; // character -> is it Han, punctuation, a mark of a sentence end
mod entity; // `&lt;` -> `<`
mod sentence; // text -> where its sentences end
mod width; // full-width letter -> ASCII letter

pub use class::{is_cjk, is_cjk_punctuation, is_han, is_kana, is_punctuation, is_sentence_end};
pub use entity::decode_entities;
pub use sentence::{cut_at_sentence, sentence_ends};
pub use width::half_width;
