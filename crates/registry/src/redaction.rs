//! Removes credentials from the texts of registries before they become part of a message.
//!
//! A registry, or a proxy or debug page in front of it, may repeat the headers of a request in its error. Every login and
//! token that this process made a header of is remembered here, for all registries: the place that quotes a text does not know
//! which request it answers, and a forgotten argument would be a leak.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret as _, SecretString};

/// Maximum number of secrets that are remembered, the latest ones.
const SECRETS_MAX: usize = 512;
/// A shorter text is not removed, because it may be an ordinary word of a message.
const SECRET_CHARS_MIN: usize = 5;
/// What stands in place of a secret.
const REDACTED: &str = "[redacted]";

/// One secret in the forms in which it may be repeated, longest first.
struct Forms {
    header: SecretString,
    texts: Vec<SecretString>,
}

/// The secrets that were sent.
#[derive(Default)]
struct Secrets(Mutex<VecDeque<Forms>>);

static SECRETS: Secrets = Secrets(Mutex::new(VecDeque::new()));

/// Remembers what follows the scheme of an `Authorization` header, or a token as it is sent.
pub(crate) fn remember(header: &str) {
    SECRETS.remember(header);
}

/// `text` without any remembered secret.
pub(crate) fn redacted(text: &str) -> String {
    SECRETS.redacted(text)
}

impl Secrets {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Forms>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, header: &str) {
        let credentials = header.split_once(' ').map_or(header, |(_, rest)| rest);
        let mut secrets = self.lock();
        if secrets.iter().any(|known| known.header.expose_secret() == credentials) {
            return;
        }
        if secrets.len() >= SECRETS_MAX {
            secrets.pop_front();
        }
        secrets.push_back(Forms {
            header: credentials.into(),
            texts: forms(credentials),
        });
    }

    fn redacted(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for form in self.lock().iter().flat_map(|secret| &secret.texts) {
            let form = form.expose_secret();
            if text.contains(form) {
                text = text.replace(form, REDACTED);
            }
        }
        text
    }
}

fn forms(credentials: &str) -> Vec<SecretString> {
    let decoded = base64::engine::general_purpose::STANDARD.decode(credentials).ok();
    let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let mut plain = vec![credentials.to_owned()];
    if let Some(login) = decoded {
        let password = login.split_once(':').map(|(_, password)| password.to_owned());
        plain.extend(password);
        plain.push(login);
    }
    let mut texts: Vec<String> = plain
        .iter()
        .flat_map(|text| {
            let json = serde_json::to_string(text).unwrap_or_default();
            let html = text
                .replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;")
                .replace('"', "&quot;");
            [
                text.clone(),
                json.trim_matches('"').to_owned(),
                utf8_percent_encode(text, NON_ALPHANUMERIC).to_string(),
                base64::engine::general_purpose::STANDARD.encode(text),
                base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text),
                html,
            ]
        })
        .filter(|text| text.chars().count() >= SECRET_CHARS_MIN)
        .collect();
    texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
    texts.dedup();
    texts.into_iter().map(SecretString::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(login: &str) -> String {
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(login))
    }

    #[test]
    fn a_login_is_removed_in_every_form() {
        let header = basic("robot$ci:canary/pass\"word<1>");
        let secrets = Secrets::default();
        secrets.remember(&header);
        for echo in [
            format!("Authorization: {header}"),
            "robot$ci:canary/pass\"word<1>".to_owned(),
            r#"{"headers":"robot$ci:canary/pass\"word<1>"}"#.to_owned(),
            "password=canary%2Fpass%22word%3C1%3E&x".to_owned(),
            "<b>canary/pass&quot;word&lt;1&gt;</b>".to_owned(),
            "the password is canary/pass\"word<1>.".to_owned(),
        ] {
            let shown = secrets.redacted(&echo);
            assert!(shown.contains(REDACTED), "{shown}");
            for part in ["canary", "Y2FuYXJ5", header.trim_start_matches("Basic ")] {
                assert!(!shown.contains(part), "{echo}: {shown}");
            }
        }
    }

    #[test]
    fn a_token_is_removed_and_other_texts_stay() {
        let secrets = Secrets::default();
        secrets.remember("Bearer eyJcanary.token-1");
        assert_eq!(secrets.redacted("got eyJcanary.token-1!"), "got [redacted]!");
        assert_eq!(secrets.redacted("manifest unknown"), "manifest unknown");
    }

    #[test]
    fn a_short_password_spoils_no_message() {
        let secrets = Secrets::default();
        secrets.remember(&basic("ab:cd"));
        secrets.remember("Bearer a");
        assert_eq!(secrets.redacted("cd is a word"), "cd is a word");
        assert_eq!(secrets.redacted("ab:cd"), REDACTED);
    }

    #[test]
    fn the_memory_is_bounded() {
        let secrets = Secrets::default();
        for number in 0..SECRETS_MAX + 10 {
            secrets.remember(&format!("Bearer bounded-{number}-token"));
        }
        assert_eq!(secrets.lock().len(), SECRETS_MAX);
    }
}
