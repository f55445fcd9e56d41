//! Secrets: those that any process reads by itself, the cache of those that a service keeps, and logins from secrets.
//!
//! What must hold: an error names the reference, never the content.

mod cached;
mod login;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use secrecy::SecretString;
use transship_engine::{SecretTable, Secrets};
use transship_oci::{Code, Error, Persistence, Result, Verb};
use transship_rules::SecretReference;

use crate::Environment;
use crate::bounded_file::read_bounded;

pub use cached::CachedSecrets;
pub use login::{REFUSED_LOGIN_TTL, SecretLogin};

/// The size of the largest secret file: that of the largest value in AWS Secrets Manager.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Folders whose files are not secrets but views of the system: `/proc/self/environ` holds the secrets of everything else.
const SYSTEM_FOLDERS: [&str; 3] = ["/proc", "/sys", "/dev"];

/// The secrets that a process reads by itself: `env:NAME` from `environment`, `file:PATH` from a file, which must be below
/// `secrets_dir` if that is given. They are read each time, so that a rotated secret is used at once.
pub fn process_secrets(environment: Environment, secrets_dir: Option<PathBuf>) -> SecretTable {
    SecretTable::default()
        .with("env", Arc::new(EnvironmentSecrets { environment }))
        .with("file", Arc::new(FileSecrets { secrets_dir }))
}

struct EnvironmentSecrets {
    environment: Environment,
}

#[derive(Clone)]
struct FileSecrets {
    secrets_dir: Option<PathBuf>,
}

impl FileSecrets {
    /// Reads the file. The path is judged after its links are resolved.
    fn read(&self, path: &Path) -> std::io::Result<String> {
        let denied = |why: &str| {
            Err(std::io::Error::new(
                std::io::ErrorKind::PermissionDenied,
                why.to_owned(),
            ))
        };
        let resolved = path.canonicalize()?;
        if SYSTEM_FOLDERS.iter().any(|folder| resolved.starts_with(folder)) {
            return denied("it is not an ordinary file");
        }
        if let Some(dir) = &self.secrets_dir
            && !resolved.starts_with(dir.canonicalize()?)
        {
            return denied("it is not below the folder of secrets (--secrets-dir)");
        }
        read_bounded(&resolved, FILE_BYTES_MAX)
    }
}

#[async_trait]
impl Secrets for EnvironmentSecrets {
    async fn secret(&self, reference: &SecretReference) -> Result<SecretString> {
        let value = self
            .environment
            .get(reference.rest())
            .ok_or_else(|| secret_unavailable(reference, "is not set or is empty"))?;
        let content = value
            .into_string()
            .map_err(|_| secret_unavailable(reference, "is not UTF-8 text"))?;
        secret_of(reference, &content)
    }
}

#[async_trait]
impl Secrets for FileSecrets {
    async fn secret(&self, reference: &SecretReference) -> Result<SecretString> {
        let path = PathBuf::from(reference.rest());
        let files = self.clone();
        let read = tokio::task::spawn_blocking(move || files.read(&path)).await;
        let content = read
            .map_err(std::io::Error::other)
            .flatten()
            .map_err(|error| secret_unavailable(reference, &format!("cannot be read: {error}")))?;
        secret_of(reference, &content)
    }
}

/// The secret in `content`, without its trailing newline. `SECRET_UNAVAILABLE` if it is empty.
pub fn secret_of(reference: &SecretReference, content: &str) -> Result<SecretString> {
    match content.trim_end_matches(['\r', '\n']) {
        "" => Err(secret_unavailable(reference, "is empty")),
        trimmed => Ok(SecretString::from(trimmed)),
    }
}

/// `SECRET_UNAVAILABLE`, until an operator changes something.
pub fn secret_unavailable(reference: &SecretReference, why: &str) -> Error {
    Error::of(Code::SecretUnavailable, Verb::Secret.on("read"))
        .because(format!("{reference} {why}"))
        .with_persistence(Persistence::Persistent)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    async fn read(secrets: &SecretTable, reference: &str) -> std::result::Result<String, String> {
        match secrets.secret(&reference.parse().unwrap()).await {
            Ok(secret) => Ok(secret.expose_secret().to_owned()),
            Err(error) => {
                assert_eq!(error.code(), "SECRET_UNAVAILABLE");
                Err(error.to_string())
            }
        }
    }

    #[tokio::test]
    async fn secrets_are_read_without_their_trailing_newline() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "robot:from file\n").unwrap();
        let secrets = process_secrets(Environment::of([("HOOK", "from the environment")]), None);
        assert_eq!(read(&secrets, "env:HOOK").await.unwrap(), "from the environment");
        let reference = format!("file:{}", path.display());
        assert_eq!(read(&secrets, &reference).await.unwrap(), "robot:from file");
        std::fs::write(&path, "rotated\r\n").unwrap();
        assert_eq!(read(&secrets, &reference).await.unwrap(), "rotated");
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_named_by_its_reference_only() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, content).unwrap();
            format!("file:{}", path.display())
        };
        let secrets = process_secrets(Environment::of([("EMPTY", ""), ("HOOK", "canary")]), None);
        for reference in [
            "env:MISSING".to_owned(),
            "env:EMPTY".to_owned(),
            "secretsmanager:transship/hook".to_owned(),
            "file:/nowhere/at/all".to_owned(),
            format!("file:{}", dir.path().display()),
            write("empty", b"\n"),
            write("large", &b"canary ".repeat(10_000)),
            write("binary", b"canary \xff"),
            "file:/proc/self/environ".to_owned(),
            "file:/proc/1/environ".to_owned(),
            "file:/dev/zero".to_owned(),
        ] {
            let message = read(&secrets, &reference).await.unwrap_err();
            assert!(message.contains(&reference), "{message}");
            assert!(!message.contains("canary"), "{message}");
        }
    }

    #[tokio::test]
    async fn files_are_below_the_folder_of_secrets_if_there_is_one() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("secrets");
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("in"), "inside").unwrap();
        std::fs::write(parent.path().join("out"), "canary").unwrap();
        std::os::unix::fs::symlink(parent.path().join("out"), dir.join("link")).unwrap();
        std::os::unix::fs::symlink(&dir, parent.path().join("way")).unwrap();
        let secrets = process_secrets(Environment::of([("A", "b")]), Some(dir.clone()));
        let reference = |path: &Path| format!("file:{}", path.display());
        for path in [dir.join("in"), parent.path().join("way/in"), dir.join("../secrets/in")] {
            assert_eq!(read(&secrets, &reference(&path)).await.unwrap(), "inside");
        }
        for path in [parent.path().join("out"), dir.join("link"), dir.join("../out")] {
            let message = read(&secrets, &reference(&path)).await.unwrap_err();
            assert!(
                message.contains("--secrets-dir") && !message.contains("canary"),
                "{message}"
            );
        }
    }
}
