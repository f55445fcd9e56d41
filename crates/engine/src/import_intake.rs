//! What becomes of an upload into a bucket, and of an order to import: messages in the queue.
//!
//! Here because it must be quick and durable, as the webhook is: the worker looks, plans and copies. What must hold: an
//! upload of an index, an archive or a link is looked at each time; an upload of a blob is only if somebody waits for it,
//! and costs one question to the ledger otherwise.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use transship_copy::Clock;
use transship_layout::{Search as Cursor, Upload};
use transship_oci::{Code, Digest, Error, Existing, Operation, Referrers, Repository, Result, Target};

use crate::import::Looked;
use crate::import_search::registry_of;
use crate::memory::now;
use crate::{Awaited, Configuration, Execution, Import, Outgoing, Search, Task, TaskQueue};

/// An object that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uploaded {
    /// The bucket.
    pub bucket: String,
    /// The key as it is, not as a URL spells it.
    pub key: String,
    /// Tells this writing of the key from every other; the same each time it is told.
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
    /// What lies below it is imported: a folder, or the key of one archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// A registry, by its name in the document or by its host, and what stands before every repository there.
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

/// Takes uploads and orders in.
pub struct ImportIntake {
    /// The document in force.
    pub configuration: Configuration,
    /// Where they become durable.
    pub queue: Arc<dyn TaskQueue>,
    /// What incomplete sources wait for.
    pub awaited: Arc<dyn Awaited>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl ImportIntake {
    /// Sends the looks that these uploads call for; how many. When this returns, all are in the queue.
    pub async fn uploaded(&self, uploads: &[Uploaded]) -> Result<usize> {
        let snapshot = self.configuration.current();
        let mut looks: HashMap<String, Task> = HashMap::new();
        for upload in uploads {
            let store = store_of(&upload.bucket);
            let imports = &snapshot.document.imports;
            for import in imports
                .iter()
                .filter(|import| import.holds(&upload.bucket, &upload.key))
            {
                let Some(Upload::Names { found, target }) = Upload::of_key(&import.prefix, &upload.key) else {
                    continue;
                };
                let import = Import::from(import);
                let occurrence = format!("{store} {} {}", upload.key, upload.version);
                let execution = import.execution(&occurrence, now(self.clock.as_ref()));
                let looked = Looked {
                    store: &store,
                    found: &found,
                    single: target.as_ref(),
                    is_upload: true,
                };
                match import.look(&looked, &execution) {
                    Ok(look) => drop(looks.insert(look.id.clone(), look)),
                    Err(error) => {
                        tracing::error!(code = error.code(), %error, key = upload.key, "an upload cannot be imported");
                    }
                }
            }
            // Whoever was ordered to import waits too, and no import of the document may hold that place.
            if let Some((place, digest)) = awaited(&upload.key) {
                let place = format!("{store}/{place}");
                let waiting = self.awaited.arrived(&place, &digest, now(self.clock.as_ref())).await?;
                looks.extend(waiting.into_iter().map(|look| (look.id.clone(), look)));
            }
        }
        let messages: Vec<Outgoing> = looks.into_values().map(Outgoing::now).collect();
        if !messages.is_empty() {
            self.queue.send(&messages).await?;
        }
        Ok(messages.len())
    }

    /// Begins what was ordered. `occurrence` tells this order from every other: the same order told twice is done once.
    pub async fn ordered(&self, order: &Order, occurrence: &str) -> Result<Execution> {
        let search = self.search(order, occurrence)?;
        let execution = search.execution.clone();
        self.queue.send(&[Outgoing::search(search)]).await?;
        Ok(execution)
    }

    fn search(&self, order: &Order, occurrence: &str) -> Result<Search> {
        let (import, bucket, prefix) = match (&order.import, &order.to) {
            (Some(name), None) => self.named(name, order)?,
            (None, Some(to)) => self.directed(to, order)?,
            _ => {
                let sentence =
                    "say where it goes: either to, a REGISTRY/PATH, or import, the name of one of the document";
                return Err(invalid(sentence));
            }
        };
        let execution = import.execution(&format!("order {occurrence}"), now(self.clock.as_ref()));
        Ok(Search {
            import,
            store: store_of(&bucket),
            execution,
            at: Cursor::new(&prefix),
            stuck: 0,
        })
    }

    /// What an import of the document says; a prefix may only narrow it, and changes no name.
    fn named(&self, name: &str, order: &Order) -> Result<(Import, String, String)> {
        let snapshot = self.configuration.current();
        let imports = &snapshot.document.imports;
        let written = imports.iter().find(|import| import.name == name).ok_or_else(|| {
            let message = format!("the document has no import {name:?}");
            Error::new(Code::UnknownImport, Operation::default(), message)
        })?;
        let is_more = order.existing.is_some() || order.referrers.is_some();
        if is_more || order.bucket.as_ref().is_some_and(|bucket| *bucket != written.bucket) {
            let sentence =
                "an import of the document says its bucket, existing and referrers itself: leave them out, or write to";
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
        // What the search finds is called by its place below the narrower prefix; an archive's own key is called by all of it.
        let folder = below.trim_end_matches('/');
        if !folder.is_empty() {
            let path = Upload::archive_path(folder).unwrap_or(folder);
            import.path = Some(joined(import.path.as_ref(), path)?);
        }
        Ok((import, written.bucket.clone(), prefix))
    }

    fn directed(&self, to: &str, order: &Order) -> Result<(Import, String, String)> {
        let bucket = order.bucket.clone().filter(|bucket| !bucket.is_empty());
        let bucket = bucket.ok_or_else(|| invalid("name the bucket"))?;
        let (called, path) = to.split_once('/').unwrap_or((to, ""));
        let snapshot = self.configuration.current();
        let registry = registry_of(&snapshot.document, called).ok_or_else(|| {
            let message =
                format!("the document has no registry {called:?}, and none with that host: write to: REGISTRY/PATH");
            Error::new(Code::UnknownRegistry, Operation::default(), message)
        })?;
        let path = path.trim_end_matches('/');
        let import = Import {
            name: "import".to_owned(),
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

/// What a look may wait for that `key` is: content, or a storage tree's link to a manifest whose bytes are there.
fn awaited(key: &str) -> Option<(String, Digest)> {
    match Upload::of_key("", key)? {
        Upload::Content { place, digest } => Some((place, digest)),
        Upload::Names { found, target } => match target? {
            Target::Digest(digest) => Some((found.place().to_owned(), digest)),
            Target::Tag(_) => None,
        },
    }
}

/// The name of a bucket as a store.
pub(crate) fn store_of(bucket: &str) -> String {
    format!("s3://{bucket}")
}

/// `ORDER_INVALID`, with a sentence that says what is wrong.
fn invalid(sentence: impl Into<Cow<'static, str>>) -> Error {
    Error::new(Code::OrderInvalid, Operation::default(), sentence)
}

fn joined(path: Option<&Repository>, below: &str) -> Result<Repository> {
    let text = path.map_or_else(|| below.to_owned(), |path| format!("{path}/{below}"));
    text.parse().map_err(|error: Error| invalid(error.to_string()))
}
