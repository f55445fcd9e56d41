//! Checks the failover groups: one by one, and against the rules.

mod rules;
mod zone;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use transship_oci::Code;
use url::Url;

use super::{Known, check_known, check_name, did_you_mean};
use crate::error::{Diagnostics, fault, shown};
use crate::failover::{Failover, Hostname, RecordKind, Site, SiteRecord, parse_duration};
use crate::path::Path;
use crate::raw;

pub(super) use rules::check_rules;

/// Times to live of records. 0 would send every client to the name servers for every connection, and some resolvers cache it
/// for as long as they like; Tencent Cloud allows at most a day.
const TTL_SECONDS: RangeInclusive<u32> = 1..=86_400;
/// The longest acceptable lag where none is written.
const RPO: Duration = Duration::from_mins(15);
/// The most values of one record.
const RECORD_VALUES_MAX: usize = 32;

/// Reads every group; one that cannot be read is missing from the result.
pub(super) fn groups(raw: Vec<raw::Failover>, registries: &Known, diagnostics: &mut Diagnostics) -> Vec<Failover> {
    let mut names = BTreeSet::new();
    let mut groups: Vec<Failover> = Vec::new();
    for (position, raw) in raw.into_iter().enumerate() {
        let path = Path::of("failover").index(position);
        check_unique(&mut names, &raw.name, "group", &path.key("name"), diagnostics);
        let Some(group) = group(raw, &path, registries, diagnostics) else {
            continue;
        };
        if let Some(other) = groups.iter().find(|other| other.host == group.host) {
            let sentence = format!(
                "the group {:?} switches the name {} as well: give each group its own name, or join the groups",
                other.name, group.host
            );
            diagnostics.error(path.key("endpoint"), invalid(sentence));
        }
        groups.push(group);
    }
    groups
}

fn group(raw: raw::Failover, path: &Path, registries: &Known, diagnostics: &mut Diagnostics) -> Option<Failover> {
    let endpoint = diagnostics.accept(
        &path.key("endpoint"),
        endpoint(&raw.endpoint).map_err(|why| fault(Code::InvalidEndpoint, why)),
    );
    let host = endpoint.as_ref().map(|(_, host)| host);
    let credentials = raw
        .credentials
        .and_then(|raw| super::registry::credentials(raw, &path.key("credentials"), diagnostics));
    let sites = sites(&raw.sites, host, &path.key("sites"), registries, diagnostics);
    let names: BTreeSet<&str> = raw.sites.iter().map(|site| site.registry.as_str()).collect();
    check_site(&raw.writer, &names, &path.key("writer"), diagnostics);
    let has_alias = sites.iter().any(|site| site.record.kind == RecordKind::Cname);
    let name = zone::Name { host, has_alias };
    let zones = zone::zones(raw.zones, &name, &names, &path.key("zones"), diagnostics);
    if !TTL_SECONDS.contains(&raw.ttl) {
        let sentence = format!("{} is out of range: write 1 to 86400 seconds, such as 60", raw.ttl);
        diagnostics.error(path.key("ttl"), invalid(sentence));
    }
    let rpo = match &raw.rpo {
        None => Some(RPO),
        Some(text) => diagnostics.accept(&path.key("rpo"), parse_duration(text).map_err(invalid)),
    };
    let (endpoint, host) = endpoint?;
    Some(Failover {
        name: raw.name,
        endpoint,
        host,
        credentials,
        sites,
        writer: raw.writer,
        zones,
        ttl_seconds: raw.ttl,
        rpo: rpo?,
    })
}

/// `https://host[:port]`. The text is repeated only where it cannot hold a password.
fn endpoint(text: &str) -> Result<(Url, Hostname), String> {
    let (url, _) = super::registry::endpoint(text)?;
    if url.scheme() != "https" {
        return Err(format!(
            "{} is not https, so a client could not tell which server answers: write https://host or https://host:port",
            shown(text)
        ));
    }
    let host = url.domain().and_then(|name| name.parse::<Hostname>().ok());
    let host = host.filter(|host| host.as_str().contains('.'));
    let host = host.ok_or_else(|| {
        format!(
            "{} has no host name whose record could be changed: write a full name such as https://images.example.com",
            shown(text)
        )
    })?;
    Ok((url, host))
}

