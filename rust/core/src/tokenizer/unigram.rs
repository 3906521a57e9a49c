//! Pieces with probabilities, learned by expectation maximisation and pruned (Kudo 2018).
//!
//! The pieces to begin with are the characters and what byte-pair encoding makes of the text when it
//! may make several times as many. Sums are taken group by group in a fixed order, so the result does
//! not depend on threads.

use compact_str::CompactString;
use rayon::prelude::*;

use super::alphabet::Alphabet;
use super::bpe;
use super::chunks::Chunks;
use super::options::TokenizerOptions;
use super::vocabulary::Vocabulary;
use crate::error::Result;
use crate::job::Job;
use crate::words::trie::Trie;

/// Pieces to begin with, as a multiple of those wanted.
const SEED_FACTOR: usize = 3;

/// Rounds of estimation between two prunings.
const ROUNDS: usize = 2;

/// Share of the pieces that one pruning keeps.
const KEEP: f64 = 0.75;

/// A piece that is expected less often goes.
const MIN_EXPECTED: f64 = 0.5;

/// Log probability of a character that has no piece.
const UNKNOWN: f64 = -30.0;

/// Groups of chunks whose sums are taken apart.
const GROUPS: usize = 256;

/// Learns pieces and their log probabilities from chunks.
pub fn train(chunks: Chunks, options: &TokenizerOptions, job: &Job) -> Result<Vocabulary> {
    let alphabet = Alphabet::new(&chunks, options.coverage, options.slots(), job);
    let (mut model, characters) = seed(&chunks, &alphabet, options, job)?;
    let mut chunks: Vec<(&str, u64)> = chunks.iter().collect();
    job.run(|| chunks.par_sort_unstable());
    let wanted = options.slots() - characters;
    job.phase("estimate", 0);
    loop {
        for _ in 0..ROUNDS {
            let expected = model.expect(&chunks, job)?;
            model.reestimate(&expected);
        }
        let longer = model.pieces.len() - characters;
        if longer <= wanted {
            break;
        }
        let kept = ((longer as f64 * KEEP) as usize).max(wanted);
        let used = model.count_best(&chunks, job)?;
        model.prune(&used, kept);
    }
    Ok(Vocabulary::Scored(model.into_pieces()))
}

/// Characters and candidates, and how many characters there are. They stand first.
fn seed(
    chunks: &Chunks,
    alphabet: &Alphabet,
    options: &TokenizerOptions,
    job: &Job,
) -> Result<(Model, usize)> {
    let many = TokenizerOptions { vocab_size: options.vocab_size * SEED_FACTOR, ..options.clone() };
    let learned = bpe::learn(bpe::text_of(chunks, alphabet, job)?, alphabet, &many, job)?;
    // As many characters as byte-pair encoding would take with the entries that are wanted.
    let enough = |&(made, &count): &(usize, &u64)| made + alphabet.entries_beside(count) >= options.slots();
    let last = learned.counts.iter().enumerate().find(enough);
    let characters =
        last.map_or(alphabet.len(), |(_, &count)| alphabet.entries_beside(count)).min(options.slots());

    let mut pieces: Vec<(CompactString, f64)> =
        alphabet.iter().take(characters).map(|c| (c.to_string().into(), 1.0)).collect();
    let merged = Vocabulary::with_merges(Vec::new(), learned.merges);
    if let Vocabulary::Merged { entries, .. } = merged {
        let known: rustc_hash::FxHashSet<char> = alphabet.iter().take(characters).collect();
        let spelt = entries.into_iter().filter(|entry| entry.chars().all(|c| known.contains(&c)));
        pieces.extend(spelt.map(|entry| (entry, 1.0)));
    }
    let even = -(pieces.len() as f64).ln();
    pieces.iter_mut().for_each(|(_, score)| *score = even);
    Ok((Model::new(pieces, characters), characters))
}

struct Model {
    pieces: Vec<(CompactString, f64)>,
    /// The first so many are characters and stay.
    characters: usize,
    trie: Trie,
    /// By piece.
    places: Vec<Option<u32>>,
}

