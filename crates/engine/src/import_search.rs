//! Search: everything that lies under a prefix is found, page by page, and each source becomes a look.
//!
//! A bucket may hold more than one slot can list, so a search goes on where it stopped, in another message. What must hold:
//! a source is looked at however often the search is interrupted; a search that finds nothing is recorded as failed, with
//! where it looked.

use serde::{Deserialize, Serialize};
use transship_copy::Slot;
use transship_layout::{Found, FoundKind, Search as Cursor};
use transship_oci::{Error, Persistence, Result, Verb};
use transship_rules::Document;

use crate::configuration::unknown_registry;
use crate::import::Looked;
use crate::import_look::recorded;
use crate::{Disposition, Execution, Import, Outgoing, Replicator, Task};

/// A search that is under way, or the order to begin one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Search {
    /// Where everything goes. Its registry is a name of the document, or a host that is one's.
    pub import: Import,
    /// Where to look: `s3://bucket`.
    pub store: String,
    /// What all tasks belong to.
    pub execution: Execution,
    /// How far it got.
    pub at: Cursor,
    /// How often it tried to go on from here and could not.
    #[serde(default, skip_serializing_if = "crate::task::is_zero")]
    pub stuck: u32,
}

impl Replicator {
    /// Goes on with a search until its slot is over.
    #[tracing::instrument(skip_all, fields(execution = search.execution.id, rule = search.import.name))]
    pub(crate) async fn search(&self, search: &Search, slot: Option<Slot>) -> Result<Disposition> {
        let mut search = search.clone();
        let registry = registry_of(&self.configuration.current().document, &search.import.registry);
        let Some(registry) = registry else {
            let error = unknown_registry(&search.import.registry, Verb::Search);
            return self.search_failed(&search, &error).await;
        };
        search.import.registry = registry;
        let before = search.clone();
        let error = match self.search_on(&mut search, slot).await {
            Ok(true) => return Ok(Disposition::Done),
            Ok(false) => {
                search.stuck = 0;
                self.queue.send(&[Outgoing::search(search)]).await?;
                return Ok(Disposition::Done);
            }
            Err(error) => error,
        };
        search.stuck = if search.at == before.at { before.stuck + 1 } else { 1 };
        let is_over = matches!(error.persistence(), Persistence::Permanent) || search.stuck >= self.patience.attempts;
        if is_over {
            return self.search_failed(&search, &error).await;
        }
        let delay = self.patience.delay(search.stuck, &search.execution.id, None);
        tracing::warn!(code = error.code(), %error, ?delay, "a search goes on later");
        let next = Outgoing {
            delay,
            ..Outgoing::search(search)
        };
        self.queue.send(&[next]).await?;
        Ok(Disposition::Done)
    }

    /// True if it is over, false if its slot is.
    async fn search_on(&self, search: &mut Search, slot: Option<Slot>) -> Result<bool> {
        let store = self.imports.store(&search.store)?;
        loop {
            let mut at = search.at.clone();
            let Some(found) = at.next(store.as_ref()).await? else {
                return Ok(true);
            };
            let looks = found.iter().map(|found| search.look(found).map(Outgoing::now));
            let looks = looks.collect::<Result<Vec<_>>>()?;
            if !looks.is_empty() {
                self.queue.send(&looks).await?;
            }
            search.at = at;
            if slot.is_some_and(|slot| slot.left() < slot.grace()) {
                return Ok(false);
            }
        }
    }

    async fn search_failed(&self, search: &Search, error: &Error) -> Result<Disposition> {
        match search.as_task() {
            Ok(look) => self.fail(&recorded(&look), error.code(), error.to_string()).await,
            Err(unnamed) => {
                tracing::error!(code = unnamed.code(), %unnamed, "a search failed and cannot be recorded: {error}");
                Ok(Disposition::Done)
            }
        }
    }
}

impl Search {
    /// What a search that failed is recorded as: a task that begins where it searched.
    pub(crate) fn as_task(&self) -> Result<Task> {
        let found = Found {
            kind: FoundKind::Layout,
            key: self.at.prefix().to_owned(),
            path: String::new(),
        };
        self.look(&found)
    }

    fn look(&self, found: &Found) -> Result<Task> {
        let looked = Looked {
            store: &self.store,
            found,
            single: None,
            is_upload: false,
        };
        self.import.look(&looked, &self.execution)
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
