//! What the ledger knows of a site: how much of the writer's images it has, and what waits. No registry is asked, so the answer
//! takes as long whether the writer is up or down.
//!
//! Comparisons maintain it ([`CompareLeg`]), and the history tells what came since the last one. What is too old is unknown.

mod collected;
mod compare;
mod lag;
mod legs;
mod refresh;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use transship_oci::{Code, Repository, Result, Tag};
use transship_rules::Rule;

use super::{ImageAtRisk, Reason};
use crate::Finding;
use crate::ledger::{Comparison, Difference, Failed, Ledger, Sample, Unfinished};

pub use compare::{CompareLeg, Compared, Slice, VERIFIED_AGE_MAX, leg_of};
pub use legs::{legs_to, rules_between};
pub use refresh::{Due, Refresh, Writer, compare_interval, is_due, writer_of};

/// How old a comparison may be. GitLab Geo calls a site unhealthy at the same age.
pub const FACTS_AGE_MAX: Duration = Duration::from_hours(1);
/// Images that are listed by name.
const AT_RISK_MAX: usize = 10_000;

/// A standby, and what its writer is.
#[derive(Debug, Clone, Copy)]
pub struct Standby<'a> {
    /// The writer.
    pub writer: &'a str,
    /// Since when it is the writer; [`None`]: always.
    pub since: Option<Timestamp>,
    /// The standby.
    pub site: &'a str,
    /// The longest lag that the document accepts.
    pub rpo: Duration,
}

/// What the ledger knows of a site.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SiteFacts {
    /// Images of the writer.
    pub images: u64,
    /// Images whose tag has the right digest at the site.
    pub replicated: u64,
    /// Images whose manifests and blobs are all at the site.
    pub verified: u64,
    /// When the verification that is oldest was made.
    pub verified_since: Option<Timestamp>,
    /// Images that the site does not have.
    pub missing: u64,
    /// Images of which the site has something else, or not all.
    pub different: u64,
    /// Tags that only the site has.
    pub extra: u64,
    /// Those of `different` and `extra` that were pushed to the site itself, and that no rule replaces.
    pub conflicts: u64,
    /// When the comparison with the writer that is oldest began; [`None`]: there was none.
    pub compared: Option<Timestamp>,
    /// When a comparison was tried last.
    pub tried: Option<Timestamp>,
    /// When the writer could not be reached for the first time since `compared`.
    pub unreachable_since: Option<Timestamp>,
    /// Why the last comparison did not see everything.
    pub failure: Option<Failed>,
    /// The comparison that is under way; [`None`]: none is.
    pub comparing: Option<Comparing>,
    /// The oldest event, order or first sight of an image that is not at the site.
    pub oldest_unreplicated: Option<Timestamp>,
    /// Events that wait or failed since the comparison.
    pub waiting: u64,
    /// The lag in seconds; [`None`]: not known.
    #[serde(rename = "lag_seconds", serialize_with = "super::readiness::seconds")]
    pub lag: Option<Duration>,
    /// Images that a switch would lose or serve as an older version.
    #[serde(skip)]
    pub at_risk: Vec<ImageAtRisk>,
    /// Every image that differs, also those that only the site has.
    #[serde(skip)]
    pub differences: Vec<Difference>,
    /// An image that is at the site.
    #[serde(skip)]
    pub sample: Option<Sample>,
    /// What speaks against a switch.
    #[serde(skip)]
    pub reasons: Vec<Reason>,
}

/// How far a comparison that is under way got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Comparing {
    /// When it began.
    pub began: Timestamp,
    /// When it got further the last time.
    pub advanced: Timestamp,
    /// Images that it compared so far.
    pub images: u64,
}

