//! `make fuzz MINUTES=10`: seeds of real shapes, mutated, through the readers, clean and dedup.
//!
//! Proptest makes the cases and shrinks one that fails; the seed on the first line makes the same cases
//! again. Coverage does not guide it, as libFuzzer's would: that needs a nightly compiler. The seeds hold
//! what the code looks for, and the mutations know the marks of each format.

mod clean; // texts and tables
mod dedup; // rows with copies of rows
mod files; // damaged Parquet files and indexes
mod mutate; // seed -> input
mod readers; // raw files of every format

use std::cell::Cell;
use std::fmt::Debug;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use proptest::prelude::{Strategy, TestCaseError};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use smolchat_core::job::Job;

/// Cases between two looks at the clock.
const ROUND: u32 = 64;

/// A target: runs so many rounds or so long, and tells the cases, or the smallest one that fails.
type Target = fn(Until, u64) -> Result<Cases, String>;

/// Cases that passed.
#[derive(Debug, Default)]
struct Cases {
    all: u64,
    /// Those that came to something: a row was read, changed or removed, a damage refused.
    telling: u64,
}

const TARGETS: [(&str, Target); 4] = [
    ("readers", |until, seed| run(&readers::case(), readers::check, until, seed)),
    ("clean", |until, seed| run(&clean::case(), clean::check, until, seed)),
    ("dedup", |until, seed| run(&dedup::case(), dedup::check, until, seed)),
    ("files", |until, seed| run(&files::case(), files::check, until, seed)),
];

#[derive(Clone, Copy)]
enum Until {
    #[cfg_attr(not(test), expect(dead_code, reason = "the tests run a few"))]
    Rounds(u32),
    Time(Instant),
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let wanted = arguments.next().unwrap_or_else(|| "all".into());
    let minutes: f64 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(1.0);
    let seed = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(1);
    let targets: Vec<_> = TARGETS.iter().filter(|(name, _)| wanted == "all" || wanted == *name).collect();
    if targets.is_empty() {
        let names = TARGETS.map(|(name, _)| name).join(", ");
        eprintln!("usage: smolchat-fuzz [TARGET [MINUTES [SEED]]]; the targets: {names}, all");
        return ExitCode::from(2);
    }
    let mut failed = false;
    for (name, target) in targets {
        let (began, time) = (Instant::now(), Duration::from_secs_f64(minutes * 60.0));
        println!("{name}: {minutes} minutes from seed {seed}");
        match target(Until::Time(began + time), seed) {
            Ok(Cases { all, telling }) => {
                let seconds = began.elapsed().as_secs();
                println!("{name}: {all} cases, {telling} telling, in {seconds} s; none failed");
            }
            Err(problem) => {
                println!("{name}: failed after {:.0} s\n{problem}", began.elapsed().as_secs_f64());
                failed = true;
            }
        }
    }
    ExitCode::from(u8::from(failed))
}

fn run<S: Strategy>(
    case: &S,
    check: impl Fn(&S::Value, &Jobs) -> Result<bool, TestCaseError>,
    until: Until,
    seed: u64,
) -> Result<Cases, String>
where
    S::Value: Debug,
{
    let jobs = Jobs::new();
    let telling = Cell::new(0);
    let mut rounds = 0;
    while match until {
        Until::Rounds(most) => rounds < most,
        Until::Time(end) => Instant::now() < end,
    } {
        // A runner counts its cases, so each round has its own.
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..12].copy_from_slice(&rounds.to_le_bytes());
        let config = Config { cases: ROUND, failure_persistence: None, ..Config::default() };
        let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
        let counted =
            |value| check(&value, &jobs).map(|is_telling| telling.set(telling.get() + u64::from(is_telling)));
        runner.run(case, counted).map_err(|error| error.to_string())?;
        rounds += 1_u32;
    }
    Ok(Cases { all: u64::from(rounds) * u64::from(ROUND), telling: telling.get() })
}

/// One and two threads, whose results must be the same.
struct Jobs {
    one: Job,
    two: Job,
}

impl Jobs {
    fn new() -> Self {
        let job = |threads| Job::new(Some(threads)).expect("at least one thread");
        Self { one: job(1), two: job(2) }
    }
}

/// A folder for the files of one case; in memory where there is such a place.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("room for a few files")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_passes_a_few_rounds_that_come_to_something() {
        for (name, target) in TARGETS {
            let cases = target(Until::Rounds(4), 1).expect(name);
            assert_eq!(cases.all, 4 * u64::from(ROUND));
            assert!(cases.telling > cases.all / 4, "{name}: {cases:?}");
        }
    }

    #[test]
    fn a_case_that_fails_is_shrunk_and_shown() {
        let small = |value: &u8, _: &Jobs| {
            if *value < 9 { Ok(true) } else { Err(TestCaseError::fail("too large")) }
        };
        let problem = run(&proptest::num::u8::ANY, small, Until::Rounds(4), 1).expect_err("fails");
        assert!(problem.contains("too large") && problem.contains("minimal failing input: 9"), "{problem}");
    }
}
