//! A server process on a loopback port. It answers before it is returned, and ends when it is dropped.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;
use transship_oci::RegistryHost;

use crate::{Error, ErrorKind, Result};

/// Interval between requests to a server that does not answer yet.
const POLL: Duration = Duration::from_millis(20);
/// Maximum number of ports to try. A free port may be taken before the process binds it; the process then ends.
const PORTS: u32 = 3;
/// Maximum number of bytes of a log that are shown.
const LOG_BYTES: usize = 8000;

/// A free port of 127.0.0.1. Another process may take it before the caller binds it, so the caller must be able to retry.
pub fn runtime_free_port() -> Result<u16> {
    let failed = |error| Error::new(ErrorKind::BindFailed, "free port").with_source(error);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
    Ok(listener.local_addr().map_err(failed)?.port())
}

/// The process to start, and how to recognize that it is ready.
pub(crate) struct Recipe<'a, F> {
    /// Name for messages.
    pub name: &'static str,
    /// Path that returns success when the server is ready, such as `/v2/`.
    pub health: &'a str,
    /// Time limit for the start.
    pub patience: Duration,
    /// The command for a port of 127.0.0.1 and a folder.
    pub command: F,
}

/// A running server with its own folder. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    name: &'static str,
    host: RegistryHost,
    folder: TempDir,
}

impl Server {
    /// Starts the server and waits until it answers.
    pub async fn start<F>(recipe: Recipe<'_, F>) -> Result<Self>
    where
        F: Fn(u16, &Path) -> Result<Command>,
    {
        let mut last = Error::new(ErrorKind::BindFailed, recipe.name);
        for _ in 0..PORTS {
            match Self::try_start(&recipe).await {
                Ok(server) => return Ok(server),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn try_start<F>(recipe: &Recipe<'_, F>) -> Result<Self>
    where
        F: Fn(u16, &Path) -> Result<Command>,
    {
        let name = recipe.name;
        let failed = |error| Error::new(ErrorKind::FileFailed, name).with_source(error);
        let folder = TempDir::new().map_err(failed)?;
        let port = runtime_free_port()?;
        let host: RegistryHost = format!("127.0.0.1:{port}")
            .parse()
            .map_err(|error: transship_oci::Error| Error::new(ErrorKind::BindFailed, name).with_source(error))?;
        let log = File::create(folder.path().join("log")).map_err(failed)?;
        let errors = log.try_clone().map_err(failed)?;
        let child = (recipe.command)(port, folder.path())?
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(|error| {
                let log = String::new();
                Error::new(ErrorKind::ProcessFailed { log }, name).with_source(error)
            })?;
        let mut server = Self {
            child,
            name,
            host,
            folder,
        };
        server.wait_until_it_answers(recipe.health, recipe.patience).await?;
        Ok(server)
    }

    async fn wait_until_it_answers(&mut self, health: &str, patience: Duration) -> Result<()> {
        let url = format!("{}{health}", self.url());
        let end = Instant::now() + patience;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            if crate::http::get(&url)
                .await
                .is_ok_and(|answer| answer.status().is_success())
            {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
        Err(Error::new(ErrorKind::ProcessFailed { log: self.log() }, self.name))
    }

    /// `127.0.0.1:<port>`.
    pub const fn host(&self) -> &RegistryHost {
        &self.host
    }

    /// `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("http://{}", self.host)
    }

    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        let log = fs::read(self.folder.path().join("log")).unwrap_or_default();
        let start = log.len().saturating_sub(LOG_BYTES);
        String::from_utf8_lossy(log.get(start..).unwrap_or_default()).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_free_ports_can_be_bound() {
        let port = runtime_free_port().unwrap();
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    }
}
