//! Compares the two sides of a rule between sites, and keeps what it found.
//!
//! Nothing is written at registries. An image is verified with all its blobs once, and again after [`VERIFIED_AGE_MAX`]; in between,
//! its digest shows that it is the same. A comparison that could not read everything leaves the last whole one in place.
//!
//! It is made in slices, each within the time of one message. What must hold: a slice that is cut off anywhere is repeated from
//! where the last one ended, and counts nothing twice; the last whole comparison stays until the new one is whole; and what the
//! comparison says is true of every moment since it began, but for what was pushed since then.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;
use transship_copy::{Clock, Manifests as _, TimeBudget};
use transship_oci::{Code, Digest, Error, Repository, Result, Tag, Target, Verb};
use transship_registry::Registry;
use transship_rules::Rule;

use super::age;
use super::collected::{Collected, failed, hash, is_unreachable, not_whole};
use crate::failover::is_replicated;
use crate::inspect::{Slot, Step, TWICE, VerifyPart, within};
use crate::ledger::{Comparison, Difference, Failed, Found, Ledger, Leg, Unfinished, Verified, Whole, first_version};
use crate::send::now;
use crate::walk::STEP_TAGS_MAX;
use crate::{Depth, Finding, ImageRef, Replica, VerifyRule};

/// How long a verification of all blobs of an image counts.
pub const VERIFIED_AGE_MAX: Duration = Duration::from_hours(7 * 24);
/// How long other workers leave a slice to a worker that has no time limit.
const LEASE_TTL: Duration = Duration::from_mins(15);
/// Images whose replicas are asked for in one call, at both sites.
const REPLICAS_AT_ONCE: usize = 50;
/// The longest pause that a registry is given between two slices: what every queue can hold a message back.
const PAUSE_MAX: Duration = Duration::from_mins(15);
/// Images that are looked for side by side at the end.
const LOOKS_AT_ONCE: usize = 32;
/// A comparison that gets no further in so many slices ends.
const IDLE_SLICES_MAX: u32 = 5;

/// Compares one leg.
pub struct CompareLeg<'a> {
    /// The rule, from one site to another.
    pub rule: &'a Rule,
    /// It is derived: the destination was the writer before.
    pub is_reversed: bool,
    /// What the result depends on besides the registries. A comparison of something else is not gone on with.
    pub basis: String,
    /// A comparison that began earlier is not gone on with; [`None`]: any is.
    pub not_before: Option<Timestamp>,
    /// Its source.
    pub source: Registry,
    /// Its destination.
    pub destination: Registry,
    /// The ledger.
    pub ledger: &'a Ledger,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Identifies this worker among others.
    pub worker: &'a str,
    /// What one slice may use.
    pub slice: Slice,
}

/// What one slice of a comparison may use.
#[derive(Debug, Clone, Copy)]
pub struct Slice {
    /// The time; [`None`]: no limit.
    pub budget: Option<TimeBudget>,
    /// Tags, repositories and pages that it looks at, at most.
    pub looks_max: usize,
    /// The time is what earlier slices left. That a site does not answer within it shows nothing.
    pub is_rest: bool,
}

impl Slice {
    /// As much as fits into `budget`.
    pub const fn within(budget: Option<TimeBudget>) -> Self {
        Self {
            budget,
            looks_max: STEP_TAGS_MAX,
            is_rest: false,
        }
    }
}

/// What became of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compared {
    /// It ended, and this is known now. [`Comparison::failure`] says why it did not see everything, if so.
    Ended(Box<Comparison>),
    /// The slice is over, and the next one may begin after this long.
    GoesOn(Duration),
    /// Another worker compares at this moment.
    Busy,
}

/// Why a slice ended.
enum End {
    /// Everything was compared.
    Whole,
    /// The slice is over, and the next one may begin after this long.
    Later(Duration),
    /// A site does not answer; true: the source cannot be reached.
    Down(Failed, bool),
}

/// What a slice found.
struct Sliced {
    end: End,
    found: Found,
    /// What the slices before it found, if it was needed.
    earlier: Option<Found>,
}

