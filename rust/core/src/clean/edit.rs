use std::ops::Range;

/// A text with parts replaced from left to right.
pub struct Edit<'t> {
    text: &'t str,
    out: String,
    done: usize,
}

impl<'t> Edit<'t> {
    pub fn new(text: &'t str) -> Self {
        Self { text, out: String::new(), done: 0 }
    }

    /// Replaces a part that begins where the one before it ended, or later; the first of two that
    /// overlap counts.
    pub fn replace(&mut self, range: Range<usize>, with: &str) {
        if range.start < self.done || range.is_empty() || self.text[range.clone()] == *with {
            return;
        }
        if self.done == 0 {
            self.out.reserve(self.text.len());
        }
        self.out.push_str(&self.text[self.done..range.start]);
        self.out.push_str(with);
        self.done = range.end;
    }

    pub fn remove(&mut self, range: Range<usize>) {
        self.replace(range, "");
    }

    /// True if what is written so far, were `at` the next place copied, ends a line.
    pub fn at_line_start(&self, at: usize) -> bool {
        let kept = &self.text[self.done.min(at)..at];
        let before = if kept.is_empty() { self.out.as_str() } else { kept };
        before.is_empty() || before.ends_with('\n')
    }

    /// The new text, `None` if nothing was replaced.
    pub fn finish(mut self) -> Option<String> {
        if self.done == 0 && self.out.is_empty() {
            return None;
        }
        self.out.push_str(&self.text[self.done..]);
        Some(self.out)
    }
}

/// The character before a place.
pub fn before(text: &str, at: usize) -> Option<char> {
    text[..at].chars().next_back()
}

/// The character at a place.
pub fn after(text: &str, at: usize) -> Option<char> {
    text[at..].chars().next()
}
