//! A validated failover group: the name that clients use, its sites, and the zones that hold the name.

mod duration;
mod record;
mod reversal;

use std::net::IpAddr;
use std::time::Duration;

use transship_oci::RegistryHost;
use url::Url;

use crate::document::Document;
use crate::secret_reference::{CredentialsRef, SecretReference};

pub(crate) use duration::parse as parse_duration;
pub use record::{Hostname, NotAHostname, RecordKind, SiteRecord};
pub use reversal::{REVERSE_SUFFIX, Writers};

/// Registries between which clients are switched by the record of one name.
#[derive(Debug, Clone)]
pub struct Failover {
    /// Unique among the groups of the document: `[a-z0-9][a-z0-9-._]*`.
    pub name: String,
    /// The address that clients pull from: `https`, a host name and optionally a port.
    pub endpoint: Url,
    /// The name in `endpoint`, whose records are switched.
    pub host: Hostname,
    /// The credentials that clients log in with; [`None`]: clients do not log in.
    pub credentials: Option<CredentialsRef>,
    /// Two or more sites with different registries and different records.
    pub sites: Vec<Site>,
    /// The registry of the site that clients push to while nothing was switched.
    pub writer: String,
    /// One or more zones with different names.
    pub zones: Vec<Zone>,
    /// The time to live of the records in seconds, at least 1.
    pub ttl_seconds: u32,
    /// The longest acceptable lag of a standby.
    pub rpo: Duration,
}

/// A registry, and the record that leads clients to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// The registry's name in the document; also the name of the site.
    pub registry: String,
    /// The record of the group's name while clients use this site.
    pub record: SiteRecord,
}

/// A zone that holds the name of a group, with its own state and epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// Unique in the group: `[a-z0-9][a-z0-9-._]*`.
    pub name: String,
    /// The registry of the site that clients of this zone use normally.
    pub home: String,
    /// Where the zone is changed.
    pub dns: ZoneService,
}

/// The service that holds a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ZoneService {
    /// A hosted zone of Amazon Route 53.
    Route53 {
        /// The id, without `/hostedzone/`.
        zone: String,
    },
    /// Name servers with dynamic updates (RFC 2136).
    Rfc2136 {
        /// All authoritative servers, as host and port; the first receives the updates. Empty: those that the zone names.
        servers: Vec<ServerAddress>,
        /// The zone's name.
        zone: Hostname,
        /// The TSIG key, `name:algorithm:base64`.
        key: SecretReference,
    },
    /// A zone of Alibaba Cloud `PrivateZone`.
    PrivateZone(CloudZone),
    /// A zone of Tencent Cloud Private DNS.
    PrivateDns(CloudZone),
    /// A command that the operator registered under this name.
    Exec(String),
}

/// A private zone of a cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudZone {
    /// The id of the zone.
    pub zone: String,
    /// The access key, `id:secret`.
    pub credentials: SecretReference,
    /// The region that requests name; [`None`]: they name none.
    pub region: Option<String>,
    /// Another API endpoint; [`None`] for the public one.
    pub endpoint: Option<Url>,
}

/// Host and port of a name server. IPv6 addresses are in brackets when it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerAddress {
    /// A host name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl std::fmt::Display for ServerAddress {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

impl ZoneService {
    /// The key of the document that selects it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Route53 { .. } => "route53",
            Self::Rfc2136 { .. } => "rfc2136",
            Self::PrivateZone(_) => "privatezone",
            Self::PrivateDns(_) => "privatedns",
            Self::Exec(_) => "exec",
        }
    }

    /// The secret that is needed to change the zone, with its key in the document.
    pub const fn secret(&self) -> Option<(&'static str, &SecretReference)> {
        match self {
            Self::Rfc2136 { key, .. } => Some(("key", key)),
            Self::PrivateZone(zone) | Self::PrivateDns(zone) => Some(("credentials", &zone.credentials)),
            Self::Route53 { .. } | Self::Exec(_) => None,
        }
    }
}

impl Failover {
    /// The site with the registry `registry`.
    pub fn site(&self, registry: &str) -> Option<&Site> {
        self.sites.iter().find(|site| site.registry == registry)
    }

    /// True if clients of the group write `host` in front of a repository. Case does not matter, nor does the port 443.
    pub fn is_called(&self, host: &RegistryHost) -> bool {
        let port = self.endpoint.port().map_or(String::new(), |port| format!(":{port}"));
        let written = host.as_str().to_ascii_lowercase();
        written.strip_suffix(":443").unwrap_or(&written) == format!("{}{port}", self.host)
    }

    /// The zone named `name`.
    pub fn zone(&self, name: &str) -> Option<&Zone> {
        self.zones.iter().find(|zone| zone.name == name)
    }
}

impl Document {
    /// The group named `name`.
    pub fn failover_group(&self, name: &str) -> Option<&Failover> {
        self.failover.iter().find(|group| group.name == name)
    }

    /// True if `registry` is a site of a group.
    pub fn is_site(&self, registry: &str) -> bool {
        self.failover.iter().any(|group| group.site(registry).is_some())
    }

    /// True if `host`, in an event of `registry`, names this registry: by its endpoint, by another name of it, or by the name that
    /// clients of its group push to. That name belongs to every site, so it does not say which one it was.
    pub fn names_registry(&self, host: &RegistryHost, registry: &str) -> bool {
        let by_clients = |group: &Failover| group.site(registry).is_some() && group.is_called(host);
        self.registries.get(registry).is_some_and(|known| known.is_called(host)) || self.failover.iter().any(by_clients)
    }

    /// The addresses in records of the site `registry`. They count as named literally: the operator wrote them, so connections
    /// to them are allowed even if they are private.
    pub fn record_addresses(&self, registry: &str) -> Vec<IpAddr> {
        let sites = self.failover.iter().filter_map(|group| group.site(registry));
        let mut addresses: Vec<IpAddr> = sites.flat_map(|site| site.record.addresses()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }
}
