//! Reads small files completely and refuses larger ones before they are in memory.

use std::fs::File;
use std::io::{Error, ErrorKind, Read as _, Result};
use std::path::Path;

/// Reads the UTF-8 text of at most `size_max` bytes at `path`. No error contains a part of it.
pub fn read_bounded(path: &Path, size_max: u64) -> Result<String> {
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    file.take(size_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > size_max {
        return Err(Error::new(
            ErrorKind::FileTooLarge,
            format!("it is larger than {size_max} bytes"),
        ));
    }
    // The cause is dropped, because it contains the bytes, which may be a secret.
    String::from_utf8(bytes).map_err(|_| Error::new(ErrorKind::InvalidData, "it is not UTF-8 text"))
}
