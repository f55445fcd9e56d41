//! The authoritative servers of a zone: those of the document, or those that the zone names itself.
//!
//! The NS records name the servers that clients ask, and the SOA record the primary one, which receives updates and need not be
//! among them. Source: RFC 1035, sections 3.3.11 and 3.3.13; RFC 2136, section 4.3.

use std::net::IpAddr;

use domain::base::Message;
use domain::base::iana::{Rcode, Rtype};
use domain::rdata::{A, Aaaa, Ns, Soa};
use futures_util::future::try_join_all;
use transship_oci::{Code, Error, Operation, Result};
use transship_rules::{Hostname, ServerAddress};

use super::exchange::Connection;
use super::message::{WireName, recursive_query, wire};

/// The port of DNS.
const PORT: u16 = 53;
/// Where a Unix system names its resolvers.
const SYSTEM_RESOLVERS: &str = "/etc/resolv.conf";

/// Finds the servers of a zone.
#[derive(Debug, Clone)]
pub struct Discovery {
    /// The resolvers to ask, one after the other; [`None`]: those of this system.
    resolvers: Option<Vec<ServerAddress>>,
    /// The port of the servers that are found.
    port: u16,
}

impl Default for Discovery {
    /// Asks the resolvers of this system.
    fn default() -> Self {
        Self {
            resolvers: None,
            port: PORT,
        }
    }
}

/// The servers of a zone.
#[derive(Debug)]
pub(super) struct Authority {
    /// The server that receives updates.
    pub(super) primary: Server,
    /// The servers that clients ask; never empty.
    pub(super) servers: Vec<Server>,
}

/// A server with its addresses.
#[derive(Debug, Clone)]
pub(super) struct Server {
    /// Its name, or what the document says.
    pub(super) name: String,
    /// Its addresses; empty: its name has none.
    pub(super) addresses: Vec<ServerAddress>,
}

impl Server {
    fn written(address: &ServerAddress) -> Self {
        Self {
            name: address.to_string(),
            addresses: vec![address.clone()],
        }
    }

    /// The server at one of its addresses, for messages.
    pub(super) fn shown(&self, address: &ServerAddress) -> String {
        let address = address.to_string();
        if address == self.name {
            address
        } else {
            format!("{} ({address})", self.name)
        }
    }

    /// That the server has no address.
    pub(super) fn unresolved(&self, operation: &Operation) -> Error {
        Error::of(Code::DnsUnavailable, operation.clone()).because(format_args!("{} has no address", self.name))
    }

