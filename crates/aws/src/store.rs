//! A bucket, or a prefix of a bucket, as an object store.
//!
//! Bytes are streamed with a few chunks of memory, and a broken read resumes at its offset in the same content. For conditional
//! writes, 412 means that another writer was first, and 409 that S3 could not decide; it is retried.
//! Source: Amazon S3 user guide, "Conditional writes"; `ListObjectsV2`.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::types::EncodingType;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use transship_copy::ByteStream;
use transship_layout::{Object, ObjectStore, PAGE_MAX, Page, Part, Put};
use transship_oci::{Backoff, Code, Error, Result, Verb};

use crate::Aws;
use crate::error::AwsError;

pub(crate) mod key;
mod read;

/// Maximum number of retries of a write that S3 could not decide.
const RETRIES_MAX: u32 = 4;
/// The waits before them.
const BACKOFF: Backoff = Backoff::doubling(Duration::from_millis(50), Duration::from_secs(10));
/// What S3 answers who asks in another region than the bucket's; which of them depends on the two. Source: Amazon S3 API
/// reference, "Error responses".
const ELSEWHERE: [&str; 3] = [
    "PermanentRedirect",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
];

/// [`ObjectStore`] in Amazon S3.
#[derive(Debug, Clone)]
pub struct S3Store {
    aws: Aws,
    bucket: String,
    prefix: String,
}

impl S3Store {
    /// The objects below `prefix` of `bucket`: empty, or ending in `/`. Keys are relative to it. Sends nothing.
    pub fn new(aws: &Aws, bucket: impl Into<String>, prefix: impl Into<String>) -> Self {
        Self {
            aws: aws.clone(),
            bucket: bucket.into(),
            prefix: prefix.into(),
        }
    }

    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// The key as it stands in a URL. `OBJECT_REFUSED` where none can name it: a part that is `.` or `..` is taken out on the
    /// way, and something else is asked for.
    fn named(&self, verb: Verb, key: &str) -> Result<String> {
        let full = self.full(key);
        if full.split('/').any(|part| matches!(part, "." | "..")) {
            let why = "a part of its key is . or .., which cannot be written in a URL: rename the object";
            return Err(Error::new(Code::ObjectRefused, verb.on(self.place(key)), why));
        }
        Ok(full)
    }

    /// Writes under the condition that `request` carries.
    async fn put(&self, key: &str, request: impl Fn() -> PutObjectFluentBuilder) -> Result<Put> {
        let full = self.named(Verb::Write, key)?;
        let conflict = || Error::of(Code::ObjectConflict, Verb::Write.on(self.place(key)));
        for retries in 0.. {
            let error = match request().bucket(&self.bucket).key(&full).send().await {
                Ok(response) => return Ok(Put::Written(response.e_tag)),
                Err(error) => error,
            };
            match status(&error) {
                // 404: the object whose content was named is gone, or the bucket is.
                Some(412) => return Ok(Put::Lost),
                Some(404) if error.code() == Some("NoSuchKey") => return Ok(Put::Lost),
                Some(409) if retries < RETRIES_MAX => {}
                Some(409) => return Err(conflict()),
                _ => return Err(self.refused(&error, Verb::Write, key, "s3:PutObject")),
            }
            tokio::time::sleep(BACKOFF.wait(retries)).await;
        }
        Err(conflict())
    }

    fn place(&self, key: &str) -> String {
        format!("s3://{}/{}{key}", self.bucket, self.prefix)
    }

