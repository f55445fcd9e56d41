//! The TSIG key of a zone: `name:algorithm:base64`.

use std::time::SystemTime;

use base64::Engine as _;
use domain::base::Name;
use domain::rdata::tsig::Time48;
use domain::tsig::{Algorithm, Key, KeyName};
use secrecy::{ExposeSecret, SecretString};
use transship_oci::{Code, Error, Persistence, Result, Verb};

/// Reads a key. No message repeats a part of it.
pub(super) fn parse(secret: &SecretString) -> Result<Key> {
    const FORM: &str = "the TSIG key is not valid: write name:algorithm:base64, such as transship:hmac-sha256:c2VjcmV0";
    let invalid = |why: &str| {
        Error::new(
            Code::SecretUnavailable,
            Verb::Secret.on("read"),
            format!("{FORM}; {why}"),
        )
        .with_persistence(Persistence::Persistent)
    };
    let text = secret.expose_secret().trim();
    let mut parts = text.splitn(3, ':');
    let (Some(name), Some(algorithm), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(invalid("it has fewer than three parts"));
    };
    let name: KeyName = name.parse().map_err(|_| invalid("its name is not a domain name"))?;
    let algorithm: Name<Vec<u8>> = algorithm
        .to_ascii_lowercase()
        .parse()
        .map_err(|_| invalid("its algorithm is not a name"))?;
    let algorithm = Algorithm::from_name(&algorithm)
        .ok_or_else(|| invalid("its algorithm is none of hmac-sha1, hmac-sha256, hmac-sha384 and hmac-sha512"))?;
    let key = base64::engine::general_purpose::STANDARD
        .decode(key)
        .map_err(|_| invalid("its last part is not base64"))?;
    if key.is_empty() {
        return Err(invalid("its last part is empty"));
    }
    Key::new(algorithm, &key, name, None, None).map_err(|_| invalid("its algorithm cannot be used"))
}

/// The time of a signature.
pub(super) fn time(now: SystemTime) -> Time48 {
    let seconds = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    // 48 bits of seconds are eight million years.
    Time48::from_u64(seconds & 0xFFFF_FFFF_FFFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_a_name_an_algorithm_and_bytes() {
        for text in [
            "transship:hmac-sha256:c2VjcmV0",
            "a.example.com.:HMAC-SHA512:c2VjcmV0\n",
            "key_1:hmac-sha1:c2VjcmV0",
        ] {
            assert!(parse(&SecretString::from(text)).is_ok(), "{text}");
        }
        for text in [
            "",
            "hunter2",
            "name:hunter2",
            "name:hmac-md5:c2VjcmV0",
            "name:hmac-sha256:hunter2!",
            "name:hmac-sha256:",
            "na..me:hmac-sha256:c2VjcmV0",
        ] {
            let error = parse(&SecretString::from(text)).unwrap_err();
            assert!(error.is(Code::SecretUnavailable), "{text}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
