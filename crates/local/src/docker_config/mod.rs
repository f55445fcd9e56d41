//! Credentials stored by `docker login`, `podman login` and `skopeo login`.
//!
//! `$REGISTRY_AUTH_FILE` alone if it is set; otherwise Docker's `config.json` if `$DOCKER_CONFIG` names its folder, Podman's
//! `$XDG_RUNTIME_DIR/containers/auth.json`, and `~/.docker/config.json`. The first file that has the registry is used. Files
//! are read at every login, so that changes take effect at once.
//!
//! Source: docs.docker.com/reference/cli/docker/login, containers-auth.json(5).

mod file;
mod helper;
mod key;

use std::io;
use std::path::PathBuf;

use async_trait::async_trait;
use transship_oci::{Code, Error, RegistryHost, Repository, Result, Verb};
use transship_registry::{Credentials, Login};
use transship_runtime::{Environment, read_bounded};

use file::{CredentialFile, Known};

/// Maximum size of a credential file in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The credential files of a user.
#[derive(Clone)]
pub struct DockerConfig {
    environment: Environment,
    files: Vec<Candidate>,
}

/// A credential file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidate {
    path: PathBuf,
    /// The file was named explicitly, so it is an error if it does not exist.
    is_required: bool,
}

impl DockerConfig {
    /// The files of the user who runs this process. They are read once to find errors early. Error: `CREDENTIALS_UNAVAILABLE`.
    pub fn load() -> Result<Self> {
        Self::load_from(Environment::process())
    }

    /// The same for another environment: `REGISTRY_AUTH_FILE`, `DOCKER_CONFIG`, `XDG_RUNTIME_DIR`, `HOME`, and the `PATH` of
    /// credential helpers.
    pub fn load_from(environment: Environment) -> Result<Self> {
        let files = candidates(&environment);
        files.iter().try_for_each(|candidate| read(candidate).map(|_| ()))?;
        Ok(Self { environment, files })
    }

    /// The login for `host`, with the most specific entry for `repository` if one is given; [`None`] if there is none. Without a
    /// repository, that of any path of the host will do if there is none of the host itself, so that a connection can be tested. The error
    /// `CREDENTIALS_UNAVAILABLE` contains the file or helper, never its content or output.
    pub async fn login(&self, host: &RegistryHost, repository: Option<&Repository>) -> Result<Option<Login>> {
        for candidate in &self.files {
            let Some(file) = read_off_thread(candidate.clone()).await? else {
                continue;
            };
            for known in file.find(host, repository) {
                if let Some(login) = self.login_by(known, &candidate.path).await? {
                    return Ok(Some(login));
                }
            }
        }
        Ok(None)
    }

    async fn login_by(&self, known: Known, path: &std::path::Path) -> Result<Option<Login>> {
        match known {
            Known::Helper { name, server } => {
                helper::get(&name, &server, &self.environment, helper::HELPER_TIMEOUT).await
            }
            Known::Entry { key, entry } => entry.login().map_err(|why| {
                let message = format!("{}: the entry {key:?} {why}", path.display());
                Error::of(Code::CredentialsUnavailable, Verb::Login).because(message)
            }),
        }
    }
}

#[async_trait]
impl Credentials for DockerConfig {
    async fn login(&self, host: &RegistryHost, repository: Option<&Repository>) -> Result<Login> {
        let login = Self::login(self, host, repository).await?;
        Ok(login.unwrap_or(Login::Anonymous))
    }
}

fn candidates(environment: &Environment) -> Vec<Candidate> {
    if let Some(path) = environment.path("REGISTRY_AUTH_FILE") {
        return vec![Candidate {
            path,
            is_required: true,
        }];
    }
    let docker = environment.path("DOCKER_CONFIG");
    let podman = environment
        .path("XDG_RUNTIME_DIR")
        .map(|dir| dir.join("containers/auth.json"));
    let home = match docker {
        Some(_) => None,
        None => environment.path("HOME").map(|dir| dir.join(".docker")),
    };
    [
        docker.map(|dir| dir.join("config.json")),
        podman,
        home.map(|dir| dir.join("config.json")),
    ]
    .into_iter()
    .flatten()
    .map(|path| Candidate {
        path,
        is_required: false,
    })
    .collect()
}

fn read(candidate: &Candidate) -> Result<Option<CredentialFile>> {
    let path = candidate.path.display();
    let failed = |why: &str| Error::of(Code::CredentialsUnavailable, Verb::Login).because(format!("{path} {why}"));
    match read_bounded(&candidate.path, FILE_BYTES_MAX) {
        Ok(text) => CredentialFile::parse(&text).map(Some).map_err(|error| {
            // The parser's message may contain parts of the file.
            failed(&format!(
                "is not a valid Docker configuration: see line {}, column {}",
                error.line(),
                error.column()
            ))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !candidate.is_required => Ok(None),
        Err(error) => Err(failed("cannot be read: check its path and permissions").with_source(error)),
    }
}

async fn read_off_thread(candidate: Candidate) -> Result<Option<CredentialFile>> {
    match tokio::task::spawn_blocking(move || read(&candidate)).await {
        Ok(result) => result,
        Err(error) => {
            let why = "the thread that reads them stopped; see the log for a panic".to_owned();
            Err(Error::of(Code::CredentialsUnavailable, Verb::Login)
                .because(why)
                .with_source(error))
        }
    }
}

#[cfg(test)]
mod tests;
