/// Where the columns of a row come from; numbers index the wanted fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// Fields joined to the prompt, and the response.
    Pair { prompt: Vec<Part>, response: usize },
    /// The first question of a dialogue and the answer to it.
    Dialogue,
    /// Title and text of an article.
    Article,
    /// Fields joined to the prompt, the preferred answer, the other one.
    Preference { prompt: Vec<Part>, chosen: usize, rejected: Option<usize> },
    /// Plain text.
    Text,
}

/// A field joined to the prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub field: usize,
    /// The field may be missing.
    pub optional: bool,
}
