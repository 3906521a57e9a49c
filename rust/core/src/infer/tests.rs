use std::sync::Arc;

use proptest::prelude::*;

use super::matrix::{Matrix8, Norm};
use super::{DecoderLayer, Kernel, Layer, Model, Shape, math};

/// The same arithmetic without any tricks: quantise, multiply whole numbers, scale.
fn plain(weights: &[f32], outputs: usize, rows: &[f32], inputs: usize) -> Vec<f32> {
    let quantized = |row: &[f32]| {
        let largest = row.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
        if largest < f32::MIN_POSITIVE {
            return (0.0, vec![0; row.len()]);
        }
        let factor = 127.0 / largest;
        let values = row.iter().map(|number| (number * factor).round_ties_even() as i32).collect();
        (largest / 127.0, values)
    };
    let columns: Vec<_> = weights.chunks(inputs).map(quantized).collect();
    assert_eq!(columns.len(), outputs);
    let mut out = Vec::new();
    for row in rows.chunks(inputs) {
        let (scale, values) = quantized(row);
        for (column_scale, column) in &columns {
            let sum: i32 = values.iter().zip(column).map(|(a, b)| a * b).sum();
            out.push(sum as f32 * (scale * column_scale));
        }
    }
    out
}

fn numbers(count: usize) -> impl Strategy<Value = Vec<f32>> {
    let number = prop_oneof![8 => -3.0_f32..3.0, 1 => Just(0.0), 1 => -500.0_f32..500.0];
    prop::collection::vec(number, count)
}

