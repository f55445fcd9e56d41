//! A document in a file.

use std::path::PathBuf;

use async_trait::async_trait;
use transship_oci::{Code, Error, Result, Verb};

use super::{DOCUMENT_BYTES_MAX, DocumentReader, DocumentText};
use crate::bounded_file::read_bounded;

/// A [`DocumentReader`] of a file. Its text is its version, because a file is small and its time and length do not reveal
/// every change.
pub struct FileDocument {
    path: PathBuf,
    name: String,
    unreadable: Code,
}

impl FileDocument {
    /// The file at `path`. `unreadable` is the code if it cannot be read.
    pub fn new(path: PathBuf, unreadable: Code) -> Self {
        Self {
            name: path.display().to_string(),
            path,
            unreadable,
        }
    }
}

#[async_trait]
impl DocumentReader for FileDocument {
    fn name(&self) -> &str {
        &self.name
    }

    async fn read(&self, known: Option<&str>) -> Result<Option<DocumentText>> {
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || read_bounded(&path, DOCUMENT_BYTES_MAX)).await;
        let text = read.map_err(std::io::Error::other).flatten().map_err(|error| {
            let message = format!("it cannot be read: {error}");
            Error::new(self.unreadable, Verb::Configuration.on(&self.name), message)
        })?;
        Ok((known != Some(text.as_str())).then(|| DocumentText {
            version: Some(text.clone()),
            text,
        }))
    }
}
