//! Runs the binary.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Result of a run.
#[derive(Debug)]
pub struct Run {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Run {
    /// Standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The code of the single line `CODE: sentence` on standard error.
    pub fn error_code(&self) -> &str {
        let [line] = self.err.lines().collect::<Vec<_>>()[..] else {
            panic!("not one line: {self:?}")
        };
        let (code, sentence) = line.split_once(": ").unwrap_or_else(|| panic!("{self:?}"));
        let is_code = code
            .chars()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
        assert!(is_code && !sentence.is_empty(), "{self:?}");
        code
    }
}

/// The binary, without the user's environment.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_transship"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .env("DOCKER_CONFIG", "/nowhere")
        .env_remove("REGISTRY_AUTH_FILE")
        .env_remove("XDG_RUNTIME_DIR")
        .env_remove("TRANSSHIP_DATA")
        .env_remove("TRANSSHIP_TABLE")
        .env_remove("TRANSSHIP_QUEUE_URL")
        .env_remove("TRANSSHIP_CONFIG")
        .env_remove("RUST_LOG");
    command
}

/// Runs the binary until it ends.
pub fn run(arguments: &[&str]) -> Run {
    finished(&mut command(arguments))
}

/// Runs a command until it ends.
pub fn finished(command: &mut Command) -> Run {
    let Output { status, stdout, stderr } = command.output().unwrap();
    Run {
        code: status.code().unwrap_or(-1),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}
