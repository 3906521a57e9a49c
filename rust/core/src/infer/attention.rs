//! Attention of one query: all heads at once, so that keys and values are read in the order they lie in.

use super::math::{Number, dot, for_each_width, softmax};

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

for_each_width! {
    /// What a query finds among keys and values, as they are or as they are kept.
    ///
    /// `query` and `out` are `[heads, width]`; `bias` gives each head's `[heads, tokens]` or is empty;
    /// `scores` is room for `[heads, tokens]`.
    pub fn attend<T: Number>(
        query: &[f32],
        keys: Lines<'_, T>,
        values: Lines<'_, T>,
        tokens: usize,
        heads: usize,
        bias: &[f32],
        scores: &mut [f32],
        out: &mut [f32],
    ) {
        let width = query.len() / heads;
        for token in 0..tokens {
            let line = keys.line(token, query.len());
            for head in 0..heads {
                let part = head * width..(head + 1) * width;
                scores[head * tokens + token] = dot(&query[part.clone()], &line[part]);
            }
        }
        if !bias.is_empty() {
            for (score, bias) in scores[..heads * tokens].iter_mut().zip(bias) {
                *score += bias;
            }
        }
        for head in 0..heads {
            softmax(&mut scores[head * tokens..(head + 1) * tokens]);
        }
        out.fill(0.0);
        for token in 0..tokens {
            let line = values.line(token, query.len());
            for head in 0..heads {
                let part = head * width..(head + 1) * width;
                let weight = scores[head * tokens + token];
                for (out, value) in out[part.clone()].iter_mut().zip(&line[part]) {
                    *out += weight * value.wide();
                }
            }
        }
    }
}
