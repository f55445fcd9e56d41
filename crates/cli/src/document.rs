//! Reads and parses the configuration document of the command line, with a size limit.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use transship_rules::{Document, Parsed};

use crate::failure::{Exit, Failure};
use transship_oci::Result;

/// Maximum size of a document in bytes.
const SIZE_MAX: u64 = 4 * 1024 * 1024;

/// Reads and validates the document at `path`. The error has one line for each fault.
pub(crate) fn load(path: &Path) -> Result<(String, Parsed), Failure> {
    let text = read(path).map_err(|error| {
        let sentence = format!("{}: {error}", path.display());
        Failure::new(Exit::Input, "CONFIG_UNREADABLE", sentence)
    })?;
    let parsed = Document::parse(&text).map_err(|errors| Failure::document(&errors))?;
    Ok((text, parsed))
}

/// Reads the text of a document.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(SIZE_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > SIZE_MAX {
        return Err(io::Error::other(format!("it is larger than {SIZE_MAX} bytes")));
    }
    // The cause is dropped, because it contains the bytes.
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8 text"))
}
