//! The data folder: made for its owner only, since it tells what a company runs.

use std::fs::{DirBuilder, File, OpenOptions};
use std::path::Path;

use crate::{Error, ErrorKind, Result};

/// Creates `dir` and what is missing above it, with mode 0700. A folder that is there keeps its mode.
pub(crate) fn create(dir: &Path) -> Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(|error| {
        let why = "it cannot be created: check its path and the rights above it".to_owned();
        Error::new(ErrorKind::DataUnavailable(why), format!("create {}", dir.display())).with_source(error)
    })
}

/// Opens the lock file `path` in a data folder, which is created if it is not there. It stays; only its lock matters.
pub(crate) fn lock_file(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|error| lock_failed(path, error))
}

/// Waits for the lock `path`, and holds it until the file is dropped.
pub(crate) fn lock(path: &Path) -> Result<File> {
    let file = lock_file(path)?;
    file.lock().map_err(|error| lock_failed(path, error))?;
    Ok(file)
}

/// A lock file that cannot be used.
pub(crate) fn lock_failed(path: &Path, error: std::io::Error) -> Error {
    let why = "its lock file cannot be used: check the rights of the folder".to_owned();
    Error::new(ErrorKind::DataUnavailable(why), format!("lock {}", path.display())).with_source(error)
}
