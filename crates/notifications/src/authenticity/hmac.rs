//! Senders that sign the bytes of the body: HMAC with the secret as its key, in hexadecimal digits.
//!
//! The signature covers the body as it was sent, so it is checked before a form or JSON is decoded.

use ring::hmac::{self, Algorithm, HMAC_SHA1_FOR_LEGACY_USE_ONLY, HMAC_SHA256};
use transship_oci::Error;

use super::text;
use crate::Delivery;
use crate::error::not_authentic;

/// A header that may hold the signature.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signature {
    header: &'static str,
    hash: Hash,
    /// What precedes the digits.
    prefix: &'static str,
    /// True if the sender can be set to send the secret itself in this header.
    is_secret_allowed: bool,
}

#[derive(Debug, Clone, Copy)]
enum Hash {
    Sha256,
    Sha1,
}

impl Signature {
    pub(crate) const fn sha256(header: &'static str) -> Self {
        Self {
            header,
            hash: Hash::Sha256,
            prefix: "",
            is_secret_allowed: false,
        }
    }

    pub(crate) const fn sha1(header: &'static str) -> Self {
        Self {
            hash: Hash::Sha1,
            ..Self::sha256(header)
        }
    }

    pub(crate) const fn with_prefix(self, prefix: &'static str) -> Self {
        Self { prefix, ..self }
    }

    pub(crate) const fn or_secret(self) -> Self {
        Self {
            is_secret_allowed: true,
            ..self
        }
    }

    /// True if the delivery has the header.
    pub(super) fn is_in(&self, delivery: &Delivery<'_>) -> bool {
        delivery.header(self.header).is_some()
    }

    const fn algorithm(&self) -> Algorithm {
        match self.hash {
            Hash::Sha256 => HMAC_SHA256,
            // Nexus signs with nothing else. No collision of SHA-1 helps to forge an HMAC.
            Hash::Sha1 => HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        }
    }
}

/// Checks that one of `signatures` was made with one of `secrets`.
pub(super) fn check(delivery: &Delivery<'_>, signatures: &[Signature], secrets: &[String]) -> Result<(), Error> {
    let mut is_known = false;
    for signature in signatures {
        let Some(shown) = delivery.header(signature.header) else {
            continue;
        };
        if signature.is_secret_allowed {
            is_known |= text::is_one_of(&[shown.as_bytes()], secrets);
        }
        let Some(tag) = shown.strip_prefix(signature.prefix).and_then(bytes_of) else {
            continue;
        };
        // Every secret is tried: the time taken must not show which one matched.
        for secret in secrets {
            let key = hmac::Key::new(signature.algorithm(), secret.as_bytes());
            is_known |= hmac::verify(&key, delivery.body, &tag).is_ok();
        }
    }
    if is_known {
        Ok(())
    } else {
        Err(not_authentic(
            "its signature is missing, or not made with the secret of this source",
        ))
    }
}

/// The bytes that hexadecimal digits stand for.
fn bytes_of(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let byte = |[high, low]: &[u8; 2]| Some(digit(*high)? << 4 | digit(*low)?);
    if rest.is_empty() {
        pairs.iter().map(byte).collect()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    /// From RFC 4231, test case 2, and RFC 2202, test case 2.
    const KEY: &str = "Jefe";
    const BODY: &[u8] = b"what do ya want for nothing?";
    const SHA256: &str = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    const SHA1: &str = "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79";

    fn is_authentic(signature: Signature, value: &str, body: &[u8], secrets: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert("x-signature", HeaderValue::from_str(value).unwrap());
        let delivery = Delivery {
            headers: &headers,
            body,
            token: Some(KEY),
        };
        let secrets: Vec<String> = secrets.iter().map(ToString::to_string).collect();
        check(&delivery, &[signature], &secrets).is_ok()
    }

    #[test]
    fn a_signature_is_that_of_the_bytes_with_one_of_the_secrets() {
        const PLAIN: Signature = Signature::sha256("x-signature");
        let prefixed = PLAIN.with_prefix("sha256=");
        assert!(is_authentic(PLAIN, SHA256, BODY, &[KEY]));
        assert!(is_authentic(PLAIN, &SHA256.to_uppercase(), BODY, &["old", KEY]));
        assert!(is_authentic(prefixed, &format!("sha256={SHA256}"), BODY, &[KEY]));
        assert!(is_authentic(Signature::sha1("x-signature"), SHA1, BODY, &[KEY]));
        for (signature, value) in [
            (PLAIN, ""),
            (PLAIN, KEY),
            (PLAIN, SHA1),
            (PLAIN, &SHA256[..62]),
            (PLAIN, &SHA256[..63]),
            (PLAIN, &format!("{SHA256}00")),
            (PLAIN, &format!("sha256={SHA256}")),
            (prefixed, SHA256),
            (prefixed, &format!("sha1={SHA256}")),
            (Signature::sha1("x-signature"), SHA256),
            (Signature::sha256("x-other"), SHA256),
        ] {
            assert!(!is_authentic(signature, value, BODY, &[KEY]), "{value}");
        }
        assert!(!is_authentic(PLAIN, SHA256, b"what do ya want for nothing!", &[KEY]));
        assert!(!is_authentic(PLAIN, SHA256, BODY, &[]));
        assert!(!is_authentic(PLAIN, SHA256, BODY, &["jefe", "Jefe "]));
    }

    #[test]
    fn the_secret_itself_counts_only_where_the_sender_can_be_set_so() {
        let either = Signature::sha256("x-signature").or_secret();
        assert!(is_authentic(either, KEY, BODY, &[KEY]));
        assert!(is_authentic(either, SHA256, BODY, &[KEY]));
        assert!(!is_authentic(either, "Jefe2", BODY, &[KEY]));
    }
}
