//! The files of an archive as objects.
//!
//! An archive is a store: a layout or a storage tree in it is read like one in a folder. A link to a file is that file. A
//! listing contains every entry, so that one that cannot be read is noticed when it is read; it does not contain what is below a
//! link to a folder. Files of a plain tar are read by range. In a compressed
//! archive, each read decompresses from the start, or from the end of an earlier read, so that reading n blobs costs up to n
//! passes. Small files (manifests, configurations) are kept when the archive is indexed and cost nothing.
//!
//! Memory: the index, the small files, and up to [`DECODERS_MAX`] + 1 decoders. All reads are from the same object that was
//! indexed; `OBJECT_CHANGED` if it was replaced.

use crate::store::changed;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use transship_copy::ByteStream;
use transship_oci::{Code, Digest, Error, Operation, Result, Verb};

use super::entry::{Place, Span};
use super::link;
use super::unpack::{Compression, Limits, Unpacked};
use crate::{Object, ObjectStore, PAGE_MAX, Page, Part, Put};

/// Maximum number of concurrent reads of a compressed archive; others wait.
const DECODERS_MAX: usize = 3;

/// An indexed archive.
pub(crate) struct ArchiveFiles {
    pub(super) pack: Arc<Pack>,
    pub(super) places: BTreeMap<String, Place>,
    /// Some entry is a link, so that keys must be resolved.
    pub(super) has_links: bool,
    /// Some entries have names that are never read: absolute, with `..`, not text, or too long.
    pub(super) has_other_names: bool,
    /// The archive is truncated, so a missing file may have been in the rest.
    pub(super) is_cut: bool,
    /// Whether the entries of a repeated name have the same content, once they were compared.
    pub(super) compared: Mutex<BTreeMap<String, bool>>,
}

/// The object of an archive.
pub(super) struct Pack {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) object: Object,
    pub(super) compression: Option<Compression>,
    pub(super) limits: Limits,
    decoders: Arc<Semaphore>,
    /// The decoder at the end of the last read. If it is no longer there, a new pass is started.
    parked: Mutex<Option<Unpacked>>,
}

impl Pack {
    pub(super) fn new(
        store: Arc<dyn ObjectStore>,
        object: Object,
        compression: Option<Compression>,
        limits: Limits,
    ) -> Self {
        Self {
            store,
            object,
            compression,
            limits,
            decoders: Arc::new(Semaphore::new(DECODERS_MAX)),
            parked: Mutex::default(),
        }
    }

    /// Bytes of the object itself, as it was indexed.
    async fn raw(&self, offset: u64, length: Option<u64>) -> Result<ByteStream> {
        let part = Part {
            offset,
            length,
            etag: self.object.etag.as_deref(),
        };
        let stream = self.store.get(&self.object.key, part).await?;
        stream.ok_or_else(|| changed(&self.object.key))
    }

    /// The unpacked bytes from the start of the archive.
    pub(super) async fn pass(&self, compression: Compression) -> Result<Unpacked> {
        let name = self.object.key.clone();
        Unpacked::new(self.raw(0, None).await?, compression, self.limits, name)
    }

    /// The unpacked bytes from `offset` on.
    async fn unpacked_at(&self, compression: Compression, offset: u64) -> Result<Unpacked> {
        let parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut parked) = parked.filter(|parked| parked.position() <= offset)
            && matches!(parked.skip_to(offset).await, Ok(true))
        {
            return Ok(parked);
        }
        let mut fresh = self.pass(compression).await?;
        if fresh.skip_to(offset).await? {
            Ok(fresh)
        } else {
            Err(Error::of(Code::ArchiveTruncated, Verb::Read.on(&self.object.key)))
        }
    }

    fn park(&self, unpacked: Unpacked) {
        *self.parked.lock().unwrap_or_else(PoisonError::into_inner) = Some(unpacked);
    }

    /// `length` bytes at `offset` of the unpacked tar.
    async fn stream(self: &Arc<Self>, offset: u64, length: u64) -> Result<ByteStream> {
        match self.compression {
            _ if length == 0 => Ok(stream::empty().boxed()),
            None => self.raw(offset, Some(length)).await,
            Some(compression) => Ok(unpacking(Arc::clone(self), compression, offset, length)),
        }
    }
}

