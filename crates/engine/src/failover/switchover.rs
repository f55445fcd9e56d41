//! An operation on a group: check, fence, drain, change DNS, change the writer.
//!
//! Each step is written to the ledger by compare and set before the next one begins, and can be repeated. So a command that was
//! killed continues when it is repeated, and of two processes one makes each step. What must hold: the writer changes only after
//! every write that began before the fence has ended and every authoritative server that answers has the new record.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use transship_copy::Clock;
use transship_oci::{Code, Error, Result, Verb};
use transship_rules::Failover;

use super::order::{Order, Planned, plan};
use super::{
    AcceptedLoss, Assess, Driver, GroupState, ImageAtRisk, Observed, Operation, Phase, Readiness, StepTime,
    WriterChange, ZoneMove, ZoneState, Zones, observe,
};
use crate::ledger::{Failovers, Slot};
use crate::names::{Patience, Stamp, Switch, confirm, expect_allowed, switch_patiently};
use crate::send::now;

/// How long other processes leave an operation to the one that works on it. Each step extends it.
const DRIVER_TTL: Duration = Duration::from_secs(30);

/// Makes operations on groups.
pub struct Switchover {
    /// The states.
    pub failovers: Failovers,
    /// The DNS services.
    pub zones: Arc<dyn Zones>,
    /// Assesses sites.
    pub assess: Arc<dyn Assess>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The person or program that orders.
    pub by: String,
    /// This process among those of all machines.
    pub process: String,
    /// True for a process that is known to have ended, so that its operation is continued at once.
    pub has_ended: fn(&str) -> bool,
    /// How long authoritative servers are asked.
    pub patience: Patience,
    /// How long writes that began before the fence are waited for.
    pub drain: Patience,
}

/// How an operation ended.
#[derive(Debug)]
pub struct Switched {
    /// The state now.
    pub state: GroupState,
    /// Nothing was to be done.
    pub is_unchanged: bool,
    /// What was known of each site that zones were moved to, before they were moved; empty for an operation that was continued.
    pub readiness: Vec<Readiness>,
}

/// The state that a process read or wrote last.
struct Held {
    state: GroupState,
    version: Option<u64>,
}

impl Switchover {
    /// Makes the operation, or continues it. See `docs/failover.md` for the refusals; after an error that is not one of them the
    /// operation is under way, and the same order continues it.
    pub async fn run(&self, group: &Failover, order: &Order) -> Result<Switched> {
        let observed = observe(&self.failovers, group, self.zones.as_ref()).await?;
        let (held, readiness) = if let Some(operation) = observed.state.under_way() {
            if order.takes_back(operation, observed.state.phase) && has_moved_nothing(&observed) {
                return self.take_back(group, observed).await;
            }
            self.expect_continuable(group, order, operation)?;
            (self.take_over(group, observed).await?, Vec::new())
        } else {
            observed.expect_current(group)?;
            let planned = plan(group, &observed.state, order)?;
            if planned.zones.is_empty() {
                return Ok(Switched {
                    state: observed.state,
                    is_unchanged: true,
                    readiness: Vec::new(),
                });
            }
            self.begin(group, order, observed, planned).await?
        };
        let state = self.drive(group, held).await?;
        Ok(Switched {
            state,
            is_unchanged: false,
            readiness,
        })
    }

    /// Notes that the other sites have what was pushed since another site became the writer.
    pub async fn note_reconciled(&self, group: &Failover) -> Result<()> {
        let Some(known) = self.failovers.get(&group.name).await? else {
            return Ok(());
        };
        if known.state.under_way().is_some() || known.state.phase != Phase::Reversed {
            return Ok(());
        }
        let mut held = Held {
            state: known.state,
            version: Some(known.version),
        };
        held.state.phase = Phase::Reconciled;
        self.put(group, &mut held).await
    }

