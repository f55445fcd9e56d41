//! The access key of a cloud: `id:secret`, or JSON with `id` and `secret`.

use secrecy::{ExposeSecret, SecretString};
use transship_oci::{Code, Error, Persistence, Result, Verb};

#[derive(Debug)]
pub(super) struct AccessKey {
    pub(super) id: String,
    pub(super) secret: SecretString,
}

impl AccessKey {
    /// Reads a key. No message repeats a part of it.
    pub(super) fn parse(secret: &SecretString) -> Result<Self> {
        let text = secret.expose_secret().trim();
        let parts = if text.starts_with('{') {
            let json: Option<serde_json::Value> = serde_json::from_str(text).ok();
            json.and_then(|json| {
                Some((
                    json.get("id")?.as_str()?.to_owned(),
                    json.get("secret")?.as_str()?.to_owned(),
                ))
            })
        } else {
            text.split_once(':')
                .map(|(id, secret)| (id.to_owned(), secret.to_owned()))
        };
        let is_plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        match parts {
            Some((id, secret)) if is_plain(&id) && is_plain(&secret) => Ok(Self {
                id,
                secret: secret.into(),
            }),
            _ => {
                let why = "the access key is not valid: write id:secret, or JSON with id and secret";
                let error = Error::new(Code::SecretUnavailable, Verb::Secret.on("read"), why);
                Err(error.with_persistence(Persistence::Persistent))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_an_id_and_a_secret() {
        for text in ["LTAI:hunter2\n", "{\"id\": \"LTAI\", \"secret\": \"hunter2\"}"] {
            let key = AccessKey::parse(&text.into()).unwrap();
            assert_eq!((key.id.as_str(), key.secret.expose_secret()), ("LTAI", "hunter2"));
            assert!(!format!("{key:?}").contains("hunter2"));
        }
        for text in [
            "",
            "hunter2",
            ":hunter2",
            "LTAI:",
            "a b:hunter2",
            "{\"secret\": \"hunter2\"}",
        ] {
            let error = AccessKey::parse(&text.into()).unwrap_err();
            assert!(
                error.is(Code::SecretUnavailable) && !error.to_string().contains("hunter2"),
                "{error}"
            );
        }
    }
}
