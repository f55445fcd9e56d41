//! An import in a deployed stack: the order is sent to its queue, and its execution is followed to its recorded end.
//!
//! What must hold: the import is reported as done only if the ledger says that its execution ended. A source that waits for
//! missing content keeps the execution open; after some time it is reported as missing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use transship_copy::Counts;
use transship_engine::ledger::{By, History, TaskQuery};
use transship_engine::operations::{find_execution, list_entries, list_tasks};
use transship_engine::{
    ExecutionRecord, Import, Job, ListPrefix, Outgoing, Source, StoreName, TaskEntry, TaskQueue, TaskRecord, TaskState,
};

use crate::bucket::InBucket;
use crate::failure::{Exit, Failure};
use crate::import_report::{End, Failed, ImportReport, place};
use crate::progress::ImagesShown;
use transship_oci::Code;

/// The queue and the history of a stack.
pub(crate) struct StackImport {
    /// The history in the stack's ledger.
    pub(crate) history: Arc<dyn History>,
    /// The queue of its workers.
    pub(crate) queue: Arc<dyn TaskQueue>,
    /// Intervals of polling.
    pub(crate) pace: PollIntervals,
}

/// Intervals for following an import.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PollIntervals {
    /// Time between two reads of the ledger.
    pub(crate) interval: Duration,
    /// Maximum time until the execution appears in the ledger.
    pub(crate) begin: Duration,
    /// Time that missing content is waited for after everything else ended.
    pub(crate) content: Duration,
}

impl Default for PollIntervals {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(2),
            begin: Duration::from_mins(5),
            content: Duration::from_secs(30),
        }
    }
}

impl StackImport {
    /// Sends an order to import everything at `source`, and returns its execution.
    pub(crate) async fn order(&self, import: Import, source: &InBucket) -> Result<String, Failure> {
        let now = Timestamp::now();
        let execution = import.execution(&now.to_string(), now);
        let id = execution.id.clone();
        let list = ListPrefix::new(import, StoreName::bucket(&source.bucket), &source.key, execution);
        let entry = list.entry();
        self.queue.send(&[Outgoing::now(list)]).await?;
        if let Err(error) = self.history.record(&[entry]).await {
            tracing::warn!(code = error.code(), %error, "the order is in the queue; a worker records it");
        }
        Ok(id)
    }

    /// Waits until the execution has ended, or until nothing but missing content keeps it open, and reports the results.
    pub(crate) async fn follow(&self, execution: &str, shown: &ImagesShown) -> Result<ImportReport, Failure> {
        let mut followed = Followed::new(Instant::now(), self.pace);
        loop {
            let record = find_execution(self.history.as_ref(), execution).await?;
            let records = list_tasks(self.history.as_ref(), &of(execution), 0).await?;
            shown.followed(
                &records
                    .iter()
                    .filter(|record| !is_source(record))
                    .cloned()
                    .collect::<Vec<_>>(),
            );
            match followed.next(record.as_ref(), &records, Instant::now()) {
                Next::Read => tokio::time::sleep(self.pace.interval).await,
                Next::End => return self.report(execution, &records).await,
                Next::GiveUp => {
                    let sentence = format!(
                        "the stack did not begin the order within {} minutes: see `transship tasks {execution}` later, or the worker's log for errors",
                        self.pace.begin.as_secs() / 60
                    );
                    return Err(Failure::new(Exit::Failed, "IMPORT_NOT_BEGUN", sentence));
                }
            }
        }
    }

    async fn report(&self, execution: &str, records: &[TaskRecord]) -> Result<ImportReport, Failure> {
        let mut originals = HashMap::new();
        for state in [
            TaskState::Failed,
            TaskState::Cancelled,
            TaskState::Skipped,
            TaskState::Waiting,
        ] {
            if records.iter().any(|record| record.state == state) {
                let tasks = list_entries(self.history.as_ref(), &of(execution).in_state(state)).await?;
                originals.extend(tasks.into_iter().map(|task| (task.id.clone(), task)));
            }
        }
        Ok(report(records, &originals))
    }
}

fn of(execution: &str) -> TaskQuery {
    TaskQuery::new(By::Execution(execution.to_owned()))
}

/// What to do after reading the ledger.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Read,
    End,
    GiveUp,
}

/// What is known about an execution.
struct Followed {
    pace: PollIntervals,
    begun: Instant,
    /// The record of the last read, if it said that the execution ended.
    ended: Option<ExecutionRecord>,
    /// Since when nothing but missing content keeps the execution open.
    incomplete: Option<Instant>,
}

