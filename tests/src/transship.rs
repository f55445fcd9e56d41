//! The built `transship` as a user runs it: arguments in, exit code, two outputs out.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::{HOOK_SECRET, wait};

/// No command of these tests takes longer.
const TIMEOUT: Duration = Duration::from_mins(3);

/// The path of the built `transship`: `TRANSSHIP_BIN`, else beside the running test in the target folder.
///
/// # Panics
/// If it has not been built.
pub fn binary() -> PathBuf {
    match std::env::var_os("TRANSSHIP_BIN") {
        Some(path) => path.into(),
        None => built("transship"),
    }
}

/// The path of a built binary beside the running test in the target folder.
///
/// # Panics
/// If it has not been built.
pub fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running test knows its own path");
    let name = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    test.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(&name))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| {
            panic!(
                "no {name} beside {}: build it first (`cargo build --bin {name}`), or say where it is in TRANSSHIP_BIN",
                test.display()
            )
        })
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Run {
    /// The exit code; -1 if a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Run {
    /// Standard output as JSON.
    ///
    /// # Panics
    /// If it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("standard output is not JSON ({error}): {self:?}"))
    }

    /// The `CODE` of the `CODE: sentence` line on standard error.
    pub fn error_code(&self) -> Option<&str> {
        self.stderr.lines().find_map(code_of)
    }
}

/// `CODE` of a line `CODE: sentence`.
fn code_of(line: &str) -> Option<&str> {
    let (code, sentence) = line.split_once(": ")?;
    let shaped = code.len() > 1
        && code.starts_with(|letter: char| letter.is_ascii_uppercase())
        && code
            .chars()
            .all(|letter| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_');
    (shaped && !sentence.trim().is_empty()).then_some(code)
}

/// The command with nothing of the machine's own configuration in it.
pub fn command() -> Command {
    let mut command = Command::new(binary());
    command
        .env("HOOK", HOOK_SECRET)
        .env_remove("TRANSSHIP_CONFIG")
        .env_remove("TRANSSHIP_DATA")
        .env("XDG_CACHE_HOME", std::env::temp_dir().join("transship-tests-cache"))
        .env(
            "DOCKER_CONFIG",
            std::env::temp_dir().join("transship-tests-no-docker-config"),
        )
        .env_remove("REGISTRY_AUTH_FILE")
        .stdin(Stdio::null());
    command
}

/// Runs `transship` with these arguments to its end.
pub fn run(arguments: &[&str]) -> Run {
    run_command(command().args(arguments))
}

/// Runs a prepared command to its end, which must come in time.
pub fn run_command(command: &mut Command) -> Run {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let ended = wait::until(TIMEOUT, || match child.try_wait() {
        Ok(Some(status)) => Ok(status),
        Ok(None) => Err(format!("{command:?} still runs")),
        Err(error) => Err(error.to_string()),
    });
    if ended.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let (stdout, stderr) = (stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default());
    match ended {
        Ok(status) => Run {
            code: status.code().unwrap_or(-1),
            stdout,
            stderr,
        },
        Err(reason) => panic!("{reason}\n{stdout}\n{stderr}"),
    }
}

/// Reads a pipe beside the process, which would otherwise stop when the pipe is full.
fn drain(pipe: Option<impl std::io::Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_code_and_a_sentence_make_an_error_line() {
        assert_eq!(
            code_of("SOURCE_NOT_FOUND: the source has no such image"),
            Some("SOURCE_NOT_FOUND")
        );
        assert_eq!(code_of("SCHEMA1: no"), Some("SCHEMA1"));
        for line in [
            "error: no such image",
            "SOURCE_NOT_FOUND:",
            "SOURCE_NOT_FOUND: ",
            "Error: X: y",
            "E: x",
            "",
        ] {
            assert_eq!(code_of(line), None, "{line}");
        }
    }
}
