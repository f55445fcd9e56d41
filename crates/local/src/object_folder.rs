//! A folder as an object store: layouts are read from it.
//!
//! A key never leads out of the folder, by `..` or by a symbolic link: layouts come from strangers
//! (go-containerregistry 7f937fe).

use std::io::{ErrorKind, SeekFrom};
use std::path::{Component, Path, PathBuf};

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt};
use tokio::io::AsyncSeekExt;
use tokio_util::io::ReaderStream;
use transship_copy::ByteStream;
use transship_layout::{Error, ObjectStore, Result};

/// Bytes per read: large enough that the hand-over to the blocking thread does not count.
const CHUNK_BYTES: usize = 256 * 1024;

/// The files below one folder.
#[derive(Debug, Clone)]
pub struct ObjectFolder {
    root: PathBuf,
}

impl ObjectFolder {
    /// The folder at `root`. `OBJECT_UNREADABLE` if it is not there or no folder.
    pub fn open(root: &Path) -> Result<Self> {
        let unreadable = |error| Error::unreadable(&root.display().to_string(), error);
        let canonical = root.canonicalize().map_err(unreadable)?;
        if !canonical.is_dir() {
            return Err(unreadable(ErrorKind::NotADirectory.into()));
        }
        Ok(Self { root: canonical })
    }

    /// Where `key` really lies; [`None`] if nothing does.
    async fn locate(&self, key: &str) -> Result<Option<PathBuf>> {
        let escapes = || {
            Error::unreadable(
                key,
                std::io::Error::new(ErrorKind::PermissionDenied, "it leads out of the folder"),
            )
        };
        if !Path::new(key)
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
        {
            return Err(escapes());
        }
        match tokio::fs::canonicalize(self.root.join(key)).await {
            Ok(path) if path.starts_with(&self.root) => Ok(Some(path)),
            Ok(_) => Err(escapes()),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(Error::unreadable(key, error)),
        }
    }
}

#[async_trait]
impl ObjectStore for ObjectFolder {
    fn name(&self) -> String {
        self.root.display().to_string()
    }

    async fn head(&self, key: &str) -> Result<Option<u64>> {
        let Some(path) = self.locate(key).await? else {
            return Ok(None);
        };
        let metadata = tokio::fs::metadata(&path)
            .await
            .map_err(|error| Error::unreadable(key, error))?;
        Ok(metadata.is_file().then_some(metadata.len()))
    }

    async fn get(&self, key: &str, offset: u64) -> Result<Option<ByteStream>> {
        let Some(path) = self.locate(key).await? else {
            return Ok(None);
        };
        // Looked at before it is opened: opening a pipe would wait for whoever writes to it.
        if !tokio::fs::metadata(&path)
            .await
            .map_err(|error| Error::unreadable(key, error))?
            .is_file()
        {
            return Ok(None);
        }
        let mut file = tokio::fs::File::open(&path)
            .await
            .map_err(|error| Error::unreadable(key, error))?;
        if offset > 0 {
            file.seek(SeekFrom::Start(offset))
                .await
                .map_err(|error| Error::unreadable(key, error))?;
        }
        file.set_max_buf_size(CHUNK_BYTES);
        let key = key.to_owned();
        let chunks = ReaderStream::with_capacity(file, CHUNK_BYTES);
        Ok(Some(
            chunks
                .map_err(move |error| Error::unreadable(&key, error).into())
                .boxed(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(store: &ObjectFolder, key: &str, offset: u64) -> Option<Vec<u8>> {
        let stream = store.get(key, offset).await.unwrap()?;
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
        assert_eq!(store.head("a/b").await.unwrap(), Some(5));
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
                store.get(key, 0).await.err().unwrap().code(),
                "OBJECT_UNREADABLE",
                "{key}"
            );
        }
    }
}
