use std::sync::LazyLock;

use ferrous_opencc::OpenCC;
use ferrous_opencc::config::BuiltinConfig;

use crate::clean::edit::Edit;
use crate::clean::spans::Spans;

/// `None` only if the dictionaries that are compiled in cannot be read.
static CONVERTER: LazyLock<Option<OpenCC>> = LazyLock::new(|| OpenCC::from_config(BuiltinConfig::T2s).ok());

/// Writes traditional characters in their simplified form, word by word as `OpenCC` does (t2s).
pub fn simplified(text: &str, spans: &Spans) -> Option<String> {
    let converter = CONVERTER.as_ref()?;
    let mut edit = Edit::new(text);
    for part in spans.plain(text) {
        edit.replace(part.clone(), &converter.convert(&text[part]));
    }
    edit.finish()
}
