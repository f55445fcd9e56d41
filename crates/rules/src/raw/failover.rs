//! A failover group as it is written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Credentials, OneOrMany};
use crate::failover::RecordKind;

/// Registries between which clients are switched by the record of one name.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Failover {
    /// The group's name, unique among the groups of the document.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9._-]*$"))]
    pub(crate) name: String,
    /// The address that clients pull from: `https://host` or `https://host:port`.
    #[schemars(extend("examples" = ["https://images.example.com"]))]
    pub(crate) endpoint: String,
    /// The reference to the credentials that clients log in with; they are tried at every site. Absent: clients do not log in.
    #[serde(default)]
    pub(crate) credentials: Option<Credentials>,
    /// The registries, and the record of each.
    #[schemars(length(min = 2))]
    pub(crate) sites: Vec<Site>,
    /// The site that clients push to. Rules between the sites are written from it.
    pub(crate) writer: String,
    /// The DNS zones that hold the name. Each is switched alone or together with the others.
    #[schemars(length(min = 1))]
    pub(crate) zones: Vec<Zone>,
    /// The time to live of the records in seconds, 1 to 86400. Absent: 60.
    #[serde(default = "ttl_seconds")]
    #[schemars(range(min = 1, max = 86400))]
    pub(crate) ttl: u32,
    /// The longest acceptable lag of a standby, such as `15m` or `90s`. Absent: `15m`.
    #[serde(default)]
    pub(crate) rpo: Option<String>,
}

const fn ttl_seconds() -> u32 {
    60
}

/// A registry, and the record that leads clients to it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Site {
    /// The registry's name.
    pub(crate) registry: String,
    /// The record of the group's name while clients use this site.
    pub(crate) record: Record,
}

/// A DNS record.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// The type: `CNAME`, `A` or `AAAA`.
    #[serde(rename = "type")]
    pub(crate) kind: RecordKind,
    /// A host name for `CNAME`; one address or a list of addresses otherwise. The addresses are allowed for the registry as if they
    /// were its endpoint.
    #[schemars(extend("examples" = ["registry.eu.example.com", ["10.0.8.4"]]))]
    pub(crate) value: OneOrMany<String>,
}

/// A DNS zone with its own state and epoch.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Zone {
    /// The zone's name in commands, unique in the group.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9._-]*$"))]
    pub(crate) name: String,
    /// The site that clients of this zone use normally.
    pub(crate) home: String,
    /// The service that holds the zone: exactly one of the keys.
    pub(crate) dns: Dns,
}

/// The service that holds a zone. Exactly one key is written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dns {
    /// Amazon Route 53, a public or a private hosted zone.
    #[serde(default)]
    pub(crate) route53: Option<Route53>,
    /// Name servers with dynamic updates (RFC 2136), such as BIND and Knot DNS.
    #[serde(default)]
    pub(crate) rfc2136: Option<Rfc2136>,
    /// `PrivateZone` of Alibaba Cloud.
    #[serde(default)]
    pub(crate) privatezone: Option<CloudZone>,
    /// Private DNS of Tencent Cloud.
    #[serde(default)]
    pub(crate) privatedns: Option<CloudZone>,
    /// A command that `transship serve --dns-command NAME=PATH` registers, by its name.
    #[serde(default)]
    pub(crate) exec: Option<String>,
}

/// A hosted zone of Amazon Route 53.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route53 {
    /// The id of the hosted zone.
    #[schemars(extend("examples" = ["Z0123456789ABCDEFGHIJ"]))]
    pub(crate) zone: String,
}

/// A zone on name servers with dynamic updates.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rfc2136 {
    /// All authoritative servers of the zone, as `host:port`. The first receives the updates. Absent: those of the zone's NS
    /// records, and the primary server of its SOA record for the updates.
    #[serde(default)]
    #[schemars(length(min = 1), extend("examples" = [["10.0.0.2:53"]]))]
    pub(crate) servers: Option<Vec<String>>,
    /// The zone's name.
    pub(crate) zone: String,
    /// The reference to the TSIG key; its content is `name:algorithm:base64`.
    pub(crate) key: String,
}

/// A private zone of a cloud.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CloudZone {
    /// The id of the zone.
    pub(crate) zone: String,
    /// The reference to the access key; its content is `id:secret`.
    pub(crate) credentials: String,
    /// The region that requests name. Private DNS of Tencent Cloud only. Absent: requests name none.
    #[serde(default)]
    pub(crate) region: Option<String>,
    /// Another API endpoint, such as that of a VPC: `https://host`. Absent: the public endpoint.
    #[serde(default)]
    pub(crate) endpoint: Option<String>,
}
