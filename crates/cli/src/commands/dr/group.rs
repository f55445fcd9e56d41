//! The options of the commands about a group, and what they select: the group, its ledger and its zones.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use transship_copy::SystemClock;
use transship_dns::{Discovery, Services};
use transship_engine::Secrets;
use transship_engine::names::Names;
use transship_oci::{Code, Error, Result, Verb};
use transship_rules::{Failover, ZoneService};

use crate::commands::place::{Opened, Place};
use crate::failure::{Exit, Failure};

/// Options of every command about a group.
#[derive(Debug, Args)]
pub(super) struct Group {
    /// Name of the failover group
    #[arg(value_name = "GROUP")]
    name: String,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    commands: DnsCommands,
}

/// The commands that zones with `exec` name.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct DnsCommands {
    /// Command that changes a zone with `dns: { exec: NAME }`; repeatable
    #[arg(long, value_name = "NAME=PATH", value_parser = dns_command)]
    dns_command: Vec<(String, PathBuf)>,
}

impl DnsCommands {
    /// The commands by name.
    pub(crate) fn by_name(&self) -> BTreeMap<String, PathBuf> {
        self.dns_command.iter().cloned().collect()
    }
}

/// What the options select.
pub(super) struct OpenedGroup {
    /// Ledger, queue and document.
    pub(super) opened: Opened,
    /// The group.
    pub(super) group: Failover,
    /// The services of its zones.
    pub(super) zones: Zones,
}

/// The DNS services of this process.
#[derive(Clone)]
pub(crate) struct Zones {
    services: Services,
}

/// `NAME=PATH`.
pub(crate) fn dns_command(text: &str) -> std::result::Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => Ok((name.to_owned(), PathBuf::from(path))),
        _ => Err("expected NAME=PATH, such as lb=/usr/local/bin/switch".to_owned()),
    }
}

impl Group {
    /// Opens what the options select. A group that the document does not have is a failure.
    pub(super) async fn open(self) -> Result<OpenedGroup, Failure> {
        let opened = self.place.open().await?.with_dns_commands(self.commands.by_name());
        let document = opened.written.clone().ok_or_else(|| {
            Failure::usage("registries and DNS are asked from here, so the document is needed: set --config FILE")
        })?;
        let group = document.failover_group(&self.name).cloned().ok_or_else(|| {
            let known: Vec<&str> = document.failover.iter().map(|group| group.name.as_str()).collect();
            let sentence = match known.as_slice() {
                [] => "the document has no failover group".to_owned(),
                known => format!("the document has no group {:?}; it has {}", self.name, known.join(", ")),
            };
            Failure::new(Exit::Input, Code::UnknownGroup.as_str(), sentence)
        })?;
        let zones = opened.zones();
        Ok(OpenedGroup { opened, group, zones })
    }
}

impl Zones {
    /// The services, with the commands that the operator registered.
    pub(crate) fn new(secrets: Arc<dyn Secrets>, commands: BTreeMap<String, PathBuf>) -> Self {
        let clock = Arc::new(SystemClock);
        let services = Services {
            secrets,
            clock,
            commands,
            discovery: Discovery::default(),
        };
        Self { services }
    }
}

#[async_trait::async_trait]
impl transship_engine::failover::Zones for Zones {
    async fn names(&self, service: &ZoneService) -> Result<Arc<dyn Names>> {
        match self.services.names(service)? {
            Some(names) => Ok(names),
            None => route53(service).await,
        }
    }
}

#[cfg(feature = "aws")]
async fn route53(service: &ZoneService) -> Result<Arc<dyn Names>> {
    let ZoneService::Route53 { zone } = service else {
        return Err(not_built());
    };
    let aws = transship_aws::Aws::load().await;
    Ok(Arc::new(transship_aws::HostedZone::new(aws, zone.as_str())))
}

#[cfg(not(feature = "aws"))]
#[expect(clippy::unused_async, reason = "the build with AWS loads its configuration")]
async fn route53(_: &ZoneService) -> Result<Arc<dyn Names>> {
    Err(not_built())
}

fn not_built() -> Error {
    let why = "this build has no Route 53: install one with `cargo install --path crates/cli --features aws`";
    Error::of(Code::Route53NotBuilt, Verb::Names).because(why)
}
