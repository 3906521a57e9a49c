//! Parquet rows to padded batches of token ids, in an order that can be taken up anywhere.
//!
//! ```text
//! files --slices--> row groups --shuffle--> windows of rows --encode--> chunks --pack--> batches
//! ```
//!
//! An epoch is a permutation of all rows that is a function of (row groups of the files, seed, epoch)
//! alone. Row groups are permuted and gathered into *windows* of about `shuffle_rows` rows; the rows of
//! a window are permuted and parted into *chunks* of about `bucket_batches` batches; a chunk is encoded,
//! sorted by length and cut into batches, whose order is shuffled in turn. So each row comes exactly
//! once an epoch, whatever the batch size, the threads and the ranks.
//!
//! With several ranks, rank `r` takes the batches `r`, `r + world`, ... of that same sequence, which
//! goes on over the ends of epochs. A [`StreamState`] is the number of rows handed out after a whole round
//! of ranks: any number of ranks can go on from it. Going on reads one window and encodes one chunk again;
//! the rows of the first few batches, which the state names too, are encoded before it.
//!
//! With `weights`, files are mixed: a file of weight 2 is passed twice in an epoch, of one of weight 0.5 every
//! second epoch has what the one before left out.
//!
//! ```no_run
//! use smolchat_core::stream::{Share, Stream, StreamOptions};
//! let options = StreamOptions { batch_tokens: 4096, ..StreamOptions::default() };
//! let files = ["train.parquet".into()];
//! let mut stream = Stream::open(&files, "tokenizer".as_ref(), options, Share::WHOLE, Some(1), None)?;
//! while let Some(batch) = stream.next_batch()? {
//!     println!("{} rows", batch.rows.len());
//! }
//! # Ok::<(), smolchat_core::Error>(())
//! ```

mod batch; // rows of ids -> padded arrays
mod chunk; // rows of a window -> encoded rows and their batches
mod column; // text or ids of a window
mod feed; // the thread that prepares chunks ahead
mod iterate; // chunks -> the batches of one rank, and the state after each
mod mix; // files, weights, epoch -> slices
mod options;
mod order; // seed, epoch -> windows, rows, chunks
mod pack; // lengths -> batches that pad little
mod state;
#[cfg(test)]
mod tests;
mod window; // slices -> text in random order

pub use batch::{Batch, IGNORED, NO_ROW};
pub use column::Content;
pub use iterate::{Share, Step, Stream};
pub use options::StreamOptions;
pub use state::StreamState;
pub use window::{Row, Shuffle, Window};
