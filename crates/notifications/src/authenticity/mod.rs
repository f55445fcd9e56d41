//! Checks that the sender of a delivery is the one that the document expects.
//!
//! Each format has one kind of [`Proof`]: the strongest that its sender supports. A source may expect a signed token of a cloud
//! instead, see [`Identity`]. Nothing secret is compared except by its hash or in constant time, so the time taken shows neither
//! where two texts differ nor which of two secrets matched.

mod eventbridge;
mod hmac;
mod identity;
mod keys;
mod text;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use transship_oci::Error;

use crate::error::not_authentic;
use crate::{Delivery, Format};

pub use eventbridge::SignedUrl;
pub(crate) use hmac::Signature;
pub use identity::{EntraCloud, Identity};

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
}

/// What the document expects of the senders of a source.
#[derive(Debug, Clone, Copy, Default)]
pub struct Expected<'a> {
    /// The secret: one line, or two while it is being changed; or a JSON object, each value of which is a secret. Empty lines
    /// are not secrets, so an empty secret authenticates nothing.
    pub secret: Option<&'a str>,
    /// The signed token that is expected instead.
    pub identity: Option<&'a Identity>,
    /// The keys of the identity as a JSON Web Key Set; [`None`] for those that its cloud publishes.
    pub keys: Option<&'a str>,
    /// What a signature of the event bus of Alibaba Cloud covers; [`None`] if none is expected.
    pub signed_url: Option<&'a SignedUrl>,
    /// The time of receipt.
    pub now: Timestamp,
}

/// What was received of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The URL and the headers.
    Head,
    /// The body as well.
    Whole,
}

/// The result for a delivery against which nothing speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authenticity {
    /// It is authentic.
    Proven,
    /// The proof is in the body. Never the result of [`Part::Whole`].
    NeedsBody,
    /// The content of this URL is needed, which is at one of a few hosts; what there was of it does not have the key.
    NeedsKeys(String),
}

/// The fetched content of a URL, if there is any.
pub type Keys<'a> = &'a dyn Fn(&str) -> Option<Arc<[u8]>>;

/// Checks the sender of a delivery. For [`Part::Head`] the body is not read: what can be known without it is checked.
///
/// # Errors
/// `NOT_AUTHENTIC`.
pub fn authenticate(
    format: Format,
    delivery: &Delivery<'_>,
    part: Part,
    expected: &Expected<'_>,
    fetched: Keys<'_>,
) -> Result<Authenticity, Error> {
    if let Some(identity) = expected.identity {
        return identity::check(delivery, identity, expected.keys, fetched, expected.now);
    }
    let secrets = secrets_of(expected.secret.unwrap_or_default());
    match (format.proof(), expected.signed_url) {
        (Proof::Text(headers), signed_url) => {
            text::check(delivery, headers, &secrets)?;
            signed_url.map_or(Ok(Authenticity::Proven), |signed_url| {
                eventbridge::check(delivery, signed_url, part, fetched, expected.now)
            })
        }
        (Proof::Signed(signatures), _) if part == Part::Head => {
            let has_signature = signatures.iter().any(|signature| signature.is_in(delivery));
            let is_possible = has_signature && !secrets.is_empty();
            let missing = || not_authentic("its signature is missing: set the secret at the sender");
            is_possible.then_some(Authenticity::NeedsBody).ok_or_else(missing)
        }
        (Proof::Signed(signatures), _) => hmac::check(delivery, signatures, &secrets).map(|()| Authenticity::Proven),
    }
}

/// The header, its name and value, with which a sender of `format` proves that it knows `secret`, in a delivery of `body`.
/// [`None`] if the secret is empty. Of two secrets, the first is used.
pub fn prove(format: Format, secret: &str, body: &[u8]) -> Option<(String, String)> {
    let secret = secrets_of(secret).into_iter().next()?;
    match format.proof() {
        Proof::Text(_) => Some(text::shown(&secret)),
        Proof::Signed(signatures) => Some(signatures.first()?.of(&secret, body)),
    }
}

/// The secrets in `text`: its lines, and the values of a JSON object, which is what the consoles of secret stores write.
fn secrets_of(text: &str) -> Vec<String> {
    let values = serde_json::from_str::<BTreeMap<String, String>>(text).unwrap_or_default();
    let secrets = text.lines().map(str::to_owned).chain(values.into_values());
    secrets.filter(|secret| !secret.trim().is_empty()).collect()
}
