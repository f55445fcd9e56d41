//! Replicas: what we wrote to a destination, the manifests it consists of, and the lease to write it. Kept forever:
//! `existing: follow` rests on it.
//!
//! Calls: claim one, withdraw two, release one, settle one for each (two if another worker took the lease), get one, find one for each 100, holds and `made_of` one for
//! each megabyte of the destination repository's replicas.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use transship_engine::Replica;
use transship_engine::ledger::{Claim, EARLIER_MAX, ImageRef, Replicas, lease_end_latest, lease_in_force};
use transship_oci::Result;
use transship_oci::{Digest, Repository};

use super::DynamoLedger;
use super::attributes::{
    key, list_of, parse, target_parse, target_text, text, text_of, text_option, texts, time, time_of, time_option,
    unreadable,
};
use super::expression::{Change, Values};
use super::table::{Answered, Item, Query, Table, Written};

/// Intents that are kept in the item, twice among them; more are cut to half.
const INTENTS_MAX: usize = 64;
/// Manifests that are remembered of an image, the root first: of sha512 these are 340 KB of the 400 that an item holds, and
/// no builder makes as many. A referrer of one beyond is taken for one of an image we did not replicate.
const MANIFESTS_MAX: usize = 2500;
/// Replicas that are settled at the same time.
const PARALLEL_SETTLES: usize = 16;

/// The lease is free, or the holder's own. One that ends after `:latest` was taken by a worker whose clock was ahead.
const IS_FREE: &str = "attribute_not_exists(#holder) OR #holder = :holder OR #until <= :now";
const IS_AHEAD: &str = "#until > :latest";

/// What is remembered is not of a later push.
const IS_NOT_LATER: &str = "attribute_not_exists(#accepted) OR #accepted <= :accepted OR #accepted > :now";

/// How often a claim is repeated with the time of acceptance that another worker remembered meanwhile.
const CLAIMS_MAX: u32 = 3;

fn partition(registry: &str, repository: &Repository) -> String {
    format!("R#{registry}/{repository}")
}

pub(super) fn key_of(destination: &ImageRef) -> Item {
    let partition = partition(&destination.registry, &destination.repository);
    key(partition, target_text(&destination.target))
}

/// The last of each destination: a request must not write an item twice.
pub(super) fn latest(replicas: &[Replica]) -> impl Iterator<Item = &Replica> {
    let mut last = HashMap::new();
    for (position, replica) in replicas.iter().enumerate() {
        last.insert(&replica.destination, position);
    }
    let is_last = move |position: usize, replica: &Replica| last.get(&replica.destination) == Some(&position);
    replicas
        .iter()
        .enumerate()
        .filter(move |(position, replica)| is_last(*position, replica))
        .map(|(_, replica)| replica)
}

/// Registry, repository and target of the source; empty for an image that came from a store.
fn source_of(replica: &Replica) -> (&str, &str, String) {
    replica.source.as_ref().map_or(("", "", String::new()), |source| {
        (
            &source.registry,
            source.repository.as_str(),
            target_text(&source.target),
        )
    })
}

/// Where a replica came from, by which rule, and when.
fn origin(replica: &Replica) -> Change {
    let (registry, repository, target) = source_of(replica);
    Change::default()
        .set("source_registry", text(registry))
        .set("source_repository", text(repository))
        .set("source_target", text(target))
        .set("rule", text(&replica.rule))
        .set("written", time(replica.written))
        .set("accepted", time(replica.accepted))
}

/// What of a replica can be settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settling {
    /// All of it.
    Whole,
    /// Another holder has the lease, so that what the tag may name stays.
    UnderLease,
    /// Nothing: what is remembered is of a later push.
    Superseded,
}

impl Settling {
    /// What is tried if the condition of this did not hold.
    pub(super) const fn next(self) -> Self {
        match self {
            Self::Whole => Self::UnderLease,
            Self::UnderLease | Self::Superseded => Self::Superseded,
        }
    }

    /// The change that settles a replica at a time; [`None`]: nothing changes.
    pub(super) fn change(self, replica: &Replica, holder: &str, now: Timestamp) -> Option<Change> {
        let manifests = replica.manifests.get(..MANIFESTS_MAX).unwrap_or(&replica.manifests);
        let change = origin(replica)
            .set("manifests", texts(manifests))
            .set_or_remove(
                "selected",
                replica.selected.as_ref().map(|selected| text(selected.to_string())),
            )
            .value("now", time(now));
        match self {
            Self::Superseded => None,
            Self::UnderLease => Some(change.only_if(IS_NOT_LATER)),
            Self::Whole => {
                let digests: Vec<&Digest> = std::iter::once(&replica.digest).chain(&replica.earlier).collect();
                let change = change.set("digests", texts(&digests)).remove("holder").remove("until");
                let condition = format!("({IS_FREE}) AND ({IS_NOT_LATER})");
                Some(change.only_if(&condition).value("holder", text(holder)))
            }
        }
    }
}

