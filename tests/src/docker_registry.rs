//! Debian's `docker-registry` (CNCF Distribution 2.8.2) on a loopback port: the real source and destination.
//!
//! Its notification queue lies in memory and is delivered in order, each until it is accepted: stopping a registry
//! loses what was not delivered yet.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{Process, free_port, skip_without};
use crate::{HOOK_SECRET, http, wait};

const START_TIMEOUT: Duration = Duration::from_secs(20);
/// A file system in memory on every Linux distribution (`shm_overview(7)`); containers may lack it.
const MEMORY_FOLDER: &str = "/dev/shm";

/// User name of a registry with authentication.
pub const USER: &str = "a-user";
/// The password of [`USER`]. It must never show in a log.
pub const PASSWORD: &str = "a-password";
/// [`PASSWORD`] as bcrypt: the only form Distribution reads.
const PASSWORD_HASH: &str = "$2b$05$abcdefghijklmnopqrstuubsRD.Ffj/ka0r3BpAjv57rF8oK.y5YW";

/// A registry process with its storage in a temporary folder.
#[derive(Debug)]
pub struct DockerRegistry {
    folder: TempDir,
    port: u16,
    process: Process,
}

/// What a registry is started with.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where notifications go; none: nowhere.
    pub notify: Option<String>,
    /// `notifications.events.includereferences`: the events of manifests list what these name.
    pub include_references: bool,
    /// Accept Docker's schema 1, which Distribution refuses by default.
    pub schema1: bool,
    /// Ask for [`USER`] and [`PASSWORD`], by Basic authentication.
    pub locked: bool,
    /// The form of the locations of uploads.
    pub locations: Locations,
    /// Where its files are.
    pub files: Files,
}

/// Where a registry keeps its files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Files {
    /// In the folder for temporary files.
    #[default]
    Temporary,
    /// In memory, so that a measurement does not depend on the disk; as [`Files::Temporary`] where the system has no `/dev/shm`.
    Memory,
}

/// The form of the locations that a registry answers with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Locations {
    /// URLs, made from the request.
    #[default]
    Urls,
    /// Paths, for clients that reach the registry by another scheme or name.
    Paths,
}

impl DockerRegistry {
    /// True if the scenario must be left out, see [`skip_without`].
    pub fn skipped() -> bool {
        skip_without(&["docker-registry", "skopeo", "curl"])
    }

    /// A registry without notifications.
    pub fn start() -> Self {
        Self::start_with(&Options::default())
    }

    /// A registry that notifies `url` with [`HOOK_SECRET`].
    pub fn notifying(url: &str) -> Self {
        Self::start_with(&Options {
            notify: Some(url.to_owned()),
            ..Options::default()
        })
    }

    /// Starts it and waits until it answers.
    pub fn start_with(options: &Options) -> Self {
        let folder = match options.files {
            Files::Memory if Path::new(MEMORY_FOLDER).is_dir() => tempfile::tempdir_in(MEMORY_FOLDER),
            _ => tempfile::tempdir(),
        };
        let folder = folder.expect("a temporary folder can be made");
        let port = free_port();
        std::fs::write(
            folder.path().join("config.yml"),
            configuration(folder.path(), port, options),
        )
        .expect("the configuration can be written");
        std::fs::write(htpasswd(folder.path()), format!("{USER}:{PASSWORD_HASH}\n")).expect("htpasswd can be written");
        let process = launch(folder.path());
        let mut registry = Self { folder, port, process };
        registry.await_answer();
        registry
    }

    /// `127.0.0.1:port`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `user:password@127.0.0.1:port`, as `curl` takes it: for pushing to and checking a locked registry.
    pub fn unlocked_host(&self) -> String {
        format!("{USER}:{PASSWORD}@{}", self.host())
    }

