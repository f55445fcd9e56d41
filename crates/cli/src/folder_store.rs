//! A folder as an object store: where the layouts of `oci:` lie.
//!
//! What must hold: a link within the folder never leads out of it, and no file is held whole.

use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::BytesMut;
use futures_util::{StreamExt as _, stream};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, SeekFrom};
use transship_copy::ByteStream;
use transship_layout::{Error, ObjectStore, Result};

/// Bytes read at a time.
const CHUNK: usize = 256 * 1024;

/// The files below a folder.
pub(crate) struct FolderStore {
    /// As the user named it.
    name: String,
    /// Without links.
    root: PathBuf,
}

impl FolderStore {
    /// The folder at `path`.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let root = path.canonicalize().map_err(|error| Error::unreadable(&name, error))?;
        Ok(Self { name, root })
    }

    /// The file of `key`, if there is one.
    async fn file(&self, key: &str) -> Result<Option<(File, u64)>> {
        match self.file_within(key).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(Error::unreadable(&format!("{}/{key}", self.name), error)),
        }
    }

    async fn file_within(&self, key: &str) -> io::Result<(File, u64)> {
        let path = tokio::fs::canonicalize(self.root.join(key)).await?;
        if !path.starts_with(&self.root) {
            return Err(io::Error::other("it is a link that leads out of the folder"));
        }
        // A pipe would be waited for when it is opened.
        if !tokio::fs::metadata(&path).await?.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        let file = File::open(path).await?;
        let size = file.metadata().await?.len();
        Ok((file, size))
    }
}

#[async_trait]
impl ObjectStore for FolderStore {
    fn name(&self) -> String {
        self.name.clone()
    }

    async fn head(&self, key: &str) -> Result<Option<u64>> {
        Ok(self.file(key).await?.map(|(_, size)| size))
    }

    async fn get(&self, key: &str, offset: u64) -> Result<Option<ByteStream>> {
        let Some((mut file, _)) = self.file(key).await? else {
            return Ok(None);
        };
        let name = format!("{}/{key}", self.name);
        if offset > 0 {
            let moved = file.seek(SeekFrom::Start(offset)).await;
            moved.map_err(|error| Error::unreadable(&name, error))?;
        }
        file.set_max_buf_size(CHUNK);
        let chunks = stream::try_unfold((file, name), |(mut file, name)| async move {
            let mut chunk = BytesMut::with_capacity(CHUNK);
            match file.read_buf(&mut chunk).await {
                Ok(0) => Ok(None),
                Ok(_) => Ok(Some((chunk.freeze(), (file, name)))),
                Err(error) => Err(transship_copy::Error::from(Error::unreadable(&name, error))),
            }
        });
        Ok(Some(chunks.boxed()))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt as _;

    use super::*;

    async fn read(store: &FolderStore, key: &str, offset: u64) -> Option<Vec<u8>> {
        let stream = store.get(key, offset).await.unwrap()?;
        let chunks: Vec<_> = stream.try_collect().await.unwrap();
        Some(chunks.concat())
    }

    #[tokio::test]
    async fn files_are_read_from_any_byte_on() {
        let folder = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..CHUNK * 2 + 7).map(|at| (at % 251) as u8).collect();
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        std::fs::write(folder.path().join("sub/file"), &bytes).unwrap();
        let store = FolderStore::open(folder.path()).unwrap();
        assert_eq!(store.head("sub/file").await.unwrap(), Some(bytes.len() as u64));
        assert_eq!(read(&store, "sub/file", 0).await.unwrap(), bytes);
        assert_eq!(read(&store, "sub/file", 300_000).await.unwrap(), bytes[300_000..]);
        assert_eq!(read(&store, "sub/file", 1 << 40).await.unwrap(), b"");
        for absent in ["nothing", "sub/file/below"] {
            assert_eq!(read(&store, absent, 0).await, None);
            assert_eq!(store.head(absent).await.unwrap(), None);
        }
        assert!(store.get("sub", 0).await.is_err());
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_link_does_not_lead_out() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "canary").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let link = |to: &Path, name: &str| std::os::unix::fs::symlink(to, folder.path().join(name)).unwrap();
        std::fs::write(folder.path().join("inside"), "fine").unwrap();
        link(Path::new("inside"), "good");
        link(&outside.path().join("secret"), "bad");
        link(outside.path(), "dir");
        let store = FolderStore::open(folder.path()).unwrap();
        assert_eq!(read(&store, "good", 0).await.unwrap(), b"fine");
        for key in ["bad", "dir/secret"] {
            let error = store.get(key, 0).await.err().unwrap();
            assert_eq!(error.code(), "OBJECT_UNREADABLE", "{key}");
        }
    }
}
