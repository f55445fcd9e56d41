//! Authenticates the sender of a delivery by what the document in force expects.
//!
//! A secret that rejects a delivery may have been rotated, and a key that is unknown may be new, so both are read again, at most
//! once a minute: senders that are not authentic cannot cause more. If one cannot be read, the sender is to try again.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use transship_notifications::{Authenticity, Delivery, Expected, Format, Part, authenticate};
use transship_oci::{Code, Error, Operation, Result};
use transship_rules::{Registry, SecretReference, Webhook};

use crate::Intake;
use crate::send::now;

/// Maximum age of a cached secret or key that rejects a delivery; an older one is read again.
const REJECTING_AGE_MAX: Duration = Duration::from_mins(1);

impl Intake {
    /// Checks `part` of a delivery to `registry`. True if it is authentic; false if its proof is in the body. Errors:
    /// `NOT_AUTHENTIC`, and `UNAVAILABLE` if a secret or key could not be read.
    pub(crate) async fn is_authentic(&self, registry: &Registry, delivery: &Delivery<'_>, part: Part) -> Result<bool> {
        let (reference, mut expected) = match &registry.webhook {
            None => {
                return Err(rejected(
                    Code::NotAuthentic,
                    "this source has no webhook secret: set one in the document",
                ));
            }
            Some(Webhook::Anyone) => return Ok(true),
            Some(Webhook::Secret { reference, signed_url }) => {
                let signed_url = signed_url.as_ref();
                let expected = Expected {
                    signed_url,
                    ..Expected::default()
                };
                (Some(reference), expected)
            }
            Some(Webhook::Identity { identity, keys }) => {
                let expected = Expected {
                    identity: Some(identity),
                    ..Expected::default()
                };
                (keys.as_ref(), expected)
            }
        };
        expected.now = now(self.clock.as_ref());
        let Some(reference) = reference else {
            return self.check(registry.format, delivery, part, &expected).await;
        };
        let secret = self
            .secrets
            .secret(reference)
            .await
            .map_err(|error| unavailable(&error))?;
        let with = |secret: &SecretString| self.check_with(registry.format, delivery, part, expected, secret.clone());
        match with(&secret).await {
            Err(error) if error.is(Code::NotAuthentic) => match self.secret_anew(reference).await? {
                Some(anew) => with(&anew).await,
                None => Err(error),
            },
            checked => checked,
        }
    }

    async fn secret_anew(&self, reference: &SecretReference) -> Result<Option<SecretString>> {
        let anew = self.secrets.secret_anew(reference, REJECTING_AGE_MAX).await;
        anew.map_err(|error| unavailable(&error))
    }

    /// Checks a delivery with the content of the reference: the secret, or the keys of the identity.
    async fn check_with(
        &self,
        format: Format,
        delivery: &Delivery<'_>,
        part: Part,
        expected: Expected<'_>,
        content: SecretString,
    ) -> Result<bool> {
        let content = content.expose_secret();
        let expected = if expected.identity.is_some() {
            Expected {
                keys: Some(content),
                ..expected
            }
        } else {
            Expected {
                secret: Some(content),
                ..expected
            }
        };
        self.check(format, delivery, part, &expected).await
    }

    /// Checks a delivery, with the keys that the check asks for.
    async fn check(
        &self,
        format: Format,
        delivery: &Delivery<'_>,
        part: Part,
        expected: &Expected<'_>,
    ) -> Result<bool> {
        let mut held: Option<(String, Arc<[u8]>)> = None;
        let mut is_anew = false;
        loop {
            let checked = {
                let fetched = |wanted: &str| {
                    held.as_ref()
                        .filter(|(url, _)| url == wanted)
                        .map(|(_, keys)| Arc::clone(keys))
                };
                authenticate(format, delivery, part, expected, &fetched)?
            };
            let url = match checked {
                Authenticity::Proven => return Ok(true),
                Authenticity::NeedsBody => return Ok(false),
                Authenticity::NeedsKeys(url) => url,
            };
            let keys = match held {
                None => self.keys.keys(&url).await,
                Some(_) if is_anew => {
                    let message = "the delivery is not authentic: its token has an unknown key";
                    return Err(rejected(Code::NotAuthentic, message));
                }
                Some(_) => {
                    is_anew = true;
                    self.keys.keys_anew(&url, REJECTING_AGE_MAX).await
                }
            };
            let keys = keys.map_err(|error| {
                tracing::error!(code = error.code(), %error, url, "keys of senders could not be fetched, so deliveries are answered 503");
                rejected(Code::Unavailable, "the keys of this sender are not available now")
            })?;
            held = Some((url, keys));
        }
    }
}

fn unavailable(error: &Error) -> Error {
    tracing::error!(code = error.code(), %error, "a webhook secret could not be read, so deliveries are answered 503");
    rejected(Code::Unavailable, "the secret of this source is not available now")
}

/// Why a delivery is rejected: the message is what the sender reads.
pub(crate) fn rejected(code: Code, message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(code, Operation::default(), message)
}
