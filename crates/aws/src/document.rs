//! The document of a function: an object in S3, or a file in its package.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use transship_oci::{Code, Error, Result, Verb};
use transship_runtime::{DOCUMENT_BYTES_MAX, DocumentOptions, DocumentReader, DocumentText, FileDocument};

use crate::Aws;
use crate::error::AwsError;

/// How a function follows its document. A fault is logged at every read, because a function has no other sign of it.
pub const DOCUMENT_OPTIONS: DocumentOptions = DocumentOptions {
    interval: Duration::from_secs(30),
    repeats_faults: true,
    warnings: |_| Vec::new(),
};

/// Where the document of a function is: `s3://bucket/key` or a path.
#[derive(Debug, Clone)]
pub struct DocumentLocation {
    name: String,
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    File(PathBuf),
    Object { bucket: String, key: String },
}

impl DocumentLocation {
    /// The location that `TRANSSHIP_CONFIG` names. `CONFIG_UNAVAILABLE` if the text is not a location.
    pub fn parse(text: &str) -> Result<Self> {
        let place = match text.strip_prefix("s3://").map(|rest| rest.split_once('/')) {
            None if text.is_empty() => {
                return Err(unavailable(
                    "TRANSSHIP_CONFIG",
                    "it does not name a document: expected s3://bucket/key or a path",
                ));
            }
            None => Place::File(text.into()),
            Some(Some((bucket, key))) if !bucket.is_empty() && !key.is_empty() && !key.ends_with('/') => {
                Place::Object {
                    bucket: bucket.to_owned(),
                    key: key.to_owned(),
                }
            }
            Some(_) => {
                return Err(unavailable(
                    text,
                    "it does not name an object: expected s3://bucket/key",
                ));
            }
        };
        Ok(Self {
            name: text.to_owned(),
            place,
        })
    }

    /// The location as it was written.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The reader of the document. Sends nothing yet.
    pub fn reader(&self, aws: &Aws) -> Box<dyn DocumentReader> {
        match &self.place {
            Place::File(path) => Box::new(FileDocument::new(path.clone(), Code::ConfigUnavailable)),
            Place::Object { bucket, key } => Box::new(S3Document {
                aws: aws.clone(),
                name: self.name.clone(),
                bucket: bucket.clone(),
                key: key.clone(),
            }),
        }
    }
}

/// A [`DocumentReader`] of an object. Its version is its `ETag`.
struct S3Document {
    aws: Aws,
    name: String,
    bucket: String,
    key: String,
}

#[async_trait]
impl DocumentReader for S3Document {
    fn name(&self) -> &str {
        &self.name
    }

    async fn read(&self, known: Option<&str>) -> Result<Option<DocumentText>> {
        let failed = |why: String| unavailable(&self.name, why);
        let request = self.aws.s3().get_object().bucket(&self.bucket).key(&self.key);
        let response = match request.set_if_none_match(known.map(str::to_owned)).send().await {
            Ok(response) => response,
            Err(error) if error.raw_response().is_some_and(|raw| raw.status().as_u16() == 304) => return Ok(None),
            Err(error) => {
                return Err(failed(AwsError::of(&error).of_secret("the object", "s3:GetObject")));
            }
        };
        let version = response.e_tag;
        let mut body = response.body;
        let mut bytes = Vec::new();
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|error| failed(format!("it cannot be read: {error}")))?;
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
                return Err(failed(format!("it is larger than {DOCUMENT_BYTES_MAX} bytes")));
            }
        }
        let text = String::from_utf8(bytes).map_err(|_| failed("it is not UTF-8 text".to_owned()))?;
        Ok(Some(DocumentText { text, version }))
    }
}

/// `CONFIG_UNAVAILABLE`: the document `name` cannot be read.
fn unavailable(name: &str, why: impl Into<String>) -> Error {
    Error::new(Code::ConfigUnavailable, Verb::Configuration.on(name), why.into())
}