/// The leg of a rule.
pub fn leg_of(rule: &Rule) -> Leg {
    Leg {
        rule: rule.name.clone(),
        from: rule.source.registry.clone(),
        to: rule.destination.registry.clone(),
    }
}

/// The lease of a comparison.
fn lease_of(leg: &Leg) -> String {
    format!("compare#{}:{}>{}", leg.rule, leg.from, leg.to)
}

impl CompareLeg<'_> {
    /// Compares as much as fits into the slice, from where the last one ended.
    pub async fn run(&self) -> Result<Compared> {
        let leg = leg_of(self.rule);
        let (lease, leases) = (lease_of(&leg), &self.ledger.leases);
        let ttl = self.slice.budget.map_or(LEASE_TTL, |slot| slot.left() + slot.grace());
        // Two messages of one worker are two holders.
        let holder = format!("{} {:x}", self.worker, first_version());
        if !leases.take(&lease, &holder, self.now(), ttl).await? {
            return Ok(Compared::Busy);
        }
        let compared = self.compare(&leg).await;
        leases.release(&lease, &holder).await?;
        compared
    }

    async fn compare(&self, leg: &Leg) -> Result<Compared> {
        let comparisons = &self.ledger.comparisons;
        let now = self.now();
        if let Some(error) = self.ping(&self.source).await {
            if error.is(Code::ComparisonFailed) && self.slice.is_rest {
                return Ok(Compared::GoesOn(Duration::ZERO));
            }
            comparisons
                .fail(leg, now, failed(&error), is_unreachable(&error))
                .await?;
            return self.ended(leg).await;
        }
        let (mut unfinished, verified, replaced) = self.begun(leg, now).await?;
        let before = unfinished.clone();
        let Some(sliced) = Box::pin(self.slice(&mut unfinished, &verified)).await? else {
            // A part of what was found is lost, so it begins again.
            comparisons.drop_unfinished(&unfinished).await?;
            return Ok(Compared::GoesOn(Duration::ZERO));
        };
        let Sliced { end, found, earlier } = sliced;
        let compared = match end {
            End::Whole => {
                let mut all = earlier.unwrap_or_default();
                all.extend(found);
                self.finish(&unfinished, all).await?;
                comparisons.drop_unfinished(&unfinished).await?;
                self.ended(leg).await?
            }
            End::Later(_) if unfinished.idle >= IDLE_SLICES_MAX => {
                let at = unfinished.place.at();
                let why = format!("it got no further at {at} in {IDLE_SLICES_MAX} messages");
                comparisons.fail(leg, self.now(), not_whole(why), false).await?;
                comparisons.drop_unfinished(&unfinished).await?;
                self.ended(leg).await?
            }
            End::Later(wait) => {
                unfinished.is_paused = false;
                unfinished.pause_end = self.now().checked_add(wait).ok().filter(|_| !wait.is_zero());
                if !comparisons.keep(&mut unfinished, found).await? {
                    return Ok(Compared::Busy);
                }
                // What cannot be read is reported at once, and the rest is compared nevertheless.
                if let Some(failure) = unfinished.failure.filter(|_| before.failure.is_none()) {
                    comparisons.fail(leg, self.now(), failure, false).await?;
                }
                Compared::GoesOn(wait)
            }
            End::Down(failure, is_source) => {
                (unfinished.is_paused, unfinished.pause_end) = (true, None);
                if !comparisons.keep(&mut unfinished, found).await? {
                    return Ok(Compared::Busy);
                }
                comparisons.fail(leg, self.now(), failure, is_source).await?;
                self.ended(leg).await?
            }
        };
        // Those of one moment have their chunks in common.
        if let Some(replaced) = replaced.filter(|replaced| replaced.generation() != before.generation()) {
            comparisons.forget(&replaced).await?;
        }
        Ok(compared)
    }

    /// The comparison to go on with, or a new one; the images whose verification still counts; and the comparison that the new one
    /// replaces.
    async fn begun(&self, leg: &Leg, now: Timestamp) -> Result<(Unfinished, Verified, Option<Unfinished>)> {
        let comparisons = &self.ledger.comparisons;
        let earlier = comparisons.unfinished(leg).await?;
        let known = comparisons.verified(leg).await?;
        if let Some(earlier) = earlier.clone().filter(|earlier| self.goes_on(earlier, now)) {
            // They may have become too old since it began.
            let known = known.filter(|known| known.since == earlier.verified_since);
            return Ok((earlier, known.unwrap_or_else(|| Verified::none(now)), None));
        }
        let known = known.filter(|known| age(known.since, now) < VERIFIED_AGE_MAX);
        let verified = known.unwrap_or_else(|| Verified::none(now));
        let begun = Unfinished::new(leg, self.basis.clone(), now, verified.since, earlier.as_ref());
        Ok((begun, verified, earlier))
    }

    fn goes_on(&self, earlier: &Unfinished, now: Timestamp) -> bool {
        let is_asked_for = self.not_before.is_none_or(|not_before| earlier.began >= not_before);
        is_asked_for && earlier.basis == self.basis && earlier.is_alive(now)
    }

    /// Compares on from where `unfinished` is, and moves it. [`None`]: a part of what was found before is lost.
    async fn slice(&self, unfinished: &mut Unfinished, verified: &Verified) -> Result<Option<Sliced>> {
        let comparisons = &self.ledger.comparisons;
        let known = comparisons.get(&unfinished.leg).await?.and_then(|known| known.whole);
        let mut collected = self
            .collected(&unfinished.leg, known.as_ref(), unfinished.began)
            .await?;
        let suspects: BTreeSet<(Repository, Tag)> = collected.known.keys().cloned().collect();
        let depth_of = |image: &ImageRef, digest: &Digest| match &image.target {
            Target::Tag(tag) if suspects.contains(&(image.repository.clone(), tag.clone())) => Depth::Blobs,
            _ if verified.hashes.contains(&hash(image, digest)) => Depth::Manifests,
            _ => Depth::Blobs,
        };
        let verify = self.verify();
        let begun = unfinished.place.clone();
        let time_left = || self.slice.budget.map(|budget| budget.left());
        let had = time_left();
        let mut verification = verify.begun(begun.clone(), &depth_of, TWICE, |row| collected.add(row));
        let mut slot = Slot {
            budget: self.slice.budget,
            looks_left: self.slice.looks_max,
        };
        let mut earlier = None;
        let end = loop {
            if verification.place.part != VerifyPart::Tags && earlier.is_none() {
                let Some(found) = comparisons.found(unfinished).await? else {
                    return Ok(None);
                };
                verification.seen.extend(found.seen.clone());
                earlier = Some(found);
            }
            if verification.place.part == VerifyPart::Over {
                let is_first = begun.part == VerifyPart::Over;
                break if is_first || has_time_to_end(had, time_left()) {
                    End::Whole
                } else {
                    End::Later(Duration::ZERO)
                };
            }
            if slot.is_over() {
                break End::Later(Duration::ZERO);
            }
            let error = match verification.advance(&mut slot).await? {
                Step::Next => continue,
                Step::Enough => break End::Later(Duration::ZERO),
                Step::Stopped(error) => error,
            };
            if error.is(Code::LedgerUnavailable) {
                return Err(error);
            }
            if let Some(asked) = verification.asked(&error) {
                break End::Later(asked.min(PAUSE_MAX));
            }
            if is_unreachable(&error)
                && let Some((failure, is_source)) = self.down().await
            {
                break End::Down(failure, is_source);
            }
            verification.go_past(&error);
        };
        let (place, mut seen) = (verification.place, verification.seen);
        if let Some(earlier) = &earlier {
            seen.remove(&earlier.seen);
        }
        if (place.part, &place.cursor) != (begun.part, &begun.cursor) {
            unfinished.advanced = self.now();
            unfinished.idle = 0;
        } else if matches!(end, End::Later(Duration::ZERO)) {
            unfinished.idle += 1;
        }
        unfinished.place = place;
        let mut found = collected.into_found(unfinished, seen);
        self.find_conflicts(&mut found.differences).await?;
        found.differences.retain(|(_, one)| unfinished.count(one));
        Ok(Some(Sliced { end, found, earlier }))
    }

    /// Keeps what the whole comparison found, or why it did not see everything.
    async fn finish(&self, unfinished: &Unfinished, all: Found) -> Result<()> {
        let (comparisons, leg) = (&self.ledger.comparisons, &unfinished.leg);
        self.verify().keep(unfinished.place.clone()).await?;
        let ended = self.now();
        if let Some(failure) = unfinished.failure.clone() {
            let down = self.ping(&self.source).await;
            let is_down = down.is_some_and(|error| is_unreachable(&error));
            return comparisons.fail(leg, ended, failure, is_down).await;
        }
        let Found {
            differences, verified, ..
        } = all;
        let differences = self.still_different(differences).await?;
        let arrived = unfinished.named.saturating_sub(differences.len()) as u64;
        let mut tally = unfinished.unnamed;
        for one in &differences {
            tally.add(one);
        }
        let whole = Whole {
            began: unfinished.began,
            ended,
            images: unfinished.images,
            replicated: unfinished.replicated + arrived,
            verified: verified.len() as u64,
            verified_since: unfinished.verified_since,
            missing: tally.missing,
            different: tally.different,
            extra: tally.extra,
            conflicts: tally.conflicts,
            unknown: 0,
            oldest_unreplicated: tally.oldest,
            sample: unfinished.sample.clone(),
            generation: unfinished.generation(),
            named: differences.len() as u64,
        };
        let verified = Verified {
            since: unfinished.verified_since,
            generation: unfinished.generation(),
            hashes: verified,
        };
        comparisons.put_verified(leg, &verified).await?;
        comparisons.put(leg, whole, &differences).await
    }

    /// Those that did not arrive while the rest was compared. An image arrived if the destination names what the source named when
    /// they were compared: the clocks of workers differ, so that a copy is later than that does not show it.
    async fn still_different(&self, differences: Vec<(Timestamp, Difference)>) -> Result<Vec<Difference>> {
        // The rest of the time is for the names and hashes, which are written after it.
        let half = |budget: TimeBudget| TimeBudget::until(Instant::now() + budget.left() / 2, Duration::ZERO);
        let (budget, mut still) = (self.slice.budget.map(half), Vec::new());
        for chunk in differences.chunks(2 * REPLICAS_AT_ONCE) {
            let images: Vec<ImageRef> = chunk
                .iter()
                .map(|(_, one)| at(&self.rule.destination.registry, one))
                .collect();
            let written = self.ledger.replicas.find(&images).await?;
            let look = |(number, ((seen, one), image)): (usize, (&(Timestamp, Difference), &ImageRef))| {
                let is_other = one.source_digest != one.destination_digest;
                let is_copy = |replica: &&Replica| one.source_digest.as_ref() == Some(&replica.digest);
                let replica = written
                    .get(image)
                    .filter(|replica| is_other && is_copy(replica) && replica.written > *seen);
                let (replica, image) = (replica.cloned(), image.clone());
                async move {
                    // The ledger knows it before it is written.
                    let has_arrived = match replica {
                        Some(replica) => self.has(&image, &replica.digest, budget).await,
                        None => false,
                    };
                    has_arrived.then_some(number)
                }
            };
            let looks: Vec<_> = chunk.iter().zip(&images).enumerate().map(look).collect();
            // One that is not answered does not hold up the others.
            let looked: Vec<Option<usize>> = stream::iter(looks).buffer_unordered(LOOKS_AT_ONCE).collect().await;
            let arrived: BTreeSet<usize> = looked.into_iter().flatten().collect();
            let rest = chunk.iter().enumerate().filter(|(number, _)| !arrived.contains(number));
            still.extend(rest.map(|(_, (_, one))| one.clone()));
        }
        Ok(still)
    }

    async fn has(&self, image: &ImageRef, digest: &Digest, budget: Option<TimeBudget>) -> bool {
        if budget.is_some_and(|budget| budget.left().is_zero()) {
            return false;
        }
        let remote = self.destination.repository(image.repository.clone());
        let head = within(budget, remote.manifest_head(&image.target)).await;
        matches!(head, Some(Ok(Some(found))) if found.digest == *digest)
    }

    /// Why a site does not answer, and whether it is the source and cannot be reached; [`None`]: both answer.
    async fn down(&self) -> Option<(Failed, bool)> {
        if let Some(error) = self.ping(&self.source).await {
            return Some((failed(&error), is_unreachable(&error)));
        }
        let error = self.ping(&self.destination).await?;
        Some((failed(&error), false))
    }

    /// The error if the registry does not answer.
    async fn ping(&self, registry: &Registry) -> Option<Error> {
        match within(self.slice.budget, registry.ping()).await {
            Some(answered) => answered.err(),
            // That alone does not show that it cannot be reached.
            None => Some(
                Error::of(Code::ComparisonFailed, Verb::Registry.on(registry.host()))
                    .because("it did not answer within the time of the worker"),
            ),
        }
    }

    async fn ended(&self, leg: &Leg) -> Result<Compared> {
        let known = self.ledger.comparisons.get(leg).await?;
        Ok(known.map_or(Compared::Busy, |known| Compared::Ended(Box::new(known))))
    }

    fn verify(&self) -> VerifyRule<'_> {
        VerifyRule {
            rule: self.rule,
            source: self.source.clone(),
            destination: self.destination.clone(),
            ledger: self.ledger,
            clock: Arc::clone(&self.clock),
            depth: Depth::Blobs,
        }
    }

    fn now(&self) -> Timestamp {
        now(self.clock.as_ref())
    }

    /// Marks what was pushed to the destination itself: it has an image that was neither copied there nor from there.
    async fn find_conflicts(&self, differences: &mut [(Timestamp, Difference)]) -> Result<()> {
        for chunk in differences.chunks_mut(REPLICAS_AT_ONCE) {
            let (from, to) = (&self.rule.source.registry, &self.rule.destination.registry);
            let images: Vec<ImageRef> = chunk.iter().flat_map(|(_, one)| [at(to, one), at(from, one)]).collect();
            let known = self.ledger.replicas.find(&images).await?;
            for (_, one) in chunk {
                let (there, here) = (at(to, one), at(from, one));
                let (own, reverse) = (known.get(&there), known.get(&here));
                one.is_conflict = match (&one.destination_digest, one.state) {
                    // Parts of the image that was copied are not there.
                    (found, Finding::Different) if *found == one.source_digest => false,
                    (Some(found), Finding::Different) => {
                        let is_ours = own.is_some_and(|own| own.is_ours(found));
                        !is_ours && !is_replicated(own, reverse, &there, found)
                    }
                    // It was the writer once, and this image was never copied from it.
                    (_, Finding::Extra) => {
                        let was_copied = reverse.is_some_and(|reverse| reverse.source.as_ref() == Some(&there));
                        self.is_reversed && own.is_none() && !was_copied
                    }
                    _ => false,
                };
            }
        }
        Ok(())
    }

    async fn collected(&self, leg: &Leg, known: Option<&Whole>, began: Timestamp) -> Result<Collected> {
        let differences = match known {
            Some(whole) => self.ledger.comparisons.all_differences(leg, whole).await?,
            None => Vec::new(),
        };
        let new_since = known.map_or(began, |whole| whole.began.min(began));
        Ok(Collected::new(differences, new_since))
    }
}

/// True if what is left of the time of a slice is enough for the end of a comparison, which asks for images and writes all names:
/// half of what the slice had. Otherwise the end has a slice of its own.
fn has_time_to_end(had: Option<Duration>, left: Option<Duration>) -> bool {
    had.zip(left).is_none_or(|(had, left)| left >= had / 2)
}

/// The image at `registry`. Rules between sites keep the names of images.
fn at(registry: &str, one: &Difference) -> ImageRef {
    ImageRef {
        registry: registry.to_owned(),
        repository: one.repository.clone(),
        target: Target::Tag(one.tag.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_has_half_of_a_slice_at_least() {
        let ask = |left| has_time_to_end(Some(Duration::from_mins(1)), Some(Duration::from_secs(left)));
        assert!(ask(60) && ask(30) && !ask(29) && !ask(0));
        assert!(has_time_to_end(None, None));
    }
}
