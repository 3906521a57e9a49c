//! Attention of one query: all heads at once, so that keys and values are read in the order they lie in.

use super::math::{LANES, Number, for_each_width, lanes_of_products, softmax, total};

/// Where keys or values lie: `[tokens, stride]`, those of a token from `offset` on.
#[derive(Clone, Copy)]
pub struct Lines<'a, T> {
    pub data: &'a [T],
    pub stride: usize,
    pub offset: usize,
}

impl<T> Lines<'_, T> {
    #[inline(always)]
    fn line(&self, token: usize, width: usize) -> &[T] {
        let from = token * self.stride + self.offset;
        &self.data[from..from + width]
    }
}

/// Room for what a query makes on its way, used again by the next one.
#[derive(Debug, Clone, Default)]
pub struct Room {
    /// `[heads, tokens]`.
    scores: Vec<f32>,
    /// Of the scores of one token. That they go through memory keeps the compiler from tearing the lanes
    /// apart for the sake of their sum.
    lanes: Vec<[f32; LANES]>,
}

for_each_width! {
    /// What a query finds among keys and values, as they are or as they are kept.
    ///
    /// `query` and `out` are `[heads, width]`; `bias` gives each head's `[heads, tokens]` or is empty.
    pub fn attend<T: Number>(
        query: &[f32],
        keys: Lines<'_, T>,
        values: Lines<'_, T>,
        tokens: usize,
        heads: usize,
        bias: &[f32],
        room: &mut Room,
        out: &mut [f32],
    ) {
        let width = query.len() / heads;
        let Room { scores, lanes } = room;
        scores.resize(heads * tokens, 0.0);
        lanes.resize(heads, [0.0; LANES]);
        for token in 0..tokens {
            let line = keys.line(token, query.len());
            for ((lanes, query), keys) in lanes.iter_mut().zip(query.chunks_exact(width)).zip(line.chunks_exact(width)) {
                *lanes = lanes_of_products(query, keys);
            }
            for (head, &lanes) in lanes.iter().enumerate() {
                scores[head * tokens + token] = total(lanes);
            }
        }
        if !bias.is_empty() {
            for (score, bias) in scores.iter_mut().zip(bias) {
                *score += bias;
            }
        }
        for scores in scores.chunks_exact_mut(tokens) {
            softmax(scores);
        }
        out.fill(0.0);
        for token in 0..tokens {
            let line = values.line(token, query.len());
            for ((head, out), values) in out.chunks_exact_mut(width).enumerate().zip(line.chunks_exact(width)) {
                let weight = scores[head * tokens + token];
                for (out, value) in out.iter_mut().zip(values) {
                    *out += weight * value.wide();
                }
            }
        }
    }
}