    /// Checks everything that can be known before anything is changed, then writes the operation.
    async fn begin(
        &self,
        group: &Failover,
        order: &Order,
        observed: Observed,
        planned: Planned,
    ) -> Result<(Held, Vec<Readiness>)> {
        self.expect_records(group, &observed, &planned).await?;
        let (readiness, accepted) = self.expect_ready(group, order, &observed.state, &planned).await?;
        let at = self.now();
        let mut state = observed.state;
        state.epoch += 1;
        if accepted.is_some() {
            let images: Vec<ImageAtRisk> = readiness.iter().flat_map(|site| site.at_risk.clone()).collect();
            self.failovers.accept(&group.name, state.epoch, &images).await?;
        }
        let mut steps = Vec::new();
        if planned.writer.is_some() {
            state.phase = Phase::Fenced;
            steps.push(StepTime {
                phase: Phase::Fenced,
                began: at,
                ended: Some(at),
            });
        }
        state.operation = Some(Operation {
            kind: order.kind,
            to: planned.to,
            zones: planned.zones,
            writer: planned.writer,
            by: self.by.clone(),
            started: at,
            ended: None,
            is_aborted: false,
            steps,
            accepted,
            driver: self.driver(at),
        });
        let mut held = Held {
            state,
            version: observed.version,
        };
        self.put(group, &mut held).await?;
        Ok((held, readiness))
    }

    /// Every zone leads to the site that it is moved from, can hold the new record, is not managed by another tool, and may be
    /// changed from here.
    async fn expect_records(&self, group: &Failover, observed: &Observed, planned: &Planned) -> Result<()> {
        for (name, moved) in &planned.zones {
            let (Some(zone), Some(seen)) = (group.zone(name), observed.zone(name)) else {
                continue;
            };
            let entry = seen.entry.as_ref().map_err(Clone::clone)?;
            let operation = Verb::Names.on(&group.host);
            let refused = |code: Code, why: String| Err(Error::of(code, operation.clone()).because(why));
            if let Some(owner) = &entry.owner {
                return refused(Code::DnsRecordOwned, format!("zone {name}: it is managed by {owner}"));
            }
            let is_known = [&moved.from, &moved.to]
                .into_iter()
                .filter_map(|site| group.site(site))
                .any(|site| entry.leads_to(&site.record));
            if !is_known {
                let why = format!("zone {name}: expected the record of {}, found {entry}", moved.from);
                return refused(Code::DnsRecordChanged, why);
            }
            if let Some(site) = group.site(&moved.to) {
                let names = self.zones.names(&zone.dns).await?;
                crate::names::fits(&names.zone().await?, &group.host, &site.record)?;
                expect_allowed(names.as_ref(), &group.host, entry).await?;
            }
        }
        Ok(())
    }

    /// Every site that zones are moved to can take over, or the operator accepts what is lost.
    async fn expect_ready(
        &self,
        group: &Failover,
        order: &Order,
        state: &GroupState,
        planned: &Planned,
    ) -> Result<(Vec<Readiness>, Option<AcceptedLoss>)> {
        let mut sites: Vec<&str> = planned.zones.values().map(|zone| zone.to.as_str()).collect();
        sites.sort_unstable();
        sites.dedup();
        let mut all = Vec::new();
        let (mut lost, mut others) = (Vec::new(), Vec::new());
        for site in sites {
            let readiness = self.assess.readiness(group, &state.writer, site).await?;
            for reason in &readiness.reasons {
                let list = if reason.is_loss { &mut lost } else { &mut others };
                list.push(reason.clone());
            }
            if readiness.reasons.is_empty() && !readiness.ready {
                return Err(Error::of(Code::FailoverNotReady, Verb::Names.on(&group.host)).because(site));
            }
            all.push(readiness);
        }
        // The code of the refusal itself is not repeated.
        let shown = |reasons: &[super::Reason], refusal: Code| {
            let texts = reasons.iter().map(|reason| match &reason.code {
                code if code == refusal.as_str() => reason.text.clone(),
                code => format!("{code}: {}", reason.text),
            });
            texts.collect::<Vec<_>>().join("; ")
        };
        let refused = |code: Code, why: String| Err(Error::of(code, Verb::Names.on(&group.host)).because(why));
        if !others.is_empty() {
            return refused(Code::FailoverNotReady, shown(&others, Code::FailoverNotReady));
        }
        if lost.is_empty() {
            return Ok((all, None));
        }
        if !order.accepts_data_loss {
            let images: Vec<String> = all.iter().flat_map(|site| &site.at_risk).map(at_risk).collect();
            let reasons = shown(&lost, Code::FailoverLag);
            let why = format!("{reasons}; at risk: {}", images.join(", "));
            return refused(Code::FailoverLag, why);
        }
        let images = all.iter().map(|site| site.at_risk.len() as u64).sum();
        let accepted = AcceptedLoss {
            images,
            reasons: lost.into_iter().map(|reason| reason.code).collect(),
            at: self.now(),
        };
        Ok((all, Some(accepted)))
    }

