//! Checks one registry.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use transship_oci::{Code, Limits, RegistryHost, Repository};
use url::Url;

use super::{check_name, webhook};
use crate::error::{Diagnostics, fault, shown};
use crate::path::Path;
use crate::raw::{self, TextOr};
use crate::registry::{PUBLIC_PARTITION, Registry, Tls, TlsIdentity};
use crate::secret_reference::{CredentialsRef, NotAReference, SecretReference};

/// Requests per second that can be kept. A rate outside is used as the nearest one, with a warning.
const REQUESTS_PER_SECOND: RangeInclusive<f64> = 0.001..=100_000.0;
/// Concurrent uploads.
const UPLOADS: RangeInclusive<u32> = 1..=10_000;

/// Reads a registry; [`None`] if it has no usable endpoint.
pub(super) fn registry(name: &str, raw: raw::Registry, path: &Path, diagnostics: &mut Diagnostics) -> Option<Registry> {
    diagnostics.accept(path, check_name(name).map_err(|why| fault(Code::ConfigInvalid, why)));
    let hosts = hosts(&raw.hosts, &path.key("hosts"), diagnostics);
    let credentials = raw
        .credentials
        .and_then(|raw| credentials(raw, &path.key("credentials"), diagnostics));
    let aliases = aliases(raw.aliases, &path.key("aliases"), diagnostics);
    let (format, webhook) = webhook::webhook(
        raw.webhook,
        raw.provider,
        raw.region.as_deref(),
        &path.key("webhook"),
        diagnostics,
    );
    let limits = limits(&raw.limits, &path.key("limits"), diagnostics);
    let tls = raw.tls.and_then(|raw| tls(&raw, &path.key("tls"), diagnostics));
    let endpoint_path = path.key("endpoint");
    let (endpoint, host) = diagnostics.accept(
        &endpoint_path,
        endpoint(&raw.endpoint).map_err(|why| fault(Code::InvalidEndpoint, why)),
    )?;
    if credentials.is_some() && endpoint.scheme() == "http" && !is_loopback(&endpoint) {
        diagnostics.warn(
            Code::CredentialsUnencrypted,
            &endpoint_path,
            "credentials travel unencrypted over http: write https if the registry offers it",
        );
    }
    if tls.is_some() && endpoint.scheme() == "http" {
        let sentence = "the endpoint is http, so there are no certificates: write https, or remove tls".to_owned();
        diagnostics.error(path.key("tls"), fault(Code::ConfigInvalid, sentence));
    }
    Some(Registry {
        provider: raw.provider,
        endpoint,
        hosts,
        aliases,
        description: raw.description,
        region: raw.region,
        partition: raw.partition.unwrap_or_else(|| PUBLIC_PARTITION.to_owned()),
        edition: raw.edition,
        network: raw.network,
        credentials,
        webhook,
        format,
        limits,
        tls,
        host,
    })
}

/// The text is repeated only where it cannot hold a password.
pub(super) fn endpoint(text: &str) -> Result<(Url, RegistryHost), String> {
    if text.contains('@') {
        return Err(
            "the endpoint holds a user: write the address alone, and refer to credentials under credentials".to_owned(),
        );
    }
    if !text.contains("://") {
        let host = text.trim_end_matches('/');
        return Err(format!(
            "{} has no scheme: write \"https://{}\"",
            shown(text),
            host.escape_debug()
        ));
    }
    let url = Url::parse(text).map_err(|error| format!("{} is not a valid address: {error}", shown(text)))?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err(format!("{} is neither https nor http", shown(text)));
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(format!(
            "{} has more than scheme, host and port: a path belongs in the namespace of a rule",
            shown(text)
        ));
    }
    let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
    let host = authority
        .parse()
        .map_err(|_| format!("{} has no valid host", shown(text)))?;
    Ok((url, host))
}

