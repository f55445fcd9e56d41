//! Secrets where the document says they are: Secrets Manager, Parameter Store, the environment, a file.
//!
//! What stands in AWS is remembered for some minutes, and read anew when it did not serve: a rotated secret counts at the
//! first refusal. What must hold: an error names the reference, never the content.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use tokio::io::AsyncReadExt as _;
use transship_copy::{Clock, SystemClock};
use transship_engine::Secrets;

use crate::Aws;
use crate::error::Answer;
use transship_oci::{Code, Error, Result, Verb};
use transship_rules::SecretReference;
use transship_runtime::{Cached, FetchCache, FetchError, Freshness};

/// So long a secret is used before it is read again.
const AGE: Duration = Duration::from_mins(5);
/// The largest secret file. Source: Secrets Manager quotas, the size of a secret value.
const SIZE_MAX: u64 = 64 * 1024;

/// [`Secrets`] of a function: `secretsmanager:NAME`, `ssm:NAME`, `env:NAME`, `file:PATH`.
pub struct AwsSecrets {
    aws: Aws,
    remembered: FetchCache<SecretString>,
}

impl AwsSecrets {
    /// Sends nothing until a secret is asked for.
    pub fn new(aws: Aws) -> Self {
        Self::with_clock(aws, Arc::new(SystemClock))
    }

    /// The same by another clock.
    pub fn with_clock(aws: Aws, clock: Arc<dyn Clock>) -> Self {
        Self {
            aws,
            remembered: FetchCache::new(clock),
        }
    }

    /// The content; what stands in AWS is at most [`AGE`] old.
    pub(crate) async fn read(&self, reference: &SecretReference) -> std::result::Result<SecretString, FetchError> {
        let content = match (reference.scheme(), reference.rest()) {
            ("secretsmanager" | "ssm", _) => return self.remember(reference, Freshness::Relaxed(AGE)).await,
            ("env", name) => std::env::var(name).map_err(|_| lasting(reference, "is not set, or is no text"))?,
            ("file", path) => file(reference, path).await?,
            _ => {
                return Err(lasting(
                    reference,
                    "is not read by this stack: write secretsmanager:NAME or ssm:NAME",
                ));
            }
        };
        trimmed(reference, &content)
    }

    /// The content as it was at most `age` ago; [`None`] for what is not remembered.
    pub(crate) async fn read_anew(
        &self,
        reference: &SecretReference,
        age: Duration,
    ) -> std::result::Result<Option<SecretString>, FetchError> {
        match (reference.scheme(), reference.rest()) {
            ("secretsmanager" | "ssm", _) => self.remember(reference, Freshness::Strict(age)).await.map(Some),
            _ => Ok(None),
        }
    }

    async fn remember(
        &self,
        reference: &SecretReference,
        need: Freshness,
    ) -> std::result::Result<SecretString, FetchError> {
        let fetch = async {
            let content = match (reference.scheme(), reference.rest()) {
                ("ssm", name) => self.parameter(reference, name).await?,
                (_, name) => self.secret_value(reference, name).await?,
            };
            let value = trimmed(reference, &content)?;
            Ok(Cached { value, until: None })
        };
        self.remembered.get(&reference.to_string(), need, fetch).await
    }

    async fn secret_value(&self, reference: &SecretReference, name: &str) -> std::result::Result<String, FetchError> {
        let answer = self
            .aws
            .secretsmanager()
            .get_secret_value()
            .secret_id(name)
            .send()
            .await;
        let answer = answer
            .map_err(|error| Answer::of(&error).of_secret(&reference.to_string(), "secretsmanager:GetSecretValue"))?;
        answer
            .secret_string
            .ok_or_else(|| lasting(reference, "holds bytes: store it as text (SecretString)"))
    }

    async fn parameter(&self, reference: &SecretReference, name: &str) -> std::result::Result<String, FetchError> {
        let request = self.aws.ssm().get_parameter().name(name).with_decryption(true);
        let answer = request.send().await;
        let answer =
            answer.map_err(|error| Answer::of(&error).of_secret(&reference.to_string(), "ssm:GetParameter"))?;
        answer
            .parameter
            .and_then(|parameter| parameter.value)
            .ok_or_else(|| lasting(reference, "has no value"))
    }
}

#[async_trait]
impl Secrets for AwsSecrets {
    async fn secret(&self, reference: &SecretReference) -> Result<SecretString> {
        self.read(reference).await.map_err(unavailable)
    }

    async fn secret_anew(&self, reference: &SecretReference, age: Duration) -> Result<Option<SecretString>> {
        self.read_anew(reference, age).await.map_err(unavailable)
    }
}

async fn file(reference: &SecretReference, path: &str) -> std::result::Result<String, FetchError> {
    let read = async {
        let mut content = String::new();
        let file = tokio::fs::File::open(path).await?;
        file.take(SIZE_MAX).read_to_string(&mut content).await?;
        std::io::Result::Ok(content)
    };
    read.await
        .map_err(|error| lasting(reference, &format!("cannot be read: {error}")))
}

fn trimmed(reference: &SecretReference, content: &str) -> std::result::Result<SecretString, FetchError> {
    match content.trim_end_matches(['\r', '\n']) {
        "" => Err(lasting(reference, "is empty")),
        text => Ok(SecretString::from(text)),
    }
}

fn lasting(reference: &SecretReference, why: &str) -> FetchError {
    FetchError {
        message: format!("{reference} {why}"),
        is_temporary: false,
    }
}

fn unavailable(unread: FetchError) -> Error {
    Error::of(Code::SecretUnavailable, Verb::Secret.on("read")).because(unread.message)
}
