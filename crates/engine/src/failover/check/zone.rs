//! One zone of a check: what its servers answer, and whether the records are those that the ledger expects.

use serde::Serialize;
use transship_oci::{Code, Error, Result};
use transship_rules::{Failover, Zone};

use crate::failover::facts::reason;
use crate::failover::{Observed, Reason, Zones};
use crate::names::{Entry, Names, Receipt, Stamp, expect_allowed, fits};

/// A time to live above this is reported: clients keep the address of a site that is gone for that long.
const TTL_HIGH_SECONDS: u32 = 300;

/// What is known of a zone.
#[derive(Debug, Serialize)]
pub struct ZoneCheck {
    /// The zone's name in the group.
    pub zone: String,
    /// The key of the document that selects its service.
    pub service: &'static str,
    /// Whether the service compares and replaces in one step; null: not known.
    pub atomic: Option<bool>,
    /// The site that clients of the zone use normally.
    pub home: String,
    /// The site that the ledger knows.
    pub site: String,
    /// The site that the records lead to; null: none of the sites, or not known.
    pub leads_to: Option<String>,
    /// The records, as in a zone file; null: they cannot be read.
    pub records: Option<String>,
    /// The time to live at DNS, in seconds.
    pub ttl_seconds: Option<u32>,
    /// The epoch at DNS; null: there is none.
    pub epoch: Option<u64>,
    /// The operator of that epoch.
    pub by: Option<String>,
    /// The tool that manages the name.
    pub owner: Option<String>,
    /// What each authoritative server answers.
    pub servers: Vec<ServerAnswer>,
    /// True if nothing speaks against a switch of the zone.
    pub ready: bool,
    /// What speaks against it.
    pub reasons: Vec<Reason>,
    /// What an operator should know.
    pub warnings: Vec<Reason>,
}

/// The answer of an authoritative server.
#[derive(Debug, Serialize)]
pub struct ServerAnswer {
    /// The server.
    pub server: String,
    /// `current`, `stale` or `down`.
    pub state: &'static str,
    /// Its records, or why there are none.
    pub answer: String,
}

/// Asks the zone and judges it.
pub(super) async fn check(group: &Failover, zone: &Zone, observed: &Observed, zones: &dyn Zones) -> ZoneCheck {
    let seen = observed.zone(&zone.name);
    let expected = observed.state.site_of(group, &zone.name).unwrap_or(&zone.home);
    let mut check = ZoneCheck {
        zone: zone.name.clone(),
        service: zone.dns.as_str(),
        atomic: None,
        home: zone.home.clone(),
        site: expected.to_owned(),
        leads_to: seen.and_then(|seen| seen.leads_to.clone()),
        records: None,
        ttl_seconds: None,
        epoch: seen.and_then(|seen| seen.stamp.as_ref()).map(|stamp| stamp.epoch),
        by: seen.and_then(|seen| seen.stamp.as_ref()).map(|stamp| stamp.by.clone()),
        owner: None,
        servers: Vec::new(),
        ready: false,
        reasons: Vec::new(),
        warnings: Vec::new(),
    };
    let asked = async {
        let names = zones.names(&zone.dns).await?;
        check.atomic = Some(names.is_atomic());
        check.judge_fit(group, names.as_ref()).await?;
        match seen.map(|seen| &seen.entry) {
            Some(Ok(entry)) => {
                check.judge_entry(group, entry, observed.state.epoch);
                if let Err(error) = expect_allowed(names.as_ref(), &group.host, entry).await {
                    check.refuse(&error);
                }
                check.ask_servers(group, names.as_ref(), entry).await
            }
            Some(Err(error)) => Err(error.clone()),
            None => Ok(()),
        }
    };
    if let Err(error) = asked.await {
        check.refuse(&error);
    }
    check.ready = check.reasons.is_empty();
    check
}

