//! Inputs that are nearly right.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Most bytes of an input; copying a part again and again would make it huge.
const MAX_BYTES: usize = 1 << 16;
/// Most copies of a part.
const COPIES: usize = 40;

/// Pieces of a seed in any order, then a few mutations.
pub fn bytes(seeds: Vec<Vec<u8>>, tokens: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let start = vec(select(seeds), 1..3).prop_map(|parts| parts.concat());
    (start, vec(mutation(tokens), 0..8)).prop_map(|(mut input, mutations)| {
        mutations.iter().for_each(|mutation| mutation.apply(&mut input));
        input.truncate(MAX_BYTES);
        input
    })
}

#[derive(Debug, Clone)]
enum Mutation {
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    /// Copy so many bytes from there so many times.
    Copy(Index, usize, usize),
    /// Move so many bytes from the first place to the second.
    Move(Index, Index, usize),
    Cut(Index),
}

fn mutation(tokens: Vec<Vec<u8>>) -> impl Strategy<Value = Mutation> {
    let length = || prop_oneof![4 => 1_usize..8, 1 => 8_usize..400];
    prop_oneof![
        2 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        4 => (any::<Index>(), select(tokens)).prop_map(|(at, token)| Mutation::Insert(at, token)),
        2 => (any::<Index>(), length()).prop_map(|(at, length)| Mutation::Remove(at, length)),
        1 => (any::<Index>(), length(), 1..COPIES).prop_map(|(at, length, times)| Mutation::Copy(at, length, times)),
        1 => (any::<Index>(), any::<Index>(), length()).prop_map(|(from, to, length)| Mutation::Move(from, to, length)),
        1 => any::<Index>().prop_map(Mutation::Cut),
    ]
}

impl Mutation {
    fn apply(&self, input: &mut Vec<u8>) {
        let part = |at: &Index, length: usize, input: &[u8]| {
            let start = at.index(input.len() + 1);
            start..(start + length).min(input.len())
        };
        match self {
            Self::Set(at, byte) if !input.is_empty() => {
                let at = at.index(input.len());
                input[at] = *byte;
            }
            Self::Set(..) => {}
            Self::Insert(at, token) => insert(input, at, token),
            Self::Remove(at, length) => drop(input.drain(part(at, *length, input))),
            Self::Copy(at, length, times) if input.len() < MAX_BYTES => {
                let copied = input[part(at, *length, input)].repeat(*times);
                insert(input, at, &copied);
            }
            Self::Copy(..) => {}
            Self::Move(from, to, length) => {
                let moved: Vec<u8> = input.drain(part(from, *length, input)).collect();
                insert(input, to, &moved);
            }
            Self::Cut(at) => input.truncate(at.index(input.len() + 1)),
        }
    }
}

fn insert(input: &mut Vec<u8>, at: &Index, inserted: &[u8]) {
    let at = at.index(input.len() + 1);
    input.splice(at..at, inserted.iter().copied());
}

/// Text of the kinds that stand in rows: Chinese, English, numbers, marks, markup, templates, code.
pub fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[天气很好我们去公园玩吧]{1,6}",
        2 => "[a-zA-Z]{1,6}",
        2 => "[0-9]{1,4}([.,:：．][0-9]{1,2})?",
        3 => "[,.!?:;()\"'，。！？：；、（）“”…—·～~]{1,5}",
        2 => "[ \t\n\u{3000}\u{A0}]{1,3}",
        3 => select(TOKENS.to_vec()).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
        1 => (select(TOKENS.to_vec()), 1..COPIES).prop_map(|(token, times)| token.repeat(times)),
    ];
    vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// What the rules of cleaning look for.
const TOKENS: [&str; 62] = [
    "<p>",
    "</p>",
    "<br>",
    "<b>",
    "</b>",
    "<div class=\"x\">",
    "</div>",
    "<a href='http://a.cn'>",
    "</a>",
    "<script>",
    "</script>",
    "<style>",
    "<!--",
    "-->",
    "<html>",
    "</html>",
    "&lt;",
    "&gt;",
    "&amp;",
    "&nbsp;",
    "&#65;",
    "&#x4E2D;",
    "&quot;",
    "### Response:",
    "### Instruction:",
    "<noinput>",
    "noinput",
    "</s>",
    "<s>",
    "<|end|>",
    "[EOS]",
    "`",
    "```",
    "~~~",
    "http://a.com/x?y=1&z",
    "www.b.cn",
    "a.b@c.cn",
    "](c.md)",
    "[",
    "](",
    "def f(x):\n    return x",
    "x = 1;",
    "# ",
    "// ",
    "\r\n",
    "\r",
    "\u{200B}",
    "\u{FEFF}",
    "\u{FFFD}",
    "\u{E000}",
    "ä½\u{A0}å¥½",
    "⽤",
    "１２",
    "Ｂ",
    "．",
    "ﾊﾟ",
    "| a | b |\n",
    "- ",
    "說話",
    "13812345678",
    "11010519491231002X",
    "\0",
];
