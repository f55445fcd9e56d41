//! Secrets of one machine: `env:NAME` from the environment, `file:PATH` from a file.
//!
//! What must hold: an error names the reference, never the content. Read each time, so that a rotated file counts at once.

use std::path::Path;

use async_trait::async_trait;
use secrecy::SecretString;
use transship_engine::Secrets;
use transship_runtime::read_bounded;

use crate::Environment;
use transship_oci::{Code, Error, Result, Verb};

/// The largest secret file.
const SIZE_MAX: u64 = 64 * 1024;
/// What the others are: `secretsmanager:`, `ssm:`, `ecr:`.
const NOT_HERE: &str = "is not read here: write env:NAME or file:PATH, or use it in the stack deployed on AWS";

/// [`Secrets`] from the environment and from files.
#[derive(Clone)]
pub struct EnvironmentSecrets {
    environment: Environment,
}

impl EnvironmentSecrets {
    /// Reads `env:` from `environment`.
    pub fn new(environment: Environment) -> Self {
        Self { environment }
    }

    fn variable(&self, reference: &str, name: &str) -> Result<String> {
        let value = self
            .environment
            .get(name)
            .ok_or_else(|| unavailable(reference, "is not set, or empty"))?;
        value
            .into_string()
            .map_err(|_| unavailable(reference, "does not hold UTF-8 text"))
    }
}

#[async_trait]
impl Secrets for EnvironmentSecrets {
    async fn secret(&self, reference: &str) -> Result<SecretString> {
        let content = match reference.split_once(':') {
            Some(("env", name)) => self.variable(reference, name)?,
            Some(("file", path)) => file(reference, path).await?,
            _ => {
                return Err(unavailable(reference, NOT_HERE));
            }
        };
        let trimmed = content.trim_end_matches(['\r', '\n']);
        if trimmed.is_empty() {
            return Err(unavailable(reference, "is empty"));
        }
        Ok(SecretString::from(trimmed))
    }
}

async fn file(reference: &str, path: &str) -> Result<String> {
    let owned = path.to_owned();
    let read = tokio::task::spawn_blocking(move || read_bounded(Path::new(&owned), SIZE_MAX)).await;
    match read {
        Ok(Ok(content)) => Ok(content),
        Ok(Err(error)) => Err(unavailable(reference, &format!("cannot be read: {error}"))),
        Err(error) => Err(unavailable(reference, "cannot be read").with_source(error)),
    }
}

fn unavailable(reference: &str, why: &str) -> Error {
    Error::of(Code::SecretUnavailable, Verb::Secret.on("read")).because(format!("{reference} {why}"))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    async fn read(secrets: &EnvironmentSecrets, reference: &str) -> std::result::Result<String, String> {
        match secrets.secret(reference).await {
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
        let secrets = EnvironmentSecrets::new(Environment::of([("HOOK", "from the environment")]));
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
        let secrets = EnvironmentSecrets::new(Environment::of([("EMPTY", ""), ("HOOK", "canary")]));
        for reference in [
            "env:MISSING".to_owned(),
            "env:EMPTY".to_owned(),
            "env:".to_owned(),
            "env:A=B".to_owned(),
            "HOOK".to_owned(),
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
