//! The index of a tar: its names and their positions.
//!
//! A state machine without I/O: it requests the next bytes, and the caller provides them. The same code therefore indexes
//! archives that are read by range and those that are decompressed from the start.

use std::collections::BTreeMap;
use transship_oci::{Code, Error, Operation, Result};

use super::entry::{Place, Seen, Span, key};
use super::link::Link;
use super::tar_header::{self, Announced, BLOCK_BYTES, Records, set};

/// Maximum number of entries in memory, at about 300 bytes each.
const MAX_ENTRIES: usize = 100_000;
/// Maximum length of a name in bytes; longer names are never read.
const MAX_NAME_BYTES: usize = 1024;
/// Maximum size in bytes of a record about one entry.
const MAX_RECORD_BYTES: u64 = 1024 * 1024;

/// The next bytes to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// A header or records: all of these bytes at this offset.
    Bytes { offset: u64, length: u64 },
    /// No more bytes: the end was reached.
    Nothing,
}

/// The index up to the current position.
#[derive(Debug)]
pub(super) struct TarIndex {
    places: BTreeMap<String, Place>,
    /// Some entries have names that are never read.
    has_other_names: bool,
    wanted: Wanted,
    expects: Expects,
    about_next: About,
}

#[derive(Debug, Clone, Copy)]
enum Expects {
    Header,
    LongName,
    LongLink,
    Records,
    GlobalRecords,
}

/// Records of the next entry.
#[derive(Debug, Default)]
struct About {
    name: Option<Vec<u8>>,
    link_target: Option<Vec<u8>>,
    size: Option<u64>,
    is_sparse: bool,
}

/// The start of a plain file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Begun {
    pub(super) offset: u64,
    pub(super) size: u64,
    /// The key of the file, for [`TarIndex::saw`]; [`None`] if the file cannot be read.
    pub(super) key: Option<String>,
}

impl TarIndex {
    pub(super) fn new() -> Self {
        Self {
            places: BTreeMap::new(),
            has_other_names: false,
            wanted: Wanted::Bytes {
                offset: 0,
                length: BLOCK_BYTES,
            },
            expects: Expects::Header,
            about_next: About::default(),
        }
    }

