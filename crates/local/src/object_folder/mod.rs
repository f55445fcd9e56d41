//! A folder as an object store.
//!
//! Objects are written to a temporary file and renamed, so that they are never visible in part. A key must not lead out of the
//! folder, by `..` or a symbolic link, because layouts come from untrusted sources (go-containerregistry 7f937fe).

mod listing;

use std::fs::Metadata;
use std::io::{ErrorKind, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use transship_oci::{Error, Result};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;
use transship_copy::ByteStream;
use transship_layout::{Object, ObjectStore, PAGE_MAX, Page, Part, Put, changed, unreadable};

use listing::Wanted;

/// Number of bytes in a read, large enough to make the cost of the blocking thread negligible.
const CHUNK_BYTES: usize = 256 * 1024;
/// Prefix of the names of temporary files, which are not objects.
const TEMPORARY: &str = ".transship-";

/// The files below one folder.
#[derive(Debug, Clone)]
pub struct ObjectFolder {
    root: PathBuf,
}

impl ObjectFolder {
    /// The folder at `root`. `OBJECT_UNREADABLE` if it does not exist or is not a folder.
    pub fn open(root: &Path) -> Result<Self> {
        let failed = |error| unreadable(&root.display().to_string(), error);
        let canonical = root.canonicalize().map_err(failed)?;
        if !canonical.is_dir() {
            return Err(failed(ErrorKind::NotADirectory.into()));
        }
        Ok(Self { root: canonical })
    }

    /// The canonical path of `key`; [`None`] if it does not exist.
    async fn locate(&self, key: &str) -> Result<Option<PathBuf>> {
        let escapes = || escapes(key);
        if !is_key(key) {
            return Err(escapes());
        }
        match tokio::fs::canonicalize(self.root.join(key)).await {
            Ok(path) if path.starts_with(&self.root) => Ok(Some(path)),
            Ok(_) => Err(escapes()),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(unreadable(key, error)),
        }
    }

    /// The path to write `key`, in a folder that is or will be within the root.
    fn target(&self, key: &str) -> Result<PathBuf> {
        let target = self.root.join(key);
        let within = target.ancestors().skip(1).find_map(|folder| folder.canonicalize().ok());
        if is_key(key) && within.is_some_and(|folder| folder.starts_with(&self.root)) {
            Ok(target)
        } else {
            Err(escapes(key))
        }
    }
}

/// True if `key` is syntactically below a folder, regardless of links.
fn is_key(key: &str) -> bool {
    let is_normal = |part| matches!(part, Component::Normal(_));
    !key.is_empty() && Path::new(key).components().all(is_normal)
}

fn escapes(key: &str) -> Error {
    let cause = std::io::Error::new(ErrorKind::PermissionDenied, "the path leads out of the folder");
    unreadable(key, cause)
}

#[async_trait]
impl ObjectStore for ObjectFolder {
    fn name(&self) -> String {
        self.root.display().to_string()
    }

    async fn head(&self, key: &str) -> Result<Option<Object>> {
        let Some(path) = self.locate(key).await? else {
            return Ok(None);
        };
        let metadata = tokio::fs::metadata(&path)
            .await
            .map_err(|error| unreadable(key, error))?;
        Ok(metadata.is_file().then(|| object(key, &metadata)))
    }

    async fn get(&self, key: &str, part: Part<'_>) -> Result<Option<ByteStream>> {
        let failed = |error| unreadable(key, error);
        let Some(path) = self.locate(key).await? else {
            return Ok(None);
        };
        // The type is checked before opening, because opening a pipe would wait for a writer.
        if !tokio::fs::metadata(&path).await.map_err(failed)?.is_file() {
            return Ok(None);
        }
        let mut file = tokio::fs::File::open(&path).await.map_err(failed)?;
        let metadata = file.metadata().await.map_err(failed)?;
        if part.etag.is_some_and(|wanted| etag(&metadata) != wanted) {
            return Err(changed(key));
        }
        if part.offset > 0 {
            // The file system does not allow an offset far beyond the end.
            let offset = part.offset.min(metadata.len());
            file.seek(SeekFrom::Start(offset)).await.map_err(failed)?;
        }
        file.set_max_buf_size(CHUNK_BYTES);
        let watched = match part.etag {
            Some(wanted) => Some((file.try_clone().await.map_err(failed)?, wanted.to_owned())),
            None => None,
        };
        let chunks = ReaderStream::with_capacity(file.take(part.length.unwrap_or(u64::MAX)), CHUNK_BYTES);
        let owned = key.to_owned();
        let chunks = chunks.map_err(move |error| unreadable(&owned, error));
        Ok(Some(match watched {
            Some((file, wanted)) => chunks.chain(unchanged(file, wanted, key.to_owned())).boxed(),
            None => chunks.boxed(),
        }))
    }

    async fn list(&self, prefix: &str, after: Option<&str>, max: usize) -> Result<Page> {
        let root = self.root.clone();
        let (prefix_owned, after) = (prefix.to_owned(), after.map(str::to_owned));
        in_background(prefix, move || {
            let wanted = Wanted {
                root: &root,
                prefix: &prefix_owned,
                after: after.as_deref(),
                max: max.min(PAGE_MAX),
            };
            wanted.page(|name| !name.starts_with(TEMPORARY), object)
        })
        .await
    }

    async fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<Put> {
        let target = self.target(key)?;
        in_background(key, move || write_new(&target, &bytes)).await
    }

    async fn put_if_match(&self, key: &str, bytes: Bytes, etag: &str) -> Result<Put> {
        let (root, target, etag) = (self.root.clone(), self.target(key)?, etag.to_owned());
        in_background(key, move || replace(&root, &target, &bytes, &etag)).await
    }
}

/// Work that waits for the disk.
async fn in_background<T: Send + 'static>(
    key: &str,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    done.map_err(|error| unreadable(key, error))
}

