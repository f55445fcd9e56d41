//! Images as other tools write them: `nginx`, `quay.io/coreos/etcd:v3`, `localhost:5000/app@sha256:…`.

use serde_json::{Value, json};
use transship_oci::{Provider, Result};

use super::draft::{Draft, Registry, variable, word};
use super::invalid;
use crate::failure::Failure;

/// A registry, a repository and what of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) host: String,
    pub(super) repository: String,
    /// After the first `:` of the last component.
    pub(super) tag: Option<String>,
    pub(super) digest: Option<String>,
}

impl Image {
    /// Docker's rule: without a host it is Docker Hub, where a name of one component is below `library`.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let text = text
            .trim()
            .trim_start_matches("docker://")
            .trim_start_matches("https://");
        // A regular expression of tags between slashes may follow the colon, and may contain anything.
        let (text, regex) = match text.find(":/") {
            Some(at) => (&text[..at], Some(text[at + 1..].to_owned())),
            None => (text, None),
        };
        let (named, digest) = match text.split_once('@') {
            Some((named, digest)) => (named, Some(digest.to_owned())),
            None => (text, None),
        };
        let (host, path) = split_host(named);
        let start = path.rfind('/').map_or(0, |slash| slash + 1);
        let (repository, tag) = match path[start..].find(':') {
            Some(at) => (&path[..start + at], Some(path[start + at + 1..].to_owned())),
            None => (path, None),
        };
        let tag = regex.or(tag);
        let repository = repository.trim_matches('/');
        let repository = if host == "docker.io" && !repository.contains('/') && !repository.is_empty() {
            format!("library/{repository}")
        } else {
            repository.to_owned()
        };
        if host.is_empty() {
            return Err(invalid(&format!("{text:?} is not the name of an image")));
        }
        Ok(Self {
            host: host.to_owned(),
            repository,
            tag: tag.filter(|tag| !tag.is_empty()),
            digest,
        })
    }

    /// `source` for this repository.
    pub(super) fn source(&self, registry: &str) -> Vec<(&'static str, Value)> {
        let (namespace, name) = split(&self.repository);
        vec![
            ("registry", json!(registry)),
            ("namespace", json!(namespace)),
            ("repository", json!(name)),
        ]
    }

    /// `destination` that names this repository.
    pub(super) fn destination(&self, registry: &str) -> Vec<(&'static str, Value)> {
        let (namespace, name) = split(&self.repository);
        vec![
            ("registry", json!(registry)),
            ("namespace", json!(namespace)),
            ("repository", json!(name)),
        ]
    }
}

fn split_host(text: &str) -> (&str, &str) {
    match text.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
        _ if text.contains('.') && !text.contains([':', '/']) => (text, ""),
        _ => ("docker.io", text),
    }
}

/// The namespace and the last component.
fn split(repository: &str) -> (&str, &str) {
    repository.rsplit_once('/').unwrap_or(("", repository))
}

/// The registry at `host`.
pub(super) fn registry_at(host: &str, is_plain: bool) -> Registry {
    let provider = provider_at(host);
    if provider == Provider::DockerHub {
        return Registry::new(provider, "https://registry-1.docker.io");
    }
    let scheme = if is_plain { "http" } else { "https" };
    Registry::new(provider, format!("{scheme}://{host}"))
}

/// Adds the registry at `host`; returns its name.
pub(super) fn add(draft: &mut Draft, host: &str) -> String {
    draft.registry(&name_of(host), registry_at(host, false))
}

/// A name for the registry at `host`.
pub(super) fn name_of(host: &str) -> String {
    match host {
        "docker.io" | "registry-1.docker.io" | "index.docker.io" => "dockerhub".to_owned(),
        host => word(host),
    }
}

/// A reference to credentials in the environment, whose content is user:password.
pub(super) fn credentials(host: &str) -> String {
    format!("env:{}_CREDENTIALS", variable(&name_of(host)))
}

fn provider_at(host: &str) -> Provider {
    let ends = |suffix: &str| host.ends_with(suffix);
    match host {
        "docker.io" | "registry-1.docker.io" | "index.docker.io" => Provider::DockerHub,
        "ghcr.io" => Provider::Ghcr,
        "quay.io" => Provider::Quay,
        _ if ends(".amazonaws.com") || ends(".amazonaws.com.cn") => Provider::Ecr,
        _ if ends(".pkg.dev") || host == "gcr.io" || ends(".gcr.io") => Provider::GoogleAr,
        _ if ends(".azurecr.io") || ends(".azurecr.cn") => Provider::AzureAcr,
        _ if ends(".aliyuncs.com") => Provider::AliyunAcr,
        _ if ends(".tencentcloudcr.com") => Provider::TencentTcr,
        _ => Provider::Generic,
    }
}
