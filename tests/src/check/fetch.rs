//! What a registry serves, by `curl` into files, and what these files hash to, by the tools of the system.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::wait;

/// Every type a manifest may have, so that no registry converts anything.
const ACCEPT: &str = "Accept: application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.oci.artifact.manifest.v1+json";

/// Distribution refuses to list more at once.
const CATALOG_PAGE: usize = 1000;

/// How long a 500 must last to be believed.
const PATIENCE: Duration = Duration::from_secs(2);

/// One repository of a registry.
#[derive(Debug, Clone)]
pub(super) struct Registry {
    host: String,
    repository: String,
}

/// A body in a file of its own, gone with this value.
#[derive(Debug)]
pub(super) struct Body {
    _folder: TempDir,
    path: PathBuf,
}

/// A manifest as served.
#[derive(Debug)]
pub(super) struct Manifest {
    pub(super) media_type: String,
    pub(super) file: Body,
}

impl Registry {
    pub(super) fn new(host: &str, repository: &str) -> Self {
        Self {
            host: host.to_owned(),
            repository: repository.to_owned(),
        }
    }

    /// The manifest a tag or digest names, if it is there.
    pub(super) fn manifest(&self, reference: &str) -> Result<Option<Manifest>, String> {
        let answer = get(&format!(
            "http://{}/v2/{}/manifests/{reference}",
            self.host, self.repository
        ))?;
        Ok(answer.map(|(media_type, file)| Manifest { media_type, file }))
    }

    /// The blob of that digest, if it is there.
    pub(super) fn blob(&self, digest: &str) -> Result<Option<Body>, String> {
        let answer = get(&format!("http://{}/v2/{}/blobs/{digest}", self.host, self.repository))?;
        Ok(answer.map(|(_, file)| file))
    }

    /// What the referrers API lists; [`None`] where there is no such API.
    pub(super) fn referrers(&self, digest: &str) -> Result<Option<Value>, String> {
        let answer = get(&format!(
            "http://{}/v2/{}/referrers/{digest}",
            self.host, self.repository
        ))?;
        answer.map(|(_, file)| file.json()).transpose()
    }

    /// All tags, sorted.
    pub(super) fn tags(&self) -> Result<Vec<String>, String> {
        let url = format!("http://{}/v2/{}/tags/list", self.host, self.repository);
        // A repository whose tags are all deleted is still in the catalog, and answers 404 or null here.
        let Some((_, file)) = get(&url)? else {
            return Ok(Vec::new());
        };
        Ok(strings(&file.json()?["tags"]))
    }
}

/// The names of all repositories of a registry.
pub(super) fn catalog(host: &str) -> Result<Vec<String>, String> {
    let (_, file) =
        get(&format!("http://{host}/v2/_catalog?n={CATALOG_PAGE}"))?.ok_or("the registry has no catalog")?;
    let repositories = strings(&file.json()?["repositories"]);
    // A second page would go unchecked.
    if repositories.len() < CATALOG_PAGE {
        Ok(repositories)
    } else {
        Err("more repositories than one page lists".into())
    }
}

impl Body {
    pub(super) fn bytes(&self) -> Result<Vec<u8>, String> {
        std::fs::read(&self.path).map_err(|error| error.to_string())
    }

    pub(super) fn size(&self) -> Result<u64, String> {
        Ok(std::fs::metadata(&self.path).map_err(|error| error.to_string())?.len())
    }

    pub(super) fn json(&self) -> Result<Value, String> {
        serde_json::from_slice(&self.bytes()?).map_err(|error| format!("not JSON: {error}"))
    }

    /// `sha256:…` or `sha512:…` of the bytes.
    pub(super) fn hash(&self, algorithm: &str) -> Result<String, String> {
        Ok(format!("{algorithm}:{}", sum(algorithm, &self.path)?))
    }

    /// `Err` unless the bytes hash to `digest`.
    pub(super) fn prove(&self, digest: &str) -> Result<(), String> {
        let algorithm = digest.split(':').next().unwrap_or_default();
        let hashed = self.hash(algorithm)?;
        if hashed == digest {
            Ok(())
        } else {
            Err(format!("the bytes served as {digest} hash to {hashed}"))
        }
    }
}

/// Content type and body of a 200; [`None`] for a 404. Distribution 2.8.2 writes its links in place: while a manifest is put
/// again, requests for it by tag and by digest return 500. Only this status must therefore persist to count.
fn get(url: &str) -> Result<Option<(String, Body)>, String> {
    let (status, content_type, body) = wait::until(PATIENCE, || match ask(url) {
        Ok((status, ..)) if status == "500" => Err(format!("GET {url} answers 500")),
        answer => Ok(answer),
    })??;
    match status.as_str() {
        "200" => Ok(Some((content_type, body))),
        "404" => Ok(None),
        _ => Err(format!("GET {url} answers {status}")),
    }
}

/// Status, content type and body of what is answered.
fn ask(url: &str) -> Result<(String, String, Body), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let path = folder.path().join("body");
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "120", "--header", ACCEPT])
        .args(["--write-out", "%{http_code} %{content_type}", "--output"])
        .args([&path])
        .arg(url)
        .output()
        .map_err(|error| format!("curl cannot be started: {error}"))?;
    if !output.status.success() {
        return Err(format!("GET {url}: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    // curl makes no file for an empty body.
    if !path.exists() {
        std::fs::write(&path, b"").map_err(|error| error.to_string())?;
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let (status, content_type) = said.split_once(' ').unwrap_or((&said, ""));
    Ok((
        status.to_owned(),
        content_type.to_owned(),
        Body { _folder: folder, path },
    ))
}

fn sum(algorithm: &str, path: &Path) -> Result<String, String> {
    if !["sha256", "sha512"].contains(&algorithm) {
        return Err(format!("no tool hashes {algorithm:?}"));
    }
    let output = Command::new(format!("{algorithm}sum"))
        .arg("--binary")
        .arg(path)
        .output()
        .map_err(|error| format!("{algorithm}sum cannot be started: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    said.split_whitespace()
        .next()
        .map(str::to_owned)
        .ok_or_else(|| format!("{algorithm}sum says nothing"))
}

fn strings(value: &Value) -> Vec<String> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}