/// Gathers what is known of a standby. `rules` are the rules between the sites, from the writer on.
pub async fn facts_of(ledger: &Ledger, rules: &[Rule], standby: Standby<'_>, now: Timestamp) -> Result<SiteFacts> {
    let Standby {
        writer,
        since,
        site,
        rpo,
    } = standby;
    let legs = legs_to(rules, writer, site);
    let mut facts = SiteFacts::default();
    if legs.is_empty() {
        let why = format!("no enabled rule leads from {writer} to {site}");
        facts.reasons.push(reason(Code::FailoverWithoutRule, why));
        return Ok(facts);
    }
    let mut at_risk: BTreeMap<(Repository, Tag), ImageAtRisk> = BTreeMap::new();
    let mut lag = Some(Duration::ZERO);
    for rule in legs {
        let leg = leg_of(rule);
        let known = ledger.comparisons.get(&leg).await?.map(|known| known.since(since));
        let differences = match known.as_ref().and_then(|known| known.whole.as_ref()) {
            Some(whole) => ledger.comparisons.all_differences(&leg, whole).await?,
            None => Vec::new(),
        };
        let lost = differences.iter().filter(|one| one.state != Finding::Extra);
        let differing: BTreeSet<(Repository, Tag)> =
            lost.map(|one| (one.repository.clone(), one.tag.clone())).collect();
        let compared = known
            .as_ref()
            .and_then(|known| known.whole.as_ref())
            .map(|whole| whole.began);
        let waiting = lag::waiting(
            ledger.history.as_ref(),
            ledger.replicas.as_ref(),
            &leg,
            compared,
            &differing,
        )
        .await?;
        facts.add_comparing(ledger.comparisons.unfinished(&leg).await?, since, now);
        let of_leg = facts.add_leg(&leg.rule, known.as_ref(), leg.to == site, now);
        facts.waiting += waiting.images.len() as u64;
        facts.oldest_unreplicated = earliest(facts.oldest_unreplicated, waiting.oldest);
        lag = lag.zip(of_leg).map(|(lag, of_leg)| lag.max(of_leg));
        for image in waiting
            .images
            .into_iter()
            .chain(differences.iter().filter_map(at_risk_of))
        {
            // What a comparison saw is worth more than what an event announced.
            let name = (image.repository.clone(), image.tag.clone());
            match at_risk.get(&name) {
                Some(known) if image.destination_digest.is_none() && known.since <= image.since => {}
                _ => {
                    at_risk.insert(name, image);
                }
            }
        }
        if leg.to == site {
            facts.differences.extend(differences);
        }
    }
    let oldest = facts
        .oldest_unreplicated
        .map(|oldest| age(oldest, now))
        .unwrap_or_default();
    facts.lag = lag.map(|lag| lag.max(oldest));
    facts.at_risk = at_risk.into_values().take(AT_RISK_MAX).collect();
    facts.judge_lag(writer, site, rpo);
    if facts.images == 0 && facts.reasons.is_empty() {
        let why = format!(
            "the rules from {writer} to {site} select no image, so nothing was compared: check their repositories"
        );
        facts.reasons.push(reason(Code::FailoverFactsUnknown, why));
    }
    Ok(facts)
}

impl SiteFacts {
    /// Adds how far the comparison of a leg got: that of the oldest one, if several are under way.
    fn add_comparing(&mut self, unfinished: Option<Unfinished>, since: Option<Timestamp>, now: Timestamp) {
        let is_under_way = |one: &Unfinished| one.is_alive(now) && since.is_none_or(|since| one.began >= since);
        let Some(one) = unfinished.filter(is_under_way) else {
            return;
        };
        let is_older = |known: &Comparing| known.began <= one.began;
        if !self.comparing.as_ref().is_some_and(is_older) {
            self.comparing = Some(Comparing {
                began: one.began,
                advanced: one.advanced,
                images: one.images,
            });
        }
    }

