//! The report of a rule whose pushes are found only by the sweep: see [`crate::ledger::Silence`].

use metrics::counter;
use transship_oci::{Code, Result};
use transship_rules::Rule;

use super::rule::SweepRule;
use super::visitor::{SweepCounts, SweepVisitor};
use crate::ImageRef;
use crate::job::CopyTask;
use crate::ledger::last_delivery;

impl SweepVisitor<'_> {
    /// The number of tasks that are about a push: at the destination is neither what they copy, nor was it written there
    /// before and removed. One call.
    pub(super) async fn pushes_among(&self, tasks: &[CopyTask]) -> Result<u64> {
        if tasks.is_empty() {
            return Ok(0);
        }
        let destinations: Vec<ImageRef> = tasks.iter().map(|task| task.destination.clone()).collect();
        let written = self.ends.jobs.ledger.replicas.find(&destinations).await?;
        let is_push = |task: &&CopyTask| {
            let replica = written.get(&task.destination);
            replica.map(|replica| &replica.digest) != task.expected.as_ref()
        };
        Ok(tasks.iter().filter(is_push).count() as u64)
    }
}

impl SweepRule<'_> {
    /// Counts the pushes that this message of the sweep found; `is_last`: the sweep is at its end.
    /// Logs that the source is silent. Nothing depends on it, so a ledger that does not answer is only logged.
    pub(super) async fn watch(&self, rule: &Rule, rule_version: &str, counts: SweepCounts, is_last: bool) {
        if counts.pushes == 0 && !counts.is_partial && !is_last {
            return;
        }
        if let Err(error) = self.count_pushes(rule, rule_version, counts, is_last).await {
            tracing::warn!(code = error.code(), %error, "what the sweep found could not be remembered");
        }
    }

    async fn count_pushes(&self, rule: &Rule, rule_version: &str, counts: SweepCounts, is_last: bool) -> Result<()> {
        let (ledger, now) = (&self.jobs.ledger, self.jobs.now());
        let mut silence = ledger.silences.of(&rule.name, rule_version, now).await?;
        silence.count(counts.pushes);
        if counts.is_partial {
            silence.partial = Some(self.started);
        }
        if is_last && silence.partial != Some(self.started) {
            let last = match silence.since {
                Some(_) => last_delivery(ledger.history.as_ref(), &rule.name, silence.since).await?,
                None => None,
            };
            let since = silence.since;
            let pushes = silence.end(self.started, last.is_some());
            if pushes > 0 {
                let source = rule.source.registry.as_str();
                counter!("PushesNotAnnounced", "Source" => source.to_owned()).increment(pushes);
                tracing::warn!(
                    code = Code::SourceSilent.as_str(),
                    source,
                    pushes,
                    since = since.map(tracing::field::display),
                    "only the sweep finds pushes of this source: its notifications do not arrive. `transship check --deliver URL` tests the webhook"
                );
            }
        }
        ledger.silences.put(&rule.name, &silence, now).await
    }
}