    pub(super) const fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// Accepts the requested bytes. Returns the start of a file, so that the caller can inspect its bytes.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Option<Begun>> {
        let Wanted::Bytes { offset, length } = self.wanted else {
            return Ok(None);
        };
        let behind = offset
            .checked_add(padded(length))
            .ok_or_else(|| invalid(offset, "an offset is too large"))?;
        let expects = std::mem::replace(&mut self.expects, Expects::Header);
        self.wanted = Wanted::Bytes {
            offset: behind,
            length: BLOCK_BYTES,
        };
        match expects {
            Expects::Header => return self.take_header(offset, bytes),
            Expects::LongLink => {
                set(&mut self.about_next.link_target, text(bytes)).map_err(|why| invalid(offset, &why))?;
            }
            Expects::LongName => {
                set(&mut self.about_next.name, text(bytes)).map_err(|why| invalid(offset, &why))?;
            }
            Expects::Records => {
                let records = Records::parse(bytes).map_err(|why| invalid(offset, &why))?;
                let about = &mut self.about_next;
                about.is_sparse |= records.is_sparse;
                if let Some(path) = records.path {
                    set(&mut about.name, path).map_err(|why| invalid(offset, &why))?;
                }
                if let Some(target) = records.link_path {
                    set(&mut about.link_target, target).map_err(|why| invalid(offset, &why))?;
                }
                if let Some(size) = records.size {
                    set(&mut about.size, size).map_err(|why| invalid(offset, &why))?;
                }
            }
            Expects::GlobalRecords => {
                let records = Records::parse(bytes).map_err(|why| invalid(offset, &why))?;
                if records != Records::default() {
                    return Err(invalid(
                        offset,
                        "a record sets the name, link target or size of all entries",
                    ));
                }
            }
        }
        Ok(None)
    }

    fn take_header(&mut self, offset: u64, bytes: &[u8]) -> Result<Option<Begun>> {
        let refuse = |why: String| invalid(offset, &why);
        let block = bytes.try_into().map_err(|_| invalid(offset, "a header is truncated"))?;
        let data = offset + BLOCK_BYTES;
        let (expects, record) = match tar_header::read(block).map_err(refuse)? {
            Announced::End => {
                self.wanted = Wanted::Nothing;
                return Ok(None);
            }
            Announced::LongName(size) => (Expects::LongName, size),
            Announced::LongLink(size) => (Expects::LongLink, size),
            Announced::Records(size) => (Expects::Records, size),
            Announced::GlobalRecords(size) => (Expects::GlobalRecords, size),
            Announced::Folder => {
                let about = std::mem::take(&mut self.about_next);
                tar_header::no_size(about.size).map_err(refuse)?;
                return Ok(None);
            }
            Announced::Link { name, target, kind } => {
                let about = std::mem::take(&mut self.about_next);
                tar_header::no_size(about.size).map_err(refuse)?;
                let target = Link::new(kind, &about.link_target.unwrap_or(target));
                self.hold(
                    &about.name.unwrap_or(name),
                    target.map_or_else(Place::Unsafe, Place::Link),
                )?;
                return Ok(None);
            }
            Announced::Unsafe { name, size: 0, what } => {
                let about = std::mem::take(&mut self.about_next);
                tar_header::no_size(about.size).map_err(refuse)?;
                self.hold(&about.name.unwrap_or(name), Place::Unsafe(what))?;
                return Ok(None);
            }
            Announced::Unsafe { name, size, what } => {
                let about = std::mem::take(&mut self.about_next);
                let size = tar_header::size(size, about.size).map_err(refuse)?;
                self.jump(offset, data, size)?;
                self.hold(&about.name.unwrap_or(name), Place::Unsafe(what))?;
                return Ok(None);
            }
            Announced::File { name, size } => {
                let about = std::mem::take(&mut self.about_next);
                let size = tar_header::size(size, about.size).map_err(refuse)?;
                let name = about.name.unwrap_or(name);
                if tar_header::is_folder(&name) {
                    return tar_header::no_size(Some(size)).map(|()| None).map_err(refuse);
                }
                self.jump(offset, data, size)?;
                let span = Span {
                    offset: data,
                    size,
                    seen: None,
                };
                let place = if about.is_sparse {
                    Place::Unsafe("a sparse file")
                } else {
                    Place::File(span)
                };
                let key = self.hold(&name, place)?;
                return Ok(Some(Begun {
                    offset: data,
                    size,
                    key,
                }));
            }
        };
        if record > MAX_RECORD_BYTES {
            return Err(invalid(offset, "a record about one entry is longer than 1 MiB"));
        }
        self.expects = expects;
        self.wanted = Wanted::Bytes {
            offset: data,
            length: record,
        };
        Ok(None)
    }

    fn jump(&mut self, header: u64, data: u64, size: u64) -> Result<()> {
        let behind = size
            .checked_next_multiple_of(BLOCK_BYTES)
            .and_then(|size| data.checked_add(size));
        self.wanted = Wanted::Bytes {
            offset: behind.ok_or_else(|| invalid(header, "the size of an entry is too large"))?,
            length: BLOCK_BYTES,
        };
        Ok(())
    }

    fn hold(&mut self, name: &[u8], place: Place) -> Result<Option<String>> {
        let Some(key) = key(name).filter(|key| key.len() <= MAX_NAME_BYTES) else {
            self.has_other_names = true;
            return Ok(None);
        };
        let place = match self.places.remove(&key) {
            Some(known) => known.and(place),
            None => place,
        };
        if self.places.len() >= MAX_ENTRIES {
            return Err(Error::new(
                Code::ArchiveTooLarge,
                Operation::default(),
                format!("the archive has more than {MAX_ENTRIES} entries: split it"),
            ));
        }
        self.places.insert(key.clone(), place);
        Ok(Some(key))
    }

    /// Stores facts about the last file with the name `key`.
    pub(super) fn saw(&mut self, key: &str, seen: Seen) {
        let span = match self.places.get_mut(key) {
            Some(Place::File(span)) => Some(span),
            Some(Place::Several(spans)) => spans.last_mut(),
            _ => None,
        };
        if let Some(span) = span {
            span.seen = Some(seen);
        }
    }

    /// True if there are absolute names, names with `..`, names that are not text, or names that are too long.
    pub(super) const fn has_other_names(&self) -> bool {
        self.has_other_names
    }

    pub(super) fn into_places(self) -> BTreeMap<String, Place> {
        self.places
    }
}

/// The text of a GNU record, which ends at the first zero.
fn text(bytes: &[u8]) -> Vec<u8> {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
}

const fn padded(length: u64) -> u64 {
    length.next_multiple_of(BLOCK_BYTES)
}

fn invalid(offset: u64, why: &str) -> Error {
    let why = if offset == 0 {
        format!("not a valid tar: {why}")
    } else {
        format!("at byte {offset}: {why}")
    };
    Error::refused(Code::ArchiveInvalid, why)
}

#[cfg(test)]
mod tests;
