//! Signatures of the event bus of Alibaba Cloud, of both versions.

use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use ring::hmac;
use transship_notifications::{Authenticity, Delivery, Expected, Part, SignedUrl, authenticate};
use transship_oci::Error;
use transship_testkit::mutation::fuzz;
use transship_testkit::signing::{CERTIFICATE, ENCRYPTED_SECRET, ONE_TIME_SECRET, Signer};

use crate::{headers_of, named};

const BODY: &str = "{\"id\":\"1\"}";
const URL: &str = "https://hooks.example.com/hooks/hangzhou?a=b";
const PEM_URL: &str = "https://cn-hangzhou-eventbridge.oss-accelerate.aliyuncs.com/x509_public_certificate_1.pem";
/// 2026-03-14T09:26:53Z
const NOW: i64 = 1_773_480_413;

type Headers = Vec<(&'static str, String)>;

/// A signature to make, right unless it is changed.
struct Signing {
    sent: String,
    url: &'static str,
    certificate: &'static str,
    /// What ends the signed text.
    end: &'static str,
    is_version_2: bool,
    has_token: bool,
}

impl Default for Signing {
    fn default() -> Self {
        Self {
            sent: NOW.to_string(),
            url: URL,
            certificate: PEM_URL,
            end: "",
            is_version_2: true,
            has_token: true,
        }
    }
}

impl Signing {
    fn headers(&self) -> Headers {
        let mut headers: Headers = vec![("x-eventbridge-signature-timestamp", self.sent.clone())];
        if self.is_version_2 {
            headers.push(("x-eventbridge-hash-method", "SHA256".to_owned()));
        } else {
            headers.push(("x-eventbridge-signature-method", "HMAC-SHA1".to_owned()));
        }
        headers.push(("x-eventbridge-signature-version", "1.0".to_owned()));
        headers.push(("x-eventbridge-signature-url", self.certificate.to_owned()));
        headers.push(("x-eventbridge-signature-token", "right".to_owned()));
        if !self.is_version_2 {
            headers.push(("x-eventbridge-signature-secret", ENCRYPTED_SECRET.to_owned()));
        }
        let signed = headers
            .iter()
            .filter(|(name, _)| self.has_token || !name.ends_with("-token"));
        let lines: Vec<String> = signed.map(|(name, value)| format!("\n{name}: {value}")).collect();
        let text = format!("{}{}\n{BODY}{}", self.url, lines.concat(), self.end);
        if self.is_version_2 {
            let signature = Signer::new().unwrap().sign(text.as_bytes()).unwrap();
            headers.push(("x-eventbridge-signature-v2", BASE64_STANDARD.encode(signature)));
        } else {
            let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, ONE_TIME_SECRET.as_bytes());
            let signature = BASE64_STANDARD.encode(hmac::sign(&key, text.as_bytes()));
            headers.push(("x-eventbridge-signature", signature));
        }
        headers
    }
}

fn check(headers: &Headers, part: Part, body: &str, certificate: Option<&str>) -> Result<Authenticity, Error> {
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let delivery = Delivery {
        headers: &headers_of(&headers),
        body: body.as_bytes(),
        token: None,
    };
    let expected = Expected {
        secret: Some("right"),
        signed_url: Some(&SignedUrl {
            url: URL.to_owned(),
            region: "cn-hangzhou".to_owned(),
        }),
        now: jiff::Timestamp::from_second(NOW).unwrap(),
        ..Expected::default()
    };
    let fetched = |url: &str| {
        assert_eq!(url, PEM_URL);
        certificate.map(|pem| Arc::from(pem.as_bytes()))
    };
    authenticate(named("aliyun-eventbridge"), &delivery, part, &expected, &fetched)
}

fn is_authentic(headers: &Headers, body: &str) -> bool {
    let checked = check(headers, Part::Whole, body, Some(CERTIFICATE));
    if let Err(error) = &checked {
        assert_eq!(error.code(), "NOT_AUTHENTIC");
    }
    checked.ok() == Some(Authenticity::Proven)
}

