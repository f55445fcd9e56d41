//! The list of executions, and one of them.
//!
//! Calls: an index one for each page, the executions of events one for each 100, each other execution one.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use transship_engine::ledger::{Cursor, ExecutionQuery, PAGE_ITEMS_READ_MAX, Page};
use transship_engine::{ExecutionRecord, Trigger};
use transship_oci::Result;

use super::cursors::{Position, Spot};
use super::items::read;
use super::keys;
use super::lists::some_of;
use super::totals::{ExecutionItem, is_own};
use super::walk::Walk;
use crate::ledger::attributes::{key, text, text_of};
use crate::ledger::expression::Values;
use crate::ledger::table::{Item, Query, Table};

/// Executions that are read at the same time.
const PARALLEL_EXECUTIONS: usize = 8;
/// Tasks of an execution of the previous release that are counted to show its totals.
const RELEASED_TASKS_MAX: usize = 10_000;

/// A page of executions.
pub(super) async fn list(
    table: &Table,
    query: &ExecutionQuery,
    after: Option<&Cursor>,
    limit: usize,
    retention: Duration,
) -> Result<Page<ExecutionRecord>> {
    let (operation, limit) = ("executions", limit.max(1));
    let after = Position::of(after, |position| match position {
        Position::Executions { spot, .. } => Some(spot),
        _ => None,
    })?;
    let interval = (query.from, query.until);
    let mut walk = Walk::new(table, operation, query.rule.as_deref(), interval, retention, after);
    let (mut records, mut count) = (Vec::new(), 0);
    loop {
        let wanted = (limit - records.len()).min(PAGE_ITEMS_READ_MAX - count);
        let spots = walk.next(wanted).await?;
        let Some(last) = spots.last().cloned() else {
            return Ok(Page::last(records));
        };
        count += spots.len();
        for record in read_executions(table, operation, &spots).await? {
            records.extend(query.admits(&record).then_some(record));
        }
        if records.len() >= limit || count >= PAGE_ITEMS_READ_MAX {
            let position = Position::Executions { spot: last, task: None };
            return Ok(Page {
                items: records,
                next: Some(position.cursor()),
            });
        }
    }
}

/// The executions of these keys, in their order. Those of events are read together; each other one is read with its counters.
async fn read_executions(table: &Table, operation: &'static str, spots: &[Spot]) -> Result<Vec<ExecutionRecord>> {
    let keys = spots.iter().map(|spot| key(&spot.pk, keys::OWN)).collect();
    let found = table.batch_get(operation, keys, true).await?;
    let found: HashMap<&str, &Item> = found
        .iter()
        .filter_map(|item| Some((text_of(item, "pk").ok()?, item)))
        .collect();
    let in_order = spots.iter().filter_map(|spot| found.get(spot.pk.as_str()));
    let items: Vec<Item> = in_order.map(|item| (*item).clone()).collect();
    let records: Vec<Option<ExecutionRecord>> = stream::iter(items)
        .map(|item| async move {
            let needs_more = read::<ExecutionItem>(&item)
                .is_ok_and(|execution| execution.trigger != Trigger::Event || execution.total.is_none());
            let items = if needs_more {
                counters(table, operation, text_of(&item, "pk").unwrap_or_default()).await?
            } else {
                vec![item]
            };
            completed(table, operation, items).await
        })
        .buffered(PARALLEL_EXECUTIONS)
        .try_collect()
        .await?;
    Ok(records.into_iter().flatten().collect())
}

/// One execution.
pub(super) async fn find(table: &Table, id: &str) -> Result<Option<ExecutionRecord>> {
    let operation = "execution";
    let items = counters(table, operation, &keys::partition(id)).await?;
    completed(table, operation, items).await
}

/// An execution's own item and its counters.
async fn counters(table: &Table, operation: &str, partition: &str) -> Result<Vec<Item>> {
    let query = Query {
        key: "#pk = :pk AND #sk < :tasks",
        values: Values::from([
            (":pk".to_owned(), text(partition)),
            (":tasks".to_owned(), text(keys::TASKS)),
        ]),
        ..Query::default()
    };
    table.all(operation, &query).await
}

/// The record of an execution from its own item and its counters. One of the previous release has no counters: its tasks are
/// read. One that cannot be read is left out, loudly.
async fn completed(table: &Table, operation: &str, mut items: Vec<Item>) -> Result<Option<ExecutionRecord>> {
    let Some(own) = items.iter().find(|item| is_own(item)).cloned() else {
        return Ok(None);
    };
    let record = match read::<ExecutionItem>(&own) {
        Ok(execution) => {
            if execution.total.is_none() {
                let partition = text_of(&own, "pk").unwrap_or_default();
                let mut after: Option<String> = None;
                while items.len() < RELEASED_TASKS_MAX {
                    let (tasks, has_more) =
                        some_of(table, operation, partition, after.as_ref(), PAGE_ITEMS_READ_MAX).await?;
                    after = tasks
                        .last()
                        .and_then(|item| text_of(item, "sk").ok())
                        .map(str::to_owned);
                    items.extend(tasks);
                    if !has_more {
                        break;
                    }
                }
            }
            execution.record(&items)
        }
        Err(error) => Err(error),
    };
    let record = record.map_err(|error| table.unreadable(error, operation));
    Ok(record
        .inspect_err(|error| tracing::warn!(code = error.code(), %error, "an execution is not listed"))
        .ok())
}
