//! The layers: what `T5ForConditionalGeneration` computes, for rows of different age at once.

use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Kernel;
use super::attention::{Lines, Room, attend};
use super::math::{gate, norm_factor, relu};
use super::matrix::{Matrix8, Norm};
use super::rows::{Cross, Kept, Row, select};
use crate::error::{Error, Result};

/// Sizes of a T5.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Width of the hidden states.
    pub d_model: usize,
    /// Width of an attention head.
    pub d_kv: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width inside the feed-forward.
    pub d_ff: usize,
    /// Whether the feed-forward is gated by gelu; else it is plain with relu.
    pub gated: bool,
    /// What norms add under their root.
    pub epsilon: f32,
}

/// Self-attention and feed-forward. The gains of norms are part of the matrices behind them.
pub struct Layer {
    /// Query, key and value: `[3 * heads * d_kv, d_model]`.
    pub qkv: Arc<Matrix8>,
    /// `[d_model, heads * d_kv]`.
    pub o: Arc<Matrix8>,
    /// `[d_ff, d_model]`; gates and values, `[2 * d_ff, d_model]`, if gated.
    pub into: Arc<Matrix8>,
    /// `[d_model, d_ff]`.
    pub out: Arc<Matrix8>,
}

/// A layer with attention to the prompt in its middle.
pub struct DecoderLayer {
    /// What an encoder's layer has.
    pub layer: Layer,
    /// `[heads * d_kv, d_model]`.
    pub cross_q: Arc<Matrix8>,
    /// `[d_model, heads * d_kv]`.
    pub cross_o: Arc<Matrix8>,
}

/// Bias of each head for each distance key minus query: `[heads, distances]`.
struct Bias {
    table: Vec<f32>,
    distances: usize,
    first: isize,
}

impl Bias {
    /// Of a query among `tokens` keys: `[heads, tokens]`. What lies beyond the table is as its end.
    fn fill(&self, query: usize, tokens: usize, out: &mut Vec<f32>) {
        out.clear();
        for head in self.table.chunks_exact(self.distances) {
            out.extend((0..tokens).map(|key| {
                let at = key as isize - query as isize - self.first;
                head[at.clamp(0, self.distances as isize - 1) as usize]
            }));
        }
    }
}

/// A prompt on its way through the encoder.
pub struct Encoding {
    hidden: Vec<f32>,
    tokens: usize,
    done: usize,
}

impl Encoding {
    /// Tokens of the prompt.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.tokens
    }
}

/// A T5 and the answers it is giving.
pub struct Model {
    shape: Shape,
    kernel: Kernel,
    pool: rayon::ThreadPool,
    encoder: Vec<Layer>,
    decoder: Vec<DecoderLayer>,
    cross: Arc<Matrix8>,
    out: Arc<Matrix8>,
    encoder_bias: Bias,
    decoder_bias: Bias,
    rows: Vec<Row>,
}