    /// Makes every step that is left.
    async fn drive(&self, group: &Failover, mut held: Held) -> Result<GroupState> {
        loop {
            let Some(operation) = held.state.under_way() else {
                return Ok(held.state);
            };
            let changes_writer = operation.writer.is_some();
            let is_moved = operation.zones.values().all(|zone| zone.done.is_some());
            match held.state.phase {
                Phase::Fenced if changes_writer => {
                    self.begin_step(group, &mut held, Phase::Drained).await?;
                    self.wait_for_slots(group, &mut held).await?;
                    self.end_step(group, &mut held, Phase::Drained, |_| ()).await?;
                }
                Phase::Flipped if changes_writer && is_moved => {
                    self.begin_step(group, &mut held, Phase::Reversed).await?;
                    self.end(group, &mut held).await?;
                }
                _ => {
                    self.begin_step(group, &mut held, Phase::Flipped).await?;
                    self.move_zones(group, &mut held).await?;
                    if changes_writer {
                        self.end_step(group, &mut held, Phase::Flipped, |_| ()).await?;
                    } else {
                        self.end(group, &mut held).await?;
                    }
                }
            }
        }
    }

    /// Waits until every write that began before the fence has ended. A slot that is recorded later sees the fence.
    async fn wait_for_slots(&self, group: &Failover, held: &mut Held) -> Result<()> {
        let alive = |slots: Vec<crate::ledger::SlotVersion>, at: Timestamp| {
            let slots = slots.into_iter().map(|slot| slot.slot);
            slots.filter(|slot| slot.expires > at).collect::<Vec<Slot>>()
        };
        let mut before = alive(self.failovers.slots(&group.name).await?, self.now());
        let mut times = 1;
        while !before.is_empty() {
            if times >= self.drain.times {
                let holders: Vec<&str> = before.iter().map(|slot| slot.holder.as_str()).collect();
                let error = Error::of(Code::FailoverDrainSlow, Verb::Ledger.on(&group.name));
                return Err(error.because(holders.join(", ")));
            }
            times += 1;
            tokio::time::sleep(self.drain.pause).await;
            self.stay_driver(group, held).await?;
            let listed = alive(self.failovers.slots(&group.name).await?, self.now());
            before.retain(|slot| listed.iter().any(|listed| listed.holder == slot.holder));
        }
        Ok(())
    }

    /// Moves every zone that is not moved yet, side by side. One that cannot be moved does not keep the others.
    async fn move_zones(&self, group: &Failover, held: &mut Held) -> Result<()> {
        let Some(operation) = held.state.under_way() else {
            return Ok(());
        };
        let left: Vec<(String, ZoneMove)> = operation
            .zones
            .iter()
            .filter(|(_, zone)| zone.done.is_none())
            .map(|(name, zone)| (name.clone(), zone.clone()))
            .collect();
        let by = operation.by.clone();
        let epoch = held.state.epoch;
        let moves = left.iter().map(async |(name, zone)| {
            let result = self.move_zone(group, epoch, &by, (name, zone)).await;
            (name, zone, result)
        });
        let mut moves: FuturesUnordered<_> = moves.collect();
        let (mut failed, mut moved) = (BTreeMap::new(), 0);
        while let Some((name, zone, result)) = moves.next().await {
            let silent = match result {
                Ok(silent) => silent,
                Err(error) => {
                    tracing::warn!(code = error.code(), %error, zone = name, "a zone could not be moved");
                    failed.insert(name, error);
                    continue;
                }
            };
            moved += 1;
            let at = self.now();
            held.state.zones.insert(
                name.clone(),
                ZoneState {
                    site: zone.to.clone(),
                    epoch,
                    since: Some(at),
                },
            );
            if let Some(operation) = &mut held.state.operation
                && let Some(zone) = operation.zones.get_mut(name)
            {
                zone.done = Some(at);
                zone.silent = silent;
            }
            self.put(group, held).await?;
        }
        match failed.first_key_value() {
            None => Ok(()),
            Some((name, error)) => {
                let why = format!(
                    "zone {name}: {} of {} zones are moved: {}",
                    moved,
                    left.len(),
                    error.message()
                );
                Err(Error::of(error.kind(), error.operation().clone()).because(why))
            }
        }
    }

