//! Tasks that have not ended, and tasks that failed: the index `unfinished`, which holds these alone and may be behind, so each
//! task is read from its own item.

use std::collections::{BTreeMap, VecDeque};

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use transship_engine::TaskState;
use transship_engine::ledger::{Cursor, TaskEntry};
use transship_oci::Repository;
use transship_oci::Result;

use super::cursors::{Position, Touched};
use super::items::{TaskItem, read};
use super::keys::FAILED;
use super::lists::Reader;
use super::origins;
use crate::ledger::attributes::{key, key_of, text, time};
use crate::ledger::expression::Values;
use crate::ledger::table::{Item, Query, Table};

const INDEX: &str = "unfinished";

fn of_partition(partition: &str, page: usize) -> Query {
    Query {
        index: Some(INDEX),
        key: "#unfinished_of = :partition",
        values: Values::from([(":partition".to_owned(), text(partition))]),
        is_descending: true,
        page: Some(page),
        ..Query::default()
    }
}

/// The tasks of one origin, the last touched first.
struct Stream {
    partition: String,
    /// Behind this item.
    after: Option<Touched>,
    /// Items that were read ahead.
    ahead: VecDeque<Touched>,
    has_more: bool,
}

impl Stream {
    async fn fill(&mut self, table: &Table, operation: &str, page: usize) -> Result<()> {
        while self.ahead.is_empty() && self.has_more {
            let start = self.after.as_ref().map(|after| after.start(&self.partition));
            let found = table
                .page(operation, &of_partition(&self.partition, page), start)
                .await?;
            self.has_more = found.next.is_some();
            self.ahead
                .extend(found.items.iter().filter_map(|item| Touched::read(item).ok()));
        }
        Ok(())
    }

    fn next(&self) -> Option<i64> {
        self.ahead.front().map(|item| item.at_ms)
    }
}

/// The tasks that have not ended, of one origin or of all, the last touched first.
pub(super) async fn open<T>(
    reader: &mut Reader<'_, T>,
    origin: Option<&str>,
    after: Option<&Cursor>,
) -> Result<Option<Position>> {
    let mut after = Position::of(after, |position| match position {
        Position::Open(after) => Some(after),
        _ => None,
    })?
    .unwrap_or_default();
    let (table, operation) = (reader.table, reader.operation);
    let partitions = match origin {
        Some(origin) => vec![origin.to_owned()],
        None => origins::all(table, operation).await?,
    };
    let mut streams: Vec<Stream> = partitions
        .into_iter()
        .map(|partition| Stream {
            after: after.get(&partition).cloned(),
            partition,
            ahead: VecDeque::new(),
            has_more: true,
        })
        .collect();
    loop {
        let wanted = reader.wanted();
        let mut found: Vec<(String, Touched)> = Vec::new();
        while found.len() < wanted {
            for stream in &mut streams {
                stream.fill(table, operation, wanted).await?;
            }
            let latest = streams.iter_mut().filter(|stream| stream.next().is_some());
            let Some(stream) = latest.max_by_key(|stream| stream.next()) else {
                break;
            };
            if let Some(item) = stream.ahead.pop_front() {
                stream.after = Some(item.clone());
                found.push((stream.partition.clone(), item));
            }
        }
        let is_end = found.len() < wanted;
        let keys = found.iter().map(|(_, item)| key(&item.pk, &item.sk)).collect();
        let items = reader.items_of(keys).await?;
        for ((partition, position), item) in found.into_iter().zip(items) {
            after.insert(partition, position);
            reader.take(item.as_ref(), |task| !task.state.is_terminal());
            if reader.is_full() {
                return Ok(Some(Position::Open(after)));
            }
        }
        if is_end {
            return Ok(None);
        }
    }
}

