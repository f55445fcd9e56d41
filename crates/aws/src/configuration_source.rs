//! Loads the document from `s3://bucket/key` or a path, and checks for newer versions.
//!
//! Creating the source must send nothing. The source is checked at most every 30 seconds. An invalid version or a deleted
//! document leaves the last valid version in force and is logged at every check.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::io::AsyncReadExt as _;
use transship_copy::{Clock, SystemClock};
use transship_engine::Configuration;
use transship_oci::{Code, Error, Persistence, Result, Verb};
use transship_rules::{Document, Errors, Parsed};

use crate::Aws;
use crate::error::Answer;

/// Interval between checks for a new version of the document.
pub const LOOK_EVERY: Duration = Duration::from_secs(30);
/// The largest document that is read.
const SIZE_MAX: u64 = 4 * 1024 * 1024;

/// The location of the document, and its last known version.
pub struct ConfigurationSource {
    place: Place,
    clock: Arc<dyn Clock>,
    seen: Mutex<Seen>,
}

enum Place {
    File(PathBuf),
    Object { bucket: String, key: String },
}

#[derive(Default)]
struct Seen {
    /// Set by the first load, which provides the clients for reading the document.
    aws: Option<Aws>,
    /// The version in force: an `ETag`, or a file's time and size.
    version: Option<String>,
    looked: Option<SystemTime>,
}

/// A version of the document.
struct Found {
    text: String,
    version: Option<String>,
}

impl ConfigurationSource {
    /// The location in `TRANSSHIP_CONFIG`. `CONFIG_UNAVAILABLE` if it is not valid.
    pub fn parse(text: &str) -> Result<Self> {
        Self::with_clock(text, Arc::new(SystemClock))
    }

    /// The same by another clock.
    pub fn with_clock(text: &str, clock: Arc<dyn Clock>) -> Result<Self> {
        Ok(Self {
            place: Place::parse(text)?,
            clock,
            seen: Mutex::default(),
        })
    }

    /// Loads the current document. Errors: `CONFIG_UNAVAILABLE`, or the codes of the document.
    pub async fn load(&self, aws: &Aws) -> Result<Document> {
        self.remember(|seen| {
            seen.aws = Some(aws.clone());
            seen.looked = Some(self.clock.now());
        });
        let found = self.place.read(Some(aws), None).await?;
        // Nothing was held, so something was found.
        let Some(Found { text, version }) = found else {
            return Err(unavailable(&self.place.name(), "it is not there"));
        };
        let document = self.parse_document(&text)?;
        self.remember(|seen| seen.version = version);
        Ok(document)
    }

    /// Checks for a newer version and puts it in force; at most every [`LOOK_EVERY`]. A version that cannot be read or is not valid
    /// is logged with its code, and the last valid version stays in force.
    pub async fn refresh(&self, configuration: &Configuration) {
        let now = self.clock.now();
        let (aws, version) = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.looked.is_some_and(|looked| is_recent(now, looked)) {
                return;
            }
            seen.looked = Some(now);
            (seen.aws.clone(), seen.version.clone())
        };
        let place = self.place.name();
        match self.newer(aws.as_ref(), version.as_deref()).await {
            Ok(None) => {}
            Ok(Some((document, version))) => {
                tracing::info!(
                    place,
                    rules = document.rules.len(),
                    "a new version of the document is in force"
                );
                configuration.replace(document);
                self.remember(|seen| seen.version = version);
            }
            Err(error) => {
                tracing::error!(
                    code = error.code(),
                    place,
                    "the last valid version of the document stays in force: {error}"
                );
            }
        }
    }

    async fn newer(&self, aws: Option<&Aws>, version: Option<&str>) -> Result<Option<(Document, Option<String>)>> {
        let Some(found) = self.place.read(aws, version).await? else {
            return Ok(None);
        };
        Ok(Some((self.parse_document(&found.text)?, found.version)))
    }

    fn remember(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn parse_document(&self, text: &str) -> Result<Document> {
        let name = self.place.name();
        let Parsed { document, warnings } = Document::parse(text).map_err(|errors| refused(&name, &errors))?;
        for warning in warnings {
            tracing::warn!(path = warning.path, "{}", warning.message);
        }
        Ok(document)
    }
}

