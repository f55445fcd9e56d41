//! Watches the document's file while `serve` runs. A new version takes effect at once; an invalid one changes nothing and is
//! logged once.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use transship_engine::Configuration;
use transship_rules::{Document, Errors, Parsed};

use crate::document;

/// Interval between reads of the file. It is always read, because it is small and its time and length do not reveal every
/// change.
const INTERVAL: Duration = Duration::from_secs(2);

/// A document's file and its last known content.
pub(crate) struct Watch {
    path: PathBuf,
    seen: Seen,
}

/// Content of the file at the last read.
enum Seen {
    Text(String),
    Nothing,
}

/// Result of a read.
#[derive(Debug)]
enum Change {
    None,
    New(Box<Parsed>),
    Refused(Errors),
    Unreadable(io::Error),
}

impl Watch {
    /// Watches `path`, which contained `text` when it was loaded.
    pub(crate) const fn new(path: PathBuf, text: String) -> Self {
        Self {
            path,
            seen: Seen::Text(text),
        }
    }

    /// Watches without end and keeps `configuration` up to date.
    pub(crate) async fn keep(mut self, configuration: Configuration) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let path = self.path.clone();
            let Ok(read) = tokio::task::spawn_blocking(move || document::read(&path)).await else {
                continue;
            };
            let change = self.look(read);
            self.apply(change, &configuration);
        }
    }

    fn look(&mut self, read: io::Result<String>) -> Change {
        match (read, &self.seen) {
            (Ok(text), Seen::Text(seen)) if text == *seen => Change::None,
            (Ok(text), _) => {
                let parsed = Document::parse(&text);
                self.seen = Seen::Text(text);
                match parsed {
                    Ok(parsed) => Change::New(Box::new(parsed)),
                    Err(errors) => Change::Refused(errors),
                }
            }
            (Err(_), Seen::Nothing) => Change::None,
            (Err(error), Seen::Text(_)) => {
                self.seen = Seen::Nothing;
                Change::Unreadable(error)
            }
        }
    }

    fn apply(&self, change: Change, configuration: &Configuration) {
        let path = self.path.display();
        match change {
            Change::None => {}
            Change::New(parsed) => {
                let Parsed { document, warnings } = *parsed;
                tracing::info!(%path, rules = document.rules.len(), "a new version of the document is in force");
                warn(&warnings);
                warn(&document.needs_aws());
                configuration.replace(document);
            }
            Change::Refused(errors) => {
                for error in errors.iter() {
                    tracing::error!(code = error.code(), %path, "the new version of the document is not valid, the last valid one stays in force: {error}");
                }
            }
            Change::Unreadable(error) => {
                tracing::error!(code = "CONFIG_UNREADABLE", %path, "the document cannot be read, the last valid version stays in force: {error}");
            }
        }
    }
}

/// Logs the warnings of a document.
pub(crate) fn warn(warnings: &[transship_rules::Warning]) {
    for warning in warnings {
        tracing::warn!(field = warning.path, "{}", warning.message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "version: 1\nregistries:\n  a: { provider: generic, endpoint: \"http://127.0.0.1:1\" }\nrules: []\n";

    fn look(watch: &mut Watch, read: io::Result<&str>) -> &'static str {
        match watch.look(read.map(str::to_owned)) {
            Change::None => "none",
            Change::New(_) => "new",
            Change::Refused(_) => "refused",
            Change::Unreadable(_) => "unreadable",
        }
    }

    #[test]
    fn every_change_is_told_once() {
        let mut watch = Watch::new("x".into(), GOOD.to_owned());
        let gone = || Err(io::Error::other("gone"));
        let other = GOOD.replace("a:", "b:");
        for (read, told) in [
            (Ok(GOOD), "none"),
            (Ok(other.as_str()), "new"),
            (Ok(other.as_str()), "none"),
            (Ok("version: 7"), "refused"),
            (Ok("version: 7"), "none"),
            (gone(), "unreadable"),
            (gone(), "none"),
            (Ok(GOOD), "new"),
        ] {
            assert_eq!(look(&mut watch, read), told);
        }
    }
}