impl Model {
    /// Puts a model together.
    ///
    /// `cross` makes keys and values of all decoder layers in order;
    /// `out` makes logits; biases are `[heads, distances]`, with the distance of their first column.
    ///
    /// # Errors
    /// [`Error::Data`] if the sizes do not fit together, [`Error::Option`] for 0 threads.
    #[allow(clippy::too_many_arguments)] // the parts of a model
    pub fn new(
        shape: Shape,
        encoder: Vec<Layer>,
        decoder: Vec<DecoderLayer>,
        cross: Arc<Matrix8>,
        out: Arc<Matrix8>,
        encoder_bias: (Vec<f32>, isize),
        decoder_bias: (Vec<f32>, isize),
        kernel: Kernel,
        threads: usize,
    ) -> Result<Self> {
        if threads == 0 {
            return Err(Error::option("threads", threads, "must be at least 1"));
        }
        let bias = |(table, first): (Vec<f32>, isize)| {
            let distances = table.len() / shape.heads.max(1);
            Bias { table, distances, first }
        };
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("smolchat-infer-{i}"))
            .build()
            .map_err(|error| Error::Internal(error.to_string()))?;
        let (encoder_bias, decoder_bias) = (bias(encoder_bias), bias(decoder_bias));
        let model = Self {
            shape,
            kernel,
            pool,
            encoder,
            decoder,
            cross,
            out,
            encoder_bias,
            decoder_bias,
            rows: Vec::new(),
        };
        model.check()?;
        Ok(model)
    }

    fn check(&self) -> Result<()> {
        let Shape { d_model, d_ff, heads, gated, .. } = self.shape;
        let inner = self.inner();
        let fits = |name: &str, matrix: &Matrix8, outputs: usize, inputs: usize| {
            let found = (matrix.outputs(), matrix.inputs());
            if found == (outputs, inputs) {
                return Ok(());
            }
            Err(Error::Data(format!("{name} is {} x {}, expected {outputs} x {inputs}", found.0, found.1)))
        };
        let layers = self.encoder.iter().chain(self.decoder.iter().map(|layer| &layer.layer));
        for layer in layers {
            fits("qkv", &layer.qkv, 3 * inner, d_model)?;
            fits("o", &layer.o, d_model, inner)?;
            fits("wi", &layer.into, if gated { 2 * d_ff } else { d_ff }, d_model)?;
            fits("wo", &layer.out, d_model, d_ff)?;
        }
        for layer in &self.decoder {
            fits("cross-attention q", &layer.cross_q, inner, d_model)?;
            fits("cross-attention o", &layer.cross_o, d_model, inner)?;
        }
        fits("cross-attention k and v", &self.cross, 2 * self.decoder.len() * inner, d_model)?;
        fits("lm_head", &self.out, self.out.outputs(), d_model)?;
        let whole = |bias: &Bias| bias.distances > 0 && bias.table.len() == heads * bias.distances;
        if inner == 0 {
            return Err(Error::Data("attention heads have no width".into()));
        }
        if !whole(&self.encoder_bias) || !whole(&self.decoder_bias) {
            return Err(Error::Data(format!("the attention biases are not those of {heads} heads")));
        }
        Ok(())
    }

    /// Instructions the products are computed with.
    #[must_use]
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// Answers under way.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Bytes of all matrices.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let layer =
            |layer: &Layer| layer.qkv.bytes() + layer.o.bytes() + layer.into.bytes() + layer.out.bytes();
        let encoder: usize = self.encoder.iter().map(layer).sum();
        let decoder: usize = self
            .decoder
            .iter()
            .map(|each| layer(&each.layer) + each.cross_q.bytes() + each.cross_o.bytes())
            .sum();
        encoder + decoder + self.cross.bytes() + self.out.bytes()
    }

    fn inner(&self) -> usize {
        self.shape.heads * self.shape.d_kv
    }

    fn norm(&self) -> Norm {
        Norm::RootMeanSquare(self.shape.epsilon)
    }

    /// Begins to encode a prompt, its tokens embedded: `[tokens, d_model]`.
    ///
    /// # Errors
    /// [`Error::Data`] if it is empty or no whole number of tokens.
    pub fn encode(&self, hidden: Vec<f32>) -> Result<Encoding> {
        let tokens = hidden.len() / self.shape.d_model;
        if tokens == 0 || hidden.len() != tokens * self.shape.d_model {
            return Err(Error::Data("the prompt is empty, or no rows of d_model numbers".into()));
        }
        Ok(Encoding { hidden, tokens, done: 0 })
    }

    /// Computes so many of the encoder's layers more; true once it is done.
    pub fn advance(&self, encoding: &mut Encoding, layers: usize) -> bool {
        let until = (encoding.done + layers).min(self.encoder.len());
        self.pool.install(|| {
            for layer in &self.encoder[encoding.done..until] {
                self.encode_layer(layer, &mut encoding.hidden, encoding.tokens);
            }
        });
        encoding.done = until;
        until == self.encoder.len()
    }

    fn encode_layer(&self, layer: &Layer, hidden: &mut [f32], tokens: usize) {
        let (inner, heads) = (self.inner(), self.shape.heads);
        let mut qkv = vec![0.0; tokens * 3 * inner];
        layer.qkv.product(self.kernel, hidden, self.norm(), &mut qkv);
        let lines = |offset| Lines { data: &qkv, stride: 3 * inner, offset };
        let mut found = vec![0.0; tokens * inner];
        found.par_chunks_mut(inner).enumerate().for_each_init(
            || (Vec::new(), Room::default()),
            |(bias, room), (query, out)| {
                self.encoder_bias.fill(query, tokens, bias);
                let line = &qkv[query * 3 * inner..][..inner];
                attend(self.kernel, line, lines(inner), lines(2 * inner), tokens, heads, bias, room, out);
            },
        );
        layer.o.add_product(self.kernel, &found, Norm::None, hidden);
        self.feed_forward(layer, hidden);
    }

    fn feed_forward(&self, layer: &Layer, hidden: &mut [f32]) {
        let rows = hidden.len() / self.shape.d_model;
        let mut made = vec![0.0; rows * layer.into.outputs()];
        layer.into.product(self.kernel, hidden, self.norm(), &mut made);
        if self.shape.gated {
            let mut gated = vec![0.0; rows * self.shape.d_ff];
            gate(self.kernel, &made, self.shape.d_ff, &mut gated);
            made = gated;
        } else {
            relu(self.kernel, &mut made);
        }
        layer.out.add_product(self.kernel, &made, Norm::None, hidden);
    }

    /// Appends `rows` rows that answer an encoded prompt.
    pub fn join(&mut self, encoding: &Encoding, rows: usize) {
        let width = 2 * self.inner();
        let (layers, tokens) = (self.decoder.len(), encoding.tokens);
        let mut made = vec![0.0; tokens * layers * width];
        self.pool.install(|| self.cross.product(self.kernel, &encoding.hidden, self.norm(), &mut made));
        let mut kept = vec![Kept::default(); layers];
        for (layer, kept) in kept.iter_mut().enumerate() {
            let lines = made.chunks_exact(layers * width).map(|line| &line[layer * width..][..width]);
            kept.extend(lines, self.inner());
        }
        let cross = Arc::new(Cross { tokens, layers: kept });
        for _ in 0..rows {
            self.rows.push(Row::new(self.decoder.len(), Arc::clone(&cross)));
        }
    }

    /// Feeds one token to each row: `hidden`, `[rows, d_model]`, holds the tokens embedded and is then what the
    /// `logits`, `[rows, V]`, are made from.
    ///
    /// # Errors
    /// [`Error::Data`] if the sizes do not fit; no row is changed.
    pub fn step(&mut self, hidden: &mut [f32], logits: &mut [f32]) -> Result<()> {
        let (rows, width) = (self.rows.len(), self.shape.d_model);
        if hidden.len() != rows * width || logits.len() != rows * self.out.outputs() {
            return Err(Error::Data(format!(
                "{} hidden numbers and {} logits do not fit {rows} rows",
                hidden.len(),
                logits.len()
            )));
        }
        let mut under_way = std::mem::take(&mut self.rows);
        self.pool.install(|| {
            for row in &mut under_way {
                self.decoder_bias.fill(row.age, row.age + 1, &mut row.bias);
                row.age += 1;
            }
            for (index, layer) in self.decoder.iter().enumerate() {
                self.decode_layer(index, layer, hidden, &mut under_way);
            }
            self.out.product(self.kernel, hidden, self.norm(), logits);
            for row in hidden.chunks_exact_mut(width) {
                let factor = norm_factor(self.kernel, row, self.shape.epsilon);
                row.iter_mut().for_each(|number| *number *= factor);
            }
        });
        self.rows = under_way;
        Ok(())
    }

    fn decode_layer(&self, index: usize, layer: &DecoderLayer, hidden: &mut [f32], rows: &mut [Row]) {
        let (inner, heads, kernel) = (self.inner(), self.shape.heads, self.kernel);
        let mut qkv = vec![0.0; rows.len() * 3 * inner];
        layer.layer.qkv.product(kernel, hidden, self.norm(), &mut qkv);
        let mut found = vec![0.0; rows.len() * inner];
        each_row(rows, &qkv, &mut found, |row, made, out| {
            let (query, new) = made.split_at(inner);
            row.layers[index].extend(std::iter::once(new), inner);
            let (keys, values) = row.layers[index].lines(inner);
            attend(kernel, query, keys, values, row.age, heads, &row.bias, &mut row.room, out);
        });
        layer.layer.o.add_product(kernel, &found, Norm::None, hidden);
        let mut queries = vec![0.0; rows.len() * inner];
        layer.cross_q.product(kernel, hidden, self.norm(), &mut queries);
        each_row(rows, &queries, &mut found, |row, query, out| {
            let cross = Arc::clone(&row.cross);
            let (keys, values) = cross.layers[index].lines(inner);
            attend(kernel, query, keys, values, cross.tokens, heads, &[], &mut row.room, out);
        });
        layer.cross_o.add_product(kernel, &found, Norm::None, hidden);
        self.feed_forward(&layer.layer, hidden);
    }

    /// Row i becomes a copy of what row `order[i]` was; rows that are not named are gone.
    ///
    /// # Errors
    /// [`Error::Data`] if there is no such row.
    pub fn select(&mut self, order: &[usize]) -> Result<()> {
        if let Some(row) = order.iter().find(|&&row| row >= self.rows.len()) {
            return Err(Error::Data(format!("there is no row {row}, only {}", self.rows.len())));
        }
        self.rows = select(std::mem::take(&mut self.rows), order);
        Ok(())
    }
}

/// Calls `work` for each row with its parts of what was made for it and of what is to be found.
fn each_row(
    rows: &mut [Row],
    made: &[f32],
    found: &mut [f32],
    work: impl Fn(&mut Row, &[f32], &mut [f32]) + Sync,
) {
    let count = rows.len();
    let parts = rows
        .par_iter_mut()
        .zip(made.par_chunks_exact(made.len() / count))
        .zip(found.par_chunks_exact_mut(found.len() / count));
    parts.for_each(|((row, made), out)| work(row, made, out));
}
