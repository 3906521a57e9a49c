//! Seeded corpora shared by the benches.
