//! Indexing an archive: by range if it is plain, in one pass if it is compressed.
//!
//! The pass reads every byte. It hashes the files, which saves a docker-archive a second pass, and keeps small files, which
//! saves a layout one pass for each manifest.

use crate::store::empty;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use transship_oci::{Algorithm, Code, Error, Hasher, Result, Verb};

use super::entry::{HEAD_BYTES, Place, Seen};
use super::files::{ArchiveFiles, Pack};
use super::tar_header::BLOCK_BYTES;
use super::tar_index::{Begun, TarIndex, Wanted};
use super::unpack::{Compression, Limits, Unpacked};
use super::window::{Window, part};
use crate::ObjectStore;

/// Maximum size in bytes of a file that is kept, up to a total of [`MAX_KEPT_BYTES`].
const MAX_KEPT_FILE_BYTES: u64 = 128 * 1024;
const MAX_KEPT_BYTES: usize = 8 * 1024 * 1024;

impl ArchiveFiles {
    /// Indexes the archive at `key`. `SOURCE_EMPTY` if it does not exist; `ARCHIVE_INVALID`, `ARCHIVE_UNSUPPORTED`,
    /// `ARCHIVE_TOO_LARGE` or `ARCHIVE_BOMB` if it cannot be read at all. A truncated archive is indexed up to its end.
    pub(crate) async fn read(store: Arc<dyn ObjectStore>, key: &str, limits: Limits) -> Result<Self> {
        let operation = Verb::Read.on(format_args!("{}/{key}", store.name()));
        let object = store.head(key).await?;
        let object = object.ok_or_else(|| empty(key, &operation))?;
        let head = match object.size.min(BLOCK_BYTES) {
            0 => Bytes::new(),
            length => part(store.as_ref(), &object, 0, length).await?,
        };
        let compression = Compression::of(&head).map_err(|error: Error| error.during(&operation))?;
        let pack = Arc::new(Pack::new(store, object, compression, limits));
        let mut index = TarIndex::new();
        let is_whole = match compression {
            None => by_range(&pack, &mut index).await?,
            Some(compression) => by_pass(&pack, compression, &mut index).await?,
        };
        let has_other_names = index.has_other_names();
        let places = index.into_places();
        Ok(Self {
            pack,
            has_links: places.values().any(|place| matches!(place, Place::Link(_))),
            places,
            has_other_names,
            is_cut: !is_whole,
            compared: Mutex::new(BTreeMap::new()),
        })
    }
}

/// True at the end of the tar, or at the end of the object in the place of the next header, because some writers omit the end
/// marker.
async fn by_range(pack: &Pack, index: &mut TarIndex) -> Result<bool> {
    let mut window = Window::new(Arc::clone(&pack.store), pack.object.clone());
    while let Wanted::Bytes { offset, length } = index.wanted() {
        let bytes = window.read(offset, length).await?;
        if (bytes.len() as u64) < length {
            return Ok(offset == pack.object.size && offset > 0);
        }
        take(index, &bytes, &pack.object.key)?;
    }
    Ok(true)
}

async fn by_pass(pack: &Pack, compression: Compression, index: &mut TarIndex) -> Result<bool> {
    let mut unpacked = pack.pass(compression).await?;
    let mut kept = 0;
    while let Wanted::Bytes { offset, length } = index.wanted() {
        let bytes = match exactly(&mut unpacked, offset, length).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(unpacked.position() == offset && offset > 0),
            Err(error) if error.is(Code::ArchiveTruncated) => return Ok(false),
            Err(error) => return Err(error),
        };
        if let Some(begun) = take(index, &bytes, &pack.object.key)?
            && let Some(key) = begun.key.clone()
        {
            match see(&mut unpacked, &begun, kept).await {
                Ok(Some(seen)) => {
                    kept += seen.whole.as_ref().map_or(0, Bytes::len);
                    index.saw(&key, seen);
                }
                Ok(None) => return Ok(false),
                Err(error) if error.is(Code::ArchiveTruncated) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(true)
}

fn take(index: &mut TarIndex, bytes: &[u8], key: &str) -> Result<Option<Begun>> {
    index
        .take(bytes)
        .map_err(|error: Error| error.during(Verb::Read.on(key)))
}

/// `length` bytes at `offset`; [`None`] if the data ends first. Never more than the maximum size of a record.
async fn exactly(unpacked: &mut Unpacked, offset: u64, length: u64) -> Result<Option<Bytes>> {
    if !unpacked.skip_to(offset).await? {
        return Ok(None);
    }
    let mut bytes = BytesMut::new();
    while (bytes.len() as u64) < length {
        let chunk = unpacked.next(length - bytes.len() as u64).await?;
        if chunk.is_empty() {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some(bytes.freeze()))
}

/// Reads a whole file during the pass.
async fn see(unpacked: &mut Unpacked, file: &Begun, kept: usize) -> Result<Option<Seen>> {
    if !unpacked.skip_to(file.offset).await? {
        return Ok(None);
    }
    let is_kept = file.size <= MAX_KEPT_FILE_BYTES && kept < MAX_KEPT_BYTES;
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let (mut left, mut held) = (file.size, BytesMut::new());
    while left > 0 {
        let chunk = unpacked.next(left).await?;
        if chunk.is_empty() {
            return Ok(None);
        }
        left -= chunk.len() as u64;
        hasher.update(&chunk);
        if is_kept {
            held.extend_from_slice(&chunk);
        } else if held.len() < HEAD_BYTES {
            held.extend_from_slice(chunk.get(..HEAD_BYTES).unwrap_or(&chunk));
        }
    }
    let held = held.freeze();
    Ok(Some(Seen {
        digest: hasher.finish(),
        head: held.slice(..held.len().min(HEAD_BYTES)),
        whole: is_kept.then_some(held),
    }))
}
