//! `transship serve` as a process: started, killed with -9, started again over the same data.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Process, free_port};
use crate::{Document, http, transship, wait};

const START_TIMEOUT: Duration = Duration::from_secs(30);

/// The states that end a task, by the contract.
pub const TERMINAL_STATES: [&str; 6] = ["succeeded", "unchanged", "kept", "skipped", "failed", "cancelled"];

/// A running `serve` with its data and document in a temporary folder.
#[derive(Debug)]
pub struct Serve {
    folder: TempDir,
    port: u16,
    process: Option<Process>,
    file_limit_kib: Option<u32>,
    variables: Vec<(String, OsString)>,
}

impl Serve {
    /// A place to serve from, not started: its port is known before the registries that notify it are configured.
    pub fn prepare() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a temporary folder can be made"),
            port: free_port(),
            process: None,
            file_limit_kib: None,
            variables: Vec::new(),
        }
    }

    /// From the next start on, only the certificate authorities of this file are trusted.
    pub fn trust(&mut self, roots: PathBuf) {
        self.set("SSL_CERT_FILE", roots);
    }

    /// From the next start on, it has this environment variable.
    pub fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.variables.push((name.to_owned(), value.into()));
    }

    /// From the next start on no file it writes can grow beyond so many KiB: a full disk. [`None`] lifts that.
    pub const fn limit_files(&mut self, kib: Option<u32>) {
        self.file_limit_kib = kib;
    }

    /// `127.0.0.1:port`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where a registry of that name notifies.
    pub fn hook(&self, source: &str) -> String {
        format!("http://{}/hooks/{source}", self.host())
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The document's file.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("transship.yaml")
    }

    /// Writes the document and starts.
    pub fn start(&mut self, document: &Document) {
        std::fs::write(self.config(), document.yaml()).expect("the document can be written");
        self.start_again();
    }

    /// Starts over the data and document that are there, and waits for `/healthz`.
    pub fn start_again(&mut self) {
        self.process = None;
        let mut process = Process::start(&mut self.command(), &self.log_file());
        let host = self.host();
        let healthy = wait::until(START_TIMEOUT, || match http::get(&host, "/healthz") {
            Ok(response) if response.status == 200 => Ok(true),
            Ok(response) => Err(format!("/healthz answers {}", response.status)),
            Err(_) if !process.is_running() => Ok(false),
            Err(error) => Err(error.to_string()),
        });
        // Another program on this port would answer as well.
        assert!(
            healthy == Ok(true) && process.is_running(),
            "serve does not start ({healthy:?})\n{}",
            process.log_tail()
        );
        self.process = Some(process);
    }

    fn command(&self) -> Command {
        let serve = transship::command();
        let mut command = match self.file_limit_kib {
            None => serve,
            // With the signal ignored, a write beyond the limit fails as one to a full disk does.
            Some(kib) => {
                let mut shell = Command::new("bash");
                shell.args(["-c", &format!("trap '' XFSZ; ulimit -f {kib}; exec \"$0\" \"$@\"")]);
                shell.arg(serve.get_program());
                shell.envs(serve.get_envs().filter_map(|(name, value)| Some((name, value?))));
                shell
            }
        };
        command.args(["serve", "--listen", &self.host(), "--sweep", "off"]);
        command
            .arg("--config")
            .arg(self.config())
            .arg("--data")
            .arg(self.data())
            .env("RUST_LOG", "info")
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// SIGKILL: nothing is finished, nothing is flushed.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// The process id while it runs.
    pub fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Everything it logged over all its lives.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("serve.log")
    }

    /// `transship tasks --json`.
    pub fn tasks(&self) -> Vec<Value> {
        rows("tasks", &self.data())
    }

    /// `transship executions --json`.
    pub fn executions(&self) -> Vec<Value> {
        rows("executions", &self.data())
    }

    /// The tasks whose destination ends with `destination`, such as `copy/app:v1`.
    pub fn tasks_to(&self, destination: &str) -> Vec<Value> {
        let mut tasks = self.tasks();
        tasks.retain(|task| {
            task["destination"]
                .as_str()
                .is_some_and(|text| text.ends_with(destination))
        });
        tasks
    }

    /// Waits until there are tasks and all have ended; then all of them.
    pub fn until_at_rest(&self, timeout: Duration) -> Vec<Value> {
        let rested = wait::until(timeout, || {
            let tasks = self.tasks();
            let open: Vec<_> = tasks
                .iter()
                .filter(|task| !is_terminal(task))
                .map(ToString::to_string)
                .collect();
            match (tasks.is_empty(), open.first()) {
                (true, _) => Err("no task was recorded".to_owned()),
                (false, None) => Ok(tasks),
                (false, Some(first)) => Err(format!("{} tasks have not ended, among them {first}", open.len())),
            }
        });
        rested.unwrap_or_else(|reason| panic!("{reason}\n{}", self.log_tail()))
    }

    /// The last of the log, for messages.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let start = log.char_indices().rev().nth(6000).map_or(0, |(index, _)| index);
        log[start..].to_owned()
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the end of serve's log\n{}---", self.log_tail());
        }
    }
}

/// True if the task has ended.
pub fn is_terminal(task: &Value) -> bool {
    task["state"]
        .as_str()
        .is_some_and(|state| TERMINAL_STATES.contains(&state))
}

fn rows(command: &str, data: &Path) -> Vec<Value> {
    let run = transship::run_command(transship::command().arg(command).arg("--data").arg(data).arg("--json"));
    assert_eq!(run.code, 0, "transship {command} fails: {run:?}");
    run.json().as_array().cloned().unwrap_or_default()
}