impl Model {
    fn new(pieces: Vec<(CompactString, f64)>, characters: usize) -> Self {
        let (trie, places) =
            Trie::new(&pieces.iter().map(|(piece, score)| (&**piece, *score)).collect::<Vec<_>>());
        Self { pieces, characters, trie, places }
    }

    /// How often each piece is expected over all ways through the chunks.
    fn expect(&self, chunks: &[(&str, u64)], job: &Job) -> Result<Vec<f64>> {
        self.sum(chunks, job, |lattice, count, sums| lattice.expect(count, sums))
    }

    /// How often each piece stands on the best way through a chunk.
    fn count_best(&self, chunks: &[(&str, u64)], job: &Job) -> Result<Vec<f64>> {
        self.sum(chunks, job, |lattice, count, sums| {
            lattice.best_way(None);
            lattice.for_each_on_best_way(|place| sums[place as usize] += count);
        })
    }

    fn sum(
        &self,
        chunks: &[(&str, u64)],
        job: &Job,
        add: impl Fn(&mut Lattice, f64, &mut [f64]) + Sync,
    ) -> Result<Vec<f64>> {
        let group = |group: &[(&str, u64)]| {
            job.check()?;
            let mut sums = vec![0.0; self.trie.len()];
            let mut lattice = Lattice::default();
            for (chunk, count) in group {
                lattice.fill(&self.trie, chunk);
                add(&mut lattice, *count as f64, &mut sums);
            }
            Ok(sums)
        };
        let mut total = vec![0.0; self.trie.len()];
        // As many groups are in memory as there are threads, and they are added in their order.
        let groups: Vec<&[(&str, u64)]> = chunks.chunks(chunks.len().div_ceil(GROUPS).max(1)).collect();
        for together in groups.chunks(job.threads()) {
            let sums: Vec<Vec<f64>> =
                job.run(|| together.par_iter().map(|g| group(g)).collect::<Result<_>>())?;
            for sum in sums {
                total.iter_mut().zip(sum).for_each(|(total, sum)| *total += sum);
            }
        }
        Ok(self.places.iter().map(|place| place.map_or(0.0, |place| total[place as usize])).collect())
    }

    /// New probabilities, with a prior that lets rare pieces die (Bayesian, as in sentencepiece).
    fn reestimate(&mut self, expected: &[f64]) {
        let characters = self.characters;
        let kept = self.pieces.iter().zip(expected).enumerate();
        let kept = kept.filter(|&(i, (_, &expected))| i < characters || expected >= MIN_EXPECTED);
        let kept: Vec<(CompactString, f64)> =
            kept.map(|(_, ((piece, _), &expected))| (piece.clone(), expected.max(MIN_EXPECTED))).collect();
        let log_sum = digamma(kept.iter().map(|&(_, expected)| expected).sum());
        let pieces = kept.into_iter().map(|(piece, expected)| (piece, rounded(digamma(expected) - log_sum)));
        *self = Self::new(pieces.collect(), characters);
    }

    /// Keeps the `kept` pieces beyond characters whose loss would cost most.
    fn prune(&mut self, used: &[f64], kept: usize) {
        let total: f64 = used.iter().sum();
        let loss = |id: usize| {
            let mut lattice = Lattice::default();
            lattice.fill(&self.trie, &self.pieces[id].0);
            rounded(used[id] / total * 1e6 * (self.pieces[id].1 - lattice.best_way(self.places[id])))
        };
        let longer = self.characters..self.pieces.len();
        let mut losses: Vec<(f64, usize)> = longer.into_par_iter().map(|id| (loss(id), id)).collect();
        losses.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut stay: Vec<usize> = losses.into_iter().take(kept).map(|(_, id)| id).collect();
        stay.sort_unstable();
        let stay = (0..self.characters).chain(stay);
        *self = Self::new(stay.map(|id| self.pieces[id].clone()).collect(), self.characters);
    }

