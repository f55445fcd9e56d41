//! `check --data` and `check --table`: whether the notifications of each source arrive, according to the ledger.

use jiff::Timestamp;
use serde::Serialize;
use transship_engine::Snapshot;
use transship_engine::ledger::{Silences, VerifySummary, last_delivery};
use transship_oci::{Code, Result};

use crate::commands::ledger::{Store, shown_time};
use crate::failure::{Exit, Failure};

/// What the ledger knows about the deliveries that a rule needs.
#[derive(Debug, Serialize)]
pub(super) struct Source {
    /// The name of the registry.
    pub(super) registry: String,
    pub(super) rule: String,
    /// When the last push of the rule arrived by a delivery, of those that the ledger still has.
    pub(super) last_delivery: Option<Timestamp>,
    /// The number of pushes that only the sweep found, since the last whole sweep before the first of them.
    pub(super) found_by_sweep: u64,
    pub(super) since: Option<Timestamp>,
    pub(super) ok: bool,
    pub(super) code: Option<&'static str>,
    pub(super) message: Option<String>,
    /// The last `transship verify` of the rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) verified: Option<VerifySummary>,
}

/// The source of each rule of `snapshot` that deliveries trigger.
pub(super) async fn sources(snapshot: &Snapshot, store: &Store) -> Result<Vec<Source>, Failure> {
    let (history, hints) = store.history_and_hints().await?;
    let silences = Silences::new(hints);
    let verifications = store.ledger().await?.verifications;
    let failed = |error: &transship_oci::Error| Failure::of(Exit::Failed, error);
    let mut sources = Vec::new();
    for rule in snapshot.document.rules.iter().filter(|rule| rule.is_on_event()) {
        let version = snapshot.fingerprint(rule);
        let silence = silences.of(&rule.name, &version, Timestamp::now()).await;
        let silence = silence.map_err(|error| failed(&error))?;
        let last_delivery = last_delivery(history.as_ref(), &rule.name, None).await;
        let last_delivery = last_delivery.map_err(|error| failed(&error))?;
        let is_heard = last_delivery.is_some_and(|last| silence.since.is_none_or(|since| last >= since));
        let is_silent = silence.all() > 0 && !is_heard;
        let message = is_silent.then(|| {
            format!(
                "since {} only the sweep found pushes ({}), and no delivery announced one: test the webhook with --deliver URL, and check the registry's own record of deliveries",
                silence.since.map(shown_time).unwrap_or_default(),
                silence.all(),
            )
        });
        sources.push(Source {
            registry: rule.source.registry.clone(),
            rule: rule.name.clone(),
            last_delivery,
            found_by_sweep: if is_silent { silence.all() } else { 0 },
            since: silence.since.filter(|_| is_silent),
            ok: !is_silent,
            code: is_silent.then(|| Code::SourceSilent.as_str()),
            message,
            verified: verifications.get(&rule.name).await?,
        });
    }
    Ok(sources)
}

impl Source {
    fn note(&self) -> String {
        let verified = self.verified.as_ref().map(|summary| {
            let unequal = summary.missing + summary.different + summary.extra + summary.unknown;
            let (equal, checked) = (summary.equal, shown_time(summary.checked));
            format!("verified {checked}: {equal} equal, {unequal} not")
        });
        let parts = self.message.iter().cloned().chain(verified);
        parts.collect::<Vec<_>>().join("; ")
    }

    /// The row of the table: source, rule, last delivery, result, note.
    pub(super) fn row(&self) -> [String; 5] {
        [
            self.registry.clone(),
            self.rule.clone(),
            self.last_delivery.map_or_else(|| "none".to_owned(), shown_time),
            self.code.unwrap_or("ok").to_owned(),
            self.note(),
        ]
    }
}
