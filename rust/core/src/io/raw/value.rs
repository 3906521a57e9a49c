use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A field of a record.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Value<'a> {
    /// The record has no such field.
    #[default]
    Missing,
    /// The field is null.
    Null,
    /// Text; numbers are taken as they are written.
    Text(Cow<'a, str>),
    /// Turns of a dialogue.
    Turns(Vec<Turn<'a>>),
    /// Something else.
    Other,
}

/// Something that somebody said.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn<'a> {
    pub speaker: Speaker,
    pub text: Cow<'a, str>,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    User,
    Assistant,
    /// The system prompt, a tool.
    Other,
}

impl Speaker {
    /// By the names that data sets use.
    pub fn named(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "user" | "human" | "client" | "prompter" | "问" | "用户" | "来访者" => Self::User,
            "assistant" | "gpt" | "bot" | "chatgpt" | "model" | "counselor" | "counsellor" | "答"
            | "助手" | "心理咨询师" => Self::Assistant,
            _ => Self::Other,
        }
    }
}

/// Names of the field that says who speaks, and of the one that says what.
pub const ROLE_NAMES: [&str; 3] = ["role", "from", "speaker"];
pub const CONTENT_NAMES: [&str; 3] = ["content", "value", "text"];

/// Reads the wanted fields of a JSON object, or a bare list of turns as the first of them.
pub struct Record<'n> {
    pub wanted: &'n [String],
}

impl<'de> DeserializeSeed<'de> for Record<'_> {
    type Value = Vec<Value<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Record<'_> {
    type Value = Vec<Value<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut values = vec![Value::Missing; self.wanted.len()];
        while let Some(key) = map.next_key::<Key<'de>>()? {
            match self.wanted.iter().position(|name| *name == key.0) {
                Some(i) => values[i] = map.next_value()?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(values)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        let mut values = vec![Value::Missing; self.wanted.len()];
        if let Some(first) = values.first_mut() {
            *first = ValueVisitor.visit_seq(seq)?;
        }
        Ok(values)
    }
}

/// A string, borrowed from the text if it holds no escapes.
struct Key<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Value<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value<'de>, E> {
        Ok(Value::Text(number.to_string().into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value<'de>, E> {
        Ok(Value::Text(number.to_string().into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value<'de>, E> {
        Ok(Value::Text(number.to_string().into()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value<'de>, E> {
        Ok(Value::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value<'de>, A::Error> {
        let mut turns = Vec::new();
        let mut only_turns = true;
        while let Some(element) = seq.next_element::<&'de RawValue>()? {
            let said = serde_json::from_str(element.get()).ok().and_then(Said::turns);
            only_turns &= said.is_some();
            turns.extend(said.into_iter().flatten());
        }
        Ok(if only_turns { Value::Turns(turns) } else { Value::Other })
    }
}

/// An element of a dialogue: one turn, or the two of `{"input": ..., "output": ...}`.
#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow, default, alias = "from", alias = "speaker")]
    role: Value<'a>,
    #[serde(borrow, default, alias = "value", alias = "text")]
    content: Value<'a>,
    #[serde(borrow, default)]
    input: Value<'a>,
    #[serde(borrow, default)]
    output: Value<'a>,
}

impl<'a> Said<'a> {
    fn turns(self) -> Option<Vec<Turn<'a>>> {
        match (self.role, self.content, self.input, self.output) {
            (Value::Text(role), Value::Text(text), ..) => {
                Some(vec![Turn { speaker: Speaker::named(&role), text }])
            }
            (_, _, Value::Text(input), Value::Text(output)) => Some(vec![
                Turn { speaker: Speaker::User, text: input },
                Turn { speaker: Speaker::Assistant, text: output },
            ]),
            _ => None,
        }
    }
}
