//! The document in force: read, and read again when it changes.
//!
//! What must hold: a new version that is not valid, and a document that cannot be read, leave the last valid version in
//! force and are logged. A process that starts with such a document falls back to the version that was in force last, otherwise to
//! the newest earlier one that is valid.

mod file;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use jiff::Timestamp;
use metrics::counter;
use tokio::sync::Notify;
use tokio::time::timeout;
use transship_copy::{Clock, SystemClock};
use transship_engine::Configuration;
use transship_oci::{Code, Error, Persistence, Result, Verb};
use transship_rules::{Document, Errors, Parsed, Warning};

pub use file::FileDocument;

/// The size of the largest document that is read.
pub const DOCUMENT_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Reads the text of a document.
#[async_trait]
pub trait DocumentReader: Send + Sync {
    /// Where the document is, for messages.
    fn name(&self) -> &str;

    /// Reads the document. [`None`] if it still has the version `known`. `CONFIG_UNAVAILABLE` or `CONFIG_UNREADABLE` if it
    /// cannot be read or is larger than [`DOCUMENT_BYTES_MAX`].
    async fn read(&self, known: Option<&str>) -> Result<Option<DocumentText>>;

    /// The ids of earlier versions: the one that was noted last, then at most [`EARLIER_VERSIONS_MAX`] others, the newest first.
    /// Empty if the place keeps none.
    async fn earlier(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// Reads an earlier version by its id.
    async fn read_earlier(&self, id: &str) -> Result<String> {
        let why = format!("it has no version {id}");
        Err(Error::new(
            Code::ConfigUnavailable,
            Verb::Configuration.on(self.name()),
            why,
        ))
    }

    /// Notes that this version is in force.
    async fn note(&self, _in_force: &DocumentText) -> Result<()> {
        Ok(())
    }
}

/// Earlier versions that are tried if the newest one is not valid.
pub const EARLIER_VERSIONS_MAX: usize = 10;

/// A document that was read.
#[derive(Debug, Clone)]
pub struct DocumentText {
    /// YAML or JSON.
    pub text: String,
    /// Identifies this version. [`None`]: not known, so it is read again each time.
    pub version: Option<String>,
    /// The id of this version among earlier ones, if the place keeps them.
    pub id: Option<String>,
}

/// A document that was loaded at the start of a process.
#[derive(Debug)]
pub struct Loaded {
    /// The document.
    pub document: Document,
    /// It is an earlier version, because the newest one cannot be used.
    pub is_fallback: bool,
}

impl Loaded {
    /// Puts the document in force.
    pub fn put_in_force(self, configuration: &Configuration, now: Timestamp) {
        if self.is_fallback {
            configuration.fall_back(self.document);
        } else {
            configuration.replace_with_newest(self.document, now);
        }
    }
}

/// How a platform follows its document.
#[derive(Debug, Clone, Copy)]
pub struct DocumentOptions {
    /// The interval between reads.
    pub interval: Duration,
    /// Log a fault at every read for as long as it lasts, not only at the first one.
    pub repeats_faults: bool,
    /// What else to warn about in a valid document on this platform.
    pub warnings: fn(&Document) -> Vec<Warning>,
}

/// A document, and the version of it that was read last.
pub struct DocumentSource {
    reader: Box<dyn DocumentReader>,
    options: DocumentOptions,
    clock: Arc<dyn Clock>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    version: Option<String>,
    read_at: Option<SystemTime>,
    /// The last read failed, and this was logged.
    is_unreadable: bool,
    /// The newest version is not valid.
    is_refused: bool,
}

/// What a read found.
#[derive(Debug)]
enum Change {
    None,
    New(Box<Parsed>, DocumentText),
    Refused(Errors),
    Unreadable(Error),
}

impl DocumentSource {
    /// A source that has not read the document yet. Sends nothing.
    pub fn new(reader: Box<dyn DocumentReader>, options: DocumentOptions) -> Self {
        Self::with_clock(reader, options, Arc::new(SystemClock))
    }

