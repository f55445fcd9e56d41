//! One site of a check: what the ledger knows of it, and what answers there.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use transship_oci::{Code, Result};
use transship_rules::{Failover, Rule};

use crate::failover::facts::{SiteFacts, leg_of, reason};
use crate::failover::probe::{SiteProbe, probe};
use crate::failover::{ImageAtRisk, Readiness, Reason};
use crate::ledger::{Difference, Ledger, Sample};
use crate::{Finding, Snapshot};

/// What a site is in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Clients push to it, and the rules start there.
    Writer,
    /// It is replicated to.
    Standby,
    /// It is replicated to, and no zone leads to it although one is at home there.
    Drained,
}

/// What is known of a site.
#[derive(Debug, Serialize)]
pub struct SiteCheck {
    /// The site, by its registry.
    pub site: String,
    /// What it is.
    pub role: Role,
    /// True if nothing speaks against leading clients to it.
    pub ready: bool,
    /// What speaks against it.
    pub reasons: Vec<Reason>,
    /// What an operator should know.
    pub warnings: Vec<Reason>,
    /// What is known of its images; null for the writer.
    pub facts: Option<SiteFacts>,
    /// What was found there.
    pub probe: SiteProbe,
    /// The time to live that the document gives its record, in seconds.
    pub ttl_seconds: u32,
    /// Whether the site refuses to replace tags: `observed` if it refused one that is not replicated, otherwise `unknown`, because
    /// registries have no common request for it.
    pub immutability: &'static str,
    /// Whether the site removes old images: `observed` if one that was copied is not there any more, otherwise `unknown`.
    pub retention: &'static str,
    /// The number of `differences`.
    pub differences_total: usize,
    /// Images that differ between the writer and the site, in both directions.
    pub differences: Vec<Difference>,
    /// The number of `at_risk`.
    pub at_risk_total: usize,
    /// Images that a switch would lose or serve as an older version.
    pub at_risk: Vec<ImageAtRisk>,
}

/// Asks the site and judges what is known of it.
pub(super) async fn check(
    snapshot: &Snapshot,
    group: &Failover,
    (name, role): (&str, Role),
    facts: Option<SiteFacts>,
    sample: Option<Sample>,
    now: Timestamp,
) -> SiteCheck {
    let mut probed = SiteProbe::default();
    if let Some(site) = group.site(name) {
        probed = probe(snapshot, group, site, sample.as_ref(), now).await;
    }
    let (mut reasons, mut warnings) = (Vec::new(), Vec::new());
    let (mut differences, mut at_risk) = (Vec::new(), Vec::new());
    let mut facts = facts;
    if let Some(facts) = &mut facts {
        reasons.append(&mut facts.reasons);
        differences.append(&mut facts.differences);
        at_risk.append(&mut facts.at_risk);
    }
    let extra = differences.iter().filter(|one| one.state == Finding::Extra).count();
    if extra > 0 {
        let why = format!("{name} has {extra} tags that the writer does not have");
        warnings.push(reason(Code::ExtraTag, why));
    }
    let conflicts = differences.iter().filter(|one| one.is_conflict).count();
    if conflicts > 0 {
        let why = format!("{conflicts} images were pushed to {name} itself, and no rule replaces them");
        warnings.push(reason(Code::FailoverConflicts, why));
    }
    let immutability = observed(&differences, Code::TagImmutable);
    if let Some(count) = immutability.1 {
        let why = format!(
            "{name} refused to replace {count} tags: it protects them, and a switch would serve the older images"
        );
        warnings.push(reason(Code::TagImmutable, why));
    }
    let retention = observed(&differences, Code::DestinationDeleted);
    if let Some(count) = retention.1 {
        let why = format!("{count} images were copied to {name} and are not there any more: see its retention");
        warnings.push(reason(Code::DestinationDeleted, why));
    }
    reasons.append(&mut probed.reasons);
    warnings.append(&mut probed.warnings);
    SiteCheck {
        site: name.to_owned(),
        role,
        ready: reasons.is_empty(),
        reasons,
        warnings,
        facts,
        probe: probed,
        ttl_seconds: group.ttl_seconds,
        immutability: immutability.0,
        retention: retention.0,
        differences_total: differences.len(),
        differences,
        at_risk_total: at_risk.len(),
        at_risk,
    }
}

/// What the differences with this code say about a setting of the site, and their number if there are any.
fn observed(differences: &[Difference], code: Code) -> (&'static str, Option<usize>) {
    let of_code = |one: &&Difference| one.code.as_deref() == Some(code.as_str());
    match differences.iter().filter(of_code).count() {
        0 => ("unknown", None),
        count => ("observed", Some(count)),
    }
}

/// An image that is known to be at the writer: one that was found equal at a standby.
pub(super) async fn sample_of_writer(ledger: &Ledger, rules: &[Rule], writer: &str) -> Result<Option<Sample>> {
    for rule in rules.iter().filter(|rule| rule.source.registry == writer) {
        let known = ledger.comparisons.get(&leg_of(rule)).await?;
        let sample = known.and_then(|known| known.whole).and_then(|whole| whole.sample);
        if sample.is_some() {
            return Ok(sample);
        }
    }
    Ok(None)
}

impl SiteCheck {
    /// Keeps `limit` names of each list, after the first `skip`. The totals stay.
    pub fn page(&mut self, skip: usize, limit: usize) {
        self.differences = std::mem::take(&mut self.differences)
            .into_iter()
            .skip(skip)
            .take(limit)
            .collect();
        self.at_risk = std::mem::take(&mut self.at_risk)
            .into_iter()
            .skip(skip)
            .take(limit)
            .collect();
    }

    pub(super) fn readiness(self, group: &Failover) -> Readiness {
        let facts = self.facts.as_ref();
        Readiness {
            lag: facts.map_or(Some(Duration::ZERO), |facts| facts.lag),
            checked: facts.and_then(|facts| facts.compared),
            at_risk: self.at_risk,
            ..Readiness::new(&self.site, group.rpo, self.reasons)
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn a_setting_is_known_by_what_it_did() {
        let difference = |code: Code| Difference {
            state: Finding::Different,
            repository: "core/app".parse().unwrap(),
            tag: "v1".parse().unwrap(),
            source_digest: None,
            destination_digest: None,
            code: Some(code.as_str().to_owned()),
            reason: None,
            since: Timestamp::UNIX_EPOCH,
            is_conflict: false,
        };
        let all = [Code::TagImmutable, Code::SourceMoved, Code::TagImmutable].map(difference);
        assert_eq!(observed(&all, Code::TagImmutable), ("observed", Some(2)));
        assert_eq!(observed(&all, Code::DestinationDeleted), ("unknown", None));
    }
}