impl Followed {
    const fn new(now: Instant, pace: PollIntervals) -> Self {
        Self {
            pace,
            begun: now,
            ended: None,
            incomplete: None,
        }
    }

    fn next(&mut self, execution: Option<&ExecutionRecord>, tasks: &[TaskRecord], now: Instant) -> Next {
        let Some(execution) = execution else {
            let is_over = now.duration_since(self.begun) >= self.pace.begin;
            return if is_over { Next::GiveUp } else { Next::Read };
        };
        // The worker has not begun. The order itself is recorded by this command.
        let is_untouched = tasks.iter().all(|task| task.state == TaskState::Queued);
        if is_untouched && now.duration_since(self.begun) >= self.pace.begin {
            return Next::GiveUp;
        }
        if execution.duration_ms.is_some() {
            // The counters of a large execution are several items, which are not read at one moment.
            let is_certain = self.ended.as_ref() == Some(execution);
            self.ended = Some(execution.clone());
            return if is_certain { Next::End } else { Next::Read };
        }
        self.ended = None;
        let mut open = tasks.iter().filter(|task| !task.state.is_terminal()).peekable();
        if open.peek().is_none() || !open.all(is_incomplete) {
            self.incomplete = None;
            return Next::Read;
        }
        let since = *self.incomplete.get_or_insert(now);
        if now.duration_since(since) >= self.pace.content {
            return Next::End;
        }
        Next::Read
    }
}

/// True for a source that waits for missing content.
fn is_incomplete(record: &TaskRecord) -> bool {
    record.state == TaskState::Waiting && record.code.as_deref() == Some(Code::SourceIncomplete.as_str())
}

/// The report of tasks that have ended, or wait for missing content. `originals` are the tasks whose job is needed for the report.
fn report(records: &[TaskRecord], originals: &HashMap<String, TaskEntry>) -> ImportReport {
    let mut report = ImportReport::default();
    for record in records.iter().filter(|record| !is_source(record)) {
        let bytes = Counts {
            copied: record.bytes.copied,
            mounted: record.bytes.mounted,
            skipped: record.bytes.skipped,
        };
        match record.state {
            TaskState::Succeeded => report.count_as(End::Copied, bytes),
            // Of a source of an earlier release.
            TaskState::Skipped if record.code.as_deref() == Some(Code::SourceIncomplete.as_str()) => {
                report.fail(failed(record, originals.get(&record.id)));
            }
            TaskState::Skipped if record.code.as_deref() == Some(Code::SourceReplaced.as_str()) => {}
            TaskState::Skipped if record.code.as_deref() == Some(Code::ArchiveWithoutImages.as_str()) => {
                report.skip(failed(record, originals.get(&record.id)));
            }
            TaskState::Kept => report.count_as(End::Kept, bytes),
            TaskState::Unchanged | TaskState::Skipped => report.count_as(End::Unchanged, bytes),
            _ => report.fail(failed(record, originals.get(&record.id))),
        }
    }
    report
}

fn failed(record: &TaskRecord, original: Option<&TaskEntry>) -> Failed {
    let job = original.and_then(|entry| Some(entry.envelope().ok()?.job));
    let (source, reference) = match job {
        Some(Job::Copy(task)) => match &task.source {
            Source::Stored { store, found, target } => (place(store.as_str(), found), Some(target.to_string())),
            Source::Registry(_) => (record.source.clone(), None),
        },
        Some(Job::Scan(scan)) => (
            place(scan.store.as_str(), &scan.source),
            scan.only.map(|only| only.to_string()),
        ),
        _ => (record.source.clone(), None),
    };
    Failed {
        source,
        reference,
        code: record
            .code
            .clone()
            .unwrap_or_else(|| record.state.to_string().to_uppercase()),
        message: record.message.clone().unwrap_or_default(),
    }
}

/// True for a listing or a source whose images became tasks; these are reported instead. An image that arrived has a digest.
const fn is_source(record: &TaskRecord) -> bool {
    matches!(record.state, TaskState::Succeeded) && record.digest.is_none()
}

#[cfg(test)]
mod tests {
    use transship_copy::SystemClock;
    use transship_engine::{Counts, Envelope, Outcome, Scan, TaskCounts, TaskReceiver as _};
    use transship_layout::{SourceKind, SourceRef};
    use transship_oci::{Existing, Referrers};
    use transship_testkit::memory::{MemoryLedger, MemoryQueue};
    use transship_testkit::suites::copy_task;

