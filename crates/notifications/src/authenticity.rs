//! Checks that the sender of a delivery knows the secret of its source.
//!
//! Distribution, GitLab and Harbor can send one fixed text, and so can the API destination of an `EventBridge` bus (events
//! that arrive by an invocation are authenticated by AWS); that text is the secret: verbatim in `Authorization`, or,
//! for a sender that can only hold a URL, as its last segment. Hashes are compared, in constant time: neither where two
//! texts differ nor how long the secret is shows in the time it takes.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq};
use transship_oci::Error;

use crate::error::not_authentic;
use crate::{Delivery, Format};

/// Checks that `delivery` knows `secret`: one line, or two while the secret is being changed; or a JSON object, each value of
/// which is a secret. Empty lines are not secrets, so an empty secret authenticates nothing.
///
/// # Errors
/// `NOT_AUTHENTIC`, or `FORMAT_NOT_YET_SUPPORTED`.
pub fn authenticate(format: Format, delivery: &Delivery<'_>, secret: &str) -> Result<(), Error> {
    format.authenticate(delivery, secret)
}

/// The secrets in `text`: its lines, and the values of a JSON object, which is what the consoles of secret stores write.
pub(crate) fn secrets_of(text: &str) -> Vec<String> {
    let values = serde_json::from_str::<BTreeMap<String, String>>(text).unwrap_or_default();
    text.lines().map(str::to_owned).chain(values.into_values()).collect()
}

/// The scheme of senders that send a fixed text or can only be given a URL.
pub(crate) fn fixed_text(delivery: &Delivery<'_>, secret: &str) -> Result<(), Error> {
    let shown = delivery
        .headers
        .get_all(http::header::AUTHORIZATION)
        .iter()
        .map(http::HeaderValue::as_bytes)
        .chain(delivery.token.map(str::as_bytes))
        // Some senders and proxies append a slash to a URL.
        .chain(
            delivery
                .token
                .and_then(|token| token.strip_suffix('/'))
                .map(str::as_bytes),
        );
    let shown: Vec<_> = shown.map(Sha256::digest).collect();
    // Every pair is compared: the time taken must not show which line matched.
    let is_known = secrets_of(secret)
        .iter()
        .filter(|line| !line.trim().is_empty())
        .map(|line| Sha256::digest(line.as_bytes()))
        .flat_map(|line| shown.iter().map(move |shown| shown.as_slice().ct_eq(line.as_slice())))
        .fold(Choice::from(0), |known, is_equal| known | is_equal);
    if bool::from(is_known) {
        Ok(())
    } else {
        Err(not_authentic())
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

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
        match fixed_text(&delivery, secret) {
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
            "only Authorization counts"
        );
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
    fn a_format_that_is_not_read_authenticates_nothing() {
        let delivery = Delivery {
            headers: &HeaderMap::new(),
            body: b"",
            token: Some("x"),
        };
        let error = authenticate("ghcr".parse().unwrap(), &delivery, "x").unwrap_err();
        assert_eq!(error.code(), "FORMAT_NOT_YET_SUPPORTED");
    }
}
