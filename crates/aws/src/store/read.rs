//! Reads an object as a stream that resumes after errors, as long as the content is the same.

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream as Body;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use transship_copy::ByteStream;
use transship_layout::{Part, changed, unreadable};
use transship_oci::{Result, Verb};

use super::{S3Store, status};

/// Maximum number of times that one read is resumed.
const RESUMES_MAX: u32 = 3;

/// Bytes of an object; [`None`] if it does not exist.
pub(super) async fn open(store: &S3Store, key: &str, part: Part<'_>) -> Result<Option<ByteStream>> {
    let reading = Reading {
        store: store.clone(),
        key: key.to_owned(),
        offset: part.offset,
        end: part.length.map(|length| part.offset.saturating_add(length)),
        etag: part.etag.map(str::to_owned),
        resumes: RESUMES_MAX,
        body: None,
    };
    let Some(reading) = reading.open().await? else {
        return Ok(None);
    };
    Ok(Some(stream::try_unfold(reading, Reading::next).boxed()))
}

/// A read under way.
struct Reading {
    store: S3Store,
    key: String,
    /// Offset of the next byte.
    offset: u64,
    /// Offset of the end, exclusive.
    end: Option<u64>,
    /// The `ETag` of the content, once known.
    etag: Option<String>,
    resumes: u32,
    /// [`None`]: nothing is left.
    body: Option<Body>,
}

impl Reading {
    /// Asks for what is left. [`None`] if there is no such object.
    async fn open(mut self) -> Result<Option<Self>> {
        self.body = None;
        match self.request().await? {
            Answered::Absent => Ok(None),
            Answered::Nothing => Ok(Some(self)),
            Answered::Bytes(answer) => {
                self.etag = self.etag.or(answer.e_tag);
                self.body = Some(answer.body);
                Ok(Some(self))
            }
        }
    }

    async fn request(&self) -> Result<Answered> {
        let range = match self.end {
            Some(end) => Some(format!("bytes={}-{}", self.offset, end - 1)),
            // An empty object has no range at all.
            None => (self.offset > 0).then(|| format!("bytes={}-", self.offset)),
        };
        let full = self.store.named(Verb::Read, &self.key)?;
        let client = self.store.aws.s3();
        let request = client.get_object().bucket(&self.store.bucket).key(full);
        let answer = request.set_range(range).set_if_match(self.etag.clone()).send().await;
        match answer {
            Ok(answer) => Ok(Answered::Bytes(Box::new(answer))),
            Err(error) => match (status(&error), error.as_service_error()) {
                (_, Some(service)) if service.is_no_such_key() => Ok(Answered::Absent),
                (Some(412), _) => Err(changed(&self.store.place(&self.key))),
                (Some(416), _) => Ok(Answered::Nothing),
                _ => Err(self.store.refused(&error, Verb::Read, &self.key, "s3:GetObject")),
            },
        }
    }

    async fn next(mut self) -> Result<Option<(Bytes, Self)>> {
        loop {
            let Some(body) = &mut self.body else { return Ok(None) };
            match body.next().await {
                None => return Ok(None),
                Some(Ok(bytes)) => {
                    self.offset += bytes.len() as u64;
                    return Ok(Some((bytes, self)));
                }
                Some(Err(error)) if self.resumes == 0 || self.etag.is_none() => {
                    let cause = std::io::Error::other(error);
                    return Err(unreadable(&self.store.place(&self.key), cause));
                }
                Some(Err(_)) => {
                    self.resumes -= 1;
                    let place = self.store.place(&self.key);
                    let Some(again) = self.open().await? else {
                        return Err(changed(&place));
                    };
                    self = again;
                }
            }
        }
    }
}

enum Answered {
    Absent,
    /// There are no bytes at or beyond the offset.
    Nothing,
    Bytes(Box<GetObjectOutput>),
}