    /// Converts an error response.
    fn refused<E>(&self, error: &SdkError<E>, verb: Verb, key: &str, permission: &str) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let operation = verb.on(self.place(key));
        let bucket = &self.bucket;
        let aws = AwsError::of(error);
        let refused = |sentence: String| Error::new(Code::ObjectRefused, &operation, sentence);
        match (status(error), aws.code.as_str()) {
            (_, "NoSuchBucket") => refused(format!("there is no bucket {bucket:?}: check its name and the account")),
            (_, "InvalidObjectState") => refused("the object is archived: restore it first".to_owned()),
            (status, code) if status == Some(301) || ELSEWHERE.contains(&code) => refused(format!(
                "the bucket {bucket:?} is in another region: run there, or set AWS_REGION"
            )),
            (Some(403), _) => refused(format!(
                "the bucket {bucket:?} does not let us: the role needs {permission}, and s3:ListBucket to see that an object is not there ({aws})"
            )),
            _ => Error::new(Code::ObjectUnreadable, &operation, aws.to_string()),
        }
    }
}

/// The HTTP status of an answer, if there was one.
fn status<E>(error: &SdkError<E>) -> Option<u16> {
    Some(error.raw_response()?.status().as_u16())
}

#[async_trait]
impl ObjectStore for S3Store {
    fn name(&self) -> String {
        let name = format!("s3://{}/{}", self.bucket, self.prefix);
        name.trim_end_matches('/').to_owned()
    }

    async fn head(&self, key: &str) -> Result<Option<Object>> {
        let full = self.named(Verb::Read, key)?;
        let client = self.aws.s3();
        let response = client.head_object().bucket(&self.bucket).key(full).send().await;
        match response {
            Ok(response) => Ok(Some(Object {
                key: key.to_owned(),
                size: response
                    .content_length
                    .and_then(|size| u64::try_from(size).ok())
                    .unwrap_or(0),
                etag: response.e_tag,
                written: response.last_modified.and_then(key::written),
            })),
            Err(error) if status(&error) == Some(404) => Ok(None),
            Err(error) => Err(self.refused(&error, Verb::Read, key, "s3:GetObject")),
        }
    }

    async fn get(&self, key: &str, part: Part<'_>) -> Result<Option<ByteStream>> {
        if part.length == Some(0) {
            return Ok(self.head(key).await?.map(|_| stream::empty().boxed()));
        }
        read::open(self, key, part).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>, max: usize) -> Result<Page> {
        let max = max.min(PAGE_MAX);
        let mut after = after.map(|after| self.full(after));
        loop {
            let request = self
                .aws
                .s3()
                .list_objects_v2()
                .bucket(&self.bucket)
                .prefix(self.full(prefix))
                .set_start_after(after)
                .max_keys(i32::try_from(max).unwrap_or(i32::MAX))
                // A key may hold what no XML can.
                .encoding_type(EncodingType::Url);
            let response = request
                .send()
                .await
                .map_err(|error| self.refused(&error, Verb::List, prefix, "s3:ListBucket"))?;
            let is_last = response.is_truncated != Some(true);
            let found: Vec<Object> = response
                .contents
                .unwrap_or_default()
                .into_iter()
                .filter_map(key::object)
                .collect();
            after = found.last().map(|object| object.key.clone());
            let objects: Vec<Object> = found.into_iter().filter_map(|object| self.below(object)).collect();
            // The prefix itself may be an object, the "folder" of the console; it is none here.
            if is_last || !objects.is_empty() || after.is_none() {
                return Ok(Page { objects, is_last });
            }
        }
    }

    async fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<Put> {
        let client = self.aws.s3();
        self.put(key, || {
            client.put_object().if_none_match("*").body(bytes.clone().into())
        })
        .await
    }

    async fn put_if_match(&self, key: &str, bytes: Bytes, etag: &str) -> Result<Put> {
        let client = self.aws.s3();
        self.put(key, || client.put_object().if_match(etag).body(bytes.clone().into()))
            .await
    }
}

impl S3Store {
    /// The object under its key below our prefix.
    fn below(&self, object: Object) -> Option<Object> {
        let key = object.key.strip_prefix(&self.prefix).filter(|key| !key.is_empty())?;
        Some(Object {
            key: key.to_owned(),
            ..object
        })
    }
}
