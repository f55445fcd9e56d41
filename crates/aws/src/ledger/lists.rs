//! The lists of executions and tasks: the months backwards, and each execution's partition. For people and their tools, so
//! the calls grow with what is listed.

use std::cmp::Reverse;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan as _};
use transship_engine::{ExecutionRecord, Result, TaskFilter, TaskState};

use super::attributes::{task, text, text_of};
use super::executions;
use super::expression::Values;
use super::table::{Answered, Item, Query, Table};

/// Partitions that are read at the same time.
const PARALLEL: usize = 8;
/// The most executions that one page of a month tells.
const PAGE_MAX: usize = 1000;
/// A clock may be ahead of ours.
const AHEAD: Duration = Duration::from_hours(1);

/// The newest executions with their totals; `limit` 0: all.
pub(super) async fn executions(table: &Table, limit: usize, retention: Duration) -> Result<Vec<ExecutionRecord>> {
    let operation = "ledger executions";
    let mut newest = Newest::new(table, operation, limit, retention);
    let mut records = Vec::new();
    while let Some(partitions) = newest.next().await? {
        for items in read(table, operation, partitions, None).await? {
            records.extend(readable(table, operation, executions::record(&items)));
        }
        if limit > 0 && records.len() >= limit {
            records.truncate(limit);
            break;
        }
    }
    Ok(records)
}

/// Tasks, newest first, each as `read_item` reads it. Between executions their order is that of the executions, whose tasks
/// were created with them.
pub(super) async fn tasks<T>(
    table: &Table,
    filter: &TaskFilter,
    retention: Duration,
    read_item: fn(&Item) -> Answered<T>,
) -> Result<Vec<T>> {
    let operation = "ledger tasks";
    let mut items = match &filter.execution {
        Some(execution) => {
            table
                .all(operation, &of_partition(executions::partition(execution), filter.state))
                .await?
        }
        None => tasks_of_all(table, operation, filter, retention).await?,
    };
    items.retain(|item| text_of(item, "sk").is_ok_and(|sort| sort != executions::OWN));
    items.sort_by_cached_key(|item| task(item).map(|task| Reverse((task.created, task.id))).ok());
    let limit = if filter.limit == 0 { usize::MAX } else { filter.limit };
    let read = items
        .iter()
        .filter_map(|item| readable(table, operation, read_item(item)));
    Ok(read.take(limit).collect())
}

async fn tasks_of_all(
    table: &Table,
    operation: &'static str,
    filter: &TaskFilter,
    retention: Duration,
) -> Result<Vec<Item>> {
    let mut newest = Newest::new(table, operation, filter.limit, retention);
    let mut items = Vec::new();
    while let Some(partitions) = newest.next().await? {
        let read = read(table, operation, partitions, filter.state).await?;
        items.extend(read.into_iter().flatten());
        if filter.limit > 0 && items.len() >= filter.limit {
            break;
        }
    }
    Ok(items)
}

/// The items of each partition, in the order of the partitions.
async fn read(
    table: &Table,
    operation: &'static str,
    partitions: Vec<String>,
    state: Option<TaskState>,
) -> Result<Vec<Vec<Item>>> {
    let queries: Vec<Query> = partitions
        .into_iter()
        .map(|partition| of_partition(partition, state))
        .collect();
    let answers: Vec<Result<Vec<Item>>> = stream::iter(queries)
        .map(|query| async move { table.all(operation, &query).await })
        .buffered(PARALLEL)
        .collect()
        .await;
    answers.into_iter().collect()
}

fn of_partition(partition: String, state: Option<TaskState>) -> Query {
    let mut values = Values::from([(":pk".to_owned(), text(partition))]);
    let filter = state.map(|state| {
        values.insert(":state".to_owned(), text(state.as_str()));
        "#state = :state".to_owned()
    });
    Query {
        key: "#pk = :pk",
        filter,
        values,
        ..Query::default()
    }
}

/// What cannot be read is left out, loudly: one strange item must not hide all others.
fn readable<T>(table: &Table, operation: &str, read: Answered<T>) -> Option<T> {
    let read = read.map_err(|answer| table.unreadable(answer, operation));
    read.inspect_err(|error| tracing::warn!(code = error.code(), %error, "an item is not listed"))
        .ok()
}

/// The partitions of executions, newest first, from this month back to what the retention left.
struct Newest<'a> {
    table: &'a Table,
    operation: &'static str,
    page: usize,
    month: Option<Date>,
    oldest: String,
    from: Option<Item>,
}

impl<'a> Newest<'a> {
    fn new(table: &'a Table, operation: &'static str, limit: usize, retention: Duration) -> Self {
        let now = Timestamp::now();
        let date = |time: Timestamp| time.to_zoned(TimeZone::UTC).date();
        Self {
            table,
            operation,
            page: if limit == 0 { PAGE_MAX } else { limit.min(PAGE_MAX) },
            month: Some(date(now.saturating_add(AHEAD).unwrap_or(now))),
            oldest: executions::month(now.saturating_sub(retention).unwrap_or(Timestamp::MIN)),
            from: None,
        }
    }

    /// Some more, at least one; [`None`] at the end.
    async fn next(&mut self) -> Result<Option<Vec<String>>> {
        while let Some(date) = self.month {
            let month = date.strftime("%Y-%m").to_string();
            if month < self.oldest {
                break;
            }
            let query = Query {
                index: Some("months"),
                key: "#month = :month",
                values: Values::from([(":month".to_owned(), text(&month))]),
                is_descending: true,
                page: Some(self.page),
                ..Query::default()
            };
            let page = self.table.page(self.operation, &query, self.from.take()).await?;
            self.from = page.next;
            if self.from.is_none() {
                self.month = before(date);
            }
            let partitions: Vec<String> = page
                .items
                .iter()
                .filter_map(|item| text_of(item, "pk").ok())
                .map(str::to_owned)
                .collect();
            if !partitions.is_empty() {
                return Ok(Some(partitions));
            }
        }
        Ok(None)
    }
}

/// A day of the month before.
fn before(date: Date) -> Option<Date> {
    let month: Span = 1.month();
    date.first_of_month().checked_sub(month).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_walked_backwards_over_the_year() {
        let mut date: Date = "2026-03-31".parse().unwrap();
        let mut months = Vec::new();
        for _ in 0..4 {
            months.push(date.strftime("%Y-%m").to_string());
            date = before(date).unwrap();
        }
        assert_eq!(months, ["2026-03", "2026-02", "2026-01", "2025-12"]);
    }
}
