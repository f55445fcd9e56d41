//! The data folder. It is readable by its owner only, because its content shows which images a company runs.
//!
//! One worker uses it at a time. Its lock is released with the process, so kill -9 leaves none behind; the holder may assume
//! that every message in flight belongs to a process that has ended.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;
use transship_oci::{Code, Error, Result, Verb};

/// The file in the data folder. It stays; only its lock matters.
const FILE: &str = "transship.lock";

/// The right to work in a data folder, until it is dropped.
#[derive(Debug)]
pub struct DataLock {
    _file: File,
}

impl DataLock {
    /// Takes the folder `dir`, which is created if it is not there. `DATA_LOCKED` if another process has it.
    pub fn acquire(dir: &Path) -> Result<Self> {
        create(dir)?;
        let path = dir.join(FILE);
        let mut file = lock_file(&path)?;
        match file.try_lock() {
            Ok(()) => {
                sign(&mut file).map_err(|error| lock_failed(&path, error))?;
                Ok(Self { _file: file })
            }
            Err(TryLockError::WouldBlock) => {
                let message = format!(
                    "another transship{} works in this data folder: stop it, or name another folder",
                    holder(&mut file)
                );
                Err(Error::new(Code::DataLocked, Verb::Lock.on(path.display()), message))
            }
            Err(TryLockError::Error(error)) => Err(lock_failed(&path, error)),
        }
    }
}

/// Writes the process id into the lock file, for the error message of other processes.
fn sign(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    write!(file, "{}", std::process::id())
}

/// ` (process 123)`, or nothing if that cannot be read.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    match file.take(20).read_to_string(&mut text) {
        Ok(_) if text.parse::<u32>().is_ok() => format!(" (process {text})"),
        _ => String::new(),
    }
}

/// Creates `dir` and what is missing above it, with mode 0700. A folder that is there gets this mode as well, and its files 0600,
/// as far as they belong to this user: the folder of a mounted volume may belong to another one.
pub(crate) fn create(dir: &Path) -> Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(|error| {
        let why = "it cannot be created: check its path and the rights above it".to_owned();
        Error::of(Code::DataUnavailable, Verb::Create.on(dir.display()))
            .because(why)
            .with_source(error)
    })?;
    #[cfg(unix)]
    close_to_others(dir);
    Ok(())
}

/// Takes the rights of other users away from `dir` and its files.
#[cfg(unix)]
fn close_to_others(dir: &Path) {
    use std::os::unix::fs::PermissionsExt as _;

    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let files = files.map(|file| file.path()).filter(|path| path.is_file());
    for path in std::iter::once(dir.to_owned()).chain(files) {
        let Ok(metadata) = std::fs::symlink_metadata(&path) else {
            continue;
        };
        let mode = metadata.permissions().mode() & 0o7777;
        let closed = Permissions::from_mode(mode & 0o700);
        if mode & 0o077 != 0
            && !metadata.is_symlink()
            && let Err(error) = std::fs::set_permissions(&path, closed)
        {
            tracing::debug!("other users may read {}: {error}", path.display());
        }
    }
}

/// Opens the lock file `path` in a data folder, which is created if it is not there. It stays; only its lock matters.
fn lock_file(path: &Path) -> Result<File> {
    owner_only().open(path).map_err(|error| lock_failed(path, error))
}

/// Creates the file `path` with mode 0600 if it is not there.
pub(crate) fn create_file(path: &Path) -> std::io::Result<()> {
    owner_only().open(path).map(drop)
}

/// Opens a file for reading and writing, and creates it with mode 0600 if it is not there.
fn owner_only() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Waits for the lock `path`, and holds it until the file is dropped.
pub(crate) fn lock(path: &Path) -> Result<File> {
    let file = lock_file(path)?;
    file.lock().map_err(|error| lock_failed(path, error))?;
    Ok(file)
}

/// A lock file that cannot be used.
fn lock_failed(path: &Path, error: std::io::Error) -> Error {
    let why = "its lock file cannot be used: check the rights of the folder".to_owned();
    Error::of(Code::DataUnavailable, Verb::Lock.on(path.display()))
        .because(why)
        .with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_owner_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataLock::acquire(dir.path()).unwrap();
        let error = DataLock::acquire(dir.path()).unwrap_err();
        assert_eq!(error.code(), "DATA_LOCKED");
        assert!(
            error.to_string().contains(&format!("(process {})", std::process::id())),
            "{error}"
        );
        drop(first);
        DataLock::acquire(dir.path()).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn other_users_have_no_rights_even_if_the_folder_was_there() {
        use std::os::unix::fs::PermissionsExt as _;

        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("data");
        std::fs::create_dir(&dir).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for (name, before) in [("", 0o755), ("transship.db", 0o644), ("transship.lock", 0o666)] {
            let path = dir.join(name);
            if !name.is_empty() {
                std::fs::write(&path, "").unwrap();
            }
            std::fs::set_permissions(&path, Permissions::from_mode(before)).unwrap();
        }
        let _lock = DataLock::acquire(&dir).unwrap();
        let database = crate::Database::open(&dir).unwrap();
        assert_eq!(mode(&dir), 0o700);
        for file in std::fs::read_dir(&dir).unwrap() {
            let path = file.unwrap().path();
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
        drop(database);
    }
}
