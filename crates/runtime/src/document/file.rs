//! A document in a file.

use std::path::PathBuf;
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
}

impl FileDocument {
    /// The file at `path`. `unreadable` is the code if it cannot be read.
    pub fn new(path: PathBuf, unreadable: Code) -> Self {
        Self {
            name: path.display().to_string(),
            path,
            unreadable,
            settle_time: SETTLE_TIME,
        }
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
        }))
    }
}

impl FileDocument {
    async fn text(&self) -> Result<String> {
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || read_bounded(&path, DOCUMENT_BYTES_MAX)).await;
        read.map_err(std::io::Error::other).flatten().map_err(|error| {
            let message = format!("it cannot be read: {error}");
            Error::new(self.unreadable, Verb::Configuration.on(&self.name), message)
        })
    }
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
