//! A ledger that lives as long as the process: tests of the engine, and the reference the suites were written against.

mod hints;
mod history;
mod records;
mod replicas;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use transship_copy::Continuation;
use transship_engine::{
    Begin, Bytes, Execution, ExecutionRecord, ExecutionState, ImageRef, Ledger, Outcome, Replica, Result, TaskEntry,
    TaskFilter, TaskRecord, TaskState,
};
use transship_oci::{Digest, Repository, Tag, Target};

/// How many repositories are remembered for a blob.
const LOCATIONS_MAX: usize = 3;

/// How many unfinished intents are remembered for a tag.
const EARLIER_MAX: usize = 8;

/// A [`Ledger`] in memory.
#[derive(Debug, Default)]
pub struct MemoryLedger {
    state: Mutex<State>,
    history: Mutex<history::State>,
    hints: Mutex<hints::State>,
    records: Mutex<records::State>,
}

#[derive(Debug, Default)]
struct State {
    executions: Vec<Execution>,
    tasks: Vec<Row>,
    replicas: HashMap<ImageRef, Replica>,
    leases: HashMap<String, (String, Timestamp)>,
    locations: HashMap<(String, Digest), Vec<Repository>>,
    pauses: HashMap<String, Timestamp>,
    continuations: HashMap<(String, Digest), (Continuation, Timestamp)>,
}

#[derive(Debug)]
struct Row {
    task: TaskEntry,
    touched: Timestamp,
    record: TaskRecord,
}

impl MemoryLedger {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn execution_add(&mut self, execution: &Execution) {
        if !self.executions.iter().any(|known| known.id == execution.id) {
            self.executions.push(execution.clone());
        }
    }

    fn task_add(&mut self, task: &TaskEntry) {
        if !self.tasks.iter().any(|row| row.record.id == task.id) {
            self.tasks.push(Row {
                task: task.clone(),
                touched: task.created,
                record: queued(task),
            });
        }
    }

    fn row(&mut self, id: &str) -> Option<&mut Row> {
        self.tasks.iter_mut().find(|row| row.task.id == id)
    }

    fn open_row(&mut self, id: &str) -> Option<&mut Row> {
        self.row(id).filter(|row| !row.record.state.is_terminal())
    }

    fn execution_record(&self, execution: &Execution) -> ExecutionRecord {
        let rows: Vec<_> = self
            .tasks
            .iter()
            .filter(|row| row.record.execution == execution.id)
            .collect();
        let count = |test: fn(TaskState) -> bool| rows.iter().filter(|row| test(row.record.state)).count() as u64;
        let total = rows.len() as u64;
        let succeeded = count(TaskState::is_success);
        let state = ExecutionState::derive(total, count(TaskState::is_terminal), succeeded);
        let last = rows.iter().filter_map(|row| row.record.finished).max();
        let duration = last.unwrap_or(execution.created).duration_since(execution.created);
        let repositories: BTreeSet<_> = rows
            .iter()
            .map(|row| (&row.task.destination_registry, &row.task.destination_repository))
            .collect();
        ExecutionRecord {
            id: execution.id.clone(),
            rule: execution.rule.clone(),
            trigger: execution.trigger,
            created: execution.created,
            duration_ms: (state != ExecutionState::Running)
                .then(|| u64::try_from(duration.as_millis()).unwrap_or_default()),
            state,
            success_ratio: if total == 0 {
                1.0
            } else {
                succeeded as f64 / total as f64
            },
            repositories: repositories.len() as u64,
            bytes: rows
                .iter()
                .map(|row| row.record.bytes.copied + row.record.bytes.mounted)
                .sum(),
        }
    }
}

impl Row {
    fn is_meant(&self, filter: &TaskFilter) -> bool {
        filter.execution.as_ref().is_none_or(|id| self.record.execution == *id)
            && filter.state.is_none_or(|state| self.record.state == state)
    }
}

fn queued(task: &TaskEntry) -> TaskRecord {
    TaskRecord {
        id: task.id.clone(),
        execution: task.execution.id.clone(),
        rule: task.execution.rule.clone(),
        action: task.action,
        source: task.source.clone(),
        destination: task.destination.clone(),
        digest: task.digest.clone(),
        state: TaskState::Queued,
        code: None,
        message: None,
        attempts: 0,
        created: task.created,
        next: None,
        finished: None,
        bytes: Bytes::default(),
    }
}