    /// Moves a zone. Returns the servers that do not answer.
    async fn move_zone(
        &self,
        group: &Failover,
        epoch: u64,
        by: &str,
        (name, moved): (&str, &ZoneMove),
    ) -> Result<Vec<String>> {
        let unknown = || Error::of(Code::UnknownSite, Verb::Names.on(&group.host));
        let zone = group.zone(name).ok_or_else(unknown)?;
        let from = group.site(&moved.from).ok_or_else(unknown)?;
        let to = group.site(&moved.to).ok_or_else(unknown)?;
        let names = self.zones.names(&zone.dns).await?;
        let order = Switch {
            name: group.host.clone(),
            from: from.record.clone(),
            to: to.record.clone(),
            ttl_seconds: group.ttl_seconds,
            stamp: Stamp::new(epoch, moved.to.as_str(), by),
        };
        let switched = switch_patiently(names.as_ref(), &order, self.patience).await?;
        let confirmation = confirm(names.as_ref(), &group.host, &switched, self.patience).await?;
        confirmation.check(&group.host)?;
        let silent = confirmation.silent();
        if !silent.is_empty() {
            let code = Code::DnsServerSilent.as_str();
            tracing::warn!(code, zone = name, "the zone is moved without {}", silent.join("; "));
        }
        Ok(silent)
    }

    /// Ends the operation: the new writer is in force from now on.
    async fn end(&self, group: &Failover, held: &mut Held) -> Result<()> {
        let reached = match held.state.under_way().and_then(|operation| operation.writer.clone()) {
            Some(writer) => {
                held.state.writer = writer.to;
                Phase::Reversed
            }
            None => Phase::Flipped,
        };
        let resting = resting(group, &held.state);
        let at = self.now();
        self.end_step(group, held, reached, |state| {
            if reached == Phase::Reversed {
                state.writer_since = Some(at);
            }
            state.phase = resting;
            state.is_rebuilt = false;
            if let Some(operation) = &mut state.operation {
                operation.ended = Some(at);
            }
        })
        .await
    }

    async fn begin_step(&self, group: &Failover, held: &mut Held, phase: Phase) -> Result<()> {
        let at = self.now();
        if let Some(operation) = &mut held.state.operation
            && !operation.steps.iter().any(|step| step.phase == phase)
        {
            operation.steps.push(StepTime {
                phase,
                began: at,
                ended: None,
            });
        }
        self.put(group, held).await
    }

    async fn end_step(
        &self,
        group: &Failover,
        held: &mut Held,
        phase: Phase,
        change: impl FnOnce(&mut GroupState) + Send,
    ) -> Result<()> {
        let at = self.now();
        held.state.phase = phase;
        let steps = held
            .state
            .operation
            .iter_mut()
            .flat_map(|operation| &mut operation.steps);
        for step in steps.filter(|step| step.phase == phase) {
            step.ended = Some(at);
        }
        change(&mut held.state);
        self.put(group, held).await
    }

    /// Ends an operation that has changed nothing but the fence.
    async fn take_back(&self, group: &Failover, observed: Observed) -> Result<Switched> {
        let at = self.now();
        let mut held = Held {
            state: observed.state,
            version: observed.version,
        };
        if let Some(operation) = &mut held.state.operation {
            self.expect_free(group, operation)?;
            operation.ended = Some(at);
            operation.is_aborted = true;
        }
        held.state.phase = resting(group, &held.state);
        self.put(group, &mut held).await?;
        Ok(Switched {
            state: held.state,
            is_unchanged: false,
            readiness: Vec::new(),
        })
    }

    /// Continues the operation of a process that has ended.
    async fn take_over(&self, group: &Failover, observed: Observed) -> Result<Held> {
        let mut held = Held {
            state: observed.state,
            version: observed.version,
        };
        self.put(group, &mut held).await?;
        Ok(held)
    }