fn object(key: &str, metadata: &Metadata) -> Object {
    Object {
        key: key.to_owned(),
        size: metadata.len(),
        etag: Some(etag(metadata)),
        written: metadata.modified().ok(),
    }
}

/// A replaced file has another inode, and a modified file has another time. Source: stat(2).
fn etag(metadata: &Metadata) -> String {
    format!(
        "{:x}-{:x}-{:x}-{:x}",
        metadata.ino(),
        metadata.len(),
        metadata.ctime(),
        metadata.ctime_nsec()
    )
}

/// Nothing, or the error that the file was modified while it was read.
fn unchanged(
    file: tokio::fs::File,
    wanted: String,
    key: String,
) -> impl futures_util::Stream<Item = Result<Bytes>> + Send {
    stream::once(async move {
        match file.metadata().await {
            Ok(metadata) if etag(&metadata) == wanted => Ok(Bytes::new()),
            Ok(_) => Err(changed(&key)),
            Err(error) => Err(unreadable(&key, error)),
        }
    })
}

/// Writes a temporary file first, so that a partial object is never visible.
fn written_beside(target: &Path, bytes: &[u8]) -> std::io::Result<NamedTempFile> {
    let folder = target.parent().ok_or(ErrorKind::InvalidInput)?;
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(folder)?;
    file.write_all(bytes)?;
    Ok(file)
}

fn write_new(target: &Path, bytes: &[u8]) -> std::io::Result<Put> {
    match written_beside(target, bytes)?.persist_noclobber(target) {
        Ok(file) => Ok(Put::Written(Some(etag(&file.metadata()?)))),
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(Put::Lost),
        Err(error) => Err(error.error),
    }
}

/// A rename is unconditional, so writers take turns with a lock on the folder.
fn replace(root: &Path, target: &Path, bytes: &[u8], wanted: &str) -> std::io::Result<Put> {
    let lock = std::fs::File::open(root)?;
    lock.lock()?;
    match std::fs::metadata(target) {
        Ok(metadata) if etag(&metadata) == wanted => {}
        Ok(_) => return Ok(Put::Lost),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Put::Lost),
        Err(error) => return Err(error),
    }
    let file = written_beside(target, bytes)?
        .persist(target)
        .map_err(|error| error.error)?;
    Ok(Put::Written(Some(etag(&file.metadata()?))))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(store: &ObjectFolder, key: &str, offset: u64) -> Option<Vec<u8>> {
        let stream = store.get(key, Part::from(offset)).await.unwrap()?;
        Some(
            stream
                .try_fold(Vec::new(), |mut all, chunk| async move {
                    all.extend_from_slice(&chunk);
                    Ok(all)
                })
                .await
                .unwrap(),
        )
    }

    #[tokio::test]
    async fn files_are_read_from_any_offset() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("a")).unwrap();
        std::fs::write(folder.path().join("a/b"), b"hello").unwrap();
        let store = ObjectFolder::open(folder.path()).unwrap();
        assert_eq!(store.head("a/b").await.unwrap().unwrap().size, 5);
        assert_eq!(read(&store, "a/b", 0).await.unwrap(), b"hello");
        assert_eq!(read(&store, "a/b", 3).await.unwrap(), b"lo");
        assert!(read(&store, "a/c", 0).await.is_none() && read(&store, "a", 0).await.is_none());
        assert!(store.head("a/b/c").await.unwrap().is_none());
    }

    #[tokio::test]
    async fn no_key_leads_out_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), b"x").unwrap();
        std::fs::create_dir(folder.path().join("layout")).unwrap();
        std::os::unix::fs::symlink(folder.path().join("secret"), folder.path().join("layout/link")).unwrap();
        let store = ObjectFolder::open(&folder.path().join("layout")).unwrap();
        for key in ["../secret", "link", "/etc/passwd", "a/../../secret"] {
            assert_eq!(
                store.get(key, Part::from(0)).await.err().unwrap().code(),
                "OBJECT_UNREADABLE",
                "{key}"
            );
            if key != "link" {
                let put = store.put_if_absent(key, Bytes::from_static(b"x")).await;
                assert_eq!(put.err().unwrap().code(), "OBJECT_UNREADABLE", "{key}");
            }
        }
    }

    #[tokio::test]
    async fn no_folder_on_the_way_leads_out_and_nothing_but_files_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let (root, outside) = (folder.path().join("root"), folder.path().join("outside/sha256"));
        std::fs::create_dir_all(&outside).unwrap();
        std::fs::create_dir(&root).unwrap();
        std::fs::write(outside.join("secret"), b"x").unwrap();
        std::os::unix::fs::symlink(folder.path().join("outside"), root.join("blobs")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", root.join("device")).unwrap();
        assert!(
            std::process::Command::new("mkfifo")
                .arg(root.join("pipe"))
                .status()
                .unwrap()
                .success()
        );
        let store = ObjectFolder::open(&root).unwrap();
        for key in ["blobs/sha256/secret", "device"] {
            assert_eq!(store.head(key).await.unwrap_err().code(), "OBJECT_UNREADABLE", "{key}");
            let read = store.get(key, Part::from(0)).await;
            assert_eq!(read.err().unwrap().code(), "OBJECT_UNREADABLE", "{key}");
        }
        // The pipe has no writer, so reading it would never end.
        assert!(store.head("pipe").await.unwrap().is_none() && read(&store, "pipe", 0).await.is_none());
        assert!(store.list("", None, 10).await.unwrap().objects.is_empty());
    }
}
