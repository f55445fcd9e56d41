//! Real registries as processes: Debian's `docker-registry` (CNCF Distribution 2.8) on a loopback port.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use transship_oci::RegistryHost;

use crate::{Error, ErrorKind, Result};

const BINARY: &str = "docker-registry";
/// How often a registry that does not answer yet is asked again, and how many times.
const POLL: Duration = Duration::from_millis(20);
const POLLS: u32 = 500;

/// A port of 127.0.0.1 that was free a moment ago. Another process may take it first: whoever uses it tries again.
pub fn runtime_free_port() -> Result<u16> {
    let failed = |error| Error::new(ErrorKind::BindFailed, "free port").with_source(error);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
    Ok(listener.local_addr().map_err(failed)?.port())
}

/// Where a registry process sends its notifications.
#[derive(Debug, Clone, Default)]
pub struct NotificationEndpoint {
    /// `http://…`.
    pub url: String,
    /// Sent with each delivery.
    pub headers: Vec<(String, String)>,
}

/// A running `docker-registry`, with its files in a folder of its own. Killed when dropped.
#[derive(Debug)]
pub struct DockerRegistry {
    child: Child,
    host: RegistryHost,
    folder: TempDir,
}

impl DockerRegistry {
    /// Starts one, with deletion enabled, and waits until it answers. [`None`] if the program is not installed: the test
    /// says so and passes. (`apt-get install docker-registry`.)
    pub async fn start(notify: Option<&NotificationEndpoint>) -> Result<Option<Self>> {
        if !is_installed(BINARY) {
            return Ok(None);
        }
        let mut last = None;
        for _ in 0..3 {
            match Self::try_start(notify).await {
                Ok(registry) => return Ok(Some(registry)),
                Err(error) => last = Some(error),
            }
        }
        last.map_or(Ok(None), Err)
    }

    async fn try_start(notify: Option<&NotificationEndpoint>) -> Result<Self> {
        let failed = |error| Error::new(ErrorKind::FileFailed, "docker-registry folder").with_source(error);
        let folder = TempDir::new().map_err(failed)?;
        let host: RegistryHost = format!("127.0.0.1:{}", runtime_free_port()?)
            .parse()
            .map_err(|error: transship_oci::Error| Error::new(ErrorKind::BindFailed, BINARY).with_source(error))?;
        let configuration = folder.path().join("config.yml");
        fs::write(&configuration, document(&host, &folder.path().join("data"), notify)).map_err(failed)?;
        let log = fs::File::create(folder.path().join("log")).map_err(failed)?;
        let child = Command::new(BINARY)
            .arg("serve")
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| {
                let log = String::new();
                Error::new(ErrorKind::ProcessFailed { log }, BINARY).with_source(error)
            })?;
        let mut registry = Self { child, host, folder };
        registry.wait_until_it_answers().await?;
        Ok(registry)
    }

    async fn wait_until_it_answers(&mut self) -> Result<()> {
        let url = format!("{}/v2/", self.url());
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

    /// `127.0.0.1:<port>`.
    pub const fn host(&self) -> &RegistryHost {
        &self.host
    }

    /// `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("http://{}", self.host)
    }

    /// The process, for those who kill it early or measure it.
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// The folder of its blobs and repositories.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The end of what it wrote.
    pub fn log(&self) -> String {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let start = log.len().saturating_sub(4000);
        log.get(start..).unwrap_or_default().to_owned()
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn is_installed(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

fn document(host: &RegistryHost, data: &Path, notify: Option<&NotificationEndpoint>) -> String {
    // A JSON string is a YAML string, whatever is in the path. By default every manifest with a non-distributable layer
    // is refused; it is allowed here: https://distribution.github.io/distribution/about/configuration/#validation
    let data = serde_json::Value::from(data.to_string_lossy());
    let mut text = format!(
        "version: 0.1\nlog: {{level: warn, accesslog: {{disabled: true}}}}\n\
         storage: {{filesystem: {{rootdirectory: {data}}}, delete: {{enabled: true}}}}\n\
         http: {{addr: {host:?}}}\n\
         validation: {{manifests: {{urls: {{allow: ['^https?://']}}}}}}\n"
    );
    if let Some(endpoint) = notify {
        let header = |(name, value): &(String, String)| format!("{name:?}: [{value:?}]");
        let headers: Vec<String> = endpoint.headers.iter().map(header).collect();
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "notifications:\n  events: {{includereferences: true}}\n  endpoints:\n    - {{name: test, url: {:?}, \
             timeout: 1s, threshold: 3, backoff: 1s, headers: {{{}}}}}\n",
            endpoint.url,
            headers.join(", ")
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_free_ports_can_be_bound() {
        let port = runtime_free_port().unwrap();
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    }

    #[tokio::test]
    async fn a_registry_answers_while_it_is_held() {
        let Some(registry) = DockerRegistry::start(None).await.unwrap() else {
            println!("skipped: docker-registry is not installed");
            return;
        };
        let url = format!("{}/v2/", registry.url());
        assert!(crate::http::get(&url).await.unwrap().status().is_success());
        drop(registry);
        assert!(crate::http::get(&url).await.is_err());
    }
}
