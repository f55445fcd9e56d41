//! Credential helpers: programs `docker-credential-{name}` that store logins.
//!
//! A helper that hangs, writes too much or fails must cause an error that contains its name and never its output.
//! Source: github.com/docker/docker-credential-helpers, README, section Development.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use transship_registry::Login;

use transship_oci::{Code, Error, Result, Verb};
use transship_runtime::Environment;

/// Time limit of a helper.
pub(super) const HELPER_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum output of a helper in bytes. Tokens of cloud registries have a few KiB.
const OUTPUT_BYTES_MAX: u64 = 64 * 1024;

/// Output of a helper without a login for the server.
const NOT_FOUND: &str = "credentials not found";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Asks `docker-credential-{name}` for the login of `server`; [`None`] if it has none.
pub(super) async fn get(
    name: &str,
    server: &str,
    environment: &Environment,
    timeout: Duration,
) -> Result<Option<Login>> {
    let program = format!("docker-credential-{name}");
    let failed = |why: &str| {
        let message = format!("{program} {why}; to see its output, run: echo {server} | {program} get");
        Error::of(Code::CredentialsUnavailable, Verb::Login).because(message)
    };
    if !is_plain(name) {
        let message = format!("{name:?} is not a valid name of a credential helper: check credHelpers and credsStore");
        return Err(Error::of(Code::CredentialsUnavailable, Verb::Login).because(message));
    }
    let mut child = command(&program, environment).spawn().map_err(|error| {
        failed("cannot be started: install it or remove it from the configuration").with_source(error)
    })?;
    let (status, output) = tokio::time::timeout(timeout, converse(&mut child, server))
        .await
        .map_err(|_| failed("did not answer in time"))?
        .map_err(|error| failed("did not answer").with_source(error))?;
    if output.len() as u64 > OUTPUT_BYTES_MAX {
        return Err(failed("writes too much output"));
    }
    match status.map(|status| status.success()) {
        Some(true) => parse(&output).ok_or_else(|| failed("did not write JSON with Username and Secret")),
        _ if is_not_found(&output) => Ok(None),
        _ => Err(failed("failed")),
    }
}

/// The name becomes part of a program's name and must not lead out of `PATH`.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn command(program: &str, environment: &Environment) -> Command {
    let mut command = Command::new(program);
    command
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    if let Some(path) = environment.get("PATH") {
        command.env("PATH", path);
    }
    command
}

/// Its exit, unknown if it says too much, and what it said.
async fn converse(child: &mut Child, server: &str) -> std::io::Result<(Option<ExitStatus>, Vec<u8>)> {
    if let Some(mut input) = child.stdin.take() {
        // A helper that does not read what it is asked may answer all the same.
        let _: std::io::Result<()> = input.write_all(server.as_bytes()).await;
    }
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(OUTPUT_BYTES_MAX + 1).read_to_end(&mut output).await?;
    }
    if output.len() as u64 > OUTPUT_BYTES_MAX {
        return Ok((None, output));
    }
    Ok((Some(child.wait().await?), output))
}

fn is_not_found(output: &[u8]) -> bool {
    String::from_utf8_lossy(output).contains(NOT_FOUND)
}

/// The login; anonymous if the helper returns an empty one.
#[expect(
    clippy::option_option,
    reason = "no answer, an empty answer and a login are three things"
)]
fn parse(output: &[u8]) -> Option<Option<Login>> {
    let answer: Answer = serde_json::from_slice(output).ok()?;
    let is_empty = answer.username.is_empty() && answer.secret.is_empty();
    Some((!is_empty).then(|| Login::of(answer.username, answer.secret)))
}
