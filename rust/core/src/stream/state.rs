//! Where a stream stands, in a form that any later run can go on from.

use serde::{Deserialize, Serialize};

use super::StreamOptions;
use crate::error::{Error, Result};

/// Where a stream stands: one number, the same on every rank, and what gives it its meaning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamState {
    /// Rows handed out so far, over all ranks and epochs; always the end of a batch.
    pub position: u64,
    /// What the batches depend on besides the place.
    pub made_from: MadeFrom,
    /// Rows of the next few batches. They follow from the place, but only by way of encoding a whole chunk;
    /// with them a stream goes on at once and does that behind the first batches. May be empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub coming: Vec<Vec<u64>>,
}

/// What must be the same for a state to mean the same batches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MadeFrom {
    /// Rows in all files.
    pub rows: u64,
    /// Hash of the row groups.
    pub files: String,
    /// Hash of the tokenizer.
    pub tokenizer: String,
    /// The options.
    pub options: StreamOptions,
}

impl MadeFrom {
    /// Refuses a state of another stream and names what differs.
    pub(super) fn require_same(&self, state: &Self) -> Result<()> {
        let changes: Vec<String> = fields(state)
            .into_iter()
            .zip(fields(self))
            .filter(|(was, is)| was != is)
            .map(|((name, was), (_, is))| format!("{name} ({was} -> {is})"))
            .collect();
        if changes.is_empty() {
            return Ok(());
        }
        Err(Error::Data(format!(
            "the state belongs to another stream, which differs in: {}; open the stream as it was, or begin anew",
            changes.join(", ")
        )))
    }
}

fn fields(made_from: &MadeFrom) -> Vec<(String, String)> {
    let mut fields = vec![
        ("rows".to_owned(), made_from.rows.to_string()),
        ("files".to_owned(), made_from.files.clone()),
        ("tokenizer".to_owned(), made_from.tokenizer.clone()),
    ];
    if let Ok(serde_json::Value::Object(options)) = serde_json::to_value(&made_from.options) {
        fields.extend(options.into_iter().map(|(name, value)| (name, value.to_string())));
    }
    fields
}
