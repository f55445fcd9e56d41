//! A document in a file.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use transship_oci::{Code, Error, Result, Verb};

use super::{DOCUMENT_BYTES_MAX, DocumentReader, DocumentText};
use crate::bounded_file::read_bounded;

/// A new version is used after it did not change for this time.
const SETTLE_TIME: Duration = Duration::from_secs(1);

/// A [`DocumentReader`] of a file. Its text is its version, because a file is small and its time and length do not reveal
/// every change.
pub struct FileDocument {
    path: PathBuf,
    name: String,
    unreadable: Code,
    settle_time: Duration,
    /// Where the version in force is kept.
    copy: Option<PathBuf>,
}

impl FileDocument {
    /// The file at `path`. `unreadable` is the code if it cannot be read.
    pub fn new(path: PathBuf, unreadable: Code) -> Self {
        Self {
            name: path.display().to_string(),
            path,
            unreadable,
            settle_time: SETTLE_TIME,
            copy: None,
        }
    }

    /// The same, with a copy of the version in force at `path`, to start with if the file is not valid then.
    #[must_use]
    pub fn with_copy(mut self, path: PathBuf) -> Self {
        self.copy = Some(path);
        self
    }
}

#[async_trait]
impl DocumentReader for FileDocument {
    fn name(&self) -> &str {
        &self.name
    }

    async fn read(&self, known: Option<&str>) -> Result<Option<DocumentText>> {
        let mut text = self.text().await?;
        // The first document is read as it is. A new version may still be written, and half of it may be valid as well.
        while known.is_some_and(|known| known != text) {
            tokio::time::sleep(self.settle_time).await;
            let again = self.text().await?;
            if again == text {
                break;
            }
            text = again;
        }
        Ok((known != Some(text.as_str())).then(|| DocumentText {
            version: Some(text.clone()),
            text,
            id: None,
        }))
    }

    async fn earlier(&self) -> Result<Vec<String>> {
        let copies = self.copy.iter().filter(|copy| copy.is_file());
        Ok(copies.map(|copy| copy.display().to_string()).collect())
    }

    async fn read_earlier(&self, _: &str) -> Result<String> {
        self.text_of(self.copy.clone().unwrap_or_default()).await
    }

    async fn note(&self, in_force: &DocumentText) -> Result<()> {
        let Some(copy) = self.copy.clone() else {
            return Ok(());
        };
        let text = in_force.text.clone();
        let written = tokio::task::spawn_blocking(move || replace(&copy, &text)).await;
        written.map_err(std::io::Error::other).flatten().map_err(|error| {
            let message = format!("its copy cannot be written: {error}");
            Error::new(self.unreadable, Verb::Configuration.on(&self.name), message)
        })
    }
}

impl FileDocument {
    async fn text(&self) -> Result<String> {
        self.text_of(self.path.clone()).await
    }

    async fn text_of(&self, path: PathBuf) -> Result<String> {
        let read = tokio::task::spawn_blocking(move || read_bounded(&path, DOCUMENT_BYTES_MAX)).await;
        read.map_err(std::io::Error::other).flatten().map_err(|error| {
            let message = format!("it cannot be read: {error}");
            Error::new(self.unreadable, Verb::Configuration.on(&self.name), message)
        })
    }
}

/// Writes the file as a whole or not at all; only this user may read it.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let partial = path.with_extension("partial");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&partial)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&partial, path)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn a_document_that_is_being_written_is_read_when_complete() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.yaml");
        std::fs::write(&path, "one").unwrap();
        let file = FileDocument {
            settle_time: Duration::from_millis(200),
            ..FileDocument::new(path.clone(), Code::ConfigUnreadable)
        };
        let file = Arc::new(file);
        assert_eq!(file.read(None).await.unwrap().unwrap().text, "one");
        assert!(file.read(Some("one")).await.unwrap().is_none());
        std::fs::write(&path, "t").unwrap();
        let reading = tokio::spawn({
            let file = Arc::clone(&file);
            async move { file.read(Some("one")).await.unwrap().unwrap().text }
        });
        for text in ["tw", "two"] {
            tokio::time::sleep(Duration::from_millis(50)).await;
            std::fs::write(&path, text).unwrap();
        }
        assert_eq!(reading.await.unwrap(), "two");
    }
}