    /// The pieces, the most probable first.
    fn into_pieces(self) -> Vec<(CompactString, f64)> {
        let mut pieces = self.pieces;
        pieces.sort_by(|(a, p), (b, q)| q.total_cmp(p).then_with(|| a.cmp(b)));
        pieces
    }
}

/// Ways through a chunk.
#[derive(Default)]
struct Lattice {
    codes: Vec<u16>,
    /// By the place in the chunk that they come from.
    edges: Vec<Edge>,
    forward: Vec<f64>,
    backward: Vec<f64>,
    /// Score of the best way to each place, and its last edge.
    best: Vec<(f64, u32)>,
}

/// A piece, or a character that has none.
struct Edge {
    from: u32,
    to: u32,
    place: Option<u32>,
    score: f64,
}

impl Lattice {
    fn fill(&mut self, trie: &Trie, chunk: &str) {
        self.codes.clear();
        self.codes.extend(chunk.chars().map(|c| trie.code(c)));
        self.edges.clear();
        for from in 0..self.codes.len() {
            let (start, edges) = (self.edges.len(), &mut self.edges);
            trie.for_each_prefix(&self.codes[from..], |length, place, score| {
                edges.push(Edge { from: from as u32, to: (from + length) as u32, place: Some(place), score });
            });
            let spelt = self.edges[start..].first().is_some_and(|edge| edge.to as usize == from + 1);
            if !spelt {
                self.edges.push(Edge { from: from as u32, to: from as u32 + 1, place: None, score: UNKNOWN });
            }
        }
    }

    /// Adds the share of all ways that each piece stands on, times `count`.
    fn expect(&mut self, count: f64, sums: &mut [f64]) {
        let n = self.codes.len();
        self.forward.clear();
        self.forward.resize(n + 1, f64::NEG_INFINITY);
        self.backward.clone_from(&self.forward);
        self.forward[0] = 0.0;
        self.backward[n] = 0.0;
        for edge in &self.edges {
            let way = self.forward[edge.from as usize] + edge.score;
            self.forward[edge.to as usize] = log_add(self.forward[edge.to as usize], way);
        }
        for edge in self.edges.iter().rev() {
            let way = self.backward[edge.to as usize] + edge.score;
            self.backward[edge.from as usize] = log_add(self.backward[edge.from as usize], way);
        }
        for edge in &self.edges {
            let way = self.forward[edge.from as usize] + edge.score + self.backward[edge.to as usize];
            if let Some(place) = edge.place {
                sums[place as usize] += count * (way - self.forward[n]).exp();
            }
        }
    }

    /// Finds the most probable way that does not take the piece `without`; returns its score.
    fn best_way(&mut self, without: Option<u32>) -> f64 {
        let n = self.codes.len();
        self.best.clear();
        self.best.resize(n + 1, (f64::NEG_INFINITY, 0));
        self.best[0].0 = 0.0;
        for (edge, number) in self.edges.iter().zip(0u32..) {
            let way = self.best[edge.from as usize].0 + edge.score;
            let refused = without.is_some() && edge.place == without;
            if !refused && way > self.best[edge.to as usize].0 {
                self.best[edge.to as usize] = (way, number);
            }
        }
        self.best[n].0
    }

    fn for_each_on_best_way(&self, mut found: impl FnMut(u32)) {
        let mut at = self.codes.len();
        while at > 0 {
            let edge = &self.edges[self.best[at].1 as usize];
            edge.place.into_iter().for_each(&mut found);
            at = edge.from as usize;
        }
    }
}

/// Without the last bits, in which the logarithms of two machines may differ.
fn rounded(x: f64) -> f64 {
    (x * 1e8).round() / 1e8
}

fn log_add(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

/// Derivative of the logarithm of the gamma function, for positive numbers, to about 1e-10.
fn digamma(mut x: f64) -> f64 {
    let mut sum = 0.0;
    while x < 8.0 {
        sum -= 1.0 / x;
        x += 1.0;
    }
    let inverse = 1.0 / (x * x);
    sum + x.ln() - 0.5 / x - inverse * (1.0 / 12.0 - inverse * (1.0 / 120.0 - inverse / 252.0))
}