impl ZoneCheck {
    fn refuse(&mut self, error: &Error) {
        let why = format!("zone {}: {error}", self.zone);
        self.reasons.push(reason(error.kind(), why));
    }

    /// Whether the zone can hold the record of every site.
    async fn judge_fit(&mut self, group: &Failover, names: &dyn Names) -> Result<()> {
        let zone = names.zone().await?;
        for site in &group.sites {
            if let Err(error) = fits(&zone, &group.host, &site.record) {
                self.refuse(&error);
            }
        }
        Ok(())
    }

    fn judge_entry(&mut self, group: &Failover, entry: &Entry, known_epoch: u64) {
        self.records = Some(entry.to_string());
        self.owner.clone_from(&entry.owner);
        self.ttl_seconds = entry.records.iter().map(|set| set.ttl_seconds).max();
        let zone = &self.zone;
        if let Some(owner) = &entry.owner {
            let why = format!(
                "zone {zone}: {} is managed by {owner}, which would change it back",
                group.host
            );
            self.reasons.push(reason(Code::DnsRecordOwned, why));
        }
        let is_stamp = |text: &String| Stamp::parse(text).is_some();
        let has_other_text = entry.texts.len() > 1 || !entry.texts.iter().all(is_stamp);
        if let Some(epoch) = self.epoch.filter(|epoch| *epoch > known_epoch) {
            let why = format!(
                "zone {zone}: DNS has epoch {epoch}, and the ledger knows {known_epoch}: another ledger switched the name"
            );
            self.reasons.push(reason(Code::DnsEpochOld, why));
        } else if self.leads_to.as_ref() != Some(&self.site) || has_other_text {
            let record = group
                .site(&self.site)
                .map_or_else(String::new, |site| site.record.to_string());
            let why = format!("zone {zone}: expected {record} of {}, found {entry}", self.site);
            self.reasons.push(reason(Code::DnsRecordChanged, why));
        }
        let wanted = group.ttl_seconds;
        if let Some(ttl) = self.ttl_seconds.filter(|ttl| *ttl != wanted) {
            let why = format!("zone {zone}: the record has a time to live of {ttl} s, and the document has {wanted} s");
            self.warnings.push(reason(Code::DnsTtlDiffers, why));
        }
        if wanted > TTL_HIGH_SECONDS {
            let why = format!("zone {zone}: with `ttl: {wanted}`, clients keep an old address for up to {wanted} s");
            self.warnings.push(reason(Code::DnsTtlDiffers, why));
        }
    }

    async fn ask_servers(&mut self, group: &Failover, names: &dyn Names, entry: &Entry) -> Result<()> {
        for answer in names.answers(&group.host, &Receipt::default()).await? {
            let (state, text) = match answer.entry {
                Ok(Some(found)) if found.is_same(entry) => ("current", found.to_string()),
                Ok(Some(found)) => ("stale", found.to_string()),
                Ok(None) => ("stale", "a change is under way".to_owned()),
                Err(error) => ("down", format!("{}: {error}", error.code())),
            };
            self.servers.push(ServerAnswer {
                server: answer.server,
                state,
                answer: text,
            });
        }
        let all = self.servers.len();
        let in_state = |state: &str| self.servers.iter().filter(|server| server.state == state).count();
        let (current, stale) = (in_state("current"), in_state("stale"));
        if current == all {
            return Ok(());
        }
        let bad: Vec<String> = self
            .servers
            .iter()
            .filter(|server| server.state != "current")
            .map(|server| format!("{} is {} ({})", server.server, server.state, server.answer))
            .collect();
        let why = format!(
            "zone {}: {current} of {all} servers are current; {}",
            self.zone,
            bad.join("; ")
        );
        // As in a switch: a server that is down leads no client anywhere.
        if stale == 0 && current > 0 {
            self.warnings.push(reason(Code::DnsServerSilent, why));
        } else {
            self.reasons.push(reason(Code::DnsNotSettled, why));
        }
        Ok(())
    }
}
