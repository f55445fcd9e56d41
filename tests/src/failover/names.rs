//! Where the name of a stage is: at name servers, or in hosted zones of Route 53. A test of either reads and changes it the same way.

use std::net::IpAddr;

use super::stage::CLIENTS;
use super::{HostedZones, NameServers};

/// The DNS zone of the name.
pub const ZONE: &str = "example.com";

/// The time to live of the records, in seconds: clients that keep answers are waited for.
pub const TTL_SECONDS: u32 = 2;

/// The places.
#[derive(Debug)]
pub enum Names {
    /// A primary name server and a secondary: one zone of the group.
    Servers(NameServers),
    /// A public hosted zone and a private one: two zones of the group.
    Hosted(HostedZones),
}

impl Names {
    /// The zones of the group, each with its name and the value of `dns`.
    pub fn zones(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Servers(servers) => vec![("inside", servers.dns())],
            Self::Hosted(zones) => zones.dns(),
        }
    }

    /// What `transship` needs in its environment to change them.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Servers(_) => NameServers::variables(),
            Self::Hosted(zones) => zones.variables(),
        }
    }

    /// What each server, or each hosted zone, answers for the name; empty if it has no such record. A text is in quotes.
    pub fn answers(&self, kind: &str, name: &str) -> Vec<String> {
        match self {
            Self::Servers(servers) => servers.answers(kind, name),
            Self::Hosted(zones) => zones.answers(kind, name),
        }
    }

    /// Replaces the records of one kind, as another program would. A text is in quotes.
    pub fn set(&self, kind: &str, name: &str, value: &str) {
        match self {
            Self::Servers(servers) => servers.change(&[
                &format!("update delete {name}. {kind}"),
                &format!("update add {name}. {TTL_SECONDS} {kind} {value}"),
            ]),
            Self::Hosted(zones) => zones.set(kind, name, value),
        }
    }

    /// Removes the records of one kind.
    pub fn remove(&self, kind: &str, name: &str) {
        match self {
            Self::Servers(servers) => servers.change(&[&format!("update delete {name}. {kind}")]),
            Self::Hosted(zones) => zones.remove(kind, name),
        }
    }

    /// Leads the clients' name to an address.
    pub(super) fn lead(&self, address: IpAddr) {
        self.set("A", CLIENTS, &address.to_string());
    }

    /// What resolves for clients: the primary server, or the public zone.
    pub(super) fn resolve(&self) -> super::front::Resolve {
        match self {
            Self::Servers(servers) => servers.resolve(),
            Self::Hosted(zones) => zones.resolve(0),
        }
    }

    /// The name servers.
    ///
    /// # Panics
    /// If the name is in hosted zones.
    pub fn servers(&self) -> &NameServers {
        match self {
            Self::Servers(servers) => servers,
            Self::Hosted(_) => panic!("the name is in hosted zones"),
        }
    }

    /// The hosted zones.
    ///
    /// # Panics
    /// If the name is at name servers.
    pub fn hosted(&self) -> &HostedZones {
        match self {
            Self::Hosted(zones) => zones,
            Self::Servers(_) => panic!("the name is at name servers"),
        }
    }
}
