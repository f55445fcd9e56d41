//! Parses the content of a secret: `user:password`, or `{"username": …, "password": …}`.

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use crate::Login;
use transship_oci::Result;

/// The user name that marks the password as an identity token. Source: docker-credential-helpers.
const TOKEN_USER: &str = "<token>";

/// The content of a secret is not a valid login. The error does not contain the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid login: expected user:password or {{\"username\": …, \"password\": …}}")]
pub struct NoLogin;

impl Login {
    /// Parses the content of a secret as a login.
    pub fn from_secret(content: &SecretString) -> Result<Self, NoLogin> {
        let text = content.expose_secret().trim();
        let pair = if text.starts_with('{') {
            from_json(text)
        } else {
            text.split_once(':')
                .map(|(username, password)| (username.to_owned(), password.to_owned()))
        };
        pair.filter(|(username, _)| !username.is_empty())
            .map(|(username, password)| Self::of(username, password))
            .ok_or(NoLogin)
    }

    /// The login of a user name and a password, which may be an identity token.
    pub fn of(username: String, password: String) -> Self {
        let password = SecretString::from(password);
        if username == TOKEN_USER {
            Self::IdentityToken(password)
        } else {
            Self::Basic { username, password }
        }
    }
}

fn from_json(text: &str) -> Option<(String, String)> {
    #[derive(Deserialize)]
    struct Pair {
        username: String,
        password: String,
    }
    let pair: Pair = serde_json::from_str(text).ok()?;
    Some((pair.username, pair.password))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &str) -> Option<(String, String)> {
        match Login::from_secret(&SecretString::from(content)) {
            Ok(Login::Basic { username, password }) => Some((username, password.expose_secret().to_owned())),
            Ok(Login::IdentityToken(token)) => Some(("identity token".to_owned(), token.expose_secret().to_owned())),
            Ok(Login::Anonymous) => panic!("unexpected anonymous login"),
            Err(error) => {
                assert!(!error.to_string().contains("canary"), "{error}");
                None
            }
        }
    }

    #[test]
    fn both_forms_are_logins() {
        let pair = |username: &str, password: &str| Some((username.to_owned(), password.to_owned()));
        assert_eq!(read("robot$a:p:q%\n"), pair("robot$a", "p:q%"));
        assert_eq!(read("robot:"), pair("robot", ""));
        assert_eq!(
            read(r#" {"username":"robot","password":"p\"{","engine":"x"} "#),
            pair("robot", "p\"{")
        );
        assert_eq!(read("<token>:abc"), pair("identity token", "abc"));
    }

    #[test]
    fn anything_else_is_refused_without_being_repeated() {
        for content in [
            "",
            "canary",
            ":canary",
            r#"{"username":"canary"}"#,
            r#"{"username":"","password":"canary"}"#,
            r#"{"username":7,"password":"canary"}"#,
            "{canary",
        ] {
            assert_eq!(read(content), None, "{content}");
        }
    }
}