pub(super) fn is_loopback(endpoint: &Url) -> bool {
    match endpoint.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn hosts(raw: &[String], path: &Path, diagnostics: &mut Diagnostics) -> Vec<RegistryHost> {
    raw.iter()
        .enumerate()
        .filter_map(|(position, text)| {
            let host = text.parse().map_err(|_| {
                let hint = if text.contains("://") { " without a scheme" } else { "" };
                fault(
                    Code::ConfigInvalid,
                    format!("{} is not a valid host: write host or host:port{hint}", shown(text)),
                )
            });
            diagnostics.accept(&path.index(position), host)
        })
        .collect()
}

pub(super) fn credentials(raw: raw::Credentials, path: &Path, diagnostics: &mut Diagnostics) -> Option<CredentialsRef> {
    let (path, reference) = match raw {
        TextOr::Table(table) => (path.key("ecr").key("role"), CredentialsRef::ecr(table.ecr.role)),
        TextOr::Text(text) => (path.clone(), CredentialsRef::parse(&text)),
    };
    let reference = reference.map_err(|why| fault(Code::CredentialsInvalid, format!("this {why}")));
    diagnostics.accept(&path, reference)
}

/// The aliases, a longer prefix before a shorter one.
fn aliases(raw: BTreeMap<String, String>, path: &Path, diagnostics: &mut Diagnostics) -> Vec<(String, String)> {
    let is_prefix = |text: &str| !text.is_empty() && !text.starts_with('/') && !text.ends_with('/');
    let mut aliases: Vec<(String, String)> = Vec::new();
    for (from, to) in raw {
        if !is_prefix(&from) {
            let sentence = "expected the prefix of repositories in deliveries, without a slash at its ends".to_owned();
            diagnostics.error(path.key(&from), fault(Code::ConfigInvalid, sentence));
        } else if !to.is_empty() && to.parse::<Repository>().is_err() {
            let sentence = format!("{} is not the prefix of a repository", shown(&to));
            diagnostics.error(path.key(&from), fault(Code::ConfigInvalid, sentence));
        } else {
            aliases.push((from, to));
        }
    }
    aliases.sort_by_key(|(from, _)| std::cmp::Reverse(from.len()));
    aliases
}

/// A reference to a secret. The text is not repeated.
pub(super) fn reference(text: &str, path: &Path, diagnostics: &mut Diagnostics) -> Option<SecretReference> {
    let reference = text
        .parse()
        .map_err(|why: NotAReference| fault(Code::CredentialsInvalid, format!("this {why}")));
    diagnostics.accept(path, reference)
}

fn tls(raw: &raw::Tls, path: &Path, diagnostics: &mut Diagnostics) -> Option<Tls> {
    let mut read = |text: &Option<String>, key| {
        let text = text.as_deref()?;
        reference(text, &path.key(key), diagnostics)
    };
    let authorities = read(&raw.authorities, "authorities");
    let (certificate, key) = (read(&raw.certificate, "certificate"), read(&raw.key, "key"));
    let missing = match (&raw.certificate, &raw.key) {
        (Some(_), None) => Some("the certificate has no key: add key"),
        (None, Some(_)) => Some("the key has no certificate: add certificate"),
        _ => None,
    };
    if let Some(sentence) = missing {
        diagnostics.error(path.clone(), fault(Code::ConfigInvalid, sentence.to_owned()));
    }
    let identity = certificate
        .zip(key)
        .map(|(certificate, key)| TlsIdentity { certificate, key });
    (authorities.is_some() || identity.is_some()).then_some(Tls { authorities, identity })
}

fn limits(raw: &raw::Limits, path: &Path, diagnostics: &mut Diagnostics) -> Limits {
    let invalid = |sentence: &str| fault(Code::ConfigInvalid, sentence.to_owned());
    let rate_path = path.key("requests_per_second");
    let requests_per_second = raw.requests_per_second.and_then(|rate| {
        if !(rate.is_finite() && rate > 0.0) {
            let sentence = "expected a number above 0, or nothing for unlimited";
            diagnostics.error(rate_path.clone(), invalid(sentence));
            return None;
        }
        let kept = rate.clamp(*REQUESTS_PER_SECOND.start(), *REQUESTS_PER_SECOND.end());
        if !REQUESTS_PER_SECOND.contains(&rate) {
            diagnostics.warn(
                Code::LimitAdjusted,
                &rate_path,
                format!("the rate is used as {kept}: it can be 0.001 (one request in 1000 s) to 100000"),
            );
        }
        Some(kept)
    });
    if raw.uploads.is_some_and(|uploads| !UPLOADS.contains(&uploads)) {
        diagnostics.error(
            path.key("uploads"),
            invalid("expected a number from 1 to 10000, or nothing for unlimited"),
        );
    }
    let bandwidth = raw.bandwidth.as_ref().and_then(|rate| {
        let parsed = rate.bandwidth().map_err(|why| fault(Code::ConfigInvalid, why));
        diagnostics.accept(&path.key("bandwidth"), parsed).flatten()
    });
    Limits {
        requests_per_second,
        uploads: raw.uploads,
        bandwidth,
    }
}
