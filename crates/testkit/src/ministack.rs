//! MiniStack as a process: the AWS services the product uses, on a loopback port, without an account.
//!
//! What must hold: it is bound to loopback, answers before it is handed out, and is gone when it is dropped.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use transship_oci::RegistryHost;

use crate::server::{Recipe, Server};
use crate::{Error, ErrorKind, Result};

/// Names the executable, where it is neither on the `PATH` nor where the checks install it.
const VARIABLE: &str = "TRANSSHIP_MINISTACK";
const BINARY: &str = "ministack";
const HEALTH: &str = "/_ministack/health";
/// Below the user's cache folder: where the checks install it.
const INSTALLED: &str = "transship-ci/python/bin/ministack";
/// How long it may take to answer, on a machine under load.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running MiniStack (`PyPI` `ministack`) with nothing in it, its files in a folder of its own. Killed when dropped.
#[derive(Debug)]
pub struct MiniStack(Server);

impl MiniStack {
    /// Starts one and waits until it is healthy. An error that says how to install it if it is not there: what it is
    /// needed for is not tested otherwise.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// The same with further environment variables for the process, such as `AUTH`.
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

    /// `http://127.0.0.1:<port>`: what `AWS_ENDPOINT_URL` is to be. Region `us-east-1`; every key is accepted.
    pub fn endpoint(&self) -> String {
        self.0.url()
    }

    /// `127.0.0.1:<port>`, for a proxy in front of it.
    pub const fn host(&self) -> &RegistryHost {
        self.0.host()
    }

    /// The process, for those who measure it.
    pub fn process_id(&self) -> u32 {
        self.0.process_id()
    }

    /// The end of what it wrote.
    pub fn log(&self) -> String {
        self.0.log()
    }
}

/// The executable: what the variable names, else the one on the `PATH`, else the one the checks installed.
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
