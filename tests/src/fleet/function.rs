//! The functions as processes: where their binaries are, what is in their environment, how much memory they take.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use transship_testkit::lambda_runtime::Lambda;

use super::{BUCKET, KEY, TABLE};
use crate::process::peak_resident_bytes;
use crate::wait;

/// The binary of a function: beside the running program, or in the folder `TRANSSHIP_FUNCTIONS`.
///
/// # Panics
/// If it has not been built.
pub fn program(name: &str) -> PathBuf {
    let named = std::env::var_os("TRANSSHIP_FUNCTIONS").map(PathBuf::from);
    let this = std::env::current_exe().expect("a running program knows its own path");
    let beside = this.ancestors().skip(1).take(2).map(PathBuf::from);
    named
        .into_iter()
        .chain(beside)
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| {
            panic!("no {name} beside {}: build it first (`cargo build -p {name}`), or say where it is in TRANSSHIP_FUNCTIONS", this.display())
        })
}

/// What the template gives a function, with a place where AWS is.
pub(super) fn environment(endpoint: &str, queue: &str, log: &str) -> Vec<(String, String)> {
    [
        ("AWS_ENDPOINT_URL", endpoint.to_owned()),
        ("TRANSSHIP_CONFIG", format!("s3://{BUCKET}/{KEY}")),
        ("TRANSSHIP_QUEUE_URL", queue.to_owned()),
        ("TRANSSHIP_TABLE", TABLE.to_owned()),
        ("RUST_LOG", log.to_owned()),
        ("RUST_BACKTRACE", "1".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// Remembers the highest mark any worker reached, until `watching` ends.
pub(super) fn watch_memory(workers: Vec<Arc<Lambda>>, watching: &Arc<AtomicBool>, peak: &Arc<AtomicU64>) {
    let (watching, peak) = (Arc::clone(watching), Arc::clone(peak));
    std::thread::spawn(move || {
        while watching.load(Ordering::Relaxed) {
            for process in workers.iter().flat_map(|worker| worker.processes()) {
                peak.fetch_max(peak_resident_bytes(process).unwrap_or(0), Ordering::Relaxed);
            }
            wait::pause();
        }
    });
}
