//! The lists: one statement for each access path, each with its index, read until the page is full.

use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, Result, Row, params_from_iter};
use transship_engine::ledger::{By, ExecutionQuery, PAGE_ITEMS_READ_MAX, Page, TaskQuery};
use transship_engine::{ExecutionRecord, TaskState};

use super::{Position, cursor, executions, tasks};
use crate::column;

const IS_OPEN: &str = "t.state IN ('queued', 'running', 'waiting')";

/// A list: its conditions with the values, and the column of its order.
struct Path {
    conditions: Vec<String>,
    values: Vec<Value>,
    order: &'static str,
}

impl Path {
    fn of(by: &By) -> Self {
        let (condition, values, order) = match by {
            By::Newest => ("TRUE", Vec::new(), "t.created"),
            By::Since(from) => {
                let mut path = Self::new("TRUE", Vec::new(), "t.created");
                path.between(Some(*from), None);
                return path;
            }
            By::Execution(id) => (
                "t.execution_number = (SELECT number FROM history_execution WHERE id = ?)",
                vec![Value::from(id.clone())],
                "t.created",
            ),
            By::Rule { name, from, until } => {
                let mut path = Self::new("t.rule = ?", vec![Value::from(name.clone())], "t.created");
                path.between(*from, *until);
                return path;
            }
            By::Destination { registry, repository } => (
                "t.destination_registry = ? AND t.destination_repository = ?",
                vec![Value::from(registry.clone()), Value::from(repository.to_string())],
                "t.created",
            ),
            By::Open => (IS_OPEN, Vec::new(), "t.touched"),
            By::Failed => ("t.state = 'failed'", Vec::new(), "t.finished"),
        };
        Self::new(condition, values, order)
    }

    fn new(condition: &str, values: Vec<Value>, order: &'static str) -> Self {
        Self {
            conditions: vec![condition.to_owned()],
            values,
            order,
        }
    }

    /// Only what was created in the interval.
    fn between(&mut self, from: Option<Timestamp>, until: Option<Timestamp>) {
        for (bound, operator) in [(from, ">="), (until, "<")] {
            if let Some(bound) = bound {
                self.conditions.push(format!("t.created {operator} ?"));
                self.values.push(Value::from(bound.as_millisecond()));
            }
        }
    }

    /// Only what lies behind the position.
    fn after(&mut self, after: Option<Position>) {
        if let Some((time, number)) = after {
            self.conditions.push(format!("({}, t.number) < (?, ?)", self.order));
            self.values.extend([Value::from(time), Value::from(number)]);
        }
    }

    /// The page of `columns` of rows that `read` admits.
    fn page<T>(
        mut self,
        connection: &Connection,
        columns: &str,
        after: Option<Position>,
        limit: usize,
        read: impl Fn(&Row<'_>) -> Result<Option<T>>,
    ) -> Result<Page<T>> {
        self.after(after);
        let sql = format!(
            "SELECT {order} AS position, {columns} WHERE {condition} ORDER BY {order} DESC, t.number DESC LIMIT {}",
            PAGE_ITEMS_READ_MAX + 1,
            order = self.order,
            condition = self.conditions.join(" AND "),
        );
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params_from_iter(self.values))?;
        let (mut items, mut last, mut count) = (Vec::new(), None, 0);
        while let Some(row) = rows.next()? {
            if items.len() == limit.max(1) || count == PAGE_ITEMS_READ_MAX {
                return Ok(Page {
                    items,
                    next: last.map(cursor),
                });
            }
            count += 1;
            last = Some((row.get("position")?, row.get("number")?));
            items.extend(read(row)?);
        }
        Ok(Page::last(items))
    }
}

/// A page of tasks, each as `read` reads it.
pub(super) fn tasks<T>(
    connection: &Connection,
    query: &TaskQuery,
    after: Option<Position>,
    limit: usize,
    read: fn(&Row<'_>) -> Result<T>,
) -> Result<Page<T>> {
    Path::of(&query.by).page(connection, tasks::COLUMNS, after, limit, |row| {
        let state = column::word(row, "state", TaskState::parse)?;
        let code: Option<String> = row.get("code")?;
        let is_admitted = {
            let is_redriven = row.get::<_, Option<String>>("redriven_by")?.is_some();
            query
                .filter
                .admits(&tasks::entry(row)?, state, code.as_deref(), is_redriven)
        };
        is_admitted.then(|| read(row)).transpose()
    })
}

/// A page of executions.
pub(super) fn executions(
    connection: &Connection,
    query: &ExecutionQuery,
    after: Option<Position>,
    limit: usize,
) -> Result<Page<ExecutionRecord>> {
    let mut path = match &query.rule {
        Some(rule) => Path::new("t.rule = ?", vec![Value::from(rule.clone())], "t.created"),
        None => Path::new("TRUE", Vec::new(), "t.created"),
    };
    path.between(query.from, query.until);
    path.page(connection, "t.* FROM history_execution AS t", after, limit, |row| {
        let record = executions::record(row)?;
        Ok(query.admits(&record).then_some(record))
    })
}