    /// The operation under way is the one that is ordered, and its process does not work on it any more.
    fn expect_continuable(&self, group: &Failover, order: &Order, operation: &Operation) -> Result<()> {
        if !order.is_of(group, operation) {
            return Err(busy(group, operation, "it is not the operation that is ordered"));
        }
        self.expect_free(group, operation)
    }

    fn expect_free(&self, group: &Failover, operation: &Operation) -> Result<()> {
        let Driver { process, until, .. } = &operation.driver;
        if *process != self.process && *until > self.now() && !(self.has_ended)(process) {
            return Err(busy(group, operation, "its process works on it"));
        }
        Ok(())
    }

    async fn stay_driver(&self, group: &Failover, held: &mut Held) -> Result<()> {
        let is_due = held.state.under_way().is_some_and(|operation| {
            let half = self.now().checked_add(DRIVER_TTL / 2).unwrap_or(Timestamp::MAX);
            operation.driver.until < half
        });
        if is_due { self.put(group, held).await } else { Ok(()) }
    }

    /// Writes the state. `FAILOVER_BUSY` if another process was faster.
    async fn put(&self, group: &Failover, held: &mut Held) -> Result<()> {
        let driver = self.driver(self.now());
        if let Some(operation) = held
            .state
            .operation
            .as_mut()
            .filter(|operation| operation.ended.is_none())
        {
            operation.driver = driver;
        }
        let written = self.failovers.put(&group.name, held.version, &held.state).await?;
        if let Some(version) = written {
            held.version = Some(version);
            return Ok(());
        }
        let now = self.failovers.get(&group.name).await?;
        match now.as_ref().and_then(|now| now.state.operation.as_ref()) {
            Some(operation) => Err(busy(group, operation, "it was faster")),
            None => Err(Error::of(Code::FailoverBusy, Verb::Ledger.on(&group.name))),
        }
    }

    fn driver(&self, at: Timestamp) -> Driver {
        Driver {
            process: self.process.clone(),
            by: self.by.clone(),
            until: at.checked_add(DRIVER_TTL).unwrap_or(Timestamp::MAX),
        }
    }

    fn now(&self) -> Timestamp {
        now(self.clock.as_ref())
    }
}

/// `FAILOVER_BUSY` with what is under way, by whom, and since when.
fn busy(group: &Failover, operation: &Operation, why: &str) -> Error {
    let Operation {
        kind, to, by, started, ..
    } = operation;
    let driver = &operation.driver;
    Error::of(Code::FailoverBusy, Verb::Ledger.on(&group.name)).because(format!(
        "{kind} to {to} by {by} since {started} is under way, last worked on by {} ({}): {why}",
        driver.by, driver.process
    ))
}

/// The phase of a group in which nothing is under way.
fn resting(group: &Failover, state: &GroupState) -> Phase {
    let mut zones = group.zones.iter();
    let is_home = zones.all(|zone| state.site_of(group, &zone.name) == Some(zone.home.as_str()));
    match state.writer == group.writer {
        true if is_home => Phase::Ready,
        true => Phase::Flipped,
        false => Phase::Reversed,
    }
}

/// No zone has the epoch of the operation under way. A zone that cannot be read may have it.
fn has_moved_nothing(observed: &Observed) -> bool {
    observed.zones.iter().all(|zone| {
        let stamp = zone.stamp.as_ref();
        zone.entry.is_ok() && stamp.is_none_or(|stamp| stamp.epoch < observed.state.epoch)
    })
}

fn at_risk(image: &ImageAtRisk) -> String {
    let digest =
        |digest: &Option<transship_oci::Digest>| digest.as_ref().map_or("none".to_owned(), ToString::to_string);
    format!(
        "{}:{} ({} here, {} there)",
        image.repository,
        image.tag,
        digest(&image.source_digest),
        digest(&image.destination_digest)
    )
}

/// The change of the writer of an operation that moves zones as `after` says.
pub(super) fn writer_change(before: &str, after: &str) -> Option<WriterChange> {
    (before != after).then(|| WriterChange {
        from: before.to_owned(),
        to: after.to_owned(),
    })
}
