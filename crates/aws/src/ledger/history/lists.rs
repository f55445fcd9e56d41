//! The lists of tasks. A task is read from its own item, never from an index, which may be behind.
//!
//! Calls: an index one for each page, items one for each 100; the tasks of executions one for each execution.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use transship_engine::ledger::{By, Cursor, Filter, PAGE_ITEMS_READ_MAX, Page, TaskQuery};
use transship_oci::Result;

use super::cursors::{Position, Spot};
use super::items::{TaskItem, read};
use super::keys;
use super::open;
use super::walk::Walk;
use crate::ledger::attributes::{key, text, text_of};
use crate::ledger::expression::Values;
use crate::ledger::table::{Answered, Item, Query, Table};

/// Partitions that are read at the same time.
const PARALLEL_PARTITIONS: usize = 8;
/// Tasks that are read at once where a filter may leave few of them.
const FILTERED_PAGE_ITEMS: usize = 250;

/// What is read for one page of tasks.
pub(super) struct Reader<'a, T> {
    pub(super) table: &'a Table,
    pub(super) operation: &'static str,
    pub(super) filter: &'a Filter,
    pub(super) limit: usize,
    pub(super) read_item: fn(&TaskItem) -> Answered<T>,
    pub(super) items: Vec<T>,
    /// Items read so far.
    pub(super) count: usize,
}

impl<T> Reader<'_, T> {
    pub(super) fn is_full(&self) -> bool {
        self.items.len() >= self.limit || self.count >= PAGE_ITEMS_READ_MAX
    }

    /// How many items the next call should read.
    pub(super) fn wanted(&self) -> usize {
        let wanted = if *self.filter == Filter::default() {
            self.limit - self.items.len()
        } else {
            FILTERED_PAGE_ITEMS
        };
        wanted.clamp(1, PAGE_ITEMS_READ_MAX - self.count)
    }

    /// Takes the task of an item, if it passes `is_meant` and the filter. An item that cannot be read is left out, loudly: it
    /// must not hide all others.
    pub(super) fn take(&mut self, item: Option<&Item>, is_meant: impl Fn(&TaskItem) -> bool) {
        self.count += 1;
        let Some(item) = item else { return };
        let read = read::<TaskItem>(item).and_then(|task| {
            let entry = task.entry()?;
            if is_meant(&task) && self.filter.admits(&entry, task.state, task.code(), task.is_redriven()) {
                return (self.read_item)(&task).map(Some);
            }
            Ok(None)
        });
        match read {
            Ok(task) => self.items.extend(task),
            Err(error) => {
                let error = self.table.unreadable(error, self.operation);
                tracing::warn!(code = error.code(), %error, "an item is not listed");
            }
        }
    }

    /// The item of each of these keys, as it is now.
    pub(super) async fn items_of(&self, keys: Vec<Item>) -> Result<Vec<Option<Item>>> {
        let name = |item: &Item| {
            let part = |name| text_of(item, name).unwrap_or_default().to_owned();
            (part("pk"), part("sk"))
        };
        let order: Vec<_> = keys.iter().map(name).collect();
        let found = self.table.batch_get(self.operation, keys, true).await?;
        let mut found: HashMap<_, Item> = found.into_iter().map(|item| (name(&item), item)).collect();
        Ok(order.iter().map(|name| found.remove(name)).collect())
    }

    fn page(self, position: Option<Position>) -> Page<T> {
        Page {
            items: self.items,
            next: position.map(|position| position.cursor()),
        }
    }
}

/// A page of tasks, each as `read_item` reads it.
pub(super) async fn tasks<T>(
    table: &Table,
    query: &TaskQuery,
    after: Option<&Cursor>,
    limit: usize,
    retention: Duration,
    read_item: fn(&TaskItem) -> Answered<T>,
) -> Result<Page<T>> {
    let mut reader = Reader {
        table,
        operation: "tasks",
        filter: &query.filter,
        limit: limit.max(1),
        read_item,
        items: Vec::new(),
        count: 0,
    };
    let position = match &query.by {
        By::Execution(id) => of_execution(&mut reader, id, after).await?,
        By::Newest => of_executions(&mut reader, None, (None, None), retention, after).await?,
        By::Since(from) => of_executions(&mut reader, None, (Some(*from), None), retention, after).await?,
        By::Rule { name, from, until } => {
            of_executions(&mut reader, Some(name), (*from, *until), retention, after).await?
        }
        By::Destination { registry, repository } => {
            let list = keys::destination_list(registry, repository);
            of_list(&mut reader, &list, after).await?
        }
        By::Open => open::open(&mut reader, query.filter.origin.as_deref(), after).await?,
        By::Failed => open::failed(&mut reader, after).await?,
    };
    Ok(reader.page(position))
}

