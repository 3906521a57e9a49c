//! `cargo bench --bench infer`: int8 products with each set of instructions, and whole steps of the 0.2B preset.

use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use smolchat_core::infer::{DecoderLayer, Kernel, Layer, Matrix8, Model, Norm, Shape};

fn main() {
    divan::main();
}

const WIDTH: usize = 768;
const INNER: usize = 3072;
const VOCABULARY: usize = 29_298;
const LAYERS: usize = 10;
const HEADS: usize = 12;
const PROMPT: usize = 32;

fn numbers(count: usize) -> Vec<f32> {
    let mut draw = fastrand::Rng::with_seed(1);
    (0..count).map(|_| draw.f32() - 0.5).collect()
}

fn matrix(outputs: usize, inputs: usize) -> Arc<Matrix8> {
    Arc::new(Matrix8::pack(&numbers(outputs * inputs), outputs, inputs).expect("numbers"))
}

/// The fastest kernel by one core, and with how many rows.
#[divan::bench(args = [1, 4, 16, 64])]
fn product(bencher: Bencher, rows: usize) {
    run_product(bencher, Kernel::detect(), rows);
}

/// All kernels of this processor on four rows.
#[divan::bench(args = Kernel::available())]
fn kernels(bencher: Bencher, kernel: &Kernel) {
    run_product(bencher, *kernel, 4);
}

fn run_product(bencher: Bencher, kernel: Kernel, rows: usize) {
    let outputs = 3 * WIDTH;
    let (matrix, given) = (matrix(outputs, WIDTH), numbers(rows * WIDTH));
    let mut out = vec![0.0; rows * outputs];
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    bencher
        .counter(ItemsCount::new(rows * outputs * WIDTH))
        .bench_local(|| pool.install(|| matrix.product(kernel, &given, Norm::None, &mut out)));
}

/// A step of so many answers, each of 32 tokens to a prompt of 32, by two threads.
#[divan::bench(args = [1, 4, 16], sample_count = 20)]
fn step(bencher: Bencher, rows: usize) {
    let mut model = model();
    let mut encoding = model.encode(numbers(PROMPT * WIDTH)).expect("a prompt");
    while !model.advance(&mut encoding, LAYERS) {}
    model.join(&encoding, rows);
    let mut logits = vec![0.0; rows * VOCABULARY];
    for _ in 0..32 {
        model.step(&mut numbers(rows * WIDTH), &mut logits).expect("sizes fit");
    }
    bencher
        .counter(ItemsCount::new(rows))
        .with_inputs(|| numbers(rows * WIDTH))
        .bench_local_values(|mut hidden| model.step(&mut hidden, &mut logits));
}

fn model() -> Model {
    let shape =
        Shape { d_model: WIDTH, d_kv: WIDTH / HEADS, heads: HEADS, d_ff: INNER, gated: false, epsilon: 1e-6 };
    let layer = || Layer {
        qkv: matrix(3 * WIDTH, WIDTH),
        o: matrix(WIDTH, WIDTH),
        into: matrix(INNER, WIDTH),
        out: matrix(WIDTH, INNER),
    };
    let decoder = (0..LAYERS).map(|_| DecoderLayer {
        layer: layer(),
        cross_q: matrix(WIDTH, WIDTH),
        cross_o: matrix(WIDTH, WIDTH),
    });
    Model::new(
        shape,
        vec![layer()],
        decoder.collect(),
        matrix(LAYERS * 2 * WIDTH, WIDTH),
        matrix(VOCABULARY, WIDTH),
        (vec![0.0; HEADS], 0),
        (vec![0.0; HEADS], 0),
        Kernel::detect(),
        2,
    )
    .expect("sizes fit")
}