#[test]
fn both_versions_of_the_signature_are_verified() {
    for is_version_2 in [false, true] {
        for end in ["", "\n"] {
            for has_token in [false, true] {
                let signing = Signing {
                    end,
                    is_version_2,
                    has_token,
                    ..Signing::default()
                };
                assert!(
                    is_authentic(&signing.headers(), BODY),
                    "{is_version_2} {end:?} {has_token}"
                );
            }
        }
        let signing = Signing {
            is_version_2,
            ..Signing::default()
        };
        let headers = signing.headers();
        assert!(!is_authentic(&headers, "{\"id\":\"2\"}"), "another body");
        assert_eq!(check(&headers, Part::Head, "", None).unwrap(), Authenticity::NeedsBody);
        let needed = Authenticity::NeedsKeys(PEM_URL.to_owned());
        assert_eq!(check(&headers, Part::Whole, BODY, None).unwrap(), needed);
        assert!(check(&headers, Part::Whole, BODY, Some("no certificate")).is_err());
        for left_out in 0..headers.len() {
            let mut fewer = headers.clone();
            let (name, _) = fewer.remove(left_out);
            assert!(!is_authentic(&fewer, BODY), "without {name}");
        }
        for (changed, (name, value)) in headers.iter().enumerate() {
            for other in [format!("{value}x"), value[1..].to_owned(), "AAAA".to_owned()] {
                let mut headers = headers.clone();
                headers[changed].1 = other;
                assert!(!is_authentic(&headers, BODY), "another {name}");
            }
        }
    }
}

#[test]
fn a_delivery_older_or_newer_than_a_minute_is_not_authentic() {
    for (sent, is_recent) in [
        (NOW.to_string(), true),
        (format!("{NOW}000"), true),
        ((NOW - 60).to_string(), true),
        (format!("{}999", NOW - 61), false),
        ((NOW - 61).to_string(), false),
        ((NOW + 60).to_string(), true),
        ((NOW + 61).to_string(), false),
        ("0".to_owned(), false),
        (i64::MAX.to_string(), false),
        (i64::MIN.to_string(), false),
        ("yesterday".to_owned(), false),
    ] {
        let signing = Signing {
            sent: sent.clone(),
            ..Signing::default()
        };
        let headers = signing.headers();
        assert_eq!(is_authentic(&headers, BODY), is_recent, "{sent}");
        assert_eq!(check(&headers, Part::Head, "", None).is_ok(), is_recent, "{sent}");
    }
}

#[test]
fn no_certificate_of_another_place_is_wanted() {
    for certificate in [
        "http://cn-hangzhou-eventbridge.oss-accelerate.aliyuncs.com/x.pem",
        "https://cn-shanghai-eventbridge.oss-accelerate.aliyuncs.com/x.pem",
        "https://evil-eventbridge.oss-accelerate.aliyuncs.com/x.pem",
        "https://cn-hangzhou-eventbridge.oss-accelerate.aliyuncs.com.evil.example/x.pem",
        "https://cn-hangzhou-eventbridge.oss-accelerate.aliyuncs.com@evil.example/x.pem",
        "https://cn-hangzhou-eventbridge.oss-accelerate.aliyuncs.com:8443/x.pem",
        "https://cn-hangzhou-eventbridge.oss-accelerate.aliyuncs.com/../x.pem",
        "https://cn-hangzhou-eventbridge.oss-accelerate.aliyuncs.com/x.pem?a",
        "https://cn-hangzhou-eventbridge.oss-accelerate.aliyuncs.com/x",
        "https://169.254.169.254/x.pem",
    ] {
        let signing = Signing {
            certificate,
            ..Signing::default()
        };
        assert!(!is_authentic(&signing.headers(), BODY), "{certificate}");
    }
}

#[test]
fn a_signature_for_another_url_is_not_authentic() {
    let signing = Signing {
        url: "https://hooks.example.com/hooks/other",
        ..Signing::default()
    };
    assert!(!is_authentic(&signing.headers(), BODY));
}

#[test]
fn a_signature_does_not_replace_the_secret() {
    let mut headers = Signing {
        has_token: false,
        ..Signing::default()
    }
    .headers();
    assert!(is_authentic(&headers, BODY));
    headers.retain(|(name, _)| !name.ends_with("-token"));
    assert!(!is_authentic(&headers, BODY), "anyone can point the bus at this URL");
}

#[test]
fn no_change_to_a_certificate_panics() {
    let headers = Signing {
        is_version_2: false,
        ..Signing::default()
    }
    .headers();
    fuzz("certificates", &[CERTIFICATE.as_bytes().to_vec()], |_, changed| {
        if let Ok(pem) = str::from_utf8(changed) {
            let _ = check(&headers, Part::Whole, BODY, Some(pem));
        }
    });
}