    /// The same with another clock.
    pub fn with_clock(reader: Box<dyn DocumentReader>, options: DocumentOptions, clock: Arc<dyn Clock>) -> Self {
        Self {
            reader,
            options,
            clock,
            seen: Mutex::default(),
        }
    }

    /// Where the document is, for messages.
    pub fn name(&self) -> &str {
        self.reader.name()
    }

    /// Reads the document. If it cannot be used, an earlier version is. If there is none either, fails with the reader's error or
    /// with the code of the document's first fault.
    pub async fn load(&self) -> Result<Loaded> {
        let newest = self.load_newest().await.inspect_err(|_| count_refused());
        let error = match newest {
            Ok(document) => {
                return Ok(Loaded {
                    document,
                    is_fallback: false,
                });
            }
            Err(error) => error,
        };
        match self.load_earlier(&error).await {
            Some(document) => Ok(Loaded {
                document,
                is_fallback: true,
            }),
            None => Err(error),
        }
    }

    /// The first earlier version that is valid. `why`: the newest one cannot be used.
    pub async fn load_earlier(&self, why: &Error) -> Option<Document> {
        let place = self.name();
        let ids = self.reader.earlier().await.unwrap_or_else(|error| {
            tracing::warn!(
                code = error.code(),
                place,
                "earlier versions of the document cannot be listed: {error}"
            );
            Vec::new()
        });
        for id in ids {
            let read = self.reader.read_earlier(&id).await;
            let parsed = read.and_then(|text| Document::parse(&text).map_err(|errors| refused(place, &errors)));
            match parsed {
                Ok(parsed) => {
                    counter!("ConfigurationFallback").increment(1);
                    tracing::error!(
                        code = Code::ConfigFallback.as_str(),
                        place,
                        version = id,
                        rules = parsed.document.rules.len(),
                        why = %why,
                        "the newest version of the document cannot be used, so an earlier one is in force; nothing is cancelled or deleted until it is repaired"
                    );
                    return Some(parsed.document);
                }
                Err(error) => {
                    tracing::debug!(
                        code = error.code(),
                        place,
                        version = id,
                        "an earlier version cannot be used: {error}"
                    );
                }
            }
        }
        None
    }

    async fn load_newest(&self) -> Result<Document> {
        self.update(|seen| seen.read_at = Some(self.clock.now()));
        let Some(read) = self.reader.read(None).await? else {
            let name = self.name();
            return Err(Error::new(
                Code::ConfigUnavailable,
                Verb::Configuration.on(name),
                "it is not there",
            ));
        };
        let parsed = Document::parse(&read.text).map_err(|errors| refused(self.name(), &errors))?;
        warn(&parsed.warnings);
        warn(&(self.options.warnings)(&parsed.document));
        self.update(|seen| seen.version.clone_from(&read.version));
        self.note(&read).await;
        Ok(parsed.document)
    }

    /// Notes that this version is in force already.
    #[must_use]
    pub fn with_version(self, version: String) -> Self {
        self.update(|seen| seen.version = Some(version));
        self
    }

    /// Notes for later processes that this version is in force. A failure is logged: an older version may be used then.
    pub async fn note(&self, in_force: &DocumentText) {
        if let Err(error) = self.reader.note(in_force).await {
            tracing::warn!(
                code = error.code(),
                place = self.name(),
                "the version in force could not be noted: {error}"
            );
        }
    }

    /// Puts a new version of the document in force if there is one. Reads once per interval at most.
    pub async fn refresh(&self, configuration: &Configuration) {
        let now = self.clock.now();
        let is_due = self.update(|seen| {
            // If the clock was set back, the document is due.
            let passed = seen.read_at.and_then(|read_at| now.duration_since(read_at).ok());
            let is_due = passed.is_none_or(|passed| passed >= self.options.interval);
            if is_due {
                seen.read_at = Some(now);
            }
            is_due
        });
        if is_due {
            self.check_and_apply(configuration).await;
        }
    }

