//! Intake of imports: turns uploads to a bucket and orders to import into messages in the queue.
//!
//! Here because it must be quick and durable, as the webhook is: the worker scans, plans and copies. What must hold: each
//! upload of an index, an archive or a link is scanned; an upload of a blob only if a scan waits for it, and otherwise it costs
//! one call to the ledger.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use transship_copy::Clock;
use transship_layout::ObjectMeaning;
use transship_oci::{Code, Digest, Error, Existing, Operation, Referrers, Repository, Result, Target};

use super::list::registry_of;
use super::scan::pending_scans;
use super::{DIRECTED, Import};
use crate::job::{ListPrefix, Scan};
use crate::ledger::{History, PendingBlobs};
use crate::send::{now, send_then_record_entries};
use crate::{Configuration, Execution, Outgoing, StoreName, TaskQueue};

/// Time limit for recording an order, which is in the queue by then.
const RECORD_TIMEOUT: Duration = Duration::from_secs(3);

/// A new object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uploaded {
    /// The bucket.
    pub bucket: String,
    /// The key as it is, not as a URL spells it.
    pub key: String,
    /// Identifies this write of the key; the same each time it is reported.
    pub version: String,
}

/// An operator's order, as JSON: `{"bucket":…,"prefix":…,"to":"REGISTRY/PATH"}`, or `{"import":NAME}` with or without a
/// prefix below that import's own.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The bucket; by default that of the import.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// The prefix to import: a folder, or the key of one archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// A registry by its name in the document or its host, followed by the path for all repositories.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// An import of the document, which says all of this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<String>,
    /// With `to`: what happens to what the destination tag names already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub existing: Option<Existing>,
    /// With `to`: what happens to signatures and other referrers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub referrers: Option<Referrers>,
}

/// Accepts uploads and orders.
pub struct ImportIntake {
    /// The document in force.
    pub configuration: Configuration,
    /// The queue.
    pub queue: Arc<dyn TaskQueue>,
    /// The history of tasks.
    pub history: Arc<dyn History>,
    /// The pending blobs of incomplete sources.
    pub pending: PendingBlobs,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

impl ImportIntake {
    /// Sends the scans that these uploads require, and returns their number. When this returns, all are in the queue.
    pub async fn uploaded(&self, uploads: &[Uploaded]) -> Result<usize> {
        let mut scans: HashMap<String, Outgoing> = HashMap::new();
        for upload in uploads {
            scans.extend(self.scans_of(upload));
            // A source of an order may also wait, and its location may not be covered by an import of the document.
            if let Some((place, digest)) = awaited(&upload.key) {
                let place = format!("{}/{place}", StoreName::bucket(&upload.bucket));
                let complete = self.pending.arrived(&place, &digest, now(self.clock.as_ref())).await?;
                scans.extend(pending_scans(complete));
            }
        }
        let messages: Vec<Outgoing> = scans.into_values().collect();
        if !messages.is_empty() {
            self.queue.send(&messages).await?;
        }
        Ok(messages.len())
    }

    /// The scans of an object that names images: one for each import of the document that holds it.
    fn scans_of(&self, upload: &Uploaded) -> Vec<(String, Outgoing)> {
        let store = StoreName::bucket(&upload.bucket);
        let snapshot = self.configuration.current();
        let imports = snapshot.document.imports.iter();
        let scan = |import: &transship_rules::Import| {
            let Some(ObjectMeaning::Names { found, target }) = ObjectMeaning::of_key(&import.prefix, &upload.key)
            else {
                return None;
            };
            let import = Import::from(import);
            let occurrence = format!("{store} {} {}", upload.key, upload.version);
            let execution = import.execution(&occurrence, now(self.clock.as_ref()));
            let scan = Scan {
                is_upload: true,
                ..Scan::new(&import, &store, &found, target.as_ref(), &execution)
            };
            Some((scan.pending_id(), Outgoing::now(scan)))
        };
        imports
            .filter(|import| import.holds(&upload.bucket, &upload.key))
            .filter_map(scan)
            .collect()
    }

    /// Starts an order. `occurrence` identifies the order, so that a repeated request starts it once.
    pub async fn ordered(&self, order: &Order, occurrence: &str) -> Result<Execution> {
        let list = self.list(order, occurrence)?;
        let (execution, entries) = (list.execution.clone(), vec![list.entry()]);
        let messages = [Outgoing::now(list)];
        // An order can be listed and cancelled from its beginning.
        send_then_record_entries(
            self.queue.as_ref(),
            self.history.as_ref(),
            &messages,
            entries,
            Some(RECORD_TIMEOUT),
        )
        .await?;
        Ok(execution)
    }

