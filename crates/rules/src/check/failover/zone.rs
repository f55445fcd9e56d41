//! Checks the zones of a group: the service of each, and whether it can hold the name.

use std::collections::BTreeSet;

use transship_oci::Code;
use url::Url;

use super::{check_site, check_unique, invalid};
use crate::check::{check_name, registry};
use crate::error::{Diagnostics, fault, shown};
use crate::failover::{CloudZone, Hostname, ServerAddress, Zone, ZoneService};
use crate::path::Path;
use crate::raw;

/// The port of name servers that is used where none is written.
const DNS_PORT: u16 = 53;

/// The name of the group.
pub(super) struct Name<'a> {
    /// [`None`] if the endpoint could not be read.
    pub(super) host: Option<&'a Hostname>,
    /// The record of at least one site is a CNAME.
    pub(super) has_alias: bool,
}

pub(super) fn zones(
    raw: Vec<raw::Zone>,
    name: &Name<'_>,
    sites: &BTreeSet<&str>,
    path: &Path,
    diagnostics: &mut Diagnostics,
) -> Vec<Zone> {
    if raw.is_empty() {
        let sentence = "a group has one zone or more: add the DNS zone that holds its name".to_owned();
        diagnostics.error(path.clone(), invalid(sentence));
    }
    let mut names = BTreeSet::new();
    let mut zones: Vec<Zone> = Vec::new();
    for (position, raw) in raw.into_iter().enumerate() {
        let path = path.index(position);
        check_unique(
            &mut names,
            &raw.name,
            "zone of the group",
            &path.key("name"),
            diagnostics,
        );
        check_site(&raw.home, sites, &path.key("home"), diagnostics);
        let Some(dns) = service(raw.dns, name, &path.key("dns"), diagnostics) else {
            continue;
        };
        if let Some(other) = zones.iter().find(|other| is_same(&other.dns, &dns)) {
            let sentence = format!(
                "the zone {:?} is the same DNS zone, and each would undo what the other does: remove one of them",
                other.name
            );
            diagnostics.error(path.key("dns"), invalid(sentence));
        }
        zones.push(Zone {
            name: raw.name,
            home: raw.home,
            dns,
        });
    }
    zones
}

/// True if both change the same zone.
fn is_same(one: &ZoneService, other: &ZoneService) -> bool {
    match (one, other) {
        (ZoneService::Route53 { zone: one }, ZoneService::Route53 { zone: other })
        | (ZoneService::Exec(one), ZoneService::Exec(other)) => one == other,
        (
            ZoneService::Rfc2136 { servers, zone, .. },
            ZoneService::Rfc2136 {
                servers: others,
                zone: other,
                ..
            },
        ) => {
            let are_found = servers.is_empty() && others.is_empty();
            zone == other && (are_found || servers.iter().any(|server| others.contains(server)))
        }
        (ZoneService::PrivateZone(one), ZoneService::PrivateZone(other))
        | (ZoneService::PrivateDns(one), ZoneService::PrivateDns(other)) => one.zone == other.zone,
        _ => false,
    }
}

fn service(raw: raw::Dns, name: &Name<'_>, path: &Path, diagnostics: &mut Diagnostics) -> Option<ZoneService> {
    const KEYS: &str = "route53, rfc2136, privatezone, privatedns or exec";
    let raw::Dns {
        route53,
        rfc2136,
        privatezone,
        privatedns,
        exec,
    } = raw;
    match (route53, rfc2136, privatezone, privatedns, exec) {
        (Some(raw), None, None, None, None) => {
            let path = path.key("route53").key("zone");
            let zone = diagnostics.accept(&path, hosted_zone(&raw.zone).map_err(invalid))?;
            Some(ZoneService::Route53 { zone })
        }
        (None, Some(raw), None, None, None) => rfc2136_zone(&raw, name, &path.key("rfc2136"), diagnostics),
        (None, None, Some(raw), None, None) => {
            let path = path.key("privatezone");
            if raw.region.is_some() {
                let sentence = "PrivateZone has one endpoint for all regions: remove region".to_owned();
                diagnostics.error(path.key("region"), invalid(sentence));
            }
            cloud_zone(&raw, &path, diagnostics).map(ZoneService::PrivateZone)
        }
        (None, None, None, Some(raw), None) => {
            cloud_zone(&raw, &path.key("privatedns"), diagnostics).map(ZoneService::PrivateDns)
        }
        (None, None, None, None, Some(command)) => {
            diagnostics.accept(&path.key("exec"), check_name(&command).map_err(invalid))?;
            Some(ZoneService::Exec(command))
        }
        (None, None, None, None, None) => {
            let sentence = format!("the service of the zone is missing: write one of {KEYS}");
            diagnostics.error(path.clone(), invalid(sentence));
            None
        }
        _ => {
            let sentence = format!("the zone has several services: write one of {KEYS}");
            diagnostics.error(path.clone(), invalid(sentence));
            None
        }
    }
}

