//! Near-duplicate removal: MinHash signatures, banded candidates, exact verification.
//!
//! Two rows are duplicates when the Jaccard similarity of their sets of character n-grams is at least
//! `threshold`. A row is removed when it is a duplicate of an earlier row that is kept; the first such
//! row is named, or the first with the very same text if there is one. Banded MinHash (Broder 1997)
//! proposes pairs and each pair is then compared on the n-grams themselves, so precision is 1 and only
//! recall is statistical: at least 0.998 of the pairs at the threshold itself, more above. Rows with the
//! same text take a shorter way.
//!
//! Rows are decided in order, or longest first ([`Keep`]), and "earlier" is meant in that order.
//!
//! Time is linear in characters. Memory is 16 bytes and 4 per band for each row, 64 in all at the
//! defaults, and 5 bytes for each character of those rows that share a band with another row.
//!
//! ```
//! use smolchat_core::dedup::{DedupOptions, find_duplicates};
//! use smolchat_core::job::Job;
//! let rows = ["今天天气很好。", "明天会下雨。", "今天天气很好！"];
//! let groups = find_duplicates(&rows, &DedupOptions::default(), &Job::new(None)?)?;
//! assert_eq!(groups.kept(), [0, 1]);
//! assert_eq!(groups.removed()[0].kept_row, 0);
//! # Ok::<(), smolchat_core::Error>(())
//! ```
//!
//! The steps are public too, so that a cluster can run them piece by piece: [`signatures`] of any
//! part of the rows, [`candidates`] of all signatures, a [`Verifier`] with the texts of
//! [`Candidates::rows`], then [`groups`].

mod band; // signatures -> rows with the same text or the same key of a band
mod contain; // row -> the text of `against` inside it
mod files; // row files -> row files
mod group; // candidates -> rows that stay and rows that go
mod index; // kept rows <-> file
mod normal; // row -> compared characters
mod options;
mod probe; // text -> table of its n-grams
mod reason; // why a row goes; removed rows -> columns of a table
mod shingle; // characters -> hashed n-grams
mod sieve; // pair -> n-grams that it shares at most
mod signature; // n-grams -> MinHash signature
mod texts; // slices and tables -> rows
mod verify; // pair -> exact Jaccard

pub use band::{Candidates, candidates};
pub use files::{DedupFiles, DedupReport, deduplicate_files};
pub use group::{Groups, groups};
pub use index::{IndexReader, IndexWriter};
pub(crate) use normal::Compared;
pub use options::{DedupOptions, Keep, QuestionLine};
pub use reason::{Removed, reasons};
pub use signature::{Signatures, signatures};
pub use texts::{TableTexts, Texts, compared_columns};
pub use verify::Verifier;

use self::options::Plan;
use self::signature::sign;
use crate::error::Result;
use crate::job::Job;

/// Finds the rows whose text is the same or nearly the same as that of an earlier row.
///
/// # Errors
/// [`crate::Error::Option`] if an option is out of range, [`crate::Error::Cancelled`] if the job was
/// asked to stop.
pub fn find_duplicates<T: AsRef<str> + Sync>(
    texts: &[T],
    options: &DedupOptions,
    job: &Job,
) -> Result<Groups> {
    find_duplicates_against(&texts, &(&[] as &[&str]), options, job)
}

/// The same, where rows also go if they are duplicates of a row of `against`, all of which count as
/// earlier and are kept; or, with [`DedupOptions::contained`], if they contain one.
///
/// # Errors
/// As [`find_duplicates`].
pub fn find_duplicates_against(
    texts: &impl Texts,
    against: &impl Texts,
    options: &DedupOptions,
    job: &Job,
) -> Result<Groups> {
    find(texts, against, options, options.plan()?, job)
}

fn find(
    texts: &impl Texts,
    against: &impl Texts,
    options: &DedupOptions,
    plan: Plan,
    job: &Job,
) -> Result<Groups> {
    let all = texts::Chain(against, texts);
    job.phase("signatures", all.rows() as u64);
    let signatures = sign(&all, options, plan, job)?;
    job.phase("candidates", 0);
    let candidates = candidates(&signatures, against.rows(), job)?;
    drop(signatures);
    let mut questions = contain::Questions::new(options);
    questions.extend(against);
    questions.prepare();
    let candidates = candidates.without(questions.find(texts, 0, job)?);
    let mut verifier = Verifier::new(options);
    verifier.extend(&all, candidates.rows(), job)?;
    groups(candidates, &verifier, job)
}

#[cfg(test)]
mod tests;
