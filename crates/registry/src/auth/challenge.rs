//! Parses `WWW-Authenticate` leniently and with limits.
//!
//! Source: RFC 9110 section 11.6.1. Observed: several challenges in one header, commas inside quotes, quotes
//! around the scheme (regclient d083a07), no challenge at all.
//! The parser is our own because the crate `http-auth` (0.1.10) refuses values without quotes that are URLs, quoted schemes and
//! unterminated quotes; the tests below have each of them.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// Maximum total size of the headers in bytes; the rest is ignored.
const MAX_CHALLENGE_BYTES: usize = 16 * 1024;

/// One challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// Scheme in lower case: `bearer`, `basic`.
    pub(crate) scheme: String,
    /// Parameters in order, with names in lower case.
    pub(crate) parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The first value of the parameter `name`.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// All challenges of all headers.
pub(crate) fn parse(headers: &HeaderMap) -> Vec<Challenge> {
    let mut left = MAX_CHALLENGE_BYTES;
    let mut found = Vec::new();
    for value in headers.get_all(WWW_AUTHENTICATE) {
        let text: String = String::from_utf8_lossy(value.as_bytes()).chars().take(left).collect();
        left = left.saturating_sub(text.len());
        parse_one(&text, &mut found);
    }
    found
}

fn parse_one(text: &str, found: &mut Vec<Challenge>) {
    for part in split_outside_quotes(text) {
        let part = part.trim();
        let (head, parameter) = match part.find(['=', ' ', '\t']) {
            // `scheme name=value`, or a scheme alone.
            Some(at) if !part[at..].starts_with('=') => (Some(&part[..at]), part[at..].trim()),
            Some(_) => (None, part),
            None => (Some(part), ""),
        };
        if let Some(scheme) = head
            .map(|scheme| scheme.trim_matches('"').to_ascii_lowercase())
            .filter(|scheme| !scheme.is_empty())
        {
            found.push(Challenge {
                scheme,
                parameters: Vec::new(),
            });
        }
        if let (Some((name, value)), Some(challenge)) = (parameter.split_once('='), found.last_mut()) {
            challenge
                .parameters
                .push((name.trim().to_ascii_lowercase(), unquote(value.trim())));
        }
    }
}

fn split_outside_quotes(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn unquote(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"') else {
        return value.to_owned();
    };
    let mut out = String::new();
    let mut escaped = false;
    for c in inner.chars() {
        match c {
            _ if escaped => {
                out.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => break,
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;
    use transship_testkit::mutation::fuzz;

    use super::*;

    fn of(values: &[&str]) -> Vec<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        parse(&headers)
    }

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let bearer = of(&[
            r#"Bearer realm="https://auth.example.com/token",service="registry.example.com",scope="repository:a/b:pull,push""#,
        ]);
        assert_eq!(bearer[0].scheme, "bearer");
        assert_eq!(bearer[0].parameter("realm"), Some("https://auth.example.com/token"));
        assert_eq!(bearer[0].parameter("scope"), Some("repository:a/b:pull,push"));
        let both = of(&[r#"Basic realm="x, y", Bearer realm=https://a/b,service=c"#]);
        assert_eq!(
            both.iter().map(|c| c.scheme.as_str()).collect::<Vec<_>>(),
            ["basic", "bearer"]
        );
        assert_eq!(both[0].parameter("realm"), Some("x, y"));
        assert_eq!(both[1].parameter("service"), Some("c"));
        assert_eq!(of(&["Basic", r#""Bearer" realm="r""#]).len(), 2);
        assert_eq!(
            of(&[r#"Bearer realm="unterminated"#])[0].parameter("realm"),
            Some("unterminated")
        );
        assert!(of(&[]).is_empty());
    }

    #[test]
    fn no_header_yields_more_than_it_has_or_a_panic() {
        let inputs = [
            r#"Bearer realm="https://auth.example.com/token",service="registry.example.com",scope="repository:a/b:pull,push""#,
            r#"Basic realm="x, \"y\"", "Bearer" realm=https://a/b,service=c, Negotiate"#,
            "Digest qop=\"auth\", nonce=\"\\\"\", stale=FALSE",
        ];
        fuzz(
            "challenges",
            &inputs.map(|text| text.as_bytes().to_vec()),
            |_, bytes| {
                // What cannot be in a header never gets here.
                let Ok(value) = HeaderValue::from_bytes(bytes) else {
                    return;
                };
                let mut headers = HeaderMap::new();
                headers.append(WWW_AUTHENTICATE, value.clone());
                headers.append(WWW_AUTHENTICATE, value);
                for challenge in parse(&headers) {
                    assert!(!challenge.scheme.is_empty());
                    assert_eq!(challenge.scheme, challenge.scheme.to_ascii_lowercase());
                    let length: usize = challenge
                        .parameters
                        .iter()
                        .map(|(name, value)| name.len() + value.len())
                        .sum();
                    // A byte that is not UTF-8 is replaced by a character of three.
                    assert!(length <= 6 * bytes.len(), "{challenge:?}");
                }
            },
        );
    }

    proptest! {
        #[test]
        fn anything_at_all_is_read_without_a_panic(text in "[ -~]{0,400}") {
            of(&[&text]);
        }
    }
}