/// `limit` 0 means all.
fn newest_first<T>(mut items: Vec<T>, created: impl Fn(&T) -> Timestamp, limit: usize) -> Vec<T> {
    items.reverse();
    items.sort_by_key(|item| std::cmp::Reverse(created(item)));
    if limit > 0 {
        items.truncate(limit);
    }
    items
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn record(&self, execution: &Execution, tasks: &[TaskEntry]) -> Result<()> {
        let mut state = self.state();
        state.execution_add(execution);
        for task in tasks {
            state.task_add(task);
        }
        Ok(())
    }

    async fn begin(&self, task: &TaskEntry, now: Timestamp) -> Result<Begin> {
        let mut state = self.state();
        state.execution_add(&task.execution);
        state.task_add(task);
        Ok(match state.row(&task.id) {
            Some(row) if row.record.state.is_terminal() => Begin::Finished(row.record.state),
            Some(row) => {
                row.touched = now;
                let record = &mut row.record;
                record.state = TaskState::Running;
                record.attempts += 1;
                record.next = None;
                Begin::Attempt(record.attempts)
            }
            None => Begin::Attempt(1),
        })
    }

    async fn wait(&self, task: &TaskEntry, code: &str, message: &str, next: Timestamp) -> Result<()> {
        if let Some(row) = self.state().open_row(&task.id) {
            row.touched = next;
            let record = &mut row.record;
            record.state = TaskState::Waiting;
            record.code = Some(code.to_owned());
            record.message = Some(message.to_owned());
            record.next = Some(next);
        }
        Ok(())
    }

    async fn finish(&self, task: &TaskEntry, outcome: &Outcome, replicas: &[Replica]) -> Result<bool> {
        let mut state = self.state();
        for replica in replicas {
            state.replicas.insert(replica.destination.clone(), replica.clone());
        }
        let Some(Row { record, .. }) = state.open_row(&task.id) else {
            return Ok(false);
        };
        record.state = outcome.state;
        record.digest.clone_from(&outcome.digest);
        record.code.clone_from(&outcome.code);
        record.message.clone_from(&outcome.message);
        record.bytes = outcome.bytes;
        record.finished = Some(outcome.finished);
        record.next = None;
        Ok(true)
    }

    async fn tasks(&self, filter: &TaskFilter) -> Result<Vec<TaskRecord>> {
        let matching = self
            .state()
            .tasks
            .iter()
            .filter(|row| row.is_meant(filter))
            .map(|row| row.record.clone())
            .collect();
        Ok(newest_first(
            matching,
            |record: &TaskRecord| record.created,
            filter.limit,
        ))
    }

    async fn executions(&self, limit: usize) -> Result<Vec<ExecutionRecord>> {
        let state = self.state();
        let all = state
            .executions
            .iter()
            .map(|execution| state.execution_record(execution))
            .collect();
        Ok(newest_first(all, |record: &ExecutionRecord| record.created, limit))
    }

    async fn originals(&self, filter: &TaskFilter) -> Result<Vec<TaskEntry>> {
        let matching = self
            .state()
            .tasks
            .iter()
            .filter(|row| row.is_meant(filter))
            .map(|row| row.task.clone())
            .collect();
        Ok(newest_first(matching, |task: &TaskEntry| task.created, filter.limit))
    }

    async fn unfinished(&self, registry: &str, before: Timestamp, limit: usize) -> Result<Vec<TaskEntry>> {
        let state = self.state();
        let mut rows: Vec<_> = state
            .tasks
            .iter()
            .filter(|row| !row.record.state.is_terminal() && row.touched < before)
            .filter(|row| row.task.origin == registry)
            .collect();
        rows.sort_by_key(|row| row.touched);
        Ok(rows.into_iter().take(limit).map(|row| row.task.clone()).collect())
    }

    async fn is_busy(&self, registry: &str, repository: &Repository) -> Result<bool> {
        Ok(self.state().tasks.iter().any(|row| {
            !row.task.is_attachment
                && !row.record.state.is_terminal()
                && row.task.origin == registry
                && row.task.source_repository.as_ref() == Some(repository)
        }))
    }

    async fn replica(&self, registry: &str, repository: &Repository, tag: &Tag) -> Result<Option<Replica>> {
        let place = ImageRef {
            registry: registry.to_owned(),
            repository: repository.clone(),
            target: Target::Tag(tag.clone()),
        };
        Ok(self.state().replicas.get(&place).cloned())
    }

    async fn replica_intend(&self, replica: &Replica) -> Result<()> {
        let mut state = self.state();
        let known = state.replicas.get(&replica.destination);
        let manifests = known.map(|known| known.manifests.clone()).unwrap_or_default();
        let mut earlier: Vec<Digest> = known
            .into_iter()
            .flat_map(|known| std::iter::once(&known.digest).chain(&known.earlier))
            .filter(|old| **old != replica.digest)
            .cloned()
            .collect();
        earlier.truncate(EARLIER_MAX);
        let intended = Replica {
            earlier,
            manifests,
            ..replica.clone()
        };
        state.replicas.insert(intended.destination.clone(), intended);
        Ok(())
    }

    async fn is_replicated(&self, source: &ImageRef, destination: &ImageRef, manifest: &Digest) -> Result<bool> {
        let is_like =
            |one: &ImageRef, other: &ImageRef| one.registry == other.registry && one.repository == other.repository;
        Ok(self.state().replicas.values().any(|replica| {
            replica.source.as_ref().is_some_and(|from| is_like(from, source))
                && is_like(&replica.destination, destination)
                && replica.manifests.contains(manifest)
        }))
    }

    async fn lease_take(&self, key: &str, holder: &str, now: Timestamp, ttl: Duration) -> Result<bool> {
        let mut state = self.state();
        if let Some((other, expires)) = state.leases.get(key)
            && other != holder
            && *expires > now
        {
            return Ok(false);
        }
        let expires = now.saturating_add(ttl).unwrap_or(Timestamp::MAX);
        state.leases.insert(key.to_owned(), (holder.to_owned(), expires));
        Ok(true)
    }

    async fn lease_release(&self, key: &str, holder: &str) -> Result<()> {
        let mut state = self.state();
        if state.leases.get(key).is_some_and(|(owner, _)| owner == holder) {
            state.leases.remove(key);
        }
        Ok(())
    }

    async fn locations_find(&self, host: &str, digests: &[Digest]) -> Result<HashMap<Digest, Vec<Repository>>> {
        let state = self.state();
        Ok(digests
            .iter()
            .filter_map(|digest| {
                let known = state.locations.get(&(host.to_owned(), digest.clone()))?;
                (!known.is_empty()).then(|| (digest.clone(), known.clone()))
            })
            .collect())
    }

    async fn locations_add(&self, host: &str, digests: &[Digest], repository: &Repository) -> Result<()> {
        let mut state = self.state();
        for digest in digests {
            let known = state.locations.entry((host.to_owned(), digest.clone())).or_default();
            known.retain(|other| other != repository);
            known.insert(0, repository.clone());
            known.truncate(LOCATIONS_MAX);
        }
        Ok(())
    }

    async fn location_remove(&self, host: &str, digest: &Digest, repository: &Repository) -> Result<()> {
        if let Some(known) = self.state().locations.get_mut(&(host.to_owned(), digest.clone())) {
            known.retain(|other| other != repository);
        }
        Ok(())
    }

    async fn pause(&self, host: &str, until: Timestamp) -> Result<()> {
        let mut state = self.state();
        let paused = state.pauses.entry(host.to_owned()).or_insert(until);
        *paused = (*paused).max(until);
        Ok(())
    }

    async fn paused_until(&self, hosts: &[&str], now: Timestamp) -> Result<Option<(String, Timestamp)>> {
        let state = self.state();
        let paused = hosts
            .iter()
            .filter_map(|host| Some(((*host).to_owned(), *state.pauses.get(*host)?)));
        Ok(paused.filter(|(_, until)| *until > now).max_by_key(|(_, until)| *until))
    }

    async fn continuation(&self, task: &str, blob: &Digest, now: Timestamp) -> Result<Option<Continuation>> {
        let state = self.state();
        let known = state.continuations.get(&(task.to_owned(), blob.clone()));
        Ok(known
            .filter(|(_, expires)| *expires > now)
            .map(|(continuation, _)| continuation.clone()))
    }

    async fn continuation_put(&self, task: &str, continuation: &Continuation, expires: Timestamp) -> Result<()> {
        let key = (task.to_owned(), continuation.digest.clone());
        self.state().continuations.insert(key, (continuation.clone(), expires));
        Ok(())
    }

    async fn continuation_remove(&self, task: &str, blob: &Digest) -> Result<()> {
        self.state().continuations.remove(&(task.to_owned(), blob.clone()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_ledger_suite_passes() {
        crate::suites::ledger(async || Arc::new(MemoryLedger::default()) as Arc<dyn Ledger>).await;
    }
}