    fn list(&self, order: &Order, occurrence: &str) -> Result<ListPrefix> {
        let (import, bucket, prefix) = match (&order.import, &order.to) {
            (Some(name), None) => self.named(name, order)?,
            (None, Some(to)) => self.directed(to, order)?,
            _ => {
                let sentence = "the destination is missing: set either to (REGISTRY/PATH) or import (the name of an import of the document)";
                return Err(invalid(sentence));
            }
        };
        let execution = import.execution(&format!("order {occurrence}"), now(self.clock.as_ref()));
        Ok(ListPrefix::new(import, StoreName::bucket(&bucket), &prefix, execution))
    }

    /// The settings of an import of the document. A prefix may only narrow it, and does not change names.
    fn named(&self, name: &str, order: &Order) -> Result<(Import, String, String)> {
        let snapshot = self.configuration.current();
        let imports = &snapshot.document.imports;
        let written = imports.iter().find(|import| import.name == name).ok_or_else(|| {
            let message = format!("the document has no import {name:?}");
            Error::new(Code::UnknownImport, Operation::default(), message)
        })?;
        if !written.enabled {
            return Err(invalid(format!(
                "the import {name:?} of the document is not enabled: set enabled: true, or use to instead of import"
            )));
        }
        let is_more = order.existing.is_some() || order.referrers.is_some();
        if is_more || order.bucket.as_ref().is_some_and(|bucket| *bucket != written.bucket) {
            let sentence = "bucket, existing and referrers are set by the import of the document: omit them, or use to instead of import";
            return Err(invalid(sentence));
        }
        let mut import = Import::from(written);
        let prefix = order.prefix.clone().unwrap_or_else(|| written.prefix.clone());
        let Some(below) = prefix.strip_prefix(&written.prefix) else {
            let sentence = format!(
                "the prefix {prefix:?} is not below that of the import, {:?}",
                written.prefix
            );
            return Err(invalid(sentence));
        };
        // Discovered sources are named relative to the narrower prefix; an archive is named by its whole key.
        let folder = below.trim_end_matches('/');
        if !folder.is_empty() {
            let path = ObjectMeaning::archive_path(folder).unwrap_or(folder);
            import.path = Some(joined(import.path.as_ref(), path)?);
        }
        Ok((import, written.bucket.clone(), prefix))
    }

    fn directed(&self, to: &str, order: &Order) -> Result<(Import, String, String)> {
        let bucket = order.bucket.clone().filter(|bucket| !bucket.is_empty());
        let bucket = bucket.ok_or_else(|| invalid("the bucket is missing"))?;
        let (called, path) = to.split_once('/').unwrap_or((to, ""));
        let snapshot = self.configuration.current();
        let registry = registry_of(&snapshot.document, called).ok_or_else(|| {
            let message =
                format!("the document has no registry {called:?}, and none with that host: write to: REGISTRY/PATH");
            Error::new(Code::UnknownRegistry, Operation::default(), message)
        })?;
        let path = path.trim_end_matches('/');
        let import = Import {
            name: DIRECTED.to_owned(),
            registry,
            path: if path.is_empty() {
                None
            } else {
                Some(joined(None, path)?)
            },
            existing: order.existing.unwrap_or_default(),
            referrers: order.referrers.unwrap_or_default(),
        };
        Ok((import, bucket, order.prefix.clone().unwrap_or_default()))
    }
}

/// The pending blob that `key` satisfies: content, or a storage tree's link to a manifest whose bytes are present.
fn awaited(key: &str) -> Option<(String, Digest)> {
    match ObjectMeaning::of_key("", key)? {
        ObjectMeaning::Content { place, digest } => Some((place, digest)),
        ObjectMeaning::Names { found, target } => match target? {
            Target::Digest(digest) => Some((found.place().to_owned(), digest)),
            Target::Tag(_) => None,
        },
    }
}

/// `ORDER_INVALID`, with a sentence that says what is wrong.
fn invalid(sentence: impl Into<Cow<'static, str>>) -> Error {
    Error::new(Code::OrderInvalid, Operation::default(), sentence)
}

fn joined(path: Option<&Repository>, below: &str) -> Result<Repository> {
    let text = path.map_or_else(|| below.to_owned(), |path| format!("{path}/{below}"));
    text.parse().map_err(|error: Error| invalid(error.to_string()))
}
