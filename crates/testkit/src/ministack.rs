//! MiniStack as a process: emulates the AWS services that the product uses, on a loopback port, without an account.
//!
//! It must bind only the loopback address, answer before it is returned, and end when it is dropped.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use transship_oci::RegistryHost;

use crate::server::{Recipe, Server};
use crate::{Error, ErrorKind, Result};

/// Environment variable with the path of the executable, if it is neither on the `PATH` nor installed by `tests/run`.
const VARIABLE: &str = "TRANSSHIP_MINISTACK";
const BINARY: &str = "ministack";
const HEALTH: &str = "/_ministack/health";
/// Path below the user's cache folder where `tests/run` installs it.
const INSTALLED: &str = "transship-ci/python/bin/ministack";
/// Time limit for the start, on a machine under load.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running, empty MiniStack (`PyPI` `ministack`) with its own folder. Killed when dropped.
#[derive(Debug)]
pub struct MiniStack(Server);

impl MiniStack {
    /// Starts MiniStack and waits until it is healthy. If it is not installed, the error says how to install it, because nothing
    /// else tests the same.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// Like [`MiniStack::start`], with additional environment variables for the process, such as `AUTH`.
    pub async fn start_with(environment: &[(&str, &str)]) -> Result<Self> {
        let program = program()?;
        let recipe = Recipe {
            name: BINARY,
            health: HEALTH,
            patience: PATIENCE,
            command: |port: u16, folder: &Path| {
                let mut command = Command::new(&program);
                command
                    .env("BIND_HOST", "127.0.0.1")
                    .env("GATEWAY_PORT", port.to_string())
                    .env("MINISTACK_HOST", "127.0.0.1")
                    .env("TMPDIR", folder)
                    .env("LOG_LEVEL", "WARNING")
                    .envs(environment.iter().copied());
                Ok(command)
            },
        };
        Ok(Self(Server::start(recipe).await?))
    }

    /// The value for `AWS_ENDPOINT_URL`: `http://127.0.0.1:<port>`. The region is `us-east-1`, and every key is accepted.
    pub fn endpoint(&self) -> String {
        self.0.url()
    }

    /// `127.0.0.1:<port>`, for a proxy in front of it.
    pub const fn host(&self) -> &RegistryHost {
        self.0.host()
    }

    /// The process id, to measure the process.
    pub fn process_id(&self) -> u32 {
        self.0.process_id()
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        self.0.log()
    }
}

/// The executable: from the environment variable, else from the `PATH`, else as installed by `tests/run`.
fn program() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os(VARIABLE) {
        return Ok(named.into());
    }
    let of_path = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>())
        .map(|folder| folder.join(BINARY));
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let installed = cache.map(|cache| cache.join(INSTALLED));
    let mut candidates = of_path.chain(installed);
    candidates
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| Error::new(ErrorKind::MiniStackMissing, BINARY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stack_answers_while_it_is_held() {
        let stack = MiniStack::start().await.unwrap();
        let url = stack.endpoint() + HEALTH;
        assert!(crate::http::get(&url).await.unwrap().status().is_success());
        drop(stack);
        assert!(crate::http::get(&url).await.is_err());
    }
}