/// Weights, activations, and their sizes.
fn products() -> impl Strategy<Value = (Vec<f32>, Vec<f32>, usize, usize)> {
    (1_usize..12, 1_usize..300, 1_usize..150).prop_flat_map(|(rows, outputs, inputs)| {
        (numbers(outputs * inputs), numbers(rows * inputs), Just(outputs), Just(inputs))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_kernel_gives_the_plain_product_to_the_last_bit((weights, rows, outputs, inputs) in products()) {
        let matrix = Matrix8::pack(&weights, outputs, inputs).expect("numbers");
        let expected = plain(&weights, outputs, &rows, inputs);
        for kernel in Kernel::available() {
            let mut out = vec![0.0; expected.len()];
            matrix.product(kernel, &rows, Norm::None, &mut out);
            prop_assert_eq!(&out, &expected, "{}", kernel);
        }
    }

    #[test]
    fn a_row_is_the_same_alone_and_among_others((weights, rows, outputs, inputs) in products()) {
        let matrix = Matrix8::pack(&weights, outputs, inputs).expect("numbers");
        let norm = Norm::RootMeanSquare(1e-6);
        for kernel in Kernel::available() {
            let mut together = vec![0.0; rows.len() / inputs * outputs];
            matrix.product(kernel, &rows, norm, &mut together);
            for (row, together) in rows.chunks(inputs).zip(together.chunks(outputs)) {
                let mut alone = vec![0.0; outputs];
                matrix.product(kernel, row, norm, &mut alone);
                prop_assert_eq!(&alone, together);
                matrix.add_product(kernel, row, norm, &mut alone);
                let twice: Vec<f32> = together.iter().map(|number| number + number).collect();
                prop_assert_eq!(&alone, &twice);
            }
        }
    }

    #[test]
    fn the_error_of_a_product_is_that_of_eight_bits((weights, rows, outputs, inputs) in products()) {
        let matrix = Matrix8::pack(&weights, outputs, inputs).expect("numbers");
        let mut out = vec![0.0; rows.len() / inputs * outputs];
        matrix.product(Kernel::detect(), &rows, Norm::None, &mut out);
        let largest = |row: &[f32]| row.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
        for (row, out) in rows.chunks(inputs).zip(out.chunks(outputs)) {
            for (column, &out) in weights.chunks(inputs).zip(out) {
                let exact: f64 = row.iter().zip(column).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                let bound = 1.1 * inputs as f32 * largest(row) * largest(column) / 127.0;
                prop_assert!((f64::from(out) - exact).abs() <= f64::from(bound) + 1e-6);
            }
        }
    }

    #[test]
    fn exp_is_the_exponential(x in -87.0_f32..88.0) {
        let exact = f64::from(x).exp();
        prop_assert!((f64::from(math::exp(x)) - exact).abs() <= exact * 3e-7);
    }

    #[test]
    fn float_functions_are_the_same_with_every_kernel(row in numbers(130)) {
        let width = row.len() / 2;
        let results = Kernel::available().into_iter().map(|kernel| {
            let mut out = vec![0.0; width];
            math::gate(kernel, &row, width, &mut out);
            (out, math::norm_factor(kernel, &row, 1e-6))
        });
        let results: Vec<_> = results.collect();
        prop_assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
        for (at, found) in results[0].0.iter().enumerate() {
            let (gate, value) = (f64::from(row[at]), f64::from(row[width + at]));
            let u = (2.0 / std::f64::consts::PI).sqrt() * (gate + 0.044_715 * gate.powi(3));
            let exact = 0.5 * gate * (1.0 + u.tanh()) * value;
            prop_assert!((f64::from(*found) - exact).abs() <= 1e-5 * (1.0 + exact.abs()));
        }
    }
}

/// Numbers of -0.5..0.5 that are the same everywhere.
struct Draw(u64);

impl Draw {
    fn numbers(&mut self, count: usize) -> Vec<f32> {
        let number = |state: &mut u64| {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (*state >> 40) as f32 / (1 << 24) as f32 - 0.5
        };
        (0..count).map(|_| number(&mut self.0)).collect()
    }

    fn matrix(&mut self, outputs: usize, inputs: usize) -> Arc<Matrix8> {
        Arc::new(Matrix8::pack(&self.numbers(outputs * inputs), outputs, inputs).expect("numbers"))
    }

    fn layer(&mut self, shape: &Shape) -> Layer {
        let (width, inner) = (shape.d_model, shape.heads * shape.d_kv);
        Layer {
            qkv: self.matrix(3 * inner, width),
            o: self.matrix(width, inner),
            into: self.matrix(if shape.gated { 2 * shape.d_ff } else { shape.d_ff }, width),
            out: self.matrix(width, shape.d_ff),
        }
    }
}

/// A hash (FNV-1a over the bits of numbers) of all that a small model gives to two answers of different age.
fn hash_of_a_model(gated: bool, kernel: Kernel) -> u64 {
    const VOCABULARY: usize = 777;
    let shape = Shape { d_model: 128, d_kv: 32, heads: 4, d_ff: 200, gated, epsilon: 1e-6 };
    let (width, inner, heads) = (shape.d_model, shape.heads * shape.d_kv, shape.heads);
    let mut draw = Draw(7);
    let encoder: Vec<_> = (0..2).map(|_| draw.layer(&shape)).collect();
    let mut layer = || DecoderLayer {
        layer: draw.layer(&shape),
        cross_q: draw.matrix(inner, width),
        cross_o: draw.matrix(width, inner),
    };
    let decoder: Vec<_> = (0..2).map(|_| layer()).collect();
    let (cross, out) = (draw.matrix(2 * 2 * inner, width), draw.matrix(VOCABULARY, width));
    let biases = [(draw.numbers(heads * 41), -20), (draw.numbers(heads * 21), -20)];
    let [of_encoder, of_decoder] = biases;
    let mut model =
        Model::new(shape, encoder, decoder, cross, out, of_encoder, of_decoder, kernel, 2).expect("a model");
    for tokens in [5, 37] {
        let mut encoding = model.encode(draw.numbers(tokens * width)).expect("a prompt");
        assert!(model.advance(&mut encoding, 2));
        model.join(&encoding, 1);
    }
    let mut hash = 0xcbf2_9ce4_8422_2325;
    for _ in 0..30 {
        let (mut hidden, mut logits) = (draw.numbers(2 * width), vec![0.0; 2 * VOCABULARY]);
        model.step(&mut hidden, &mut logits).expect("a step");
        let given = hidden.iter().chain(&logits).map(|number| u64::from(number.to_bits()));
        hash = given.fold(hash, |hash, bits| (hash ^ bits).wrapping_mul(0x0100_0000_01b3));
    }
    hash
}

#[test]
fn a_model_gives_the_same_numbers_on_every_processor() {
    // Found on x86-64 and on 64-bit ARM alike.
    for (gated, expected) in [(true, 0x852b_bf9c_a98b_6385), (false, 0x825b_50b7_ec3d_59ea)] {
        for kernel in Kernel::available() {
            assert_eq!(hash_of_a_model(gated, kernel), expected, "gated {gated}, {kernel}");
        }
    }
}

#[test]
fn matrices_that_are_none_are_refused() {
    let told = |weights: &[f32], outputs, inputs| {
        Matrix8::pack(weights, outputs, inputs).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert_eq!(told(&[1.0; 5], 2, 3), "a matrix of 2 x 3 has 6 numbers, 5 are given");
    assert_eq!(told(&[1.0, f32::NAN], 1, 2), "weight [0, 1] is NaN, not a number");
}

#[test]
fn a_kernel_that_is_not_there_is_named_with_those_that_are() {
    let told = "sse9".parse::<Kernel>().expect_err("no such kernel").to_string();
    assert!(told.starts_with("option kernel = sse9: this processor has ") && told.ends_with("portable"));
    assert_eq!("portable".parse::<Kernel>().ok(), Some(Kernel::Portable));
}
