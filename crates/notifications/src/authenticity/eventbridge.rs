//! Signatures of the event bus of Alibaba Cloud.
//!
//! The bus signs the URL that its rule names, some headers, and the body. Version 1 is an HMAC-SHA1, whose secret is made for the
//! delivery and encrypted with the private key of the bus; version 2 is an RSA signature. The certificate is at a URL in a
//! header, which counts only if it is below the host of the bus in the configured region: buckets of other names can be anyone's.
//!
//! A signature proves that the bus sent this delivery to this URL, and not for whom: everyone with an account can point the bus
//! at it. The secret of the source is therefore checked as well. Source: Alibaba Cloud, `EventBridge`, "Signature algorithm".

use base64::prelude::{BASE64_STANDARD, Engine as _};
use jiff::{SignedDuration, Timestamp};
use ring::hmac::{self, HMAC_SHA1_FOR_LEGACY_USE_ONLY};
use transship_oci::Error;

use super::keys::RsaKey;
use super::{Authenticity, Keys, Part};
use crate::Delivery;
use crate::error::not_authentic;

/// The greatest age of a delivery, and by how much it may be ahead. The vendor names this limit.
const AGE_MAX: SignedDuration = SignedDuration::from_secs(60);

const TIMESTAMP: &str = "x-eventbridge-signature-timestamp";
const VERSION: &str = "x-eventbridge-signature-version";
const CERTIFICATE: &str = "x-eventbridge-signature-url";
const TOKEN: &str = "x-eventbridge-signature-token";
/// Of version 1.
const METHOD: &str = "x-eventbridge-signature-method";
const SECRET: &str = "x-eventbridge-signature-secret";
const SIGNATURE: &str = "x-eventbridge-signature";
/// Of version 2.
const HASH_METHOD: &str = "x-eventbridge-hash-method";
const SIGNATURE_V2: &str = "x-eventbridge-signature-v2";

/// What a signature of the bus covers besides the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedUrl {
    /// The public URL of the source, as the rule of the bus names it.
    pub url: String,
    /// The region of the bus.
    pub region: String,
}

/// Checks the signature of `delivery`. Of [`Part::Head`], everything but the signature.
pub(super) fn check(
    delivery: &Delivery<'_>,
    expected: &SignedUrl,
    part: Part,
    fetched: Keys<'_>,
    now: Timestamp,
) -> Result<Authenticity, Error> {
    let header = |name| {
        delivery
            .header(name)
            .ok_or_else(|| not_authentic("a header of its signature is missing"))
    };
    let is_recent = header(TIMESTAMP)?
        .parse()
        .ok()
        .and_then(time_of)
        .is_some_and(|sent| now.duration_since(sent).abs() <= AGE_MAX);
    if !is_recent {
        return Err(not_authentic("its signature is older than 60 seconds"));
    }
    let certificate = header(CERTIFICATE)?;
    if !is_of_the_bus(certificate, &expected.region) {
        return Err(not_authentic("its certificate is not that of the bus in this region"));
    }
    let is_version_2 = delivery.header(SIGNATURE_V2).is_some();
    let (signature, names) = if is_version_2 {
        (
            header(SIGNATURE_V2)?,
            [TIMESTAMP, HASH_METHOD, VERSION, CERTIFICATE, TOKEN, ""],
        )
    } else {
        (
            header(SIGNATURE)?,
            [TIMESTAMP, METHOD, VERSION, CERTIFICATE, TOKEN, SECRET],
        )
    };
    let is_known = if is_version_2 {
        header(HASH_METHOD)?.eq_ignore_ascii_case("SHA256")
    } else {
        header(METHOD)?.eq_ignore_ascii_case("HMAC-SHA1")
    };
    let base64 = |text| BASE64_STANDARD.decode(text).ok().filter(|_| is_known);
    let signature = base64(signature).ok_or_else(|| not_authentic("its signature has an unknown form"))?;
    if part == Part::Head {
        return Ok(Authenticity::NeedsBody);
    }
    let Some(pem) = fetched(certificate) else {
        return Ok(Authenticity::NeedsKeys(certificate.to_owned()));
    };
    let wrong = || not_authentic("its signature is wrong");
    let key = RsaKey::of_certificate(&pem).ok_or_else(wrong)?;
    let is_signed = if is_version_2 {
        let mut texts = signed_texts(delivery, &expected.url, &names);
        texts.any(|text| key.has_signed(&text, &signature))
    } else {
        let secret = base64(header(SECRET)?)
            .and_then(|encrypted| key.decrypt(&encrypted))
            .ok_or_else(wrong)?;
        let key = hmac::Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, &secret);
        let mut texts = signed_texts(delivery, &expected.url, &names);
        texts.any(|text| hmac::verify(&key, &text, &signature).is_ok())
    };
    if is_signed {
        Ok(Authenticity::Proven)
    } else {
        Err(wrong())
    }
}

/// The texts that may have been signed. Implementations differ in whether a line feed ends them, and in whether the token is
/// part of them; the token is checked by itself.
fn signed_texts<'a>(delivery: &'a Delivery<'_>, url: &'a str, names: &'a [&str]) -> impl Iterator<Item = Vec<u8>> + 'a {
    let text = |has_token: bool, end: &[u8]| {
        let mut text = url.as_bytes().to_vec();
        for name in names.iter().filter(|name| has_token || **name != TOKEN) {
            if let Some(value) = delivery.header(name) {
                text.extend_from_slice(format!("\n{name}: {value}").as_bytes());
            }
        }
        text.push(b'\n');
        text.extend_from_slice(delivery.body);
        text.extend_from_slice(end);
        text
    };
    [(true, ""), (true, "\n"), (false, ""), (false, "\n")]
        .into_iter()
        .map(move |(has_token, end)| text(has_token, end.as_bytes()))
}

/// Seconds or milliseconds, both of which were seen.
fn time_of(number: i64) -> Option<Timestamp> {
    if number > 100_000_000_000 {
        Timestamp::from_millisecond(number).ok()
    } else {
        Timestamp::from_second(number).ok()
    }
}

/// True for the URL of a certificate below the host of the bus in `region`.
fn is_of_the_bus(url: &str, region: &str) -> bool {
    let host = format!("https://{region}-eventbridge.oss-accelerate.aliyuncs.com/");
    let Some(path) = url.strip_prefix(&host) else {
        return false;
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
    let has_extension = path.rsplit_once('.').is_some_and(|(_, extension)| extension == "pem");
    url.len() <= 512 && has_extension && !path.contains("..") && path.bytes().all(is_plain)
}