/// The id of a hosted zone. Source: Amazon Route 53 API reference, `ChangeResourceRecordSets`: at most 32 characters.
fn hosted_zone(text: &str) -> Result<String, String> {
    let id = text.strip_prefix("/hostedzone/").unwrap_or(text);
    let is_id = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    if (1..=32).contains(&id.len()) && id.bytes().all(is_id) {
        Ok(id.to_owned())
    } else {
        Err(format!(
            "{} is not the id of a hosted zone: write one such as Z0123456789ABCDEFGHIJ",
            shown(text)
        ))
    }
}

fn rfc2136_zone(
    raw: &raw::Rfc2136,
    name: &Name<'_>,
    path: &Path,
    diagnostics: &mut Diagnostics,
) -> Option<ZoneService> {
    let written = raw.servers.as_deref();
    if written.is_some_and(<[String]>::is_empty) {
        let sentence = "there is no server: write all authoritative servers of the zone as host:port, or remove the key to ask those of its NS records";
        diagnostics.error(path.key("servers"), invalid(sentence.to_owned()));
    }
    let mut servers: Vec<ServerAddress> = Vec::new();
    for (position, text) in written.unwrap_or_default().iter().enumerate() {
        let path = path.key("servers").index(position);
        let address = server(text).and_then(|address| {
            if servers.contains(&address) {
                return Err(format!("{} is written twice", shown(text)));
            }
            Ok(address)
        });
        servers.extend(diagnostics.accept(&path, address.map_err(invalid)));
    }
    let key = registry::reference(&raw.key, &path.key("key"), diagnostics);
    let zone_path = path.key("zone");
    let zone = raw
        .zone
        .parse::<Hostname>()
        .map_err(|why| format!("{} {why}", shown(&raw.zone)));
    let zone = diagnostics.accept(&zone_path, zone.map_err(invalid))?;
    if let Some(host) = name.host {
        if !host.is_in(&zone) {
            let sentence =
                format!("the name of the group, {host}, is not in the zone {zone}: write the zone that holds it");
            diagnostics.error(zone_path, invalid(sentence));
        } else if name.has_alias && *host == zone {
            let sentence = format!(
                "{host} is the apex of the zone, where a CNAME is not allowed (RFC 1034, section 3.6.2): write records of type A or AAAA, or a name below the zone"
            );
            diagnostics.error(zone_path, fault(Code::DnsApexCname, sentence));
        }
    }
    (written.is_none() || !servers.is_empty()).then_some(ZoneService::Rfc2136 {
        servers,
        zone,
        key: key?,
    })
}

/// `host`, `host:port`, `address:port` or `[address]:port`.
fn server(text: &str) -> Result<ServerAddress, String> {
    let why = || {
        format!(
            "{} is not the address of a name server: write host:port, such as 10.0.0.2:53 or [fd00::2]:53",
            shown(text)
        )
    };
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or_else(why)?;
        host.parse::<std::net::Ipv6Addr>().map_err(|_| why())?;
        (host, port.strip_prefix(':'))
    } else if text.parse::<std::net::Ipv6Addr>().is_ok() {
        (text, None)
    } else {
        let (host, port) = text
            .split_once(':')
            .map_or((text, None), |(host, port)| (host, Some(port)));
        if host.parse::<std::net::Ipv4Addr>().is_err() && host.parse::<Hostname>().is_err() {
            return Err(why());
        }
        (host, port)
    };
    let port = match port {
        None if text.ends_with(']') || !text.starts_with('[') => DNS_PORT,
        None => return Err(why()),
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(why)?,
    };
    Ok(ServerAddress {
        host: host.to_ascii_lowercase(),
        port,
    })
}

fn cloud_zone(raw: &raw::CloudZone, path: &Path, diagnostics: &mut Diagnostics) -> Option<CloudZone> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_id = |text: &str| (1..=64).contains(&text.len()) && text.bytes().all(word);
    if !is_id(&raw.zone) {
        let sentence = format!(
            "{} is not the id of a zone: write the id that the console shows",
            shown(&raw.zone)
        );
        diagnostics.error(path.key("zone"), invalid(sentence));
    }
    let region = raw.region.clone().filter(|region| {
        let is_region = is_id(region);
        if !is_region {
            let sentence = format!("{} is not a region: write one such as cn-hangzhou", shown(region));
            diagnostics.error(path.key("region"), invalid(sentence));
        }
        is_region
    });
    let endpoint = raw.endpoint.as_deref().and_then(|text| {
        let endpoint = api_endpoint(text).map_err(|why| fault(Code::InvalidEndpoint, why));
        diagnostics.accept(&path.key("endpoint"), endpoint)
    });
    let credentials = registry::reference(&raw.credentials, &path.key("credentials"), diagnostics);
    Some(CloudZone {
        zone: raw.zone.clone(),
        credentials: credentials?,
        region,
        endpoint,
    })
}

/// Requests are signed, but answers are not: only a literal loopback address may be asked without TLS.
fn api_endpoint(text: &str) -> Result<Url, String> {
    let (url, _) = registry::endpoint(text)?;
    if url.scheme() == "http" && !registry::is_loopback(&url) {
        return Err(format!("{} is not https: write https://host", shown(text)));
    }
    Ok(url)
}
