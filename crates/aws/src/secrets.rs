//! Secrets in AWS: Secrets Manager and Parameter Store of Systems Manager.

use std::sync::Arc;

use async_trait::async_trait;
use secrecy::SecretString;
use transship_copy::Clock;
use transship_engine::{SecretTable, Secrets};
use transship_oci::{Code, Error, Result, Verb};
use transship_rules::SecretReference;
use transship_runtime::{CachedSecrets, secret_of, secret_unavailable};

use crate::Aws;
use crate::error::AwsError;

/// The secrets of a function: `secretsmanager:NAME` and `ssm:NAME`, kept for some minutes. Sends nothing until a secret is read.
/// `env:` and `file:` are not read: the environment of a function holds the keys of its role, and a document could name a registry
/// that receives them.
pub fn secrets(aws: &Aws, clock: Arc<dyn Clock>) -> SecretTable {
    let secrets_manager = CachedSecrets::new(Arc::new(SecretsManager(aws.clone())), Arc::clone(&clock));
    let parameter_store = CachedSecrets::new(Arc::new(ParameterStore(aws.clone())), clock);
    SecretTable::default()
        .with("secretsmanager", Arc::new(secrets_manager))
        .with("ssm", Arc::new(parameter_store))
}

struct SecretsManager(Aws);

#[async_trait]
impl Secrets for SecretsManager {
    async fn secret(&self, reference: &SecretReference) -> Result<SecretString> {
        let request = self.0.secretsmanager().get_secret_value().secret_id(reference.rest());
        let response = request
            .send()
            .await
            .map_err(|error| refused(&AwsError::of(&error), reference, "secretsmanager:GetSecretValue"))?;
        let content = response
            .secret_string
            .ok_or_else(|| secret_unavailable(reference, "contains bytes: store it as text (SecretString)"))?;
        secret_of(reference, &content)
    }
}

struct ParameterStore(Aws);

#[async_trait]
impl Secrets for ParameterStore {
    async fn secret(&self, reference: &SecretReference) -> Result<SecretString> {
        let request = self.0.ssm().get_parameter().name(reference.rest());
        let response = request
            .with_decryption(true)
            .send()
            .await
            .map_err(|error| refused(&AwsError::of(&error), reference, "ssm:GetParameter"))?;
        let content = response
            .parameter
            .and_then(|parameter| parameter.value)
            .ok_or_else(|| secret_unavailable(reference, "has no value"))?;
        secret_of(reference, &content)
    }
}

fn refused(error: &AwsError, reference: &SecretReference, permission: &str) -> Error {
    Error::of(Code::SecretUnavailable, Verb::Secret.on("read"))
        .because(error.of_secret(&reference.to_string(), permission))
        .with_persistence(error.persistence())
}
