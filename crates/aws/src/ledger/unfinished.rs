//! Tasks that have not ended, by the registry they read from: an index that holds them alone, and may be behind.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use transship_engine::{Result, TaskEntry};
use transship_oci::Repository;

use super::attributes::{key_of, state_of, task, text, text_of, time, time_of};
use super::expression::Values;
use super::table::{Item, Query, Table};

const INDEX: &str = "unfinished";

/// Tasks last touched before `before`, the longest untouched first. One call for the index, one for each 100 found: the
/// index may be behind, so each is looked at itself.
pub(super) async fn list(table: &Table, registry: &str, before: Timestamp, limit: usize) -> Result<Vec<TaskEntry>> {
    let operation = "ledger unfinished";
    let query = Query {
        index: Some(INDEX),
        key: "#unfinished_of = :registry AND #touched < :before",
        values: Values::from([
            (":registry".to_owned(), text(registry)),
            (":before".to_owned(), time(before)),
        ]),
        page: Some(limit.max(1)),
        ..Query::default()
    };
    let mut tasks = Vec::new();
    let mut from = None;
    while tasks.len() < limit {
        let page = table.page(operation, &query, from).await?;
        let keys: Vec<Item> = page.items.iter().map(key_of).collect();
        let mut found: HashMap<String, Item> = table
            .batch_get(operation, keys, true)
            .await?
            .into_iter()
            .map(|item| (name(&item), item))
            .collect();
        let in_order = page.items.iter().filter_map(|item| found.remove(&name(item)));
        tasks.extend(
            in_order
                .filter(|item| is_left(item, before))
                .filter_map(|item| task(&item).ok()),
        );
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    tasks.truncate(limit);
    Ok(tasks)
}

fn name(item: &Item) -> String {
    let part = |name| text_of(item, name).unwrap_or_default();
    format!("{} {}", part("pk"), part("sk"))
}

fn is_left(item: &Item, before: Timestamp) -> bool {
    state_of(item).is_ok_and(|state| !state.is_terminal())
        && time_of(item, "touched").is_ok_and(|touched| touched < before)
}

/// True if a task that reads from the repository, and does not follow another, has not ended.
pub(super) async fn is_busy(table: &Table, registry: &str, repository: &Repository) -> Result<bool> {
    let query = Query {
        index: Some(INDEX),
        key: "#unfinished_of = :registry",
        filter: Some("#repository = :repository AND #follows = :no".to_owned()),
        values: Values::from([
            (":registry".to_owned(), text(registry)),
            (":repository".to_owned(), text(repository.as_str())),
            (":no".to_owned(), AttributeValue::Bool(false)),
        ]),
        ..Query::default()
    };
    table.any("ledger is_busy", &query).await
}