/// Waits for a decoder and decompresses only when the stream is first polled, so that reading streams one after another cannot
/// deadlock on a stream that is not yet polled.
fn unpacking(pack: Arc<Pack>, compression: Compression, offset: u64, length: u64) -> ByteStream {
    enum At {
        Start,
        Within(Box<Unpacked>, OwnedSemaphorePermit),
    }
    let start = (pack, At::Start, length);
    stream::try_unfold(start, move |(pack, at, left)| async move {
        let (mut unpacked, permit) = match at {
            _ if left == 0 => return Ok(None),
            At::Within(unpacked, permit) => (unpacked, permit),
            At::Start => {
                let permit = Arc::clone(&pack.decoders).acquire_owned().await;
                let permit = permit.map_err(|_| changed(&pack.object.key))?;
                (Box::new(pack.unpacked_at(compression, offset).await?), permit)
            }
        };
        let chunk = unpacked.next(left).await?;
        if chunk.is_empty() {
            return Err(Error::of(Code::ArchiveTruncated, Verb::Read.on(&pack.object.key)));
        }
        let left = left - chunk.len() as u64;
        let at = if left == 0 {
            pack.park(*unpacked);
            At::Start
        } else {
            At::Within(unpacked, permit)
        };
        Ok(Some((chunk, (pack, at, left))))
    })
    .boxed()
}

impl ArchiveFiles {
    /// The plain file `key`, which may be a link to it; [`None`] if there is no entry.
    pub(crate) async fn span(&self, key: &str) -> Result<Option<&Span>> {
        let refuse = |code: Code| Error::of(code, self.operation(key));
        let is_unsafe = |what: &str| {
            let message = format!("the archive has {what} with this name, but only plain files are read");
            Error::new(Code::ArchiveEntryUnsafe, self.operation(key), message)
        };
        let resolved = self.resolved(key).map_err(is_unsafe)?;
        let is_link = self.places.contains_key(key);
        let key = resolved.as_ref();
        match self.places.get(key) {
            None if self.is_cut => Err(refuse(Code::ArchiveTruncated)),
            // The key is resolved, so that another link is not possible.
            None | Some(Place::Link(_)) if is_link => Err(is_unsafe("a link to a missing file")),
            None | Some(Place::Link(_)) => Ok(None),
            Some(Place::Unsafe(what)) => Err(is_unsafe(what)),
            Some(Place::File(span)) => self.whole_span(key, span).map(Some),
            Some(Place::Several(spans)) => {
                if !self.is_one_content(key, spans).await? {
                    return Err(refuse(Code::ArchiveEntryAmbiguous));
                }
                spans.first().map(|span| self.whole_span(key, span)).transpose()
            }
        }
    }