/// Some tasks of an execution, behind `after`, and whether there are more.
pub(super) async fn some_of(
    table: &Table,
    operation: &str,
    partition: &str,
    after: Option<&String>,
    limit: usize,
) -> Result<(Vec<Item>, bool)> {
    let query = Query {
        key: "#pk = :pk AND begins_with(#sk, :tasks)",
        values: Values::from([
            (":pk".to_owned(), text(partition)),
            (":tasks".to_owned(), text(keys::TASKS)),
        ]),
        page: Some(limit),
        ..Query::default()
    };
    let start = after.map(|after| key(partition, after));
    let page = table.page(operation, &query, start).await?;
    Ok((page.items, page.next.is_some()))
}

async fn of_execution<T>(reader: &mut Reader<'_, T>, id: &str, after: Option<&Cursor>) -> Result<Option<Position>> {
    let mut after = Position::of(after, |position| match position {
        Position::Tasks(sort) => Some(sort),
        _ => None,
    })?;
    let partition = keys::partition(id);
    loop {
        let wanted = reader.wanted();
        let (items, has_more) = some_of(reader.table, reader.operation, &partition, after.as_ref(), wanted).await?;
        let count = items.len();
        for (number, item) in items.iter().enumerate() {
            after = text_of(item, "sk").ok().map(str::to_owned);
            reader.take(Some(item), |_| true);
            if reader.is_full() {
                let is_last = number + 1 == count && !has_more;
                return Ok(after.filter(|_| !is_last).map(Position::Tasks));
            }
        }
        if !has_more {
            return Ok(None);
        }
    }
}

/// The tasks of executions, the newest execution first.
async fn of_executions<T>(
    reader: &mut Reader<'_, T>,
    rule: Option<&str>,
    interval: (Option<jiff::Timestamp>, Option<jiff::Timestamp>),
    retention: Duration,
    after: Option<&Cursor>,
) -> Result<Option<Position>> {
    let after = Position::of(after, |position| match position {
        Position::Executions { spot, task } => Some((spot, task)),
        _ => None,
    })?;
    let (table, operation) = (reader.table, reader.operation);
    let spot = after.as_ref().map(|(spot, _)| spot.clone());
    let mut walk = Walk::new(table, operation, rule, interval, retention, spot);
    // The execution that the page before stopped in is read first.
    let mut begun: Vec<(Spot, Option<String>)> = after.into_iter().filter(|(_, task)| task.is_some()).collect();
    loop {
        let width = (PAGE_ITEMS_READ_MAX / reader.wanted()).clamp(1, PARALLEL_PARTITIONS);
        let next = if begun.is_empty() {
            let spots = walk.next(width).await?;
            spots.into_iter().map(|spot| (spot, None)).collect()
        } else {
            std::mem::take(&mut begun)
        };
        if next.is_empty() {
            return Ok(None);
        }
        let wanted = reader.wanted();
        let first_tasks: Vec<_> = stream::iter(next)
            .map(|(spot, task)| async move {
                let tasks = some_of(table, operation, &spot.pk, task.as_ref(), wanted).await?;
                Ok::<_, transship_oci::Error>((spot, tasks))
            })
            .buffered(PARALLEL_PARTITIONS)
            .try_collect()
            .await?;
        for (spot, (mut items, mut has_more)) in first_tasks {
            let mut task = None;
            loop {
                let count = items.len();
                for (number, item) in items.iter().enumerate() {
                    task = text_of(item, "sk").ok().map(str::to_owned);
                    reader.take(Some(item), |_| true);
                    if reader.is_full() {
                        let is_last = number + 1 == count && !has_more;
                        let task = task.filter(|_| !is_last);
                        return Ok(Some(Position::Executions { spot, task }));
                    }
                }
                if !has_more {
                    break;
                }
                (items, has_more) = some_of(table, operation, &spot.pk, task.as_ref(), reader.wanted()).await?;
            }
        }
    }
}

/// The tasks of a partition of `lists`.
async fn of_list<T>(reader: &mut Reader<'_, T>, list: &str, after: Option<&Cursor>) -> Result<Option<Position>> {
    let mut after = Position::of(after, |position| match position {
        Position::Listed(spot) => Some(spot),
        _ => None,
    })?;
    loop {
        let query = Query {
            index: Some("lists"),
            key: "#list = :list",
            values: Values::from([(":list".to_owned(), text(list))]),
            is_descending: true,
            page: Some(reader.wanted()),
            ..Query::default()
        };
        let start = after.as_ref().map(|after| after.start("list", "list_order"));
        let page = reader.table.page(reader.operation, &query, start).await?;
        let spots: Vec<Spot> = page
            .items
            .iter()
            .filter_map(|item| Spot::read(item, "list", "list_order").ok())
            .collect();
        let keys = spots.iter().map(|spot| key(&spot.pk, &spot.sk)).collect();
        let items = reader.items_of(keys).await?;
        let (count, has_more) = (spots.len(), page.next.is_some());
        for (number, (spot, item)) in (1..).zip(spots.into_iter().zip(items)) {
            after = Some(spot);
            reader.take(item.as_ref(), |_| true);
            if reader.is_full() {
                let is_last = number == count && !has_more;
                return Ok(after.filter(|_| !is_last).map(Position::Listed));
            }
        }
        if !has_more {
            return Ok(None);
        }
    }
}
