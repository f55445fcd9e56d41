//! A process with its log in a file, killed when its value goes; and the tools these tests cannot do without.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// How much of a log a failing test shows.
const LOG_TAIL_BYTES: usize = 6000;

/// A running process; dropped, it is killed and waited for.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with both its outputs appended to `log`.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .expect("the log file can be written");
        let errors = output.try_clone().expect("the log file can be shared");
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("{} cannot be started: {error}", command.get_program().display()));
        Self {
            child,
            log: log.to_owned(),
        }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// True until it ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// SIGKILL, then waits until it is gone.
    pub fn kill(&mut self) {
        // It may have ended by itself: then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The last lines it wrote.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&text[text.len().saturating_sub(LOG_TAIL_BYTES)..]).into_owned()
    }

    /// Everything it wrote so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The most memory a running process ever had resident, in bytes: `VmHWM` of `/proc/{id}/status`. [`None`] once it ended.
pub fn peak_resident_bytes(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// Below where the system takes the ports of outgoing connections from, which may come between finding and binding.
const FIRST_PORT: u16 = 20_000;
const PORTS: u32 = 12_000;

/// A free port, which this process returns only once.
pub fn free_port() -> u16 {
    static GIVEN_OUT: AtomicU32 = AtomicU32::new(0);
    // Test programs that run at once begin at places of their own.
    let begin = std::process::id().wrapping_mul(97);
    (0..PORTS)
        .map(|_| {
            let number = begin.wrapping_add(GIVEN_OUT.fetch_add(1, Ordering::Relaxed)) % PORTS;
            FIRST_PORT + u16::try_from(number).unwrap_or_default()
        })
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("one of thousands of ports is free")
}

/// True if a scenario is to be left out because `tool` is missing and `TRANSSHIP_TESTS_SKIP_REAL=1` allows that.
///
/// # Panics
/// If the tool is missing and nothing allows it: a run that silently tested nothing would look like a good one.
pub fn skip_without(tools: &[&str]) -> bool {
    let missing: Vec<_> = tools.iter().filter(|tool| !is_installed(tool)).collect();
    if missing.is_empty() {
        return false;
    }
    assert!(
        std::env::var_os("TRANSSHIP_TESTS_SKIP_REAL").is_some_and(|value| value == "1"),
        "{missing:?} not found in PATH: install them (`apt-get install docker-registry skopeo curl bind9-dnsutils`), or leave these \
         tests out with TRANSSHIP_TESTS_SKIP_REAL=1"
    );
    true
}

fn is_installed(tool: &str) -> bool {
    find_in_path(tool).is_some()
}

/// Where `tool` stands in PATH.
pub fn find_in_path(tool: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(tool))
        .find(|candidate| candidate.is_file())
}
