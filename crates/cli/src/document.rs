//! Reads and parses the configuration document of the command line, with a size limit.

use std::path::Path;

use transship_rules::{Document, Parsed};
use transship_runtime::{DOCUMENT_BYTES_MAX, read_bounded};

use crate::failure::{Exit, Failure};
use transship_oci::Result;

/// Reads and validates the document at `path`. The error has one line for each fault.
pub(crate) fn load(path: &Path) -> Result<(String, Parsed), Failure> {
    let text = read_bounded(path, DOCUMENT_BYTES_MAX).map_err(|error| {
        let sentence = format!("{}: {error}", path.display());
        Failure::new(Exit::Input, "CONFIG_UNREADABLE", sentence)
    })?;
    let parsed = Document::parse(&text).map_err(|errors| Failure::document(&errors))?;
    Ok((text, parsed))
}
