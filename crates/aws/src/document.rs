//! The document of a function: an object in S3, or a file in its package.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::primitives::ByteStream;
use transship_engine::ledger::{Key, Records};
use transship_oci::{Code, Error, Result, Verb};
use transship_rules::Document;
use transship_runtime::{
    DOCUMENT_BYTES_MAX, DocumentOptions, DocumentReader, DocumentText, EARLIER_VERSIONS_MAX, FileDocument,
};

use crate::Aws;
use crate::error::AwsError;

/// How a function follows its document. A fault is logged at every read, because a function has no other sign of it.
pub const DOCUMENT_OPTIONS: DocumentOptions = DocumentOptions {
    interval: Duration::from_secs(30),
    repeats_faults: true,
    warnings: Document::not_on_aws,
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

    /// The reader of the document. Sends nothing yet. `active`: where the version in force is recorded.
    pub fn reader(&self, aws: &Aws, active: ActiveVersion) -> Box<dyn DocumentReader> {
        match &self.place {
            Place::File(path) => Box::new(FileDocument::new(path.clone(), Code::ConfigUnavailable)),
            Place::Object { bucket, key } => Box::new(S3Document {
                aws: aws.clone(),
                name: self.name.clone(),
                bucket: bucket.clone(),
                key: key.clone(),
                active,
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
    active: ActiveVersion,
}

/// The record of the version of the document that is in force.
#[derive(Clone)]
pub struct ActiveVersion {
    /// Where it is recorded; [`None`]: nowhere.
    pub records: Option<Arc<dyn Records>>,
    /// This process records it. The others only read it.
    pub is_writer: bool,
}

impl ActiveVersion {
    /// Nothing is recorded.
    pub const NONE: Self = Self {
        records: None,
        is_writer: false,
    };

    fn key() -> Key {
        Key::new("document", "active")
    }

    /// The version that was recorded last. A failure counts as none: the versions of the object are still there.
    async fn find(&self) -> Option<String> {
        let found = self.records.as_ref()?.get(&Self::key()).await;
        let found = found
            .inspect_err(|error| tracing::debug!(code = error.code(), %error, "the version in force is not known"));
        Some(found.ok()??.value)
    }

    async fn record(&self, version: &str) -> Result<()> {
        let Some(records) = self.records.as_ref().filter(|_| self.is_writer) else {
            return Ok(());
        };
        let known = records.get(&Self::key()).await?;
        if known.as_ref().is_some_and(|known| known.value == version) {
            return Ok(());
        }
        // Of two workers that record at the same time, one may: both read the newest version.
        records
            .put_if(&Self::key(), known.map(|known| known.version), version)
            .await?;
        Ok(())
    }
}

impl S3Document {
    fn failed(&self, why: impl Into<String>) -> Error {
        unavailable(&self.name, why)
    }

    /// The text of an object, within the limit.
    async fn text(&self, body: ByteStream) -> Result<String> {
        let mut body = body;
        let mut bytes = Vec::new();
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|error| self.failed(format!("it cannot be read: {error}")))?;
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
                return Err(self.failed(format!("it is larger than {DOCUMENT_BYTES_MAX} bytes")));
            }
        }
        String::from_utf8(bytes).map_err(|_| self.failed("it is not UTF-8 text"))
    }
}

#[async_trait]
impl DocumentReader for S3Document {
    fn name(&self) -> &str {
        &self.name
    }

    async fn read(&self, known: Option<&str>) -> Result<Option<DocumentText>> {
        let request = self.aws.s3().get_object().bucket(&self.bucket).key(&self.key);
        let response = match request.set_if_none_match(known.map(str::to_owned)).send().await {
            Ok(response) => response,
            Err(error) if error.raw_response().is_some_and(|raw| raw.status().as_u16() == 304) => return Ok(None),
            Err(error) => {
                return Err(self.failed(AwsError::of(&error).of_secret("the object", "s3:GetObject")));
            }
        };
        let (version, id) = (response.e_tag, response.version_id);
        let text = self.text(response.body).await?;
        Ok(Some(DocumentText { text, version, id }))
    }

    async fn earlier(&self) -> Result<Vec<String>> {
        let mut ids: Vec<String> = self.active.find().await.into_iter().collect();
        let request = self
            .aws
            .s3()
            .list_object_versions()
            .bucket(&self.bucket)
            .prefix(&self.key);
        let listed = request.send().await;
        let listed = listed.map_err(|error| {
            self.failed(AwsError::of(&error).of_secret("the versions of the object", "s3:ListBucketVersions"))
        })?;
        let versions = listed.versions.unwrap_or_default().into_iter();
        let others = versions
            .filter(|version| version.key.as_deref() == Some(self.key.as_str()))
            .filter_map(|version| version.version_id)
            .take(EARLIER_VERSIONS_MAX);
        for id in others {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        Ok(ids)
    }

    async fn read_earlier(&self, id: &str) -> Result<String> {
        let request = self.aws.s3().get_object().bucket(&self.bucket).key(&self.key);
        let response = request.version_id(id).send().await.map_err(|error| {
            self.failed(AwsError::of(&error).of_secret("a version of the object", "s3:GetObjectVersion"))
        })?;
        self.text(response.body).await
    }

    async fn note(&self, in_force: &DocumentText) -> Result<()> {
        match &in_force.id {
            Some(id) => self.active.record(id).await,
            None => Ok(()),
        }
    }
}

/// `CONFIG_UNAVAILABLE`: the document `name` cannot be read.
fn unavailable(name: &str, why: impl Into<String>) -> Error {
    Error::new(Code::ConfigUnavailable, Verb::Configuration.on(name), why.into())
}
