//! Lists of executions and tasks, read page by page.

use std::cmp::Reverse;

use crate::ledger::{By, Cursor, ExecutionQuery, History, Page, TaskEntry, TaskQuery};
use crate::{ExecutionRecord, Result, TaskRecord};

/// Items of one page.
const PAGE_ITEMS: usize = 100;

/// The first `limit` executions of the list; 0: all.
pub async fn list_executions(
    history: &dyn History,
    query: &ExecutionQuery,
    limit: usize,
) -> Result<Vec<ExecutionRecord>> {
    collect(limit, |after, limit| async move {
        history.executions(query, after.as_ref(), limit).await
    })
    .await
}

/// One execution; [`None`] if the history has none with this id.
pub async fn find_execution(history: &dyn History, id: &str) -> Result<Option<ExecutionRecord>> {
    history.execution(id).await
}

/// The first `limit` tasks of the list; 0: all. The tasks of one execution are listed newest first too.
pub async fn list_tasks(history: &dyn History, query: &TaskQuery, limit: usize) -> Result<Vec<TaskRecord>> {
    let list = |after: Option<Cursor>, limit| async move { history.tasks(query, after.as_ref(), limit).await };
    if !matches!(query.by, By::Execution(_)) {
        return collect(limit, list).await;
    }
    // An adapter may list them in any order.
    let mut records = collect(0, list).await?;
    records.sort_by_key(|record| Reverse(record.created));
    records.truncate(if limit == 0 { usize::MAX } else { limit });
    Ok(records)
}

/// All tasks of the list as they were first recorded or begun.
pub async fn list_entries(history: &dyn History, query: &TaskQuery) -> Result<Vec<TaskEntry>> {
    collect(0, |after, limit| async move {
        history.entries(query, after.as_ref(), limit).await
    })
    .await
}

/// The first `limit` items of a list; 0: all.
async fn collect<T, F>(limit: usize, mut page: impl FnMut(Option<Cursor>, usize) -> F) -> Result<Vec<T>>
where
    F: Future<Output = Result<Page<T>>>,
{
    let mut items = Vec::new();
    let mut after: Option<Cursor> = None;
    loop {
        let missing = if limit == 0 { PAGE_ITEMS } else { limit - items.len() };
        let read = page(after.take(), missing.min(PAGE_ITEMS)).await?;
        items.extend(read.items);
        after = read.next;
        if after.is_none() || (limit > 0 && items.len() >= limit) {
            return Ok(items);
        }
    }
}
