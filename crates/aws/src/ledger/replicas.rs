//! Replicas: what Transship wrote to a destination, and its manifests. They do not expire, because `existing: follow` depends on
//! them.
//!
//! Calls: find one, intend one, `is_replicated` one for each megabyte of the destination repository's replicas.

use std::collections::HashMap;

use transship_engine::{ImageRef, Replica, Result};
use transship_oci::{Digest, Repository, Tag, Target};

use super::attributes::{
    item, key, list_of, parse, target_parse, target_text, text, text_of, texts, time, time_of, unreadable,
};
use super::expression::{Change, Values};
use super::table::{Answered, Item, Query, Table, Written};

/// Maximum number of unfinished intents of one tag.
const EARLIER_MAX: usize = 8;
/// Intents that are kept in the item, twice among them; more are cut to half.
const INTENTS_MAX: usize = 64;
/// Manifests that are remembered of an image, the root first: of sha512 these are 340 KB of the 400 that an item holds, and
/// no builder makes as many. A referrer of one beyond is taken for one of an image we did not replicate.
const MANIFESTS_MAX: usize = 2500;

fn partition(place: &ImageRef) -> String {
    format!("R#{}/{}", place.registry, place.repository)
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

/// The item of a replica. `digests` is what the tag may name, the latest first.
pub(super) fn item_of(replica: &Replica) -> Item {
    let destination = &replica.destination;
    let (registry, repository, target) = source_of(replica);
    let digests: Vec<&Digest> = std::iter::once(&replica.digest).chain(&replica.earlier).collect();
    let manifests = replica.manifests.get(..MANIFESTS_MAX).unwrap_or(&replica.manifests);
    item(
        key(partition(destination), target_text(&destination.target)),
        [
            ("source_registry", text(registry)),
            ("source_repository", text(repository)),
            ("source_target", text(target)),
            ("digests", texts(&digests)),
            ("manifests", texts(manifests)),
            ("rule", text(&replica.rule)),
            ("written", time(replica.written)),
        ],
    )
}

/// Registry, repository and target of the source; empty for an image that came from a store.
pub(super) fn source_of(replica: &Replica) -> (&str, &str, String) {
    replica.source.as_ref().map_or(("", "", String::new()), |source| {
        (
            &source.registry,
            source.repository.as_str(),
            target_text(&source.target),
        )
    })
}

fn read(item: &Item, destination: ImageRef) -> Answered<Replica> {
    let mut digests = Vec::new();
    for digest in list_of::<Digest>(item, "digests")? {
        if !digests.contains(&digest) {
            digests.push(digest);
        }
    }
    let mut digests = digests.into_iter();
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
        earlier: digests.take(EARLIER_MAX).collect(),
        manifests: list_of(item, "manifests")?,
        rule: text_of(item, "rule")?.to_owned(),
        written: time_of(item, "written")?,
    })
}

/// What we wrote to the tag.
pub(super) async fn find(table: &Table, registry: &str, repository: &Repository, tag: &Tag) -> Result<Option<Replica>> {
    let operation = "ledger replica";
    let destination = ImageRef {
        registry: registry.to_owned(),
        repository: repository.clone(),
        target: Target::Tag(tag.clone()),
    };
    let key = key(partition(&destination), target_text(&destination.target));
    let found = table.get(operation, key).await?;
    found
        .map(|item| read(&item, destination))
        .transpose()
        .map_err(|answer| table.unreadable(answer, operation))
}

/// Adds the digest before the earlier digests of the tag, without duplicates.
pub(super) async fn intend(table: &Table, replica: &Replica) -> Result<()> {
    let operation = "ledger replica_intend";
    let destination = &replica.destination;
    let (registry, repository, target) = source_of(replica);
    let key = key(partition(destination), target_text(&destination.target));
    let change = Change::default()
        .set("source_registry", text(registry))
        .set("source_repository", text(repository))
        .set("source_target", text(target))
        .set("rule", text(&replica.rule))
        .set("written", time(replica.written))
        .keep("manifests", texts::<Digest>(&[]))
        .prepend("digests", texts(std::slice::from_ref(&replica.digest)));
    let Written::Done(item) = table.update(operation, key.clone(), change).await? else {
        return Ok(());
    };
    let count = item
        .get("digests")
        .and_then(|list| list.as_l().ok())
        .map_or(0, Vec::len);
    if count <= INTENTS_MAX {
        return Ok(());
    }
    // Another intent may come in between: then some of the older half stay, or go, that are not told anyway.
    let cut = (INTENTS_MAX / 2..count).fold(Change::default(), |change, position| {
        change.remove(&format!("digests[{position}]"))
    });
    table.update(operation, key, cut).await?;
    Ok(())
}

/// True if a replica between the repositories holds `manifest`.
pub(super) async fn is_replicated(
    table: &Table,
    source: &ImageRef,
    destination: &ImageRef,
    manifest: &Digest,
) -> Result<bool> {
    let query = Query {
        key: "#pk = :pk",
        filter: Some(
            "#source_registry = :registry AND #source_repository = :repository AND contains(#manifests, :manifest)"
                .to_owned(),
        ),
        values: Values::from([
            (":pk".to_owned(), text(partition(destination))),
            (":registry".to_owned(), text(&source.registry)),
            (":repository".to_owned(), text(source.repository.as_str())),
            (":manifest".to_owned(), text(manifest.to_string())),
        ]),
        attributes: Some("#sk"),
        ..Query::default()
    };
    table.any("ledger is_replicated", &query).await
}
