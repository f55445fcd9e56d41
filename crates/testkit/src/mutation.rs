//! Random changes to valid inputs, for parsers of bytes from outside: a fuzz test that needs nothing but the stable toolchain.
//!
//! By default a target runs a fixed number of times from a fixed seed. `TRANSSHIP_FUZZ_SECONDS=600` makes each target run for that
//! time, from a seed that is new each time; `TRANSSHIP_FUZZ_SEED` repeats a run that failed.

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

/// Number of runs without `TRANSSHIP_FUZZ_SECONDS`: about a second for a parser of small inputs.
const RUNS: u64 = 3000;

/// Texts that parsers often treat specially.
const PIECES: &[&str] = &[
    "null",
    "true",
    "-1",
    "0",
    "1e300",
    "18446744073709551616",
    "\"\"",
    "[]",
    "{}",
    "[[[[[[[[",
    "{\"a\":{\"a\":{\"a\":",
    "\\u0000",
    "\\ud800",
    "\u{0}",
    "\u{1b}[2J",
    "\u{feff}",
    "\u{212a}",
    "../",
    "//",
    "%2f",
    "sha256:",
    "sha512:",
    ":",
    "@",
    ".",
    "\r\n",
    "&a *a",
    "!!binary",
    "<<: *x",
    "\t",
    "'",
    "\"",
];

/// Calls `check` with changed copies of `inputs`, and the index of the input that was changed. A panic of `check` is a failure; the
/// target, the seed and the run are printed before it is passed on.
pub fn fuzz(target: &str, inputs: &[Vec<u8>], mut check: impl FnMut(usize, &[u8])) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seconds = number("TRANSSHIP_FUZZ_SECONDS");
    let fresh = || seconds.map_or(1, |_| fastrand::u64(..));
    let seed = number("TRANSSHIP_FUZZ_SEED").unwrap_or_else(fresh);
    let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut random = fastrand::Rng::with_seed(seed);
    let mut runs = 0;
    while end.map_or(runs < RUNS, |end| Instant::now() < end) {
        runs += 1;
        let index = random.usize(..inputs.len());
        let changed = changed(&inputs[index], inputs, &mut random);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(index, &changed))) {
            let shown = String::from_utf8_lossy(&changed);
            // The harness shows what a failed test wrote.
            let _ = writeln!(
                std::io::stderr(),
                "{target}: seed {seed}, run {runs}, input {index}: {shown:?}"
            );
            resume_unwind(panic);
        }
    }
    if seconds.is_some() {
        let _ = writeln!(std::io::stderr(), "{target}: {runs} runs, seed {seed}");
    }
}

/// `input` with one to four changes.
fn changed(input: &[u8], inputs: &[Vec<u8>], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=random.usize(..4) {
        if bytes.is_empty() {
            break;
        }
        let at = random.usize(..bytes.len());
        let until = (at + random.usize(..40)).min(bytes.len());
        match random.u8(..7) {
            0 => bytes[at] = random.u8(..),
            1 => bytes[at] ^= 1 << random.u8(..8),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..until)),
            4 => {
                let piece = bytes[at..until].to_vec();
                bytes.splice(at..at, piece);
            }
            5 => {
                let other = &inputs[random.usize(..inputs.len())];
                let from = random.usize(..=other.len());
                let piece = other[from..(from + random.usize(..60)).min(other.len())].to_vec();
                bytes.splice(at..until, piece);
            }
            _ => {
                let piece = PIECES[random.usize(..PIECES.len())];
                bytes.splice(at..until, piece.bytes());
            }
        }
    }
    bytes
}
