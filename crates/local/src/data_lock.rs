//! One worker per data folder. The lock falls with the process, so kill -9 leaves none behind; who holds it knows that
//! every message in flight belongs to a process that is gone.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use crate::{Error, ErrorKind, Result, folder};

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
        folder::create(dir)?;
        let path = dir.join(FILE);
        let mut file = folder::lock_file(&path)?;
        match file.try_lock() {
            Ok(()) => {
                sign(&mut file).map_err(|error| folder::lock_failed(&path, error))?;
                Ok(Self { _file: file })
            }
            Err(TryLockError::WouldBlock) => {
                let kind = ErrorKind::DataLocked(holder(&mut file));
                Err(Error::new(kind, format!("lock {}", path.display())))
            }
            Err(TryLockError::Error(error)) => Err(folder::lock_failed(&path, error)),
        }
    }
}

/// Writes who holds the lock, for the message of the next who asks.
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
}
