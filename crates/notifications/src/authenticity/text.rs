//! Senders that send the secret itself: in a header, or, if they can only be given a URL, as its last part.
//!
//! A line of the secret is one of these:
//! - the value of `Authorization`, the token of `Authorization: Bearer`, or the `user:password` of `Authorization: Basic`;
//! - `Name: value`, for a sender with a header of another name;
//! - what follows `/hooks/{source}/` in the URL.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq};
use transship_oci::Error;

use crate::Delivery;
use crate::error::not_authentic;

/// Checks that `delivery` shows one of `secrets`. Values of `headers` count as well.
pub(super) fn check(delivery: &Delivery<'_>, headers: &[&str], secrets: &[String]) -> Result<(), Error> {
    let mut shown: Vec<Vec<u8>> = Vec::new();
    for value in delivery.headers.get_all(AUTHORIZATION) {
        shown.push(value.as_bytes().to_vec());
        shown.extend(value.to_str().ok().and_then(credentials));
    }
    for name in headers {
        let values = delivery.headers.get_all(*name).iter();
        shown.extend(values.map(|value| value.as_bytes().to_vec()));
    }
    if let Some(token) = delivery.token {
        shown.push(token.into());
        // Some senders and proxies append a slash to a URL.
        shown.extend(token.strip_suffix('/').map(Into::into));
    }
    let mut is_known = is_one_of(&shown, secrets);
    for (name, value) in secrets.iter().filter_map(|secret| header_of(secret)) {
        let shown: Vec<&[u8]> = delivery
            .headers
            .get_all(name)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        is_known |= is_one_of(&shown, &[value]);
    }
    if is_known {
        Ok(())
    } else {
        Err(not_authentic(
            "it does not contain the secret of this source: set the Authorization header at the sender to the secret, or end the URL with it",
        ))
    }
}

/// True if one of `shown` is one of `secrets`. Hashes are compared, so the length of a secret does not show either.
pub(super) fn is_one_of<S: AsRef<[u8]>>(shown: &[impl AsRef<[u8]>], secrets: &[S]) -> bool {
    let shown: Vec<_> = shown.iter().map(Sha256::digest).collect();
    // Every pair is compared: the time taken must not show which secret matched.
    let is_known = secrets
        .iter()
        .map(Sha256::digest)
        .flat_map(|secret| shown.iter().map(move |shown| shown.as_slice().ct_eq(secret.as_slice())))
        .fold(Choice::from(0), |known, is_equal| known | is_equal);
    bool::from(is_known)
}

/// The token of `Bearer`, or the decoded `user:password` of `Basic`. The name of the scheme has no case (RFC 9110, section 11.1).
fn credentials(authorization: &str) -> Option<Vec<u8>> {
    let (scheme, rest) = authorization.split_once(' ')?;
    let rest = rest.trim();
    if rest.is_empty() {
        None
    } else if scheme.eq_ignore_ascii_case("bearer") {
        Some(rest.into())
    } else if scheme.eq_ignore_ascii_case("basic") {
        BASE64_STANDARD.decode(rest).ok()
    } else {
        None
    }
}