    /// Adds what is known of a leg. Returns the time that no comparison covers, because the writer cannot be reached; [`None`]: the
    /// facts are unknown.
    fn add_leg(&mut self, rule: &str, known: Option<&Comparison>, is_last: bool, now: Timestamp) -> Option<Duration> {
        let Some(known) = known else {
            let why = format!("the rule {rule} was never compared{}", self.under_way());
            self.reasons.push(reason(Code::FailoverFactsUnknown, why));
            self.compared = None;
            return None;
        };
        self.tried = Some(self.tried.map_or(known.tried, |tried| tried.min(known.tried)));
        self.unreachable_since = earliest(self.unreachable_since, known.unreachable_since);
        if known.failure.is_some() {
            self.failure.clone_from(&known.failure);
        }
        let failure = known.failure.as_ref();
        let why = failure.map_or_else(String::new, |failure| format!(": {}", failure.text)) + &self.under_way();
        let Some(whole) = &known.whole else {
            let why = format!("the rule {rule} was never compared whole since its source is the writer{why}");
            self.reasons.push(reason(Code::FailoverFactsUnknown, why));
            return None;
        };
        if is_last {
            self.images += whole.images;
            self.replicated += whole.replicated;
            self.verified += whole.verified;
            self.missing += whole.missing;
            self.different += whole.different;
            self.extra += whole.extra;
            self.conflicts += whole.conflicts;
            self.verified_since = earliest(self.verified_since, Some(whole.verified_since));
            self.sample = whole.sample.clone().or(self.sample.take());
        }
        self.compared = earliest(self.compared, Some(whole.began));
        self.oldest_unreplicated = earliest(self.oldest_unreplicated, whole.oldest_unreplicated);
        // Nothing can be pushed to a writer that does not answer. What was pushed between the comparison and its end is not known.
        let is_watched = age(known.tried, now) <= FACTS_AGE_MAX;
        match known.unreachable_since.filter(|_| is_watched) {
            Some(since) => Some(age(whole.began, since)),
            None if age(whole.began, now) <= FACTS_AGE_MAX => Some(Duration::ZERO),
            None => {
                let minutes = age(whole.began, now).as_secs() / 60;
                let limit = FACTS_AGE_MAX.as_secs() / 60;
                let why =
                    format!("the rule {rule} was compared {minutes} minutes ago, and facts count for {limit}{why}");
                self.reasons.push(reason(Code::FailoverFactsUnknown, why));
                None
            }
        }
    }

    /// How far the comparison under way got, as the end of a sentence; empty if none is.
    fn under_way(&self) -> String {
        let of = |one: &Comparing| {
            let (images, began) = (one.images, one.began);
            format!("; the comparison that began {began:.0} has compared {images} images so far")
        };
        self.comparing.as_ref().map_or_else(String::new, of)
    }

    fn judge_lag(&mut self, writer: &str, site: &str, rpo: Duration) {
        let Some(lag) = self.lag.filter(|lag| *lag > rpo) else {
            return;
        };
        let (lag, rpo) = (lag.as_secs(), rpo.as_secs());
        let count = self.at_risk.len();
        let window = self.unreachable_since.map_or(String::new(), |since| {
            format!("; {writer} has not been reached since {since:.0}, and was compared before")
        });
        let why =
            format!("{site} lags {lag} s behind {writer}, and {rpo} s are accepted; images at risk: {count}{window}");
        self.reasons.push(Reason {
            is_loss: true,
            ..reason(Code::FailoverLag, why)
        });
    }
}

/// A reason that nothing overrides.
pub(super) fn reason(code: Code, text: impl Into<String>) -> Reason {
    Reason {
        code: code.as_str().to_owned(),
        text: text.into(),
        is_loss: false,
    }
}

fn at_risk_of(difference: &Difference) -> Option<ImageAtRisk> {
    (difference.state != Finding::Extra).then(|| ImageAtRisk {
        repository: difference.repository.clone(),
        tag: difference.tag.clone(),
        source_digest: difference.source_digest.clone(),
        destination_digest: difference.destination_digest.clone(),
        since: Some(difference.since),
    })
}

fn earliest(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// The time from `since` to `now`; zero if it is later.
pub(super) fn age(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}