fn sites(
    raw: &[raw::Site],
    host: Option<&Hostname>,
    path: &Path,
    registries: &Known,
    diagnostics: &mut Diagnostics,
) -> Vec<Site> {
    if raw.len() < 2 {
        let sentence = "a group has two sites or more: add the standby".to_owned();
        diagnostics.error(path.clone(), invalid(sentence));
    }
    let mut sites: Vec<Site> = Vec::new();
    let mut seen = BTreeSet::new();
    for (position, raw) in raw.iter().enumerate() {
        let path = path.index(position);
        check_known(&raw.registry, registries, &path.key("registry"), diagnostics);
        if !seen.insert(raw.registry.as_str()) {
            let sentence = format!(
                "the site {} is in the group already: write each registry once",
                shown(&raw.registry)
            );
            diagnostics.error(path.key("registry"), invalid(sentence));
        }
        let Some(record) = record(&raw.record, host, &path.key("record"), diagnostics) else {
            continue;
        };
        if let Some(other) = sites.iter().find(|other| other.record == record) {
            let sentence = format!(
                "the site {:?} has the same record, so a switch would change nothing: write the address of this site",
                other.registry
            );
            diagnostics.error(path.key("record").key("value"), invalid(sentence));
        }
        sites.push(Site {
            registry: raw.registry.clone(),
            record,
        });
    }
    sites
}

fn record(
    raw: &raw::Record,
    host: Option<&Hostname>,
    path: &Path,
    diagnostics: &mut Diagnostics,
) -> Option<SiteRecord> {
    let path = path.key("value");
    let texts = &raw.value.items;
    let count = texts.len();
    if raw.kind == RecordKind::Cname && count != 1 {
        let sentence = format!("a CNAME has one value, and there are {count}: write one host name");
        diagnostics.error(path, invalid(sentence));
        return None;
    }
    if count == 0 || count > RECORD_VALUES_MAX {
        let sentence = format!("there are {count} addresses: write 1 to {RECORD_VALUES_MAX}");
        diagnostics.error(path, invalid(sentence));
        return None;
    }
    let mut values = BTreeSet::new();
    let mut is_complete = true;
    for (position, text) in texts.iter().enumerate() {
        let path = if raw.value.is_list {
            path.index(position)
        } else {
            path.clone()
        };
        let value = value(raw.kind, text, host).and_then(|value| {
            if values.contains(&value) {
                return Err(format!("{} is written twice", shown(text)));
            }
            Ok(value)
        });
        match diagnostics.accept(&path, value.map_err(invalid)) {
            Some(value) => is_complete &= values.insert(value),
            None => is_complete = false,
        }
    }
    is_complete.then(|| SiteRecord {
        kind: raw.kind,
        values: values.into_iter().collect(),
    })
}

fn value(kind: RecordKind, text: &str, host: Option<&Hostname>) -> Result<String, String> {
    let value = kind.canonical(text).map_err(|why| format!("{} {why}", shown(text)))?;
    if host.is_some_and(|host| host.as_str() == value) {
        return Err(format!(
            "{} is the name of the group itself: write the own name of the site",
            shown(text)
        ));
    }
    match value.parse::<std::net::IpAddr>() {
        Ok(address) if !can_be_served(address) => Err(format!(
            "no registry can answer at {}: write the address of the site",
            shown(text)
        )),
        _ => Ok(value),
    }
}

/// False for unspecified, multicast and link-local addresses, which lead no client to a registry.
fn can_be_served(address: std::net::IpAddr) -> bool {
    let is_link_local = match address {
        std::net::IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        std::net::IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !(address.is_unspecified() || address.is_multicast() || is_link_local)
}

/// Notes a fault if no site has the registry `name`.
fn check_site(name: &str, sites: &BTreeSet<&str>, path: &Path, diagnostics: &mut Diagnostics) {
    if sites.contains(name) {
        return;
    }
    let known: Vec<&str> = sites.iter().copied().collect();
    let hint = did_you_mean(name, known.iter().copied())
        .unwrap_or_else(|| format!("write the registry of a site: {}", known.join(", ")));
    let sentence = format!("the group has no site {}: {hint}", shown(name));
    diagnostics.error(path.clone(), invalid(sentence));
}

fn check_unique(names: &mut BTreeSet<String>, name: &str, what: &str, path: &Path, diagnostics: &mut Diagnostics) {
    diagnostics.accept(path, check_name(name).map_err(invalid));
    if !names.insert(name.to_owned()) {
        let sentence = format!("another {what} is called {}: give each its own name", shown(name));
        diagnostics.error(path.clone(), invalid(sentence));
    }
}

fn invalid(sentence: impl Into<String>) -> transship_oci::Error {
    fault(Code::FailoverInvalid, sentence)
}
