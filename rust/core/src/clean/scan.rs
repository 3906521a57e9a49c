use crate::text::{half_width, is_cjk};

/// What one look over a text finds. A rule is tried only if its trait is there, so that clean text costs
/// this look and nothing more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traits(u8);

impl Traits {
    /// Control, invisible or look-alike characters, or Latin letters that may be doubly encoded text.
    pub const CONTROL: Self = Self(1);
    /// `<` or `&`.
    pub const MARKUP: Self = Self(1 << 1);
    /// `<`, `#`, `[`, or the word `noinput`.
    pub const TEMPLATE: Self = Self(1 << 2);
    /// Full-width letters, digits or spaces, or unusual spaces.
    pub const WIDTH: Self = Self(1 << 3);
    /// ASCII punctuation beside Chinese text.
    pub const PUNCTUATION: Self = Self(1 << 4);
    /// A mark more than once in a row.
    pub const REPEAT: Self = Self(1 << 5);
    /// A space between Chinese characters, before another space, at the end of a line, or at either end.
    pub const SPACE: Self = Self(1 << 6);

    pub fn has(self, wanted: Self) -> bool {
        self.0 & wanted.0 != 0
    }

    pub fn of(text: &str) -> Self {
        let mut found = 0;
        let mut seen = Seen::default();
        for c in text.chars() {
            // Most characters of Chinese text are these, and they are only looked at for their neighbours.
            let kind = if ('\u{4E00}'..='\u{9FFF}').contains(&c) { Kind::Cjk } else {
                found |= by_itself(c).0;
                kind(c)
            };
            found |= seen.next(c, kind).0;
        }
        found |= seen.next('\n', Kind::LineEnd).0;
        if text.ends_with(char::is_whitespace) {
            found |= Self::SPACE.0;
        }
        if memchr::memmem::find(text.as_bytes(), b"noinput").is_some() {
            found |= Self::TEMPLATE.0;
        }
        Self(found)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Kind {
    #[default]
    LineEnd,
    Space,
    Mark,
    Cjk,
    Other,
}

fn kind(c: char) -> Kind {
    match c {
        '\n' => Kind::LineEnd,
        ' ' | '\t' => Kind::Space,
        ',' | '.' | '!' | '?' | ':' | ';' | '(' | ')' | '"' => Kind::Mark,
        c if is_cjk(c) => Kind::Cjk,
        _ => Kind::Other,
    }
}

fn by_itself(c: char) -> Traits {
    match c {
        '<' => Traits(Traits::MARKUP.0 | Traits::TEMPLATE.0),
        '&' => Traits::MARKUP,
        '#' | '[' => Traits::TEMPLATE,
        '\n' | '\t' => Traits::default(),
        c if c < ' ' || is_invisible(c) || is_look_alike(c) => Traits::CONTROL,
        c if is_odd_space(c) || half_width(c).is_some() || matches!(c, '．' | '｡'..='､') => Traits::WIDTH,
        _ => Traits::default(),
    }
}

/// The last characters seen.
#[derive(Default)]
struct Seen {
    last: char,
    kind: Kind,
    /// Kind of what stands before a run of spaces.
    before_space: Kind,
    run: u32,
}

impl Seen {
    fn next(&mut self, c: char, kind: Kind) -> Traits {
        let mut found = Traits::default();
        match (self.kind, kind) {
            (Kind::Cjk, Kind::Mark) | (Kind::Mark, Kind::Cjk) => found = Traits::PUNCTUATION,
            (Kind::Space, Kind::Mark) if self.before_space == Kind::Cjk => found = Traits::PUNCTUATION,
            (Kind::Space, Kind::Space | Kind::LineEnd) => found = Traits::SPACE,
            (Kind::Space, Kind::Cjk) if matches!(self.before_space, Kind::Cjk | Kind::LineEnd) => found = Traits::SPACE,
            (Kind::LineEnd, Kind::LineEnd) if self.last == '\0' => found = Traits::SPACE,
            (Kind::Other, Kind::Other) if is_high_latin(c) && is_high_latin(self.last) => found = Traits::CONTROL,
            _ => {}
        }
        self.run = if c == self.last { self.run + 1 } else { 1 };
        let limit = match c {
            '！' | '？' | '。' | '，' | '、' | '；' | '：' | '～' => 2,
            '…' | '—' | '!' | '?' | '~' => 3,
            '.' => 4,
            _ => u32::MAX,
        };
        let mixed = matches!(c, '！' | '？' | '!' | '?') && matches!(self.last, '！' | '？' | '!' | '?');
        if self.run >= limit || mixed {
            found = Traits(found.0 | Traits::REPEAT.0);
        }
        if kind == Kind::Space && self.kind != Kind::Space {
            self.before_space = self.kind;
        }
        (self.last, self.kind) = (c, kind);
        found
    }
}

/// Has no width and no meaning in plain text.
pub fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{7F}'..='\u{9F}' | '\u{AD}' | '\u{200B}' | '\u{200C}' | '\u{200E}' | '\u{200F}'
        | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFD}'
        | '\u{E000}'..='\u{F8FF}' | '\u{F0000}'..='\u{10FFFF}')
}

/// Radicals and compatibility forms that look like ordinary Chinese characters.
pub fn is_look_alike(c: char) -> bool {
    matches!(c, '\u{2E80}'..='\u{2FD5}' | '\u{F900}'..='\u{FAFF}')
}

/// A space that is neither the ordinary one nor the full-width one.
pub fn is_odd_space(c: char) -> bool {
    matches!(c, '\u{A0}' | '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{205F}')
}

/// What UTF-8 bytes look like when they are read as Windows-1252.
pub fn is_high_latin(c: char) -> bool {
    c >= '\u{80}' && encoding_byte(c).is_some()
}

/// The byte of Windows-1252 for a character above ASCII.
pub fn encoding_byte(c: char) -> Option<u8> {
    const HIGH: &str = "€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ";
    const BYTES: [u8; 27] = [
        0x80, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8B, 0x8C, 0x8E, 0x91, 0x92, 0x93, 0x94, 0x95, 0x96,
        0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9E, 0x9F,
    ];
    match u32::from(c) {
        code @ 0x80..=0xFF => u8::try_from(code).ok(),
        _ => HIGH.chars().position(|high| high == c).map(|i| BYTES[i]),
    }
}
