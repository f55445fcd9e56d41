//! DNS services as adapters of [`Names`]: name servers with dynamic updates (RFC 2136), private zones of Alibaba Cloud and
//! Tencent Cloud, and commands. Route 53 is in `transship-aws`.

mod cloud;
mod exec;
mod rfc2136;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use transship_copy::Clock;
use transship_engine::Secrets;
use transship_engine::names::Names;
use transship_oci::{Code, Error, Result, Verb};
use transship_rules::ZoneService;

pub use cloud::{private_dns, private_zone};
pub use exec::DnsCommand;
pub use rfc2136::{Discovery, DynamicUpdates};

/// What the services of a process are made of.
#[derive(Clone)]
pub struct Services {
    /// Reads keys and credentials.
    pub secrets: Arc<dyn Secrets>,
    /// The time of signatures.
    pub clock: Arc<dyn Clock>,
    /// The commands that the operator registered, by name; none in a stack.
    pub commands: BTreeMap<String, PathBuf>,
    /// Finds the servers of a zone that the document names none for.
    pub discovery: Discovery,
}

impl Services {
    /// The zone of a document; [`None`] for Route 53, which needs a build with AWS.
    ///
    /// A command that is not registered is `DNS_COMMAND_UNKNOWN`.
    pub fn names(&self, service: &ZoneService) -> Result<Option<Arc<dyn Names>>> {
        let (secrets, clock) = (Arc::clone(&self.secrets), Arc::clone(&self.clock));
        let names: Arc<dyn Names> = match service {
            ZoneService::Route53 { .. } => return Ok(None),
            ZoneService::Rfc2136 { servers, zone, key } => {
                let updates = DynamicUpdates::new(servers.clone(), zone.clone(), key.clone(), secrets, clock);
                Arc::new(updates.with_discovery(self.discovery.clone()))
            }
            ZoneService::PrivateZone(zone) => private_zone(zone, secrets, clock)?,
            ZoneService::PrivateDns(zone) => private_dns(zone, secrets, clock)?,
            ZoneService::Exec(name) => {
                let program = self.commands.get(name).ok_or_else(|| {
                    let known: Vec<&str> = self.commands.keys().map(String::as_str).collect();
                    let why = match known.as_slice() {
                        [] => format!("{name}; none is registered"),
                        known => format!("{name}; registered are {}", known.join(", ")),
                    };
                    Error::of(Code::DnsCommandUnknown, Verb::Names).because(why)
                })?;
                Arc::new(DnsCommand::new(name, program))
            }
        };
        Ok(Some(names))
    }
}
