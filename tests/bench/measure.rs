//! One run of one client: wall time, CPU time, peak memory.
//!
//! Peak memory is read from the kernel's high-water mark of the running process. The one that `wait4` reports is of no
//! use: it counts what this program held when it forked.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use transship_tests::process::peak_resident_bytes;
use wait4::Wait4;

/// How often the high-water mark is looked at; it only grows, so that little is missed at the end.
const STEP: Duration = Duration::from_millis(4);

/// What one run cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// From start to end.
    pub wall: Duration,
    /// User and system time.
    pub cpu: Duration,
    /// Most memory resident at once.
    pub peak_bytes: u64,
}

/// Runs `command` to its end; an error unless it succeeds.
pub fn run(command: &mut Command) -> Result<Cost> {
    let log = tempfile::tempfile()?;
    let begun = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log.try_clone()?)
        .spawn()
        .with_context(|| format!("{command:?}"))?;
    let watched = child.id();
    let watcher = std::thread::spawn(move || watch_peak(watched));
    let ended = child.wait4()?;
    let wall = begun.elapsed();
    let peak_bytes = watcher.join().unwrap_or_default();
    if !ended.status.success() {
        bail!("{command:?} fails ({}): {}", ended.status, read(log));
    }
    Ok(Cost {
        wall,
        cpu: ended.rusage.utime + ended.rusage.stime,
        peak_bytes,
    })
}

/// The high-water mark of a process, in bytes, when it ended.
fn watch_peak(process: u32) -> u64 {
    let mut peak = 0;
    // A process that has ended has no `VmHWM` any more, reaped or not.
    while let Some(mark) = peak_resident_bytes(process) {
        peak = peak.max(mark);
        std::thread::sleep(STEP);
    }
    peak
}

fn read(mut log: std::fs::File) -> String {
    use std::io::{Read, Seek};
    let mut text = String::new();
    let _ = log.rewind();
    let _ = log.read_to_string(&mut text);
    text
}