/// The change that claims a replica.
fn claimed(replica: &Replica, holder: &str, now: Timestamp, ttl: Duration) -> Change {
    origin(replica)
        .keep("manifests", texts::<Digest>(&[]))
        .prepend("digests", texts(std::slice::from_ref(&replica.digest)))
        .set("holder", text(holder))
        .set("until", time(now.saturating_add(ttl).unwrap_or(Timestamp::MAX)))
        .only_if(&format!("({IS_FREE} OR {IS_AHEAD}) AND ({IS_NOT_LATER})"))
        .value("now", time(now))
        .value("latest", time(lease_end_latest(now, ttl)))
}

/// Settles replicas that are different from each other.
pub(super) async fn settle(
    table: &Table,
    operation: &str,
    replicas: &[&Replica],
    holder: &str,
    now: Timestamp,
) -> Result<()> {
    let settling: Vec<_> = replicas
        .iter()
        .map(|replica| settle_one(table, operation, replica, holder, now))
        .collect();
    stream::iter(settling)
        .buffer_unordered(PARALLEL_SETTLES)
        .try_collect()
        .await
}

async fn settle_one(table: &Table, operation: &str, replica: &Replica, holder: &str, now: Timestamp) -> Result<()> {
    let mut settling = Settling::Whole;
    while let Some(change) = settling.change(replica, holder, now) {
        let written = table.update(operation, key_of(&replica.destination), change).await?;
        if let Written::Done(_) = written {
            break;
        }
        settling = settling.next();
    }
    Ok(())
}

/// What the tag may name, the latest first, each once.
fn digests(item: &Item) -> Answered<Vec<Digest>> {
    let mut digests = Vec::new();
    for digest in list_of::<Digest>(item, "digests")? {
        if !digests.contains(&digest) {
            digests.push(digest);
        }
    }
    digests.truncate(EARLIER_MAX + 1);
    Ok(digests)
}

fn read(item: &Item, destination: ImageRef) -> Answered<Replica> {
    let mut digests = digests(item)?.into_iter();
    Ok(Replica {
        source: match text_of(item, "source_registry")? {
            "" => None,
            registry => Some(ImageRef {
                registry: registry.to_owned(),
                repository: parse(text_of(item, "source_repository")?)?,
                target: target_parse(text_of(item, "source_target")?)?,
            }),
        },
        destination,
        digest: digests.next().ok_or_else(|| unreadable("digests"))?,
        earlier: digests.collect(),
        manifests: list_of(item, "manifests")?,
        selected: text_option(item, "selected").map(parse).transpose()?,
        rule: text_of(item, "rule")?.to_owned(),
        written: time_of(item, "written")?,
        accepted: time_option(item, "accepted")?.unwrap_or_default(),
    })
}

#[async_trait]
impl Replicas for DynamoLedger {
    async fn claim(&self, replica: &Replica, holder: &str, now: Timestamp, ttl: Duration) -> Result<Claim> {
        let operation = "claim";
        let key = key_of(&replica.destination);
        let mut replica = replica.clone();
        let mut claims = 0;
        let item = loop {
            let change = claimed(&replica, holder, now, ttl);
            let item = match self.table.update(operation, key.clone(), change).await? {
                Written::Done(item) => break item,
                Written::Refused(item) => item,
            };
            claims += 1;
            let unreadable = |error| self.table.unreadable(error, operation);
            let holds = text_of(&item, "holder").is_ok_and(|other| other != holder);
            let until = time_option(&item, "until").map_err(unreadable)?.filter(|_| holds);
            if let Some(until) = until.and_then(|until| lease_in_force(until, now, ttl)) {
                return Ok(Claim::Held { until });
            }
            let known = read(&item, replica.destination.clone()).map_err(unreadable)?;
            if known.supersedes(&replica, now) {
                return Ok(Claim::Superseded);
            }
            if claims == CLAIMS_MAX {
                return Ok(Claim::Held { until: now });
            }
            // A later push of the same source.
            replica.accepted = replica.accepted.max(known.accepted);
        };
        let count = item
            .get("digests")
            .and_then(|list| list.as_l().ok())
            .map_or(0, Vec::len);
        if count > INTENTS_MAX {
            // Another intent may come in between: then some of the older half stay, or go, that are not reported anyway.
            let cut = (INTENTS_MAX / 2..count).fold(Change::default(), |change, position| {
                change.remove(&format!("digests[{position}]"))
            });
            self.table.update(operation, key, cut).await?;
        }
        let mut earlier = digests(&item).map_err(|error| self.table.unreadable(error, operation))?;
        earlier.retain(|digest| *digest != replica.digest);
        Ok(Claim::Granted {
            earlier,
            accepted: replica.accepted,
        })
    }

