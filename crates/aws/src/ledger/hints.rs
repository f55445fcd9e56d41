//! Hints: an item for each, in the partition of its family. One call each, but for many keys: one for each 100 that are read
//! and 25 that are written.

use std::collections::HashMap;

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use transship_engine::ledger::{Freshness, Hint, Hints, Key, Put};
use transship_oci::Result;

use super::DynamoLedger;
use super::attributes::{EXPIRY_GRACE, expires, item, key, text, text_of, text_option, time, time_option};
use super::expression::{Change, Values};
use super::table::{Answered, Item, Query, Written};

/// Items that one page of children reads, at most.
const CHILDREN_PAGE_ITEMS: usize = 1000;

fn key_of(key_of_hint: &Key) -> Item {
    key(&key_of_hint.family, &key_of_hint.name)
}

fn item_of(hint: &Hint) -> Item {
    item(
        key_of(&hint.key),
        [
            ("value", text(&hint.value)),
            ("until", time(hint.expires)),
            ("expires", expires(hint.expires, EXPIRY_GRACE)),
        ],
    )
}

/// The value, unless it expired.
fn value(item: &Item, now: Timestamp) -> Answered<Option<String>> {
    if time_option(item, "until")?.is_some_and(|until| until <= now) {
        return Ok(None);
    }
    Ok(text_option(item, "value").map(str::to_owned).or_else(|| released(item)))
}

/// Blob locations as the previous release wrote them: a list, which the table deletes when it expires.
fn released(item: &Item) -> Option<String> {
    let repositories = item.get("repositories")?.as_l().ok()?;
    let names: Option<Vec<&String>> = repositories.iter().map(|name| name.as_s().ok()).collect();
    serde_json::to_string(&names?).ok()
}

fn read(item: &Item, now: Timestamp) -> Answered<Option<(Key, String)>> {
    let key = Key::new(text_of(item, "pk")?, text_of(item, "sk")?);
    Ok(value(item, now)?.map(|value| (key, value)))
}

#[async_trait]
impl Hints for DynamoLedger {
    async fn get(&self, keys: &[Key], now: Timestamp, freshness: Freshness) -> Result<HashMap<Key, String>> {
        let different: HashMap<&Key, Item> = keys.iter().map(|key| (key, key_of(key))).collect();
        let wanted = different.into_values().collect();
        let is_exact = freshness == Freshness::Exact;
        let items = self.table.batch_get("hints_get", wanted, is_exact).await?;
        // What cannot be read is as good as lost.
        Ok(items.iter().filter_map(|item| read(item, now).ok().flatten()).collect())
    }

    async fn put(&self, hints: &[Hint]) -> Result<()> {
        let different: HashMap<&Key, &Hint> = hints.iter().map(|hint| (&hint.key, hint)).collect();
        let mut items: Vec<Item> = different.into_values().map(item_of).collect();
        match items.pop() {
            Some(only) if items.is_empty() => self.table.put("hints_put", only).await,
            Some(last) => {
                items.push(last);
                self.table.batch_put("hints_put", items).await
            }
            None => Ok(()),
        }
    }

    async fn put_if(&self, hint: &Hint, expected: Option<&str>, now: Timestamp) -> Result<Put> {
        let operation = "hints_put_if";
        let change = Change::default()
            .set("value", text(&hint.value))
            .set("until", time(hint.expires))
            .set("expires", expires(hint.expires, EXPIRY_GRACE))
            .value("now", time(now));
        let change = match expected {
            None => change.only_if("attribute_not_exists(#until) OR #until <= :now"),
            Some(expected) => change
                .only_if("#value = :expected AND #until > :now")
                .value("expected", text(expected)),
        };
        match self.table.update(operation, key_of(&hint.key), change).await? {
            Written::Done(_) => Ok(Put::Done),
            Written::Refused(item) => {
                let known = value(&item, now).map_err(|error| self.table.unreadable(error, operation))?;
                Ok(Put::Refused(known))
            }
        }
    }

    async fn remove(&self, key: &Key, expected: Option<&str>) -> Result<()> {
        let condition = expected.map(|expected| {
            let values = Values::from([(":expected".to_owned(), text(expected))]);
            ("#value = :expected", values)
        });
        self.table.delete("hints_remove", key_of(key), condition).await
    }

    async fn children(&self, family: &str, limit: usize, now: Timestamp) -> Result<Vec<(Key, String)>> {
        let query = Query {
            key: "#pk = :family",
            values: Values::from([(":family".to_owned(), AttributeValue::S(family.to_owned()))]),
            page: (limit < CHILDREN_PAGE_ITEMS).then_some(limit.max(1)),
            ..Query::default()
        };
        let mut children = Vec::new();
        let mut from = None;
        while children.len() < limit {
            let page = self.table.page("hints_children", &query, from).await?;
            children.extend(page.items.iter().filter_map(|item| read(item, now).ok().flatten()));
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        children.truncate(limit);
        Ok(children)
    }
}
