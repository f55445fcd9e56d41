//! Real registries as processes: Debian's `docker-registry` (CNCF Distribution 2.8) on a loopback port.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use transship_oci::RegistryHost;

use crate::server::{Recipe, Server};
use crate::{Error, ErrorKind, Result};

const BINARY: &str = "docker-registry";
/// Name of its configuration file.
const DATA: &str = "data";
const HEALTH: &str = "/v2/";
/// Time limit for the start.
const PATIENCE: Duration = Duration::from_secs(10);

/// The endpoint for the notifications of a registry process.
#[derive(Debug, Clone, Default)]
pub struct NotificationEndpoint {
    /// URL, `http://…`.
    pub url: String,
    /// Headers of each delivery.
    pub headers: Vec<(String, String)>,
}

/// A running `docker-registry` with its own folder. Killed when dropped.
#[derive(Debug)]
pub struct DockerRegistry(Server);

impl DockerRegistry {
    /// Starts a registry with deletion enabled, and waits until it answers. Returns [`None`] if the program is not installed;
    /// the test then prints a message and passes. (`apt-get install docker-registry`.)
    pub async fn start(notify: Option<&NotificationEndpoint>) -> Result<Option<Self>> {
        if !is_installed(BINARY) {
            return Ok(None);
        }
        let recipe = Recipe {
            name: BINARY,
            health: HEALTH,
            patience: PATIENCE,
            command: |port: u16, folder: &Path| {
                let configuration = folder.join("config.yml");
                fs::write(&configuration, document(port, &folder.join(DATA), notify))
                    .map_err(|error| Error::new(ErrorKind::FileFailed, BINARY).with_source(error))?;
                let mut command = Command::new(BINARY);
                command.arg("serve").arg(&configuration);
                Ok(command)
            },
        };
        Ok(Some(Self(Server::start(recipe).await?)))
    }

    /// `127.0.0.1:<port>`.
    pub const fn host(&self) -> &RegistryHost {
        self.0.host()
    }

    /// `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        self.0.url()
    }

    /// The process id, to kill or measure the process.
    pub fn process_id(&self) -> u32 {
        self.0.process_id()
    }

    /// The folder of its blobs and repositories.
    pub fn data(&self) -> PathBuf {
        self.0.folder().join(DATA)
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        self.0.log()
    }
}

fn is_installed(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

fn document(port: u16, data: &Path, notify: Option<&NotificationEndpoint>) -> String {
    // A JSON string is a YAML string for any path. By default every manifest with a non-distributable layer is rejected; it is
    // allowed here: https://distribution.github.io/distribution/about/configuration/#validation
    let data = serde_json::Value::from(data.to_string_lossy());
    let mut text = format!(
        "version: 0.1\nlog: {{level: warn, accesslog: {{disabled: true}}}}\n\
         storage: {{filesystem: {{rootdirectory: {data}}}, delete: {{enabled: true}}}}\n\
         http: {{addr: \"127.0.0.1:{port}\"}}\n\
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

    #[tokio::test]
    async fn a_registry_answers_while_it_is_held() {
        let Some(registry) = DockerRegistry::start(None).await.unwrap() else {
            println!("skipped: docker-registry is not installed");
            return;
        };
        let url = registry.url() + HEALTH;
        assert!(crate::http::get(&url).await.unwrap().status().is_success());
        drop(registry);
        assert!(crate::http::get(&url).await.is_err());
    }
}