    /// Kills it; the storage stays.
    pub fn stop(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same port over the same storage.
    pub fn start_again(&mut self) {
        self.process.kill();
        self.process = launch(self.folder.path());
        self.await_answer();
    }

    /// Its id, for reading `/proc`.
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// The file that holds a blob's bytes (the filesystem driver's layout), to damage or remove it behind the registry's back.
    pub fn blob_file(&self, digest: &str) -> PathBuf {
        let (algorithm, hex) = digest.split_once(':').expect("a digest has an algorithm");
        self.folder
            .path()
            .join("storage/docker/registry/v2/blobs")
            .join(algorithm)
            .join(&hex[..2])
            .join(hex)
            .join("data")
    }

    /// The folder of its storage (the filesystem driver's layout), which holds `docker/registry/v2/`.
    pub fn storage(&self) -> PathBuf {
        self.folder.path().join("storage")
    }

    /// True while an upload session into `repository` is open.
    pub fn has_open_upload(&self, repository: &str) -> bool {
        let uploads = self
            .folder
            .path()
            .join("storage/docker/registry/v2/repositories")
            .join(repository)
            .join("_uploads");
        std::fs::read_dir(uploads).is_ok_and(|mut sessions| sessions.next().is_some())
    }

    /// Every request it answered so far, as `GET /v2/core/app/manifests/v1`, in the order of their ends.
    pub fn requests(&self) -> Vec<String> {
        // Apache's format: the request line stands in quotes after a timestamp in brackets.
        let of_line = |line: &str| {
            let (_, rest) = line.split_once("] \"")?;
            let (request, _) = rest.split_once(" HTTP/1.1\" ")?;
            Some(request.to_owned())
        };
        self.process.log().lines().filter_map(of_line).collect()
    }

    /// [`DockerRegistry::requests`] once no more are written: a request is logged after it was answered.
    pub fn requests_at_rest(&self) -> Vec<String> {
        let mut before = self.requests();
        loop {
            // Two looks apart by more than a line takes to be written.
            (0..3).for_each(|_| wait::pause());
            let now = self.requests();
            if now.len() == before.len() {
                return now;
            }
            before = now;
        }
    }

    fn await_answer(&mut self) {
        let host = self.host();
        let answered = wait::until_true(START_TIMEOUT, "GET /v2/ does not answer", || {
            http::get(&host, "/v2/").is_ok_and(|response| [200, 401].contains(&response.status))
        });
        if let Err(reason) = answered {
            panic!("docker-registry on {host}: {reason}\n{}", self.process.log_tail());
        }
    }
}

fn launch(folder: &Path) -> Process {
    Process::start(
        Command::new("docker-registry")
            .arg("serve")
            .arg(folder.join("config.yml")),
        &folder.join("registry.log"),
    )
}

fn configuration(folder: &Path, port: u16, options: &Options) -> String {
    let mut text = format!(
        "version: 0.1\nlog: {{ level: warn, formatter: text }}\n\
         storage: {{ filesystem: {{ rootdirectory: '{}/storage' }}, delete: {{ enabled: true }} }}\n\
         http: {{ addr: '127.0.0.1:{port}', relativeurls: {} }}\n",
        folder.display(),
        options.locations == Locations::Paths
    );
    // Layers with URLs are refused unless these are allowed.
    text.push_str("validation: { manifests: { urls: { allow: ['^https://'] } } }\n");
    if options.locked {
        let auth = format!(
            "auth: {{ htpasswd: {{ realm: tests, path: '{}' }} }}\n",
            htpasswd(folder).display()
        );
        text.push_str(&auth);
    }
    if options.schema1 {
        text.push_str("compatibility: { schema1: { enabled: true } }\n");
    }
    if let Some(url) = &options.notify {
        text.push_str(&notifications(url, options.include_references));
    }
    text
}

fn htpasswd(folder: &Path) -> PathBuf {
    folder.join("htpasswd")
}

fn notifications(url: &str, include_references: bool) -> String {
    format!(
        "notifications:\n  events: {{ includereferences: {include_references} }}\n  endpoints:\n    - {{ name: transship, \
         url: '{url}', timeout: 1s, threshold: 3, backoff: 1s, headers: {{ Authorization: ['{HOOK_SECRET}'] }} }}\n"
    )
}
