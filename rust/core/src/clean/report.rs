use serde::{Serialize, Serializer};

/// Samples kept for each rule.
const SAMPLES: usize = 5;
/// Characters shown before and after the first difference.
const CONTEXT: usize = 24;

/// A rule of cleaning; the first nine change texts, the others drop rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Control and invisible characters, encoding repair.
    Control,
    /// What chat templates left behind.
    Templates,
    /// HTML tags and entities.
    Html,
    /// Full-width letters, digits and spaces.
    Width,
    /// ASCII punctuation beside Chinese text.
    Punctuation,
    /// Repeated marks.
    Repeats,
    /// Spaces between Chinese characters and at ends.
    Spaces,
    /// Traditional characters.
    Simplified,
    /// Personal data.
    Personal,
    /// Nothing is left.
    Empty,
    /// Decoded wrongly.
    Broken,
    /// Nothing but punctuation.
    PunctuationOnly,
    /// Fewer characters than asked for.
    TooShort,
    /// More characters than allowed.
    TooLong,
    /// The same over and over.
    Repetition,
    /// Too small a share of Chinese characters.
    FewHan,
}

impl Rule {
    /// All rules in the order in which they are applied.
    pub const ALL: [Self; 16] = [
        Self::Control,
        Self::Templates,
        Self::Html,
        Self::Width,
        Self::Punctuation,
        Self::Repeats,
        Self::Spaces,
        Self::Simplified,
        Self::Personal,
        Self::Empty,
        Self::Broken,
        Self::PunctuationOnly,
        Self::TooShort,
        Self::TooLong,
        Self::Repetition,
        Self::FewHan,
    ];

    /// Its name in options, reports and files of removed rows.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Templates => "templates",
            Self::Html => "html",
            Self::Width => "width",
            Self::Punctuation => "punctuation",
            Self::Repeats => "repeats",
            Self::Spaces => "spaces",
            Self::Simplified => "simplified",
            Self::Personal => "personal",
            Self::Empty => "empty",
            Self::Broken => "broken",
            Self::PunctuationOnly => "punctuation_only",
            Self::TooShort => "too_short",
            Self::TooLong => "too_long",
            Self::Repetition => "repetition",
            Self::FewHan => "few_han",
        }
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What cleaning did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CleanReport {
    /// Rows read.
    pub rows_in: u64,
    /// Rows kept.
    pub rows_out: u64,
    /// Rows of which at least one text was changed.
    pub rows_changed: u64,
    /// Each rule in order.
    pub rules: Vec<RuleReport>,
}

/// What one rule did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleReport {
    /// The rule.
    pub rule: Rule,
    /// Rows it changed.
    pub rows_changed: u64,
    /// Rows it dropped.
    pub rows_dropped: u64,
    /// Characters that went.
    pub chars_removed: u64,
    /// The first few changes.
    pub samples: Vec<Sample>,
}

/// One change, around the first difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// Row, counted from 1 over all inputs.
    pub row: u64,
    /// Column.
    pub column: String,
    /// The place before.
    pub before: String,
    /// The place after; empty for a dropped row.
    pub after: String,
}

impl Default for CleanReport {
    fn default() -> Self {
        let rule = |rule| RuleReport {
            rule,
            rows_changed: 0,
            rows_dropped: 0,
            chars_removed: 0,
            samples: Vec::new(),
        };
        Self { rows_in: 0, rows_out: 0, rows_changed: 0, rules: Rule::ALL.map(rule).to_vec() }
    }
}

impl CleanReport {
    /// What was told of one rule.
    pub fn rule_mut(&mut self, rule: Rule) -> &mut RuleReport {
        // `Rule::ALL` and the variants are in the same order.
        &mut self.rules[rule as usize]
    }

    /// Adds what was done to later rows.
    pub fn merge(&mut self, later: Self) {
        self.rows_in += later.rows_in;
        self.rows_out += later.rows_out;
        self.rows_changed += later.rows_changed;
        for (rule, later) in self.rules.iter_mut().zip(later.rules) {
            rule.rows_changed += later.rows_changed;
            rule.rows_dropped += later.rows_dropped;
            rule.chars_removed += later.chars_removed;
            let room = SAMPLES - rule.samples.len().min(SAMPLES);
            rule.samples.extend(later.samples.into_iter().take(room));
        }
    }
}

impl RuleReport {
    /// Keeps a change if it is one of the first.
    pub fn sample(&mut self, row: u64, column: &str, before: &str, after: &str) {
        if self.samples.len() < SAMPLES {
            let (before, after) = excerpts(before, after);
            self.samples.push(Sample { row, column: column.to_owned(), before, after });
        }
    }

    /// Counts the characters that a change removed.
    pub fn count_removed(&mut self, before: &str, after: &str) {
        let (before, after) = (before.chars().count() as u64, after.chars().count() as u64);
        self.chars_removed += before.saturating_sub(after);
    }
}

/// Both texts from a little before their first difference.
fn excerpts(before: &str, after: &str) -> (String, String) {
    let same = before.chars().zip(after.chars()).take_while(|(a, b)| a == b).count();
    let from = same.saturating_sub(CONTEXT / 2);
    let part = |text: &str| text.chars().skip(from).take(2 * CONTEXT).collect();
    (part(before), part(after))
}