/// If the clock is set back, the next check is delayed by at most that time and half a minute.
fn is_recent(now: SystemTime, looked: SystemTime) -> bool {
    now.duration_since(looked).is_ok_and(|passed| passed < LOOK_EVERY)
}

impl Place {
    fn parse(text: &str) -> Result<Self> {
        let Some(rest) = text.strip_prefix("s3://") else {
            if text.is_empty() {
                return Err(unavailable(
                    "TRANSSHIP_CONFIG",
                    "it does not name a document: expected s3://bucket/key or a path",
                ));
            }
            return Ok(Self::File(text.into()));
        };
        match rest.split_once('/') {
            Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() && !key.ends_with('/') => Ok(Self::Object {
                bucket: bucket.to_owned(),
                key: key.to_owned(),
            }),
            _ => Err(unavailable(
                text,
                "it does not name an object: expected s3://bucket/key",
            )),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Object { bucket, key } => format!("s3://{bucket}/{key}"),
        }
    }

    /// The document, unless it has the known version.
    async fn read(&self, aws: Option<&Aws>, held: Option<&str>) -> Result<Option<Found>> {
        match (self, aws) {
            (Self::File(path), _) => self.read_file(path, held).await,
            (Self::Object { bucket, key }, Some(aws)) => self.read_object(aws, bucket, key, held).await,
            (Self::Object { .. }, None) => Err(self.unavailable("it was never loaded")),
        }
    }

    async fn read_file(&self, path: &Path, held: Option<&str>) -> Result<Option<Found>> {
        let failed = |error: std::io::Error| self.unavailable(format!("it cannot be read: {error}"));
        let file = tokio::fs::File::open(path).await.map_err(failed)?;
        let metadata = file.metadata().await.map_err(failed)?;
        let version = format!("{:?} {}", metadata.modified().ok(), metadata.len());
        if held == Some(&version) {
            return Ok(None);
        }
        if metadata.len() > SIZE_MAX {
            return Err(self.too_large());
        }
        let mut text = String::new();
        file.take(SIZE_MAX).read_to_string(&mut text).await.map_err(failed)?;
        Ok(Some(Found {
            text,
            version: Some(version),
        }))
    }

    async fn read_object(&self, aws: &Aws, bucket: &str, key: &str, held: Option<&str>) -> Result<Option<Found>> {
        let request = aws.s3().get_object().bucket(bucket).key(key);
        let answer = match request.set_if_none_match(held.map(str::to_owned)).send().await {
            Ok(answer) => answer,
            Err(error) if error.raw_response().is_some_and(|raw| raw.status().as_u16() == 304) => return Ok(None),
            Err(error) => {
                let sentence = Answer::of(&error).of_secret("the object", "s3:GetObject").message;
                return Err(self.unavailable(sentence));
            }
        };
        let version = answer.e_tag;
        let mut body = answer.body;
        let mut bytes = Vec::new();
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|error| self.unavailable(format!("it cannot be read: {error}")))?;
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > SIZE_MAX {
                return Err(self.too_large());
            }
        }
        let text = String::from_utf8(bytes).map_err(|_| self.unavailable("it is not UTF-8 text"))?;
        Ok(Some(Found { text, version }))
    }

    fn unavailable(&self, why: impl Into<String>) -> Error {
        unavailable(&self.name(), why)
    }

    fn too_large(&self) -> Error {
        self.unavailable(format!("it is larger than {SIZE_MAX} bytes"))
    }
}

/// `CONFIG_UNAVAILABLE`: the document `name` cannot be read.
fn unavailable(name: &str, why: impl Into<String>) -> Error {
    Error::new(Code::ConfigUnavailable, Verb::Configuration.on(name), why.into())
}

/// The code of the first fault. Temporary, because another version may be there at the next look, and nothing that waits
/// for it is lost.
fn refused(name: &str, errors: &Errors) -> Error {
    let code = errors.code().parse().unwrap_or(Code::ConfigInvalid);
    let message = format!("the document is refused: {errors}");
    Error::new(code, Verb::Configuration.on(name), message).with_persistence(Persistence::Temporary(None))
}