    /// A connection to the first address that accepts one.
    pub(super) async fn connect(&self, operation: &Operation) -> Result<Connection> {
        let mut last = self.unresolved(operation);
        for address in &self.addresses {
            match Connection::open(address, operation).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl Authority {
    /// The servers of a document, of which the first receives the updates; [`None`] if it names none.
    pub(super) fn of(servers: &[ServerAddress]) -> Option<Self> {
        Some(Self {
            primary: Server::written(servers.first()?),
            servers: servers.iter().map(Server::written).collect(),
        })
    }
}

impl Discovery {
    /// Asks `resolvers`, and expects the servers at `port`.
    pub fn new(resolvers: Vec<ServerAddress>, port: u16) -> Self {
        Self {
            resolvers: Some(resolvers),
            port,
        }
    }

    /// The servers of `zone`. `DNS_ZONE_INVALID` if it has none. The resolvers may answer from their cache.
    pub(super) async fn find(&self, zone: &Hostname, operation: &Operation) -> Result<Authority> {
        let resolvers = match &self.resolvers {
            Some(resolvers) => resolvers.clone(),
            None => system_resolvers(operation).await?,
        };
        let mut last = unavailable(operation, "this system has no resolver");
        for resolver in &resolvers {
            match self.ask(resolver, zone, operation).await {
                // Another resolver would answer the same.
                Err(error) if !error.is(Code::DnsZoneInvalid) => last = error,
                found => return found,
            }
        }
        Err(last)
    }

    async fn ask(&self, resolver: &ServerAddress, zone: &Hostname, operation: &Operation) -> Result<Authority> {
        let name = wire(zone.as_str(), operation)?;
        let missing = |what: &str| {
            let why =
                format!("the resolver {resolver} knows no {what} of {zone}: write `servers` in the zone of the group");
            Error::of(Code::DnsZoneInvalid, operation.clone()).because(why)
        };
        let mut connection = Connection::open(resolver, operation).await?;
        let answer = query(&mut connection, &name, Rtype::SOA, operation).await?;
        let mut primaries = answer
            .answer()
            .map_err(|why| unavailable(operation, why))?
            .limit_to::<Soa<_>>();
        let primary = primaries.find_map(|record| record.ok().filter(|record| *record.owner() == name));
        let primary = primary.map(|record| record.data().mname().to_string());
        let primary = primary.filter(|primary| !primary.is_empty() && primary != ".");
        let primary = primary.ok_or_else(|| missing("SOA record"))?;
        let answer = query(&mut connection, &name, Rtype::NS, operation).await?;
        let servers = answer
            .answer()
            .map_err(|why| unavailable(operation, why))?
            .limit_to::<Ns<_>>();
        let mut servers: Vec<String> = servers
            .filter_map(|record| record.ok().filter(|record| *record.owner() == name))
            .map(|record| record.data().nsdname().to_string())
            .collect();
        if servers.is_empty() {
            return Err(missing("NS record"));
        }
        servers.sort_unstable();
        let found = servers.iter().map(|server| self.server(resolver, server, operation));
        let (primary, servers) = tokio::try_join!(self.server(resolver, &primary, operation), try_join_all(found))?;
        if primary.addresses.is_empty() {
            return Err(missing("address of the primary server in the SOA record"));
        }
        Ok(Authority { primary, servers })
    }

    /// The server with the addresses of its name.
    async fn server(&self, resolver: &ServerAddress, name: &str, operation: &Operation) -> Result<Server> {
        let wired = wire(name, operation)?;
        let mut connection = Connection::open(resolver, operation).await?;
        let mut addresses: Vec<IpAddr> = Vec::new();
        let answer = query(&mut connection, &wired, Rtype::A, operation).await?;
        let found = answer
            .answer()
            .map_err(|why| unavailable(operation, why))?
            .limit_to::<A>();
        addresses.extend(found.flatten().map(|record| IpAddr::from(record.data().addr())));
        let answer = query(&mut connection, &wired, Rtype::AAAA, operation).await?;
        let found = answer
            .answer()
            .map_err(|why| unavailable(operation, why))?
            .limit_to::<Aaaa>();
        addresses.extend(found.flatten().map(|record| IpAddr::from(record.data().addr())));
        let address = |address: IpAddr| ServerAddress {
            host: address.to_string(),
            port: self.port,
        };
        Ok(Server {
            name: name.trim_end_matches('.').to_owned(),
            addresses: addresses.into_iter().map(address).collect(),
        })
    }
}

/// The answer of a resolver; empty if the name does not exist.
async fn query(
    connection: &mut Connection,
    name: &WireName,
    rtype: Rtype,
    operation: &Operation,
) -> Result<Message<Vec<u8>>> {
    let query = recursive_query(name, rtype).map_err(|why| unavailable(operation, why))?;
    let answer = connection.exchange(&query).await?;
    match answer.header().rcode() {
        Rcode::NOERROR | Rcode::NXDOMAIN => Ok(answer),
        code => {
            let why = format!(
                "the resolver {} answered {code} for {name} {rtype}",
                connection.server()
            );
            Err(unavailable(operation, why))
        }
    }
}

async fn system_resolvers(operation: &Operation) -> Result<Vec<ServerAddress>> {
    let text = tokio::fs::read_to_string(SYSTEM_RESOLVERS)
        .await
        .map_err(|why| unavailable(operation, format_args!("{SYSTEM_RESOLVERS}: {why}")))?;
    Ok(resolvers_of(&text))
}

/// The resolvers of a file such as `/etc/resolv.conf`. Source: resolv.conf(5).
fn resolvers_of(text: &str) -> Vec<ServerAddress> {
    let address = |line: &str| {
        let mut words = line.split_whitespace();
        let host = words.next().filter(|word| *word == "nameserver").and(words.next())?;
        // The zone of a link-local address, `fe80::1%eth0`, is part of the host.
        let address = host.split('%').next().unwrap_or(host);
        address.parse::<IpAddr>().ok()?;
        Some(ServerAddress {
            host: host.to_owned(),
            port: PORT,
        })
    };
    text.lines().filter_map(address).collect()
}

fn unavailable(operation: &Operation, why: impl std::fmt::Display) -> Error {
    Error::of(Code::DnsUnavailable, operation.clone()).because(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resolvers_of_a_system_are_those_of_its_file() {
        let text = "# generated\nsearch example.com\nnameserver 10.0.0.2\n nameserver fe80::1%eth0 # second\nnameserver\nnameserver ns.example\noptions edns0\n";
        let hosts: Vec<String> = resolvers_of(text).into_iter().map(|server| server.host).collect();
        assert_eq!(hosts, ["10.0.0.2", "fe80::1%eth0"]);
        assert!(resolvers_of("").is_empty());
    }
}
