//! List: the sources below a prefix are found, page by page, and each becomes a scan.
//!
//! A bucket may hold more than one slot can list, so a listing goes on where it stopped, in another message. What must hold:
//! each source is scanned however often the listing is interrupted; a listing that finds nothing is recorded as failed, with
//! the prefix; and the execution of an order ends only after its listing and every scan ended, so both are recorded as tasks.

use jiff::Timestamp;
use transship_oci::{Error, Result, Verb};
use transship_rules::Document;

use crate::configuration::unknown_registry;
use crate::job::{ListPrefix, Run, Scan};
use crate::jobs::Jobs;
use crate::retry_policy::Wait;
use crate::{Begin, Next, Outgoing, TaskEntry, TaskState};

/// One delivery of a [`ListPrefix`].
pub(crate) struct ListSources<'a> {
    jobs: &'a Jobs,
    list: ListPrefix,
    run: Run,
}

/// How a listing stopped.
enum Listed {
    /// It is over.
    Whole,
    /// The slot is over.
    Part,
    /// An operator cancelled the execution.
    Cancelled,
}

impl<'a> ListSources<'a> {
    pub(crate) fn new(jobs: &'a Jobs, list: &ListPrefix, run: Run) -> Self {
        Self {
            jobs,
            list: list.clone(),
            run,
        }
    }

    /// Continues the listing until its slot is over.
    #[tracing::instrument(skip_all, fields(execution = self.list.execution.id, rule = self.list.import.name))]
    pub(crate) async fn run(mut self) -> Result<Next> {
        let entry = self.list.entry();
        if let Some(next) = self.list.import.stopped(self.jobs, &entry, self.run.tries).await? {
            return Ok(next);
        }
        if let Begin::Finished(state) = self.jobs.ledger.history.begin(&entry, self.jobs.now()).await? {
            tracing::debug!(%state, "received a message whose listing has already ended");
            return Ok(Next::Done);
        }
        let name = self.list.import.registry.clone();
        let Some(registry) = registry_of(&self.jobs.configuration.current().document, &name) else {
            let error = unknown_registry(&name, Verb::Search);
            return self.fail(&entry, &error).await;
        };
        self.list.import.registry = registry;
        let before = self.list.at.clone();
        let error = match self.list().await {
            Ok(Listed::Cancelled) => {
                self.jobs.end(&entry, &self.jobs.cancelled(), &[], "").await?;
                return Ok(Next::Done);
            }
            Ok(Listed::Whole) => {
                let outcome = self.jobs.outcome(TaskState::Succeeded, None, None, None);
                self.jobs.end(&entry, &outcome, &[], "").await?;
                return Ok(Next::Done);
            }
            Ok(Listed::Part) => return Ok(Next::Send(vec![Outgoing::now(self.list)])),
            Err(error) => error,
        };
        let tries = if self.list.at == before { self.run.tries + 1 } else { 1 };
        let policy = self.jobs.retry_policy;
        let is_exhausted = policy.is_exhausted(&self.list.execution, self.jobs.now(), tries);
        if error.persistence().is_permanent() || is_exhausted {
            return self.fail(&entry, &error).await;
        }
        let delay = policy.delay(tries, &self.list.execution.id, Wait::of(&error));
        let next = self.jobs.now().checked_add(delay).unwrap_or(Timestamp::MAX);
        let (history, code) = (&self.jobs.ledger.history, error.code());
        history.wait(&entry, code, &error.to_string(), next).await?;
        tracing::warn!(code = error.code(), %error, ?delay, "a listing will continue later");
        Ok(Next::Send(vec![Outgoing::later(self.list, delay).with_tries(tries)]))
    }

    /// Lists until the end, or until the slot is over.
    async fn list(&mut self) -> Result<Listed> {
        let store = self.jobs.sources.store(&self.list.store)?;
        loop {
            let mut at = self.list.at.clone();
            let Some(found) = at.next(store.as_ref()).await? else {
                return Ok(Listed::Whole);
            };
            let ListPrefix {
                import,
                store: name,
                execution,
                ..
            } = &self.list;
            let scans = found
                .iter()
                .map(|found| Scan::new(import, name, found, None, execution));
            let scans: Vec<Scan> = scans.collect();
            if !scans.is_empty() {
                // Before they are sent: an execution must not end while a scan is only a message.
                let entries: Vec<TaskEntry> = scans.iter().map(Scan::entry).collect();
                self.jobs.ledger.history.record(&entries).await?;
                let scans: Vec<Outgoing> = scans.into_iter().map(Outgoing::now).collect();
                self.jobs.queue.send(&scans).await?;
            }
            self.list.at = at;
            if self.jobs.is_cancelled(&self.list.execution.id).await? {
                return Ok(Listed::Cancelled);
            }
            if self.run.budget.is_some_and(|budget| budget.left() < budget.grace()) {
                return Ok(Listed::Part);
            }
        }
    }

    async fn fail(&self, entry: &TaskEntry, error: &Error) -> Result<Next> {
        let outcome = self.jobs.failed(error.code(), error.to_string());
        self.jobs.end(entry, &outcome, &[], "").await?;
        Ok(Next::Done)
    }
}

/// The name of the registry that is called `called`, by its name or by a host.
pub(crate) fn registry_of(document: &Document, called: &str) -> Option<String> {
    if document.registries.contains_key(called) {
        return Some(called.to_owned());
    }
    let host = called.parse().ok()?;
    let (name, _) = document.registries_called(&host).next()?;
    Some(name.to_owned())
}