/// The header that a secret of the form `Name: value` means.
fn header_of(secret: &str) -> Option<(HeaderName, &str)> {
    let (name, value) = secret.split_once(": ")?;
    let value = value.trim();
    (!value.is_empty()).then_some((name.parse().ok()?, value))
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::super::secrets_of;
    use super::*;

    fn is_authentic(headers: &[(&'static str, &str)], token: Option<&str>, secret: &str) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let delivery = Delivery {
            headers: &map,
            body: b"",
            token,
        };
        match check(&delivery, &["x-signature-token"], &secrets_of(secret)) {
            Ok(()) => true,
            Err(error) => {
                assert_eq!(error.code(), "NOT_AUTHENTIC");
                false
            }
        }
    }

    #[test]
    fn the_header_is_the_secret_to_the_letter() {
        assert!(is_authentic(&[("authorization", "Bearer right")], None, "Bearer right"));
        assert!(is_authentic(
            &[("authorization", "Bearer right")],
            None,
            "Bearer right\n"
        ));
        for wrong in ["right", "Bearer wrong", "bearer right", "Bearer right ", "Bearer", ""] {
            assert!(
                !is_authentic(&[("authorization", wrong)], None, "Bearer right"),
                "{wrong:?}"
            );
        }
        assert!(
            !is_authentic(&[("x-token", "Bearer right")], None, "Bearer right"),
            "only Authorization and headers of the format count"
        );
        assert!(is_authentic(&[("x-signature-token", "right")], None, "right"));
        assert!(!is_authentic(&[("x-signature-token", "wrong")], None, "right"));
        assert!(!is_authentic(&[], None, "Bearer right"));
    }

    #[test]
    fn a_token_in_the_url_is_as_good_as_the_header() {
        assert!(is_authentic(&[], Some("s3cret"), "s3cret"));
        assert!(is_authentic(
            &[("authorization", "Basic other")],
            Some("s3cret"),
            "s3cret"
        ));
        assert!(!is_authentic(&[], Some("s3cre"), "s3cret"));
        assert!(
            is_authentic(&[], Some("s3/+=cret/"), "s3/+=cret"),
            "with a trailing slash"
        );
        assert!(
            is_authentic(&[], Some("s3cret/"), "s3cret/"),
            "the slash belongs to the secret"
        );
        assert!(!is_authentic(&[], Some("s3cret//"), "s3cret"));
    }

    #[test]
    fn two_secrets_hold_while_one_replaces_the_other() {
        for line in ["old", "new"] {
            assert!(is_authentic(&[("authorization", line)], None, "old\r\nnew\n"));
        }
        assert!(!is_authentic(&[("authorization", "old\tnew")], None, "old\nnew"));
    }

    #[test]
    fn the_json_of_a_console_holds_secrets() {
        let json = r#"{"hook":"Bearer right","old":"Bearer old"}"#;
        for known in ["Bearer right", "Bearer old", json] {
            assert!(is_authentic(&[("authorization", known)], None, json), "{known}");
        }
        for wrong in ["hook", "", "{"] {
            assert!(!is_authentic(&[("authorization", wrong)], None, json), "{wrong}");
        }
        assert!(!is_authentic(&[("authorization", "")], None, r#"{"hook":""}"#));
    }

    #[test]
    fn nothing_knows_an_empty_secret() {
        for secret in ["", "\n", "\n\n", "  ", "\r\n"] {
            assert!(!is_authentic(&[("authorization", "")], Some(""), secret), "{secret:?}");
            assert!(
                !is_authentic(&[("authorization", secret.trim())], Some(secret), secret),
                "{secret:?}"
            );
        }
    }

    #[test]
    fn a_token_or_a_password_is_enough() {
        for (authorization, secret) in [
            ("Bearer t0ken", "t0ken"),
            ("bearer t0ken", "t0ken"),
            ("Basic YWxpY2U6cGFzc3dvcmQ=", "alice:password"),
            ("Basic YWxpY2U6cGFzc3dvcmQ=", "Basic YWxpY2U6cGFzc3dvcmQ="),
        ] {
            assert!(
                is_authentic(&[("authorization", authorization)], None, secret),
                "{secret}"
            );
        }
        for (authorization, secret) in [
            ("Bearer t0ken", "t0ke"),
            ("Bearer ", "Bearer"),
            ("Digest t0ken", "t0ken"),
            ("Basic YWxpY2U6cGFzc3dvcmQ=", "password"),
            ("Basic alice:password", "alice:password"),
        ] {
            assert!(
                !is_authentic(&[("authorization", authorization)], None, secret),
                "{secret}"
            );
        }
    }

    #[test]
    fn a_header_of_another_name_is_written_with_its_name() {
        let secret = "X-Api-Key: right";
        assert!(is_authentic(&[("x-api-key", "right")], None, secret));
        assert!(is_authentic(
            &[("x-api-key", "right")],
            None,
            "x-api-key: old\nx-api-key: right"
        ));
        for headers in [
            [("x-api-key", "wrong")],
            [("authorization", "right")],
            [("x-other", "right")],
            [("x-api-key", "")],
        ] {
            assert!(!is_authentic(&headers, None, secret), "{headers:?}");
        }
        assert!(!is_authentic(&[("x-api-key", "")], None, "X-Api-Key: "));
    }
}
