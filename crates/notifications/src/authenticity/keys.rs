//! Public RSA keys of senders: out of key sets (RFC 7517) and certificates.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use num_bigint::BigUint;
use pkcs1::der::Decode as _;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use serde::Deserialize;
use x509_cert::Certificate;
use x509_cert::der::DecodePem as _;

use crate::lenient::{List, Table, Text, object};

/// A public key, as big-endian numbers without leading zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RsaKey {
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

#[derive(Deserialize)]
struct KeySet {
    #[serde(default)]
    keys: List<Table<Jwk>>,
}

#[derive(Deserialize)]
struct Jwk {
    #[serde(default)]
    kid: Text,
    #[serde(default)]
    kty: Text,
    #[serde(default)]
    n: Text,
    #[serde(default)]
    e: Text,
}

impl RsaKey {
    /// The key with the id `kid` of a JSON Web Key Set; [`None`] if the set has none, or is not a set.
    pub(super) fn of_set(set: &[u8], kid: &str) -> Option<Self> {
        let set: KeySet = object(set).ok()?;
        let key = set
            .keys
            .0?
            .into_iter()
            .filter_map(|key| key.0)
            .find(|key| key.kid.get() == Some(kid) && key.kty.get() == Some("RSA"))?;
        let number = |text: &Text| BASE64_URL_SAFE_NO_PAD.decode(text.get()?).ok();
        Some(Self {
            modulus: number(&key.n)?,
            exponent: number(&key.e)?,
        })
    }

    /// The key of a certificate in PEM.
    pub(super) fn of_certificate(pem: &[u8]) -> Option<Self> {
        let certificate = Certificate::from_pem(pem).ok()?;
        let info = certificate.tbs_certificate().subject_public_key_info();
        let key = pkcs1::RsaPublicKeyRef::from_der(info.subject_public_key.as_bytes()?).ok()?;
        Some(Self {
            modulus: key.modulus.as_bytes().to_vec(),
            exponent: key.public_exponent.as_bytes().to_vec(),
        })
    }

    /// True if `signature` is that of `message`: RSASSA-PKCS1-v1_5 with SHA-256, and a key of 2048 bits or more.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let key = RsaPublicKeyComponents {
            n: &self.modulus,
            e: &self.exponent,
        };
        key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
    }

    /// The text that was encrypted with the private key: RSAES-PKCS1-v1_5 with block type 1 (RFC 2313, section 8.1). Everyone
    /// with the public key can read it, so it proves its sender and keeps nothing secret.
    pub(super) fn decrypt(&self, encrypted: &[u8]) -> Option<Vec<u8>> {
        let modulus = BigUint::from_bytes_be(&self.modulus);
        let is_large = (2048..=8192).contains(&modulus.bits());
        let number = BigUint::from_bytes_be(encrypted);
        // An exponent of 32 bits is the largest in use.
        if !is_large || self.exponent.len() > 4 || number >= modulus {
            return None;
        }
        let block = number
            .modpow(&BigUint::from_bytes_be(&self.exponent), &modulus)
            .to_bytes_be();
        // The leading zero of the block is not part of the number.
        let padded = block.strip_prefix(&[1])?;
        let end = padded.iter().position(|byte| *byte != 0xff)?;
        let is_padded = block.len() + 1 == self.modulus.len() && end >= 8 && padded.get(end) == Some(&0);
        is_padded.then(|| padded[end + 1..].to_vec())
    }
}
