//! Checks one registry.

use transship_oci::{Limits, RegistryHost};
use url::Url;

use super::check_name;
use crate::byte_rate;
use crate::error::{ErrorKind, shown};
use crate::faults::Faults;
use crate::path::Path;
use crate::registry::{PUBLIC_PARTITION, Registry, Webhook};
use crate::secret_reference::CredentialsRef;
use crate::written::{self, TextOr};

/// Reads a registry; [`None`] if it has no usable endpoint.
pub(super) fn registry(name: &str, written: written::Registry, path: &Path, faults: &mut Faults) -> Option<Registry> {
    faults.accept(path, check_name(name).map_err(ErrorKind::ConfigInvalid));
    if !written.aliases.is_empty() {
        faults.not_yet(path.key("aliases"), "naming repositories by aliases");
    }
    let hosts = hosts(&written.hosts, &path.key("hosts"), faults);
    let credentials = written
        .credentials
        .and_then(|written| credentials(written, &path.key("credentials"), faults));
    let webhook = written
        .webhook
        .and_then(|written| webhook(written, &path.key("webhook"), faults));
    let limits = limits(&written.limits, &path.key("limits"), faults);
    let endpoint_path = path.key("endpoint");
    let (endpoint, host) = faults.accept(
        &endpoint_path,
        endpoint(&written.endpoint).map_err(ErrorKind::InvalidEndpoint),
    )?;
    if credentials.is_some() && endpoint.scheme() == "http" && !is_loopback(&endpoint) {
        faults.warn(
            &endpoint_path,
            "credentials travel unencrypted over http: write https if the registry offers it",
        );
    }
    Some(Registry {
        provider: written.provider,
        endpoint,
        hosts,
        aliases: Vec::new(),
        description: written.description,
        region: written.region,
        partition: written.partition.unwrap_or_else(|| PUBLIC_PARTITION.to_owned()),
        edition: written.edition,
        network: written.network,
        credentials,
        webhook,
        limits,
        host,
    })
}

/// The text is repeated only where it cannot hold a password.
fn endpoint(text: &str) -> Result<(Url, RegistryHost), String> {
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
    let url = Url::parse(text).map_err(|error| format!("{} is no address: {error}", shown(text)))?;
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

fn is_loopback(endpoint: &Url) -> bool {
    match endpoint.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn hosts(written: &[String], path: &Path, faults: &mut Faults) -> Vec<RegistryHost> {
    written
        .iter()
        .enumerate()
        .filter_map(|(position, text)| {
            let host = text.parse().map_err(|_| {
                let hint = if text.contains("://") { " without a scheme" } else { "" };
                ErrorKind::ConfigInvalid(format!("{} is no host: write host or host:port{hint}", shown(text)))
            });
            faults.accept(&path.index(position), host)
        })
        .collect()
}

fn credentials(written: written::Credentials, path: &Path, faults: &mut Faults) -> Option<CredentialsRef> {
    let (path, reference) = match written {
        TextOr::Table(table) => (path.key("ecr").key("role"), CredentialsRef::ecr(table.ecr.role)),
        TextOr::Text(text) => (path.clone(), CredentialsRef::parse(&text)),
    };
    let reference = reference.map_err(|why| ErrorKind::CredentialsInvalid(format!("this {why}")));
    faults.accept(&path, reference)
}

fn webhook(written: TextOr<written::Webhook>, path: &Path, faults: &mut Faults) -> Option<Webhook> {
    let table = match written {
        TextOr::Text(word) if word == "none" => return Some(Webhook::Anyone),
        TextOr::Text(_) => {
            let sentence = "this is neither none nor a mapping: write { secret: \"env:NAME\" }".to_owned();
            faults.refuse(path.clone(), ErrorKind::ConfigInvalid(sentence));
            return None;
        }
        TextOr::Table(table) => table,
    };
    if table.format.is_some() {
        faults.not_yet(path.key("format"), "choosing the format of deliveries");
    }
    let path = path.key("secret");
    let reference = match CredentialsRef::parse(&table.secret) {
        Ok(CredentialsRef::Docker) | Err(_) => Err(ErrorKind::CredentialsInvalid(
            "this is not a reference to a secret: write env:NAME, file:PATH, secretsmanager:NAME or ssm:NAME; the secret itself does not belong here".to_owned(),
        )),
        Ok(reference) => Ok(reference),
    };
    faults.accept(&path, reference)?;
    Some(Webhook::Secret {
        reference: table.secret,
        format: None,
    })
}

fn limits(written: &written::Limits, path: &Path, faults: &mut Faults) -> Limits {
    let invalid = |sentence: &str| ErrorKind::ConfigInvalid(sentence.to_owned());
    if written
        .requests_per_second
        .is_some_and(|rate| !(rate.is_finite() && rate > 0.0))
    {
        faults.refuse(
            path.key("requests_per_second"),
            invalid("this lets no request pass: write a number above 0, or leave it out for unlimited"),
        );
    }
    if written.uploads == Some(0) {
        faults.refuse(
            path.key("uploads"),
            invalid("this lets no upload pass: write a number above 0, or leave it out for unlimited"),
        );
    }
    let bandwidth = written.bandwidth.as_ref().and_then(|rate| {
        let parsed =
            byte_rate::parse(&rate.0).map_err(|why| ErrorKind::ConfigInvalid(format!("{} {why}", shown(&rate.0))));
        faults.accept(&path.key("bandwidth"), parsed).flatten()
    });
    Limits {
        requests_per_second: written.requests_per_second,
        uploads: written.uploads,
        bandwidth,
    }
}