/// The tasks that failed, the last first.
pub(super) async fn failed<T>(reader: &mut Reader<'_, T>, after: Option<&Cursor>) -> Result<Option<Position>> {
    let mut after = Position::of(after, |position| match position {
        Position::Open(mut after) => after.remove(FAILED),
        _ => None,
    })?;
    loop {
        let start = after.as_ref().map(|after| after.start(FAILED));
        let query = of_partition(FAILED, reader.wanted());
        let page = reader.table.page(reader.operation, &query, start).await?;
        let found: Vec<Touched> = page.items.iter().filter_map(|item| Touched::read(item).ok()).collect();
        let keys = found.iter().map(|item| key(&item.pk, &item.sk)).collect();
        let items = reader.items_of(keys).await?;
        for (position, item) in found.into_iter().zip(items) {
            after = Some(position);
            reader.take(item.as_ref(), |task| task.state == TaskState::Failed);
            if reader.is_full() {
                let position = after.map(|after| BTreeMap::from([(FAILED.to_owned(), after)]));
                return Ok(position.map(Position::Open));
            }
        }
        if page.next.is_none() {
            return Ok(None);
        }
    }
}

/// Tasks last touched before `before`, or after the latest possible time, the longest untouched first. Two calls for the index,
/// one for each 100 found.
pub(super) async fn untouched(
    table: &Table,
    origin: &str,
    (before, latest): (Timestamp, Timestamp),
    limit: usize,
) -> Result<Vec<TaskEntry>> {
    let mut tasks = touched(table, origin, Bound::Before(before), limit).await?;
    if tasks.len() < limit {
        tasks.extend(touched(table, origin, Bound::After(latest), limit - tasks.len()).await?);
    }
    Ok(tasks)
}

/// A bound of the time at which a task was last touched.
#[derive(Clone, Copy)]
enum Bound {
    Before(Timestamp),
    After(Timestamp),
}

/// Tasks that were last touched within `bound`, the longest untouched first.
async fn touched(table: &Table, origin: &str, bound: Bound, limit: usize) -> Result<Vec<TaskEntry>> {
    let operation = "untouched";
    let (key, at) = match bound {
        Bound::Before(at) => ("#unfinished_of = :partition AND #touched < :at", at),
        Bound::After(at) => ("#unfinished_of = :partition AND #touched > :at", at),
    };
    let query = Query {
        key,
        values: Values::from([(":partition".to_owned(), text(origin)), (":at".to_owned(), time(at))]),
        is_descending: false,
        ..of_partition(origin, limit.max(1))
    };
    let is_within = |touched: i64| match bound {
        Bound::Before(at) => touched < at.as_millisecond(),
        Bound::After(at) => touched > at.as_millisecond(),
    };
    let is_left = |task: &TaskItem| !task.state.is_terminal() && is_within(task.touched);
    let mut tasks: Vec<(i64, TaskEntry)> = Vec::new();
    let mut from = None;
    while tasks.len() < limit {
        let page = table.page(operation, &query, from).await?;
        let keys: Vec<Item> = page.items.iter().map(key_of).collect();
        let found = table.batch_get(operation, keys, true).await?;
        let read = found.iter().filter_map(|item| read::<TaskItem>(item).ok());
        let mut found: Vec<(i64, TaskEntry)> = read
            .filter(is_left)
            .filter_map(|task| Some((task.touched, task.entry().ok()?)))
            .collect();
        found.sort_by_key(|(touched, _)| *touched);
        tasks.extend(found);
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    tasks.truncate(limit);
    Ok(tasks.into_iter().map(|(_, task)| task).collect())
}

/// True if a task that reads from the repository, and is not an attachment, has not ended.
pub(super) async fn is_busy(table: &Table, origin: &str, repository: &Repository) -> Result<bool> {
    let query = Query {
        index: Some(INDEX),
        key: "#unfinished_of = :origin",
        filter: Some("#repository = :repository AND #follows = :no".to_owned()),
        values: Values::from([
            (":origin".to_owned(), text(origin)),
            (":repository".to_owned(), text(repository.as_str())),
            (":no".to_owned(), AttributeValue::Bool(false)),
        ]),
        ..Query::default()
    };
    table.any("is_busy", &query).await
}
