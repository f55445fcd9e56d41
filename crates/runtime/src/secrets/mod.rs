//! Secrets: those that any process reads by itself, the cache of those that a service keeps, and logins from secrets.
//!
//! What must hold: an error names the reference, never the content.

mod cached;
mod login;

use std::path::Path;
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

/// The secrets that a process reads by itself: `env:NAME` from `environment`, `file:PATH` from a file. They are read each
/// time, so that a rotated secret is used at once.
pub fn process_secrets(environment: Environment) -> SecretTable {
    SecretTable::default()
        .with("env", Arc::new(EnvironmentSecrets { environment }))
        .with("file", Arc::new(FileSecrets))
}

struct EnvironmentSecrets {
    environment: Environment,
}

struct FileSecrets;

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
        let path = reference.rest().to_owned();
        let read = tokio::task::spawn_blocking(move || read_bounded(Path::new(&path), FILE_BYTES_MAX)).await;
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
        let secrets = process_secrets(Environment::of([("HOOK", "from the environment")]));
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
        let secrets = process_secrets(Environment::of([("EMPTY", ""), ("HOOK", "canary")]));
        for reference in [
            "env:MISSING".to_owned(),
            "env:EMPTY".to_owned(),
            "secretsmanager:transship/hook".to_owned(),
            "file:/nowhere/at/all".to_owned(),
            format!("file:{}", dir.path().display()),
            write("empty", b"\n"),
            write("large", &b"canary ".repeat(10_000)),
            write("binary", b"canary \xff"),
        ] {
            let message = read(&secrets, &reference).await.unwrap_err();
            assert!(message.contains(&reference), "{message}");
            assert!(!message.contains("canary"), "{message}");
        }
    }
}
