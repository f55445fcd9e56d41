//! Compares the two sides of a rule between sites, and keeps what it found.
//!
//! Nothing is written at registries. An image is verified with all its blobs once, and again after [`VERIFIED_AGE_MAX`]; in between,
//! its digest shows that it is the same. A comparison that could not read everything leaves the last whole one in place.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use transship_copy::Clock;
use transship_oci::{Code, Digest, Error, Repository, Result, Tag, Target};
use transship_registry::Registry;
use transship_rules::Rule;

use crate::failover::is_replicated;
use crate::ledger::{Comparison, DIFFERENCES_MAX, Difference, Failed, Ledger, Leg, Sample, Verified, Whole};
use crate::plan::id;
use crate::send::now;
use crate::{Checked, Depth, Finding, ImageRef, VerifyRule};

/// How long a verification of all blobs of an image counts.
pub const VERIFIED_AGE_MAX: Duration = Duration::from_hours(7 * 24);
/// How long other workers leave a comparison to the one that began it.
const LEASE_TTL: Duration = Duration::from_mins(15);
/// Images whose replicas are asked for in one call, at both sites.
const REPLICAS_AT_ONCE: usize = 50;
/// The most characters of a reason that are kept.
const REASON_CHARS_MAX: usize = 300;

/// Compares one leg.
pub struct CompareLeg<'a> {
    /// The rule, from one site to another.
    pub rule: &'a Rule,
    /// It is derived: the destination was the writer before.
    pub is_reversed: bool,
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
}

/// What is found, image by image.
struct Collected {
    known: HashMap<(Repository, Tag), Difference>,
    /// The beginning of the comparison before this one, or of this one: a difference that is new is not older.
    new_since: Timestamp,
    verified: BTreeSet<u64>,
    images: u64,
    replicated: u64,
    sample: Option<Sample>,
    differences: Vec<Difference>,
    unread: Option<Failed>,
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
pub(super) fn lease_of(leg: &Leg) -> String {
    format!("compare#{}:{}>{}", leg.rule, leg.from, leg.to)
}

impl CompareLeg<'_> {
    /// Compares, and returns what is known of the leg now. [`None`]: another worker compares it at this moment.
    pub async fn run(&self) -> Result<Option<Comparison>> {
        let leg = leg_of(self.rule);
        let lease = lease_of(&leg);
        let leases = &self.ledger.leases;
        if !leases.take(&lease, self.worker, self.now(), LEASE_TTL).await? {
            return Ok(None);
        }
        let compared = self.compare(&leg).await;
        leases.release(&lease, self.worker).await?;
        compared?;
        self.ledger.comparisons.get(&leg).await
    }

    async fn compare(&self, leg: &Leg) -> Result<()> {
        let comparisons = &self.ledger.comparisons;
        let began = self.now();
        if let Err(error) = self.source.ping().await {
            return comparisons
                .fail(leg, began, failed(&error), is_unreachable(&error))
                .await;
        }
        let known = comparisons.get(leg).await?.and_then(|known| known.whole);
        let (mut verified, mut collected) = (
            self.verified(leg, began).await?,
            self.collected(leg, known.as_ref(), began).await?,
        );
        {
            let suspects: BTreeSet<(Repository, Tag)> = collected.known.keys().cloned().collect();
            let depth_of = |image: &ImageRef, digest: &Digest| match &image.target {
                Target::Tag(tag) if suspects.contains(&(image.repository.clone(), tag.clone())) => Depth::Blobs,
                _ if verified.hashes.contains(&hash(image, digest)) => Depth::Manifests,
                _ => Depth::Blobs,
            };
            let verify = VerifyRule {
                rule: self.rule,
                source: self.source.clone(),
                destination: self.destination.clone(),
                ledger: self.ledger,
                clock: Arc::clone(&self.clock),
                depth: Depth::Blobs,
            };
            verify.run_to(&depth_of, |row| collected.add(row)).await?;
        }
        let ended = self.now();
        if let Some(failure) = collected.unread {
            let is_down = matches!(&self.source.ping().await, Err(error) if is_unreachable(error));
            return comparisons.fail(leg, ended, failure, is_down).await;
        }
        self.find_conflicts(&mut collected.differences).await?;
        verified.hashes = std::mem::take(&mut collected.verified);
        verified.generation = began.as_nanosecond().to_string();
        let whole = collected.whole(began, ended, &verified);
        comparisons.put_verified(leg, &verified).await?;
        comparisons.put(leg, whole, &collected.differences).await
    }

    fn now(&self) -> Timestamp {
        now(self.clock.as_ref())
    }

