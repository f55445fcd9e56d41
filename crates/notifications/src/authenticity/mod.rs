//! Checks that the sender of a delivery knows the secret of its source.
//!
//! Each format has one kind of [`Proof`]: the strongest that its sender supports. Nothing is compared before it is hashed or
//! verified in constant time, so the time taken shows neither where two texts differ nor which of two secrets matched.

mod hmac;
mod text;

use std::collections::BTreeMap;

use transship_oci::Error;

use crate::{Delivery, Format};

pub(crate) use hmac::Signature;

/// How the sender of a format proves that it knows the secret.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Proof {
    /// It sends the secret: see [`text`]. Values of these headers count as well.
    Text(&'static [&'static str]),
    /// It signs the body with the secret, in one of these headers: see [`hmac`].
    Signed(&'static [Signature]),
}

impl Proof {
    /// It sends the secret in `Authorization` or in the URL.
    pub(crate) const TEXT: Self = Self::Text(&[]);

    /// The proof is in the headers or the URL, so that the body is not needed.
    pub(crate) const fn is_in_head(self) -> bool {
        matches!(self, Self::Text(_))
    }
}

/// Checks that `delivery` knows `secret`: one line, or two while the secret is being changed; or a JSON object, each value of
/// which is a secret. Empty lines are not secrets, so an empty secret authenticates nothing.
///
/// # Errors
/// `NOT_AUTHENTIC`.
pub fn authenticate(format: Format, delivery: &Delivery<'_>, secret: &str) -> Result<(), Error> {
    let secrets = secrets_of(secret);
    match format.proof() {
        Proof::Text(headers) => text::check(delivery, headers, &secrets),
        Proof::Signed(signatures) => hmac::check(delivery, signatures, &secrets),
    }
}

/// The secrets in `text`: its lines, and the values of a JSON object, which is what the consoles of secret stores write.
fn secrets_of(text: &str) -> Vec<String> {
    let values = serde_json::from_str::<BTreeMap<String, String>>(text).unwrap_or_default();
    let secrets = text.lines().map(str::to_owned).chain(values.into_values());
    secrets.filter(|secret| !secret.trim().is_empty()).collect()
}
