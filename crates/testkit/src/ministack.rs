//! MiniStack as a process: the AWS services the product uses, on a loopback port, without an account.
//!
//! What must hold: it is bound to loopback, answers before it is handed out, and is gone when it is dropped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use transship_oci::RegistryHost;

use crate::processes::runtime_free_port;
use crate::{Error, ErrorKind, Result};

/// Names the executable, where it is neither on the `PATH` nor where the checks install it.
const VARIABLE: &str = "TRANSSHIP_MINISTACK";
const BINARY: &str = "ministack";
/// Below the user's cache folder: where the checks install it.
const INSTALLED: &str = "transship-ci/python/bin/ministack";
/// How often a stack that does not answer yet is asked again, and how many times: a minute, for a machine under load.
const POLL: Duration = Duration::from_millis(50);
const POLLS: u32 = 1200;

/// A running MiniStack (`PyPI` `ministack`) with nothing in it, its files in a folder of its own. Killed when dropped.
#[derive(Debug)]
pub struct MiniStack {
    child: Child,
    host: RegistryHost,
    folder: TempDir,
}

impl MiniStack {
    /// Starts one and waits until it is healthy. An error that says how to install it if it is not there: what it is
    /// needed for is not tested otherwise.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// The same with further environment variables for the process, such as `AUTH`.
    pub async fn start_with(environment: &[(&str, &str)]) -> Result<Self> {
        let program = program()?;
        // A port that was free a moment ago may be taken: then the process ends, and another port is tried.
        let mut last = Error::new(ErrorKind::BindFailed, BINARY);
        for _ in 0..3 {
            match Self::try_start(&program, environment).await {
                Ok(stack) => return Ok(stack),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn try_start(program: &Path, environment: &[(&str, &str)]) -> Result<Self> {
        let failed = |error| Error::new(ErrorKind::FileFailed, "ministack folder").with_source(error);
        let folder = TempDir::new().map_err(failed)?;
        let port = runtime_free_port()?;
        let host: RegistryHost = format!("127.0.0.1:{port}")
            .parse()
            .map_err(|error: transship_oci::Error| Error::new(ErrorKind::BindFailed, BINARY).with_source(error))?;
        let log = File::create(folder.path().join("log")).map_err(failed)?;
        let errors = log.try_clone().map_err(failed)?;
        let child = Command::new(program)
            .env("BIND_HOST", "127.0.0.1")
            .env("GATEWAY_PORT", port.to_string())
            .env("MINISTACK_HOST", "127.0.0.1")
            .env("TMPDIR", folder.path())
            .env("LOG_LEVEL", "WARNING")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(|error| {
                let log = String::new();
                Error::new(ErrorKind::ProcessFailed { log }, BINARY).with_source(error)
            })?;
        let mut stack = Self { child, host, folder };
        stack.wait_until_it_is_healthy().await?;
        Ok(stack)
    }

    async fn wait_until_it_is_healthy(&mut self) -> Result<()> {
        let url = format!("{}/_ministack/health", self.endpoint());
        for _ in 0..POLLS {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                break;
            }
            if crate::http::get(&url)
                .await
                .is_ok_and(|answer| answer.status().is_success())
            {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
        Err(Error::new(ErrorKind::ProcessFailed { log: self.log() }, BINARY))
    }

    /// `http://127.0.0.1:<port>`: what `AWS_ENDPOINT_URL` is to be. Region `us-east-1`; every key is accepted.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.host)
    }

    /// `127.0.0.1:<port>`, for a proxy in front of it.
    pub const fn host(&self) -> &RegistryHost {
        &self.host
    }

    /// The process, for those who measure it.
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// The end of what it wrote.
    pub fn log(&self) -> String {
        let log = fs::read(self.folder.path().join("log")).unwrap_or_default();
        let start = log.len().saturating_sub(8000);
        String::from_utf8_lossy(log.get(start..).unwrap_or_default()).into_owned()
    }
}

impl Drop for MiniStack {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
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
        let url = format!("{}/_ministack/health", stack.endpoint());
        assert!(crate::http::get(&url).await.unwrap().status().is_success());
        drop(stack);
        assert!(crate::http::get(&url).await.is_err());
    }
}