    /// The key to which the links of `key` lead. The error is the reason why one is not followed.
    fn resolved<'a>(&self, key: &'a str) -> Result<Cow<'a, str>, &'static str> {
        if self.has_links {
            link::resolve(&self.places, key).map(Cow::Owned)
        } else {
            Ok(Cow::Borrowed(key))
        }
    }

    /// True if there is an entry with the name `key`.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.resolved(key)
            .map_or(true, |key| self.places.contains_key(key.as_ref()))
    }

    /// True if the archive is truncated.
    pub(crate) const fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// True if some entries have names that are never read.
    pub(crate) const fn has_other_names(&self) -> bool {
        self.has_other_names
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// The sha256 digest of a file. Reads the file unless a pass has computed it.
    pub(crate) async fn digest(&self, key: &str, span: &Span) -> Result<Digest> {
        if let Some(seen) = &span.seen {
            return Ok(seen.digest.clone());
        }
        let mut stream = self.pack.stream(span.offset, span.size).await?;
        let mut hasher = transship_oci::Hasher::new(transship_oci::Algorithm::Sha256);
        let mut count = 0;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error: Error| error.during(self.operation(key)))?;
            count += chunk.len() as u64;
            hasher.update(&chunk);
        }
        if count != span.size {
            return Err(Error::of(Code::ArchiveTruncated, self.operation(key)));
        }
        Ok(hasher.finish())
    }

    /// Name for messages.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.pack.store.name(), self.pack.object.key)
    }

    fn operation(&self, key: &str) -> Operation {
        Verb::Read.on(format_args!("{key} in {}", self.pack.object.key))
    }

    /// In a plain tar, an entry that ends after the object is truncated. In a compressed one, the read detects it.
    fn whole_span<'a>(&self, key: &str, span: &'a Span) -> Result<&'a Span> {
        let end = span.offset.saturating_add(span.size);
        if self.pack.compression.is_none() && end > self.pack.object.size {
            return Err(Error::of(Code::ArchiveTruncated, self.operation(key)));
        }
        Ok(span)
    }

    async fn is_one_content(&self, key: &str, spans: &[Span]) -> Result<bool> {
        let known = self
            .compared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .copied();
        if let Some(known) = known {
            return Ok(known);
        }
        let mut digests = Vec::new();
        let is_one_size = spans.windows(2).all(|pair| pair[0].size == pair[1].size);
        if is_one_size {
            for span in spans {
                digests.push(self.digest(key, self.whole_span(key, span)?).await?);
            }
        }
        let is_one = is_one_size && digests.windows(2).all(|pair| pair[0] == pair[1]);
        let mut compared = self.compared.lock().unwrap_or_else(PoisonError::into_inner);
        compared.insert(key.to_owned(), is_one);
        Ok(is_one)
    }

    fn object(&self, key: &str, size: u64) -> Object {
        Object {
            key: key.to_owned(),
            size,
            etag: self.pack.object.etag.clone(),
            written: self.pack.object.written,
        }
    }

    fn read_only(&self, key: &str) -> Error {
        let sentence = "an archive is read-only".to_owned();
        Error::new(Code::ObjectRefused, self.operation(key), sentence)
    }
}

#[async_trait]
impl ObjectStore for ArchiveFiles {
    fn name(&self) -> String {
        Self::name(self)
    }

    async fn head(&self, key: &str) -> Result<Option<Object>> {
        let span = self.span(key).await?;
        Ok(span.map(|span| self.object(key, span.size)))
    }

    async fn get(&self, key: &str, part: Part<'_>) -> Result<Option<ByteStream>> {
        let Some(span) = self.span(key).await? else {
            return Ok(None);
        };
        let offset = part.offset.min(span.size);
        let length = part.length.unwrap_or(u64::MAX).min(span.size - offset);
        if let Some(whole) = span.seen.as_ref().and_then(|seen| seen.whole.clone()) {
            let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(whole.len());
            let bytes = whole.slice(index(offset)..index(offset + length));
            return Ok(Some(stream::iter([Ok(bytes)]).boxed()));
        }
        self.pack.stream(span.offset + offset, length).await.map(Some)
    }

    async fn list(&self, prefix: &str, after: Option<&str>, max: usize) -> Result<Page> {
        use std::ops::Bound;
        let start = after.filter(|after| *after >= prefix);
        let start = start.map_or(Bound::Included(prefix), Bound::Excluded);
        let files = self.places.range::<str, _>((start, Bound::Unbounded));
        let mut files = files
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, place)| {
                let resolved = self.resolved(key).ok().and_then(|key| self.places.get(key.as_ref()));
                let size = resolved.unwrap_or(place).size();
                self.object(key, size.unwrap_or_default())
            });
        let objects = files.by_ref().take(max.min(PAGE_MAX)).collect();
        Ok(Page {
            is_last: files.next().is_none(),
            objects,
        })
    }

    async fn put_if_absent(&self, key: &str, _: Bytes) -> Result<Put> {
        Err(self.read_only(key))
    }

    async fn put_if_match(&self, key: &str, _: Bytes, _: &str) -> Result<Put> {
        Err(self.read_only(key))
    }
}