    use super::*;
    use crate::output::Form;

    const AT_ONCE: PollIntervals = PollIntervals {
        interval: Duration::ZERO,
        begin: Duration::ZERO,
        content: Duration::ZERO,
    };

    fn fleet() -> (StackImport, Arc<MemoryLedger>, Arc<MemoryQueue>) {
        let ledger = Arc::new(MemoryLedger::default());
        let queue = Arc::new(MemoryQueue::calm(Arc::new(SystemClock)));
        let fleet = StackImport {
            history: Arc::clone(&ledger) as _,
            queue: Arc::clone(&queue) as _,
            pace: AT_ONCE,
        };
        (fleet, ledger, queue)
    }

    fn import() -> Import {
        Import {
            name: "import".into(),
            registry: "hangzhou".into(),
            path: Some("core".parse().unwrap()),
            existing: Existing::Keep,
            referrers: Referrers::Include,
        }
    }

    /// Tasks as a ledger tells them in these states.
    async fn records(states: &[TaskState]) -> Vec<TaskRecord> {
        let ledger = MemoryLedger::default();
        for (number, state) in states.iter().enumerate() {
            end(&ledger, u32::try_from(number).unwrap(), *state).await;
        }
        list_tasks(&ledger, &of("execution-1"), 0).await.unwrap()
    }

    /// Task `number`, ended in `state` if that is an end; task 9 is a scan.
    async fn end(ledger: &MemoryLedger, number: u32, state: TaskState) {
        let found = SourceRef::new(SourceKind::Layout, "seed/app/", "app");
        let store = StoreName::bucket("layouts");
        let mut task = copy_task(number);
        task.source = Source::Stored {
            store: store.clone(),
            found: found.clone(),
            target: task.destination.target.clone(),
        };
        let mut entry = task.entry();
        if number == 9 {
            let scan = Scan {
                id: task.id,
                execution: task.execution,
                store,
                source: found,
                only: None,
                import: import(),
                is_upload: false,
                done: 0,
            };
            entry = scan.entry();
        }
        ledger.record(std::slice::from_ref(&entry)).await.unwrap();
        if !state.is_terminal() {
            return;
        }
        ledger.begin(&entry, entry.created).await.unwrap();
        let outcome = Outcome {
            state,
            digest: entry.digest.clone(),
            code: Some("WHY".into()),
            message: Some("because".into()),
            bytes: Counts {
                copied: 100,
                mounted: 10,
                skipped: 1,
            },
            finished: entry.created,
        };
        assert!(ledger.finish(&entry, &outcome, &[], "").await.unwrap());
    }

    #[tokio::test]
    async fn an_order_is_one_listing_in_the_queue() {
        let (fleet, _, queue) = fleet();
        let source = InBucket {
            bucket: "layouts".into(),
            key: "seed/".into(),
        };
        let id = fleet.order(import(), &source).await.unwrap();
        let mut sent = queue.receive(10, Duration::from_mins(1)).await.unwrap();
        assert_eq!(sent.len(), 1);
        let Job::List(list) = Envelope::parse(&sent.remove(0).body).unwrap().job else {
            panic!("not a listing")
        };
        assert_eq!((list.store.as_str(), list.at.prefix()), ("s3://layouts", "seed/"));
        assert_eq!((list.execution.id, list.import), (id.clone(), import()));
        let again = fleet.order(import(), &source).await.unwrap();
        assert_ne!(id, again, "each order is an execution of its own");
    }

    #[tokio::test]
    async fn every_end_is_counted_and_what_failed_is_told_with_its_place() {
        let (fleet, ledger, _) = fleet();
        let ends = [
            (1, TaskState::Succeeded),
            (2, TaskState::Unchanged),
            (3, TaskState::Skipped),
            (4, TaskState::Kept),
            (5, TaskState::Failed),
            (9, TaskState::Failed),
        ];
        for (number, state) in ends {
            end(&ledger, number, state).await;
        }
        let shown = ImagesShown::suitable(Form::Json);
        let report = fleet.follow("execution-1", &shown).await.unwrap();
        assert_eq!(
            (report.images, report.copied, report.unchanged, report.kept),
            (6, 1, 2, 1)
        );
        assert_eq!(
            (report.bytes.copied, report.bytes.mounted, report.bytes.skipped),
            (400, 40, 4)
        );
        let mut failed = report.failed;
        failed.sort_by_key(|failed| failed.reference.clone());
        let expected = |reference: Option<&str>| Failed {
            source: "s3://layouts/seed/app".into(),
            reference: reference.map(str::to_owned),
            code: "WHY".into(),
            message: "because".into(),
        };
        assert_eq!(failed, [expected(None), expected(Some("v5"))]);
    }

