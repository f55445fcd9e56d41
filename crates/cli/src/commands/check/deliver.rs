//! `check --deliver`: posts deliveries to the webhook that report nothing, with the proof of each source and without it, so that
//! a wrong secret, address or proxy is found before the first push.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode};
use secrecy::ExposeSecret as _;
use transship_engine::Secrets;
use transship_notifications::{Format, prove};
use transship_rules::{Document, Registry, Webhook};
use url::{Host, Url};

use super::{Probe, Tried, Warning};
use crate::failure::{Exit, Failure};
use transship_oci::{Code, Result};

/// Senders wait about as long.
const TIMEOUT: Duration = Duration::from_secs(10);
const HOOKS: &str = "/hooks";

/// What a delivery shows.
enum Shown {
    Nothing,
    Proof((String, String)),
}

/// Posts to every source of `document` that senders can notify, at `base`: the address of the webhook, or of one source of it
/// (`…/hooks/NAME`).
pub(super) async fn deliver(
    document: &Document,
    secrets: &Arc<dyn Secrets>,
    base: &Url,
) -> Result<Vec<Probe>, Failure> {
    let (base, only) = split(base);
    if let Some(name) = &only
        && !document.registries.contains_key(name)
    {
        let sentence = format!("the document has no source {name:?}");
        return Err(Failure::new(Exit::Input, "UNKNOWN_SOURCE", sentence));
    }
    transship_registry::use_ring();
    let client = Client::builder()
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| Failure::new(Exit::Failed, "CONNECT_FAILED", error.to_string()))?;
    let sources = document
        .registries
        .iter()
        .filter(|(name, registry)| only.as_ref().is_none_or(|only| only == *name) && registry.webhook.is_some());
    let posts = sources.map(|(name, registry)| post_to(&client, &base, name, registry, secrets));
    Ok(join_all(posts).await.into_iter().flatten().collect())
}

/// A warning about an address to which secrets go without encryption, unless it is this machine.
pub(super) fn warning(url: &Url) -> Option<Warning> {
    let is_loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => {
            address.is_loopback() || address.to_ipv4_mapped().is_some_and(|address| address.is_loopback())
        }
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        None => false,
    };
    (url.scheme() != "https" && !is_loopback).then(|| Warning {
        code: Code::SecretInClear.as_str(),
        path: "--deliver".to_owned(),
        line: None,
        column: None,
        message: "the address is not https://, so the secrets of senders travel in clear".to_owned(),
    })
}

/// The address of the webhook without a trailing slash, and the source that it names, if any.
fn split(url: &Url) -> (String, Option<String>) {
    let text = url.as_str().trim_end_matches('/');
    if let Some((base, name)) = text.rsplit_once('/')
        && let Some(base) = base.strip_suffix(HOOKS)
    {
        return (base.to_owned(), Some(name.to_owned()));
    }
    (text.strip_suffix(HOOKS).unwrap_or(text).to_owned(), None)
}

async fn post_to(
    client: &Client,
    base: &str,
    name: &str,
    registry: &Registry,
    secrets: &Arc<dyn Secrets>,
) -> Vec<Probe> {
    let url = format!("{base}{HOOKS}/{name}");
    let format = registry.format;
    let begin = Instant::now();
    let probe = |what: &str, failure, begin| Probe::new(name, Tried::Delivery(format!("{url} {what}")), failure, begin);
    let proven = match &registry.webhook {
        Some(Webhook::Secret {
            reference,
            signed_url: None,
        }) => match secrets.secret(reference).await {
            Ok(secret) => prove(format, secret.expose_secret(), format.trial().as_bytes()),
            Err(error) => {
                let failure = (error.code().to_owned(), error.message().to_owned());
                return vec![probe("with its secret", Some(failure), begin)];
            }
        },
        // Only the cloud can sign these. Anyone may post to the others.
        _ => None,
    };
    let mut probes = Vec::new();
    if let Some(proof) = proven {
        let begin = Instant::now();
        let answer = post(client, &url, format, Shown::Proof(proof)).await;
        probes.push(probe(
            "with its secret",
            objection(answer, StatusCode::is_success),
            begin,
        ));
    }
    let begin = Instant::now();
    let answer = post(client, &url, format, Shown::Nothing).await;
    let failure = match &registry.webhook {
        Some(Webhook::Anyone) => objection(answer, StatusCode::is_success),
        _ => objection(answer, |status| *status == StatusCode::UNAUTHORIZED),
    };
    probes.push(probe("without a secret", failure, begin));
    probes
}

/// The status of the answer, and the start of its body; or why there is none.
async fn post(client: &Client, url: &str, format: Format, shown: Shown) -> Result<(StatusCode, String), String> {
    let mut request = client
        .post(url)
        .header(CONTENT_TYPE, "application/json")
        .body(format.trial());
    if let Shown::Proof((header, value)) = shown {
        request = request.header(header, value);
    }
    let response = request.send().await.map_err(|error| chain(&error))?;
    let status = response.status();
    let body = response.text().await.unwrap_or_default();
    Ok((status, body.chars().take(200).collect()))
}

/// The error and its causes, without the URL.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    let texts: Vec<String> = causes.map(ToString::to_string).collect();
    if texts.is_empty() {
        error.to_string()
    } else {
        texts.join(": ")
    }
}

/// The code and the sentence of an answer that is not as `expected`.
fn objection(
    answer: Result<(StatusCode, String), String>,
    expected: impl Fn(&StatusCode) -> bool,
) -> Option<(String, String)> {
    let (status, body) = match answer {
        Ok(answer) => answer,
        Err(sentence) => return Some(("CONNECT_FAILED".into(), sentence)),
    };
    if expected(&status) {
        return None;
    }
    let advice = match status.as_u16() {
        200..=299 => "it was accepted without a proof: another program answers, or the document there is another one",
        401 => "it was refused: the document there names another secret, or a proxy removes headers",
        404 => "the document there has no such source, or another program answers",
        500..=599 => "the webhook is not ready; its log says why",
        _ => "a proxy answers, or another program",
    };
    Some((
        "DELIVERY_REFUSED".into(),
        format!("{status}: {advice} {body}").trim().to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_encryption_is_warned_of_unless_it_is_this_machine() {
        let is_warned = |text: &str| warning(&text.parse().unwrap()).is_some();
        for url in [
            "http://hooks.example",
            "http://10.0.0.1:8080/hooks/a",
            "http://localhost.example",
            "http://127.0.0.1.example",
            "http://0.0.0.0",
            "http://[fe80::1]",
            "ftp://hooks.example",
        ] {
            assert!(is_warned(url), "{url}");
        }
        for url in [
            "https://hooks.example",
            "HTTPS://10.0.0.1",
            "http://127.0.0.1:8080",
            "http://127.9.9.9/hooks/a",
            "http://[::1]:8080",
            "http://[::ffff:127.0.0.1]",
            "http://localhost:8080",
            "http://hooks.localhost.",
        ] {
            assert!(!is_warned(url), "{url}");
        }
    }

    #[test]
    fn the_address_may_name_one_source() {
        let split = |text: &str| split(&text.parse().unwrap());
        let base = "https://hooks.example".to_owned();
        assert_eq!(split("https://hooks.example"), (base.clone(), None));
        assert_eq!(split("https://hooks.example/hooks/"), (base.clone(), None));
        assert_eq!(split("https://hooks.example/hooks/main"), (base, Some("main".into())));
        let below = "http://127.0.0.1:8080/transship".to_owned();
        assert_eq!(split(&format!("{below}/hooks/a/")), (below, Some("a".into())));
    }
}
