//! A client that knows the name of the group, a login, and an authority: it pulls with curl, and pushes with skopeo.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::stage::PATIENCE;
use crate::images::IMAGE;
use crate::{Image, wait};

/// A client of the name.
#[derive(Debug, Clone)]
pub struct Client {
    /// `host:port`, as clients write it in front of a repository.
    pub name: String,
    /// The value for `HTTPS_PROXY`.
    pub proxy: String,
    /// The certificate authority that it trusts.
    pub roots: PathBuf,
    /// `user:password`.
    pub login: String,
}

/// How a pull ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pulled {
    /// The image of this digest, with every blob of it.
    Whole(String),
    /// The connection failed, with the exit code of curl: nothing was served.
    Unconnected(i32),
    /// Something else was served.
    Wrong(String),
}

impl Client {
    /// Pulls an image with one manifest: the manifest, its configuration, and its layers, each by a connection of its own.
    pub fn pull(&self, repository: &str, tag: &str) -> Pulled {
        self.pull_parts(repository, tag).unwrap_or_else(|failed| failed)
    }

    fn pull_parts(&self, repository: &str, tag: &str) -> Result<Pulled, Pulled> {
        let bytes = self.get(&format!("/v2/{repository}/manifests/{tag}"))?;
        let wrong = |what: &str| Pulled::Wrong(format!("{repository}:{tag}: {what}"));
        let manifest: Value = serde_json::from_slice(&bytes).map_err(|_| wrong("the manifest is not JSON"))?;
        let layers = manifest["layers"].as_array().into_iter().flatten();
        for blob in layers.chain(std::iter::once(&manifest["config"])) {
            let digest = blob["digest"].as_str().ok_or_else(|| wrong("a blob has no digest"))?;
            let found = digest_of(&self.get(&format!("/v2/{repository}/blobs/{digest}"))?);
            if found != digest {
                return Err(wrong(&format!("the blob {digest} has {found}")));
            }
        }
        Ok(Pulled::Whole(digest_of(&bytes)))
    }

    fn get(&self, path: &str) -> Result<Vec<u8>, Pulled> {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let body = folder.path().join("body");
        let url = format!("https://{}{path}", self.name);
        let output = Command::new("curl")
            .args([
                "--silent",
                "--max-time",
                "60",
                "--proxy",
                &self.proxy,
                "--user",
                &self.login,
            ])
            .args(["--header", &format!("Accept: {IMAGE}"), "--write-out", "%{http_code}"])
            .arg("--cacert")
            .arg(&self.roots)
            .arg("--output")
            .arg(&body)
            .arg(&url)
            .output()
            .expect("curl can be started");
        let status = String::from_utf8_lossy(&output.stdout).into_owned();
        match (output.status.code().unwrap_or(-1), status.as_str()) {
            (0, "200") => Ok(std::fs::read(&body).unwrap_or_default()),
            (0, status) => Err(Pulled::Wrong(format!("GET {url} answers {status}"))),
            (code, _) => Err(Pulled::Unconnected(code)),
        }
    }

    /// Pushes by name with skopeo; what skopeo says if it fails.
    pub fn push(&self, image: &Image, repository: &str, tag: &str) -> Result<(), String> {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        image.write_layout(folder.path(), tag);
        let layout = format!("oci:{}:{tag}", folder.path().display());
        let destination = format!("docker://{}/{repository}:{tag}", self.name);
        self.skopeo(&["--dest-creds", &self.login, &layout, &destination])
    }

    /// Pulls by name with skopeo into an OCI layout; what skopeo says if it fails.
    pub fn pull_to(&self, repository: &str, tag: &str, layout: &Path) -> Result<(), String> {
        let source = format!("docker://{}/{repository}:{tag}", self.name);
        let layout = format!("oci:{}:{tag}", layout.display());
        self.skopeo(&["--src-creds", &self.login, &source, &layout])
    }

    fn skopeo(&self, arguments: &[&str]) -> Result<(), String> {
        let output = Command::new("skopeo")
            .args(["copy", "--quiet", "--all", "--preserve-digests"])
            .args(arguments)
            .env("HTTPS_PROXY", &self.proxy)
            .env("SSL_CERT_FILE", &self.roots)
            .output()
            .expect("skopeo can be started");
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Begins to pull an image again and again.
    pub fn pull_continuously(&self, repository: &str, tag: &str) -> Pulling {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (client, seen_inside, stop_inside) = (self.clone(), Arc::clone(&seen), Arc::clone(&stop));
        let (repository, tag) = (repository.to_owned(), tag.to_owned());
        let thread = std::thread::spawn(move || {
            while !stop_inside.load(Ordering::Relaxed) {
                let pulled = client.pull(&repository, &tag);
                seen_inside.lock().unwrap_or_else(PoisonError::into_inner).push(pulled);
                wait::pause();
            }
        });
        Pulling {
            seen,
            stop,
            thread: Some(thread),
        }
    }
}

/// `sha256:…`.
fn digest_of(bytes: &[u8]) -> String {
    let hex: Vec<String> = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{}", hex.concat())
}

/// A client that pulls in a loop; ends when dropped.
#[derive(Debug)]
pub struct Pulling {
    seen: Arc<Mutex<Vec<Pulled>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pulling {
    /// How many pulls ended so far.
    pub fn count(&self) -> usize {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits until so many more pulls have ended.
    ///
    /// # Panics
    /// If they do not end in time.
    pub fn await_pulls(&self, more: usize) {
        let wanted = self.count() + more;
        wait::until_true(PATIENCE, "no pull ends", || self.count() >= wanted)
            .unwrap_or_else(|reason| panic!("{reason}"));
    }

    /// Waits until so many more pulls got the whole image.
    ///
    /// # Panics
    /// If they do not in time.
    pub fn await_whole(&self, more: usize) {
        let whole = || {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.iter().filter(|pulled| matches!(pulled, Pulled::Whole(_))).count()
        };
        let wanted = whole() + more;
        wait::until_true(PATIENCE, "no pull gets the image", || whole() >= wanted)
            .unwrap_or_else(|reason| panic!("{reason}"));
    }

    /// Ends the loop. Returns how often the image was whole, and how often nothing was connected.
    ///
    /// # Panics
    /// If anything but the image `digest` was served.
    pub fn assert_only(mut self, digest: &str) -> (usize, usize) {
        self.end();
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut whole, mut unconnected) = (0, 0);
        for pulled in seen.iter() {
            match pulled {
                Pulled::Whole(found) if found == digest => whole += 1,
                Pulled::Unconnected(_) => unconnected += 1,
                other => panic!("expected {digest}, pulled {other:?}"),
            }
        }
        (whole, unconnected)
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Pulling {
    fn drop(&mut self) {
        self.end();
    }
}