    /// Keeps `configuration` up to date, without end. `reload` makes it read at once.
    pub async fn watch(&self, configuration: &Configuration, reload: &Notify) {
        loop {
            let _ = timeout(self.options.interval, reload.notified()).await;
            self.check_and_apply(configuration).await;
        }
    }

    async fn check_and_apply(&self, configuration: &Configuration) {
        // What was the newest when it was read was the newest when the read began.
        let began = Timestamp::try_from(self.clock.now()).unwrap_or(Timestamp::MIN);
        let change = self.check().await;
        if let Change::New(_, read) = &change {
            self.note(read).await;
        }
        self.apply(change, configuration, began);
        if configuration.current().is_fallback() {
            counter!("ConfigurationFallback").increment(1);
        }
    }

    async fn check(&self) -> Change {
        let known = self.update(|seen| seen.version.clone().filter(|_| !seen.is_unreadable));
        let read = self.reader.read(known.as_deref()).await;
        let repeats_faults = self.options.repeats_faults;
        match read {
            Ok(None) => Change::None,
            Ok(Some(read)) => {
                let parsed = Document::parse(&read.text);
                self.update(|seen| {
                    seen.is_unreadable = false;
                    seen.is_refused = parsed.is_err();
                    if parsed.is_ok() || !repeats_faults {
                        seen.version.clone_from(&read.version);
                    }
                });
                match parsed {
                    Ok(parsed) => Change::New(Box::new(parsed), read),
                    Err(errors) => Change::Refused(errors),
                }
            }
            Err(error) => {
                let was_unreadable = self.update(|seen| std::mem::replace(&mut seen.is_unreadable, !repeats_faults));
                if was_unreadable {
                    Change::None
                } else {
                    Change::Unreadable(error)
                }
            }
        }
    }

    fn apply(&self, change: Change, configuration: &Configuration, began: Timestamp) {
        let place = self.name();
        match change {
            Change::None => {
                if self.update(|seen| !seen.is_unreadable && !seen.is_refused) {
                    configuration.confirm(began);
                }
            }
            Change::New(parsed, _) => {
                let Parsed { document, warnings } = *parsed;
                let rules = document.rules.len();
                let of_platform = (self.options.warnings)(&document);
                // The log says that it is in force, so it is by then.
                configuration.replace_with_newest(document, began);
                tracing::info!(place, rules, "a new version of the document is in force");
                warn(&warnings);
                warn(&of_platform);
            }
            Change::Refused(errors) => {
                count_refused();
                for error in errors.iter() {
                    tracing::error!(
                        code = error.code(),
                        place,
                        "the new version of the document is not valid, the last valid one stays in force: {error}"
                    );
                }
            }
            Change::Unreadable(error) => {
                count_refused();
                tracing::error!(
                    code = error.code(),
                    place,
                    "the document cannot be read, the last valid version stays in force: {error}"
                );
            }
        }
    }

    fn update<T>(&self, change: impl FnOnce(&mut Seen) -> T) -> T {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Counts a read of a document that is not valid, or that cannot be read.
fn count_refused() {
    counter!("DocumentRefused").increment(1);
}

/// Logs the warnings of a document.
pub fn warn(warnings: &[Warning]) {
    for warning in warnings {
        let line = warning.position.map(|position| position.line);
        tracing::warn!(
            code = warning.code.as_str(),
            field = warning.path,
            line,
            "{}",
            warning.message
        );
    }
}

/// The code of the first fault. Temporary, because another version may be there at the next read, and nothing that waits
/// for it is lost.
fn refused(name: &str, errors: &Errors) -> Error {
    let code = errors.kind();
    let message = format!("the document is refused: {errors}");
    Error::new(code, Verb::Configuration.on(name), message).with_persistence(Persistence::Temporary(None))
}
