//! Cleaning by ordered, named rules: some change a text, some drop a row.
//!
//! The rules run in the order of [`Rule::ALL`], again and again until a text no longer changes, so that
//! cleaning twice is cleaning once. Code, addresses and link targets are found first and no rule but
//! [`Rule::Control`] touches them. Text that is clean costs one look.
//!
//! ```
//! use smolchat_core::clean::{CleanOptions, clean_text};
//! let options = CleanOptions::default();
//! assert_eq!(clean_text("你 好,<b>世界</b>！！！！价格是３.５元", &options)?, "你好，世界！价格是3.5元");
//! assert_eq!(clean_text("a < b, Vec<u8>, 3,000", &options)?, "a < b, Vec<u8>, 3,000");
//! # Ok::<(), smolchat_core::Error>(())
//! ```

mod drops; // row -> why it must go
mod edit; // text -> text with parts replaced
mod options;
mod report;
mod rows; // batches and files -> clean ones
mod rules; // one function for each rule
mod scan; // text -> which rules may apply
mod slice; // some rows -> clean ones, on one thread
mod spans; // text -> parts that no rule may alter
#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use options::CleanOptions;
pub use report::{CleanReport, Rule, RuleReport, Sample};
pub use rows::{Cleaned, clean_batches, clean_files};

use crate::error::Result;
use scan::Traits;
use spans::Spans;

type Apply = fn(&str, &Spans) -> Option<String>;

/// A text that goes on changing for so many rounds is left as it was, so that cleaning twice is cleaning
/// once for whatever anybody makes up. Real text needs two or three.
const MAX_ROUNDS: usize = 100;

/// Cleans one text.
///
/// # Errors
/// [`Error::Option`](crate::Error::Option) if an option is out of range.
pub fn clean_text<'t>(text: &'t str, options: &CleanOptions) -> Result<Cow<'t, str>> {
    Ok(Cleaner::new(options)?.clean(text, |_, _, _| {}))
}

/// The rules that are switched on.
pub struct Cleaner {
    rules: Vec<(Rule, Traits, Apply)>,
    options: CleanOptions,
}

impl Cleaner {
    /// Prepares the rules.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) if an option is out of range.
    pub fn new(options: &CleanOptions) -> Result<Self> {
        options.check()?;
        let html: Apply = if options.pages { rules::pages } else { rules::html };
        let all: [(bool, (Rule, Traits, Apply)); 9] = [
            (options.control, (Rule::Control, Traits::CONTROL, rules::control)),
            (options.templates, (Rule::Templates, Traits::TEMPLATE, rules::templates)),
            (options.html, (Rule::Html, Traits::MARKUP, html)),
            (options.width, (Rule::Width, Traits::WIDTH, rules::width)),
            (options.punctuation, (Rule::Punctuation, Traits::PUNCTUATION, rules::punctuation)),
            (options.repeats, (Rule::Repeats, Traits::REPEAT, rules::repeats)),
            (options.spaces, (Rule::Spaces, Traits::SPACE, rules::spaces)),
            (options.simplified, (Rule::Simplified, Traits::ANY, rules::simplified)),
            (options.personal, (Rule::Personal, Traits::ANY, rules::personal)),
        ];
        let rules = all.into_iter().filter(|(on, _)| *on).map(|(_, rule)| rule).collect();
        Ok(Self { rules, options: options.clone() })
    }

    pub(crate) fn options(&self) -> &CleanOptions {
        &self.options
    }

    /// Cleans a text and tells each change: the rule, the text before and after it.
    pub fn clean<'t>(&self, text: &'t str, mut tell: impl FnMut(Rule, &str, &str)) -> Cow<'t, str> {
        let mut current = Cow::Borrowed(text);
        for _ in 0..MAX_ROUNDS {
            if !self.round(&mut current, &mut tell) {
                return current;
            }
        }
        Cow::Borrowed(text)
    }

    /// Applies each rule once; true if one changed the text.
    fn round(&self, text: &mut Cow<'_, str>, tell: &mut impl FnMut(Rule, &str, &str)) -> bool {
        // What a rule brings to light for an earlier or a later one is found in the next round.
        let traits = Traits::of(text);
        let mut spans: Option<Spans> = None;
        let mut changed = false;
        for (rule, wanted, apply) in &self.rules {
            if !traits.has(*wanted) {
                continue;
            }
            let found = spans.get_or_insert_with(|| Spans::find(text));
            if let Some(new) = apply(text, found).filter(|new| new != text) {
                tell(*rule, text, &new);
                *text = Cow::Owned(new);
                (spans, changed) = (None, true);
            }
        }
        changed
    }
}
