//! Pending blobs of incomplete sources: an item for each scan with its missing blobs, and one for each blob that leads to it.
//!
//! Calls: one for a blob that no scan waits for, and one more for each scan that does; to start waiting: one, and one for each 25
//! blobs.
//!
//! Only the item of a scan determines its state, and removing a blob from its set twice has no further effect, so arrivals need
//! no order and no transaction, and may be repeated. The item is written before the items that lead to it. An item that leads to
//! nothing is removed by the arrival that finds it, unless it was written again in the meantime.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use transship_engine::{PendingScan, Result};
use transship_oci::Digest;

use super::attributes::{GRACE, expires, item, key, key_of, number, number_of, text, text_of, time, time_of};
use super::expression::{Change, Values};
use super::repeats::chance;
use super::table::{Answered, Item, Query, Table, Written};

/// Under which looks that wait are in the index `unfinished`. No registry is called so.
const WAITING: &str = "W#";
/// Number of scans that are processed together for one blob: in a storage tree a thousand images may wait for it.
const AT_ONCE: usize = 16;
/// So much of a digest stands for it in the set, which is written whole with each arrival. Two blobs that begin alike are
/// taken for one, and the look is made early and waits again.
const BEGINNING: usize = 16;

fn look_key(look: &str) -> Item {
    key(format!("W#{look}"), "W")
}

fn blob_partition(place: &str, blob: &Digest) -> String {
    format!("A#{place}#{blob}")
}

fn beginning(blob: &Digest) -> String {
    blob.hex().chars().take(BEGINNING).collect()
}

/// Waits for these blobs and nothing else.
pub(super) async fn wait_for(
    table: &Table,
    waiting: &PendingScan,
    place: &str,
    blobs: &[Digest],
    until: Timestamp,
) -> Result<()> {
    let operation = "awaited wait_for";
    let missing: BTreeSet<String> = blobs.iter().map(beginning).collect();
    let mut look = item(
        look_key(&waiting.id),
        [
            ("body", text(&waiting.job)),
            ("since", time(waiting.since)),
            ("blobs", number(i128::try_from(waiting.blobs).unwrap_or(i128::MAX))),
            ("until", time(until)),
            ("unfinished_of", text(WAITING)),
            ("touched", time(waiting.since)),
            ("expires", expires(until, GRACE)),
        ],
    );
    if !missing.is_empty() {
        look.insert("missing".to_owned(), AttributeValue::Ss(missing.into_iter().collect()));
    }
    table.put(operation, look).await?;
    let wait = chance().to_string();
    let leads = |blob: &Digest| {
        item(
            key(blob_partition(place, blob), &waiting.id),
            [("wait", text(&wait)), ("expires", expires(until, GRACE))],
        )
    };
    let blobs: BTreeSet<&Digest> = blobs.iter().collect();
    table.batch_put(operation, blobs.into_iter().map(leads).collect()).await
}

/// The looks that wait for nothing more, of those that waited for this blob.
pub(super) async fn arrived(table: &Table, place: &str, blob: &Digest, now: Timestamp) -> Result<Vec<String>> {
    let query = Query {
        key: "#pk = :blob",
        values: Values::from([(":blob".to_owned(), text(blob_partition(place, blob)))]),
        ..Query::default()
    };
    let leads = table.all("awaited arrived", &query).await?;
    let told = stream::iter(leads.into_iter().map(|lead| arrived_for(table, lead, blob, now)));
    let told: Vec<Option<String>> = told.buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(told.into_iter().flatten().collect())
}

/// The look that `lead` leads to, if it waits for nothing more.
async fn arrived_for(table: &Table, lead: Item, blob: &Digest, now: Timestamp) -> Result<Option<String>> {
    let operation = "awaited arrived";
    let read = text_of(&lead, "sk").and_then(|look| Ok((look, text_of(&lead, "wait")?)));
    let (look, wait) = read.map_err(|answer| table.unreadable(answer, operation))?;
    let change = Change::default()
        .take_out("missing", AttributeValue::Ss(vec![beginning(blob)]))
        .only_if("attribute_exists(#pk)");
    match table.update(operation, look_key(look), change).await? {
        Written::Done(item) => told(&item, now).map_err(|answer| table.unreadable(answer, operation)),
        Written::Refused(_) => {
            let condition = ("#wait = :wait", Values::from([(":wait".to_owned(), text(wait))]));
            table.delete(operation, key_of(&lead), Some(condition)).await?;
            Ok(None)
        }
    }
}

fn told(item: &Item, now: Timestamp) -> Answered<Option<String>> {
    if item.contains_key("missing") || time_of(item, "until")? <= now {
        return Ok(None);
    }
    text_of(item, "body").map(|job| Some(job.to_owned()))
}

/// Waits no more.
pub(super) async fn settle(table: &Table, look: &str) -> Result<()> {
    table.delete("awaited settle", look_key(look), None).await
}

/// Looks that wait, the longest waiting first. One call for the index, one for each 100 found.
pub(super) async fn waiting(table: &Table, limit: usize, now: Timestamp) -> Result<Vec<PendingScan>> {
    let operation = "awaited waiting";
    let query = Query {
        index: Some("unfinished"),
        key: "#unfinished_of = :waiting",
        values: Values::from([(":waiting".to_owned(), text(WAITING))]),
        page: Some(limit.max(1)),
        ..Query::default()
    };
    let mut waiting = Vec::new();
    let mut from = None;
    while waiting.len() < limit {
        let page = table.page(operation, &query, from).await?;
        let keys: Vec<Item> = page.items.iter().map(key_of).collect();
        let items = table.batch_get(operation, keys, true).await?;
        let mut found: HashMap<String, Item> = items.into_iter().map(|item| (partition(&item), item)).collect();
        let in_order = page.items.iter().filter_map(|item| found.remove(&partition(item)));
        waiting.extend(in_order.filter_map(|item| alive(&item, now).ok().flatten()));
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    waiting.truncate(limit);
    Ok(waiting)
}

fn partition(item: &Item) -> String {
    text_of(item, "pk").unwrap_or_default().to_owned()
}

fn alive(item: &Item, now: Timestamp) -> Answered<Option<PendingScan>> {
    if time_of(item, "until")? <= now {
        return Ok(None);
    }
    Ok(Some(PendingScan {
        id: text_of(item, "pk")?.trim_start_matches("W#").to_owned(),
        job: text_of(item, "body")?.to_owned(),
        since: time_of(item, "since")?,
        blobs: number_of(item, "blobs")?,
    }))
}