    /// Marks what was pushed to the destination itself: it has an image that was neither copied there nor from there.
    async fn find_conflicts(&self, differences: &mut [Difference]) -> Result<()> {
        for chunk in differences.chunks_mut(REPLICAS_AT_ONCE) {
            // Rules between sites keep the names of images.
            let at = |registry: &str, one: &Difference| ImageRef {
                registry: registry.to_owned(),
                repository: one.repository.clone(),
                target: Target::Tag(one.tag.clone()),
            };
            let (from, to) = (&self.rule.source.registry, &self.rule.destination.registry);
            let images: Vec<ImageRef> = chunk.iter().flat_map(|one| [at(to, one), at(from, one)]).collect();
            let known = self.ledger.replicas.find(&images).await?;
            for one in chunk {
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

    /// The images whose verification still counts.
    async fn verified(&self, leg: &Leg, now: Timestamp) -> Result<Verified> {
        let known = self.ledger.comparisons.verified(leg).await?;
        let is_recent = |verified: &Verified| {
            let age = Duration::try_from(now.duration_since(verified.since));
            age.is_ok_and(|age| age < VERIFIED_AGE_MAX)
        };
        Ok(known.filter(is_recent).unwrap_or_else(|| Verified {
            since: now,
            generation: String::new(),
            hashes: BTreeSet::new(),
        }))
    }

    async fn collected(&self, leg: &Leg, known: Option<&Whole>, began: Timestamp) -> Result<Collected> {
        let differences = match known {
            Some(whole) => self.ledger.comparisons.all_differences(leg, whole).await?,
            None => Vec::new(),
        };
        let by_name = |difference: Difference| ((difference.repository.clone(), difference.tag.clone()), difference);
        Ok(Collected {
            known: differences.into_iter().map(by_name).collect(),
            new_since: known.map_or(began, |whole| whole.began.min(began)),
            verified: BTreeSet::new(),
            images: 0,
            replicated: 0,
            sample: None,
            differences: Vec::new(),
            unread: None,
        })
    }
}

impl Collected {
    fn add(&mut self, row: Checked) {
        if row.state == Finding::Unknown {
            self.unread.get_or_insert_with(|| Failed {
                code: row.code.clone().unwrap_or_default(),
                text: short(&format!(
                    "{} cannot be read: {}",
                    if row.source.is_empty() {
                        &row.destination
                    } else {
                        &row.source
                    },
                    row.reason.as_deref().unwrap_or_default()
                )),
            });
            return;
        }
        let Some((repository, tag)) = image_of(&row.destination) else {
            return;
        };
        if row.state != Finding::Extra {
            self.images += 1;
            let is_there = row.source_digest.is_some() && row.source_digest == row.destination_digest;
            // Where only some platforms are copied, the digests differ though nothing is missing.
            self.replicated += u64::from(is_there || row.state == Finding::Equal);
        }
        if row.state == Finding::Equal {
            if let Some(digest) = &row.destination_digest {
                self.verified.insert(hash_of(&row.destination, digest));
            }
            self.sample = Some(Sample {
                repository,
                tag,
                digest: row.destination_digest,
            });
            return;
        }
        let name = (repository, tag);
        let known = self
            .known
            .get(&name)
            .filter(|known| known.source_digest == row.source_digest);
        let since = row
            .since
            .or_else(|| known.map(|known| known.since))
            .unwrap_or(self.new_since);
        self.differences.push(Difference {
            state: row.state,
            repository: name.0,
            tag: name.1,
            source_digest: row.source_digest,
            destination_digest: row.destination_digest,
            code: row.code,
            reason: row.reason.as_deref().map(short),
            since,
            is_conflict: false,
        });
    }

    fn whole(&self, began: Timestamp, ended: Timestamp, verified: &Verified) -> Whole {
        let count = |state| self.differences.iter().filter(|one| one.state == state).count() as u64;
        let lost = self.differences.iter().filter(|one| one.state != Finding::Extra);
        Whole {
            began,
            ended,
            images: self.images,
            replicated: self.replicated,
            verified: verified.hashes.len() as u64,
            verified_since: verified.since,
            missing: count(Finding::Missing),
            different: count(Finding::Different),
            extra: count(Finding::Extra),
            conflicts: self.differences.iter().filter(|one| one.is_conflict).count() as u64,
            unknown: 0,
            oldest_unreplicated: lost.map(|one| one.since).min(),
            sample: self.sample.clone(),
            generation: verified.generation.clone(),
            named: self.differences.len().min(DIFFERENCES_MAX) as u64,
        }
    }
}

fn hash(image: &ImageRef, digest: &Digest) -> u64 {
    hash_of(&image.to_string(), digest)
}

/// The same in every process and release, because it is kept.
fn hash_of(image: &str, digest: &Digest) -> u64 {
    let id = id("v", &[image, &digest.to_string()]);
    id.get(2..18)
        .and_then(|hex| u64::from_str_radix(hex, 16).ok())
        .unwrap_or_default()
}

/// Repository and tag of `registry/repository:tag`.
pub(super) fn image_of(reference: &str) -> Option<(Repository, Tag)> {
    let (_, rest) = reference.split_once('/')?;
    let (repository, tag) = rest.rsplit_once(':')?;
    Some((repository.parse().ok()?, tag.parse().ok()?))
}

fn failed(error: &Error) -> Failed {
    Failed {
        code: error.code().to_owned(),
        text: short(&error.to_string()),
    }
}

fn short(text: &str) -> String {
    text.chars().take(REASON_CHARS_MAX).collect()
}

/// True if the registry did not answer at all.
fn is_unreachable(error: &Error) -> bool {
    matches!(
        error.kind(),
        Code::ConnectFailed | Code::ConnectionBroken | Code::Timeout | Code::TooSlow
    )
}
