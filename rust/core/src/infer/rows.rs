//! Keys and values of each answer under way, in half the bytes: with 16 answers they are read as much as weights.

use std::sync::Arc;

use super::attention::{Lines, Room};
use super::math::Short;

/// Keys and values of a layer, each `[tokens, heads * d_kv]`: apart, for one pass reads the keys and another the
/// values.
#[derive(Clone, Default)]
pub struct Kept {
    keys: Vec<Short>,
    values: Vec<Short>,
}

impl Kept {
    /// Adds tokens, `[tokens, key and value]`, whose keys and values are `inner` wide.
    pub fn extend<'a>(&mut self, made: impl Iterator<Item = &'a [f32]>, inner: usize) {
        for line in made {
            let (keys, values) = line.split_at(inner);
            self.keys.extend(keys.iter().map(|&number| Short::from(number)));
            self.values.extend(values.iter().map(|&number| Short::from(number)));
        }
    }

    /// Keys and values of `inner` numbers a token.
    pub fn lines(&self, inner: usize) -> (Lines<'_, Short>, Lines<'_, Short>) {
        let lines = |data| Lines { data, stride: inner, offset: 0 };
        (lines(&self.keys), lines(&self.values))
    }
}

/// Keys and values of a prompt, for each decoder layer.
pub struct Cross {
    pub tokens: usize,
    pub layers: Vec<Kept>,
}

/// One answer under way.
#[derive(Clone)]
pub struct Row {
    /// Tokens it has been fed.
    pub age: usize,
    /// Of its own tokens, for each layer.
    pub layers: Vec<Kept>,
    /// Beams of one answer share this.
    pub cross: Arc<Cross>,
    /// Of each distance to a token: `[heads, age]`.
    pub bias: Vec<f32>,
    pub room: Room,
}

impl Row {
    pub fn new(layers: usize, cross: Arc<Cross>) -> Self {
        Self { age: 0, layers: vec![Kept::default(); layers], cross, bias: Vec::new(), room: Room::default() }
    }
}

/// Row i of the result is what row `order[i]` was; a row that is named once is moved, not copied.
pub fn select(rows: Vec<Row>, order: &[usize]) -> Vec<Row> {
    let mut left: Vec<usize> = vec![0; rows.len()];
    for &source in order {
        left[source] += 1;
    }
    let mut rows: Vec<Option<Row>> = rows.into_iter().map(Some).collect();
    order
        .iter()
        .filter_map(|&source| {
            left[source] -= 1;
            if left[source] == 0 { rows[source].take() } else { rows[source].clone() }
        })
        .collect()
}