    async fn withdraw(&self, destination: &ImageRef, digest: &Digest, holder: &str) -> Result<()> {
        let operation = "withdraw";
        let key = key_of(destination);
        let Some(item) = self.table.get(operation, key.clone()).await? else {
            return Ok(());
        };
        let known = read(&item, destination.clone()).map_err(|error| self.table.unreadable(error, operation))?;
        let left = known.without(digest);
        let is_held = "#holder = :holder";
        if left.is_empty() {
            let values = Values::from([(":holder".to_owned(), text(holder))]);
            return self.table.delete(operation, key, Some((is_held, values))).await;
        }
        let change = Change::default()
            .set("digests", texts(&left))
            .only_if(is_held)
            .value("holder", text(holder));
        self.table.update(operation, key, change).await?;
        Ok(())
    }

    async fn release(&self, destination: &ImageRef, holder: &str) -> Result<()> {
        let change = Change::default()
            .remove("holder")
            .remove("until")
            .only_if("#holder = :holder")
            .value("holder", text(holder));
        self.table.update("release", key_of(destination), change).await?;
        Ok(())
    }

    async fn settle(&self, replicas: &[Replica], holder: &str, now: Timestamp) -> Result<()> {
        let replicas: Vec<&Replica> = latest(replicas).collect();
        settle(&self.table, "settle", &replicas, holder, now).await
    }

    async fn get(&self, destination: &ImageRef) -> Result<Option<Replica>> {
        let operation = "replica";
        let found = self.table.get(operation, key_of(destination)).await?;
        found
            .map(|item| read(&item, destination.clone()))
            .transpose()
            .map_err(|error| self.table.unreadable(error, operation))
    }

    async fn find(&self, destinations: &[ImageRef]) -> Result<HashMap<ImageRef, Replica>> {
        let operation = "replicas";
        let names = |item: &Item| {
            let part = |name| text_of(item, name).unwrap_or_default().to_owned();
            (part("pk"), part("sk"))
        };
        let keys: Vec<Item> = destinations.iter().map(key_of).collect();
        let of_key: HashMap<_, &ImageRef> = keys.iter().map(names).zip(destinations).collect();
        let items = self.table.batch_get(operation, keys, false).await?;
        let replicas = items.iter().filter_map(|item| {
            let destination = of_key.get(&names(item))?;
            Some((item, (*destination).clone()))
        });
        replicas
            .map(|(item, destination)| Ok((destination.clone(), read(item, destination)?)))
            .collect::<Answered<_>>()
            .map_err(|error| self.table.unreadable(error, operation))
    }

    async fn holds(
        &self,
        destination: (&str, &Repository),
        source: (&str, &Repository),
        manifest: &Digest,
    ) -> Result<bool> {
        let query = Query {
            key: "#pk = :pk",
            filter: Some(
                "#source_registry = :registry AND #source_repository = :repository AND contains(#manifests, :manifest)"
                    .to_owned(),
            ),
            values: Values::from([
                (":pk".to_owned(), text(partition(destination.0, destination.1))),
                (":registry".to_owned(), text(source.0)),
                (":repository".to_owned(), text(source.1.as_str())),
                (":manifest".to_owned(), text(manifest.to_string())),
            ]),
            attributes: Some("#sk"),
            ..Query::default()
        };
        self.table.any("holds", &query).await
    }

    async fn made_of(
        &self,
        destination: (&str, &Repository),
        source: (&str, &Repository),
        digest: &Digest,
    ) -> Result<Vec<Replica>> {
        let operation = "made_of";
        let query = Query {
            key: "#pk = :pk",
            filter: Some(
                "#source_registry = :registry AND #source_repository = :repository AND (contains(#digests, :digest) OR contains(#selected, :digest))"
                    .to_owned(),
            ),
            values: Values::from([
                (":pk".to_owned(), text(partition(destination.0, destination.1))),
                (":registry".to_owned(), text(source.0)),
                (":repository".to_owned(), text(source.1.as_str())),
                (":digest".to_owned(), text(digest.to_string())),
            ]),
            ..Query::default()
        };
        let items = self.table.all(operation, &query).await?;
        let replicas = items.iter().map(|item| {
            let target = target_parse(text_of(item, "sk")?)?;
            let (registry, repository) = (destination.0.to_owned(), destination.1.clone());
            let place = ImageRef {
                registry,
                repository,
                target,
            };
            read(item, place)
        });
        let replicas: Vec<Replica> = replicas
            .collect::<Answered<_>>()
            .map_err(|error| self.table.unreadable(error, operation))?;
        // The item may name more digests than are remembered of it.
        Ok(replicas
            .into_iter()
            .filter(|replica| replica.is_made_of(digest))
            .collect())
    }
}
