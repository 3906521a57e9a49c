use crate::text::{half_width, is_cjk, is_han};

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

    /// What every text has, for rules that look themselves.
    pub const ANY: Self = Self(0);

    pub fn has(self, wanted: Self) -> bool {
        wanted == Self::ANY || self.0 & wanted.0 != 0
    }

    pub fn of(text: &str) -> Self {
        let mut found = 0;
        let mut seen = Seen::default();
        let mut chars = text.chars();
        loop {
            // In the middle of Chinese text, which is most of it, nothing depends on the neighbours.
            if seen.kind.is_cjk() {
                let rest = chars.as_str();
                let run = common_han(rest.as_bytes());
                if run > 0 {
                    chars = rest[run..].chars();
                    // Which character it was matters for marks alone.
                    (seen.last, seen.kind) = (FIRST_HAN, Kind::Han);
                }
            }
            let Some(c) = chars.next() else { break };
            let (kind, traits) = look(c);
            found |= traits | seen.next(c, kind);
        }
        found |= seen.next('\n', Kind::LineEnd);
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
    /// ASCII punctuation that has a Chinese form.
    Mark,
    Han,
    /// Chinese punctuation, kana.
    Wide,
    /// Above ASCII, not Chinese.
    High,
    Other,
}

impl Kind {
    fn is_cjk(self) -> bool {
        matches!(self, Self::Han | Self::Wide)
    }
}

/// Kind and traits of each ASCII character.
const ASCII: [(Kind, u8); 128] = {
    let mut table = [(Kind::Other, 0); 128];
    let mut i = 0;
    while i < 128 {
        table[i] = match i as u8 {
            b'\n' => (Kind::LineEnd, 0),
            b' ' | b'\t' => (Kind::Space, 0),
            b',' | b'.' | b'!' | b'?' | b':' | b';' | b'(' | b')' | b'"' => (Kind::Mark, 0),
            b'<' => (Kind::Other, Traits::MARKUP.0 | Traits::TEMPLATE.0),
            b'&' => (Kind::Other, Traits::MARKUP.0),
            b'#' | b'[' => (Kind::Other, Traits::TEMPLATE.0),
            0..b' ' | 0x7F => (Kind::Other, Traits::CONTROL.0),
            _ => (Kind::Other, 0),
        };
        i += 1;
    }
    table
};

/// The block of the common Chinese characters.
const FIRST_HAN: char = '\u{4E00}';
const LAST_HAN: char = '\u{9FFF}';

/// Bytes of common Chinese characters at the beginning of a text: those from E4 B8 80 to E9 BF BF in UTF-8.
fn common_han(text: &[u8]) -> usize {
    let is_common = |c: &&[u8]| matches!((c[0], c[1]), (0xE5..=0xE9, _) | (0xE4, 0xB8..));
    3 * text.chunks_exact(3).take_while(is_common).count()
}

fn look(c: char) -> (Kind, u8) {
    match c {
        '\0'..='\x7F' => ASCII[c as usize],
        FIRST_HAN..=LAST_HAN => (Kind::Han, 0),
        c if is_invisible(c) || is_look_alike(c) => (Kind::High, Traits::CONTROL.0),
        c if is_odd_space(c) || half_width(c).is_some() || matches!(c, '．' | '｡'..='､') => {
            (Kind::High, Traits::WIDTH.0)
        }
        c if is_han(c) => (Kind::Han, 0),
        c if is_cjk(c) => (Kind::Wide, 0),
        _ => (Kind::High, 0),
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
    fn next(&mut self, c: char, kind: Kind) -> u8 {
        let mut found = match (self.kind, kind) {
            (Kind::Mark, now) if now.is_cjk() => Traits::PUNCTUATION.0,
            (before, Kind::Mark) if before.is_cjk() => Traits::PUNCTUATION.0,
            (Kind::Space, Kind::Mark) if self.before_space.is_cjk() => Traits::PUNCTUATION.0,
            (Kind::Space, Kind::Space | Kind::LineEnd) => Traits::SPACE.0,
            (Kind::Space, now)
                if now.is_cjk() && (self.before_space.is_cjk() || self.before_space == Kind::LineEnd) =>
            {
                Traits::SPACE.0
            }
            (Kind::LineEnd, Kind::LineEnd) if self.last == '\0' => Traits::SPACE.0,
            (Kind::High, Kind::High | Kind::Wide) | (Kind::Wide, Kind::High)
                if is_high_latin(c) && is_high_latin(self.last) =>
            {
                Traits::CONTROL.0
            }
            _ => 0,
        };
        let mut repeated = false;
        if c == self.last {
            self.run += 1;
            repeated = match c {
                '！' | '？' | '。' | '，' | '、' | '；' | '：' | '～' => true,
                '…' | '—' | '!' | '?' | '~' => self.run > 2,
                '.' => self.run > 3,
                _ => false,
            };
        } else {
            self.run = 1;
            repeated |= matches!(c, '！' | '？' | '!' | '?') && matches!(self.last, '！' | '？' | '!' | '?');
        }
        found |= if repeated { Traits::REPEAT.0 } else { 0 };
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
        0x80, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8B, 0x8C, 0x8E, 0x91, 0x92, 0x93, 0x94,
        0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9E, 0x9F,
    ];
    match u32::from(c) {
        code @ 0x80..=0xFF => u8::try_from(code).ok(),
        _ => HIGH.chars().position(|high| high == c).map(|i| BYTES[i]),
    }
}
