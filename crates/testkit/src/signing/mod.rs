//! Signatures of senders, made with an RSA key that exists for tests only and is public.

use std::fmt::Write as _;

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine as _};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};

use crate::{Error, ErrorKind, Result};

/// The certificate of the key, as PEM.
pub const CERTIFICATE: &str = include_str!("test-certificate.pem");
/// A one-time secret of the event bus of Alibaba Cloud.
pub const ONE_TIME_SECRET: &str = "one-time-secret";
/// [`ONE_TIME_SECRET`], encrypted with the key as the bus does: `openssl pkeyutl -sign`, in base64.
pub const ENCRYPTED_SECRET: &str = "UbD6W80k2gM6ZK8DQdwOzGAJbtKJqjkSSuQp7fhBQTLj65bqnqlMS8ShUAuKeovh2+BRcbuxS+XYLPJ66brSaRjJOnCehNxvYbfRoMtcc+m7HV0Sw27a1v2vxvwctIW2y6F70vSV+pIybE+6qOZPEYnJ4OI+sgGsjO0qvvFU0PSUSddcgtJibHtnCX52LDP6+COUovXnLfPKaJi/thTk9UrnW9Hk78vt9+b1thgycPAnmJG0sBRoe2N+opQBGfQv5ZniGsxh2nNAgyez6/NRYaxZmeUW1Wvc9LdG1/yRNywhhUH2vEEiSfM8J/Q7EhkD46FXcy7BC81g4nze6+3/wQ==";

/// The signature of `body` with `secret`: HMAC-SHA256, in hexadecimal digits.
pub fn hmac_sha256(secret: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = hmac::sign(&key, body);
    let mut digits = String::new();
    for byte in signature.as_ref() {
        // Writing to a text never fails.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

/// A sender with the key.
pub struct Signer {
    key: RsaKeyPair,
}

impl Signer {
    /// Reads the key.
    pub fn new() -> Result<Self> {
        let lines = include_str!("test-key.pem").lines();
        let text: String = lines.filter(|line| !line.starts_with('-')).collect();
        let invalid = || Error::new(ErrorKind::CertificateFailed, "read the test key");
        let der = BASE64_STANDARD.decode(text).map_err(|_| invalid())?;
        let key = RsaKeyPair::from_pkcs8(&der).map_err(|_| invalid())?;
        Ok(Self { key })
    }

    /// The signature of `message`: RSASSA-PKCS1-v1_5 with SHA-256.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .map_err(|_| Error::new(ErrorKind::CertificateFailed, "sign a message"))?;
        Ok(signature)
    }

    /// A JSON Web Token with the key `kid`.
    pub fn token(&self, kid: &str, claims: &Value) -> Result<String> {
        self.token_with(&json!({ "alg": "RS256", "typ": "JWT", "kid": kid }), claims)
    }

    /// A JSON Web Token with this header.
    pub fn token_with(&self, header: &Value, claims: &Value) -> Result<String> {
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = self.sign(signed.as_bytes())?;
        Ok(format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The set of keys that publishes the key as `kid`, among others.
    pub fn key_set(&self, kid: &str) -> String {
        let public: PublicKeyComponents<Vec<u8>> = self.key.public().into();
        let number = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let (modulus, exponent) = (number(&public.n), number(&public.e));
        let key = json!({ "kid": kid, "kty": "RSA", "alg": "RS256", "use": "sig", "n": modulus, "e": exponent });
        json!({ "keys": [{ "kid": "other", "kty": "EC" }, { "kid": "wrong", "kty": "RSA", "n": "AQAB", "e": "AQAB" }, key] })
            .to_string()
    }
}