    #[tokio::test]
    async fn a_fleet_that_finds_nothing_is_not_waited_for() {
        let (fleet, _, _) = fleet();
        let shown = ImagesShown::suitable(Form::Json);
        let failure = fleet.follow("execution-1", &shown).await.unwrap_err();
        assert_eq!((failure.code(), failure.exit()), ("IMPORT_NOT_BEGUN", Exit::Failed));
    }

    #[tokio::test]
    async fn the_end_is_that_of_the_ledger_read_twice() {
        let pace = PollIntervals {
            begin: Duration::from_mins(5),
            content: Duration::from_secs(30),
            ..AT_ONCE
        };
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let open = records(&[TaskState::Succeeded, TaskState::Queued]).await;
        let ended = records(&[TaskState::Succeeded, TaskState::Failed]).await;
        let mut incomplete = records(&[TaskState::Succeeded, TaskState::Queued]).await;
        for record in incomplete.iter_mut().filter(|record| !record.state.is_terminal()) {
            record.state = TaskState::Waiting;
            record.code = Some("SOURCE_INCOMPLETE".into());
        }
        let execution = |duration_ms, bytes| ExecutionRecord {
            tasks: TaskCounts::default(),
            run: None,
            id: "execution-1".into(),
            rule: "import".into(),
            trigger: transship_engine::Trigger::Import,
            created: Timestamp::UNIX_EPOCH,
            duration_ms,
            state: transship_engine::ExecutionState::Running,
            success_ratio: 1.0,
            repositories: 1,
            bytes,
            code: None,
            message: None,
        };
        let (running, end, other_end) = (execution(None, 0), execution(Some(1), 0), execution(Some(2), 5));
        let mut followed = Followed::new(begin, pace);
        for (execution, tasks, seconds, next) in [
            (None, &[][..], 299, Next::Read),
            (Some(&running), &open[..], 299, Next::Read),
            (Some(&running), &open, 9000, Next::Read),
            (Some(&end), &open, 9001, Next::Read),
            (Some(&running), &open, 9002, Next::Read),
            (Some(&running), &incomplete, 9003, Next::Read),
            (Some(&running), &open, 9004, Next::Read),
            (Some(&running), &incomplete, 9100, Next::Read),
            (Some(&running), &incomplete, 9129, Next::Read),
            (Some(&running), &incomplete, 9130, Next::End),
            (Some(&end), &ended, 9131, Next::Read),
            (Some(&other_end), &ended, 9132, Next::Read),
            (Some(&other_end), &ended, 9133, Next::End),
        ] {
            assert_eq!(followed.next(execution, tasks, at(seconds)), next, "{seconds}");
        }
        let queued = records(&[TaskState::Queued]).await;
        for (execution, tasks) in [(None, &[][..]), (Some(&running), &queued[..])] {
            let mut followed = Followed::new(begin, pace);
            assert_eq!(followed.next(execution, tasks, at(299)), Next::Read);
            assert_eq!(followed.next(execution, tasks, at(300)), Next::GiveUp);
        }
    }

    #[tokio::test]
    async fn what_still_waits_for_content_is_missing() {
        let (fleet, ledger, _) = fleet();
        end(&ledger, 1, TaskState::Succeeded).await;
        end(&ledger, 9, TaskState::Queued).await;
        let open = list_entries(ledger.as_ref(), &of("execution-1").in_state(TaskState::Queued))
            .await
            .unwrap();
        let next = Timestamp::UNIX_EPOCH;
        ledger
            .wait(&open[0], "SOURCE_INCOMPLETE", "2 objects are missing", next)
            .await
            .unwrap();
        let shown = ImagesShown::suitable(Form::Json);
        let report = fleet.follow("execution-1", &shown).await.unwrap();
        assert_eq!((report.images, report.copied, report.failed.len()), (2, 1, 1));
        assert_eq!(report.failed[0].code, "SOURCE_INCOMPLETE");
        assert_eq!(report.failed[0].source, "s3://layouts/seed/app");
        assert!(report.end(Form::Json).is_err());
    }
}
