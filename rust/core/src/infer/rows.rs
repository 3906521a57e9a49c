//! Keys and values of each answer under way, in half the bytes: with 16 answers they are read as much as weights.

use std::sync::Arc;

use super::math::Short;

/// Keys and values of a prompt: for each decoder layer `[tokens, key and value]`.
pub struct Cross {
    pub tokens: usize,
    pub layers: Vec<Vec<Short>>,
}

/// One answer under way.
#[derive(Clone)]
pub struct Row {
    /// Tokens it has been fed.
    pub age: usize,
    /// For each layer `[age, key and value]`.
    pub layers: Vec<Vec<Short>>,
    /// Beams of one answer share this.
    pub cross: Arc<Cross>,
    /// Room for scores and biases.
    pub scores: Vec<f32>,
    pub bias: Vec<f32>,
}

impl Row {
    pub fn new(layers: usize, cross: Arc<Cross>) -> Self {
        Self { age: 0, layers: vec![Vec::new(); layers], cross, scores: Vec::new(), bias: Vec::new() }
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
