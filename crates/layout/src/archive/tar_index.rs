//! The index of a tar: which names it holds, and where.
//!
//! A machine without I/O: it says which bytes it wants next, and is given them. So one and the same reading serves an
//! archive that is read by range and one that is unpacked from its start.

use std::collections::BTreeMap;
use transship_oci::{Code, Error, Operation, Result};

use super::entry::{Place, Seen, Span, key};
use super::tar_header::{self, Announced, BLOCK_BYTES, Records, set};

/// Entries held in memory, at some 300 bytes each.
const MAX_ENTRIES: usize = 100_000;
/// Names longer than this name nothing that is asked for.
const MAX_NAME_BYTES: usize = 1024;
/// The largest record about one entry.
const MAX_RECORD_BYTES: u64 = 1024 * 1024;

/// Which bytes of the tar come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// A header or records: so many bytes at this offset, all of them.
    Bytes { offset: u64, length: u64 },
    /// None: the end was reached.
    Nothing,
}

/// The index, as far as it was read.
#[derive(Debug)]
pub(super) struct TarIndex {
    places: BTreeMap<String, Place>,
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

/// What was said about the next entry.
#[derive(Debug, Default)]
struct About {
    name: Option<Vec<u8>>,
    size: Option<u64>,
    is_sparse: bool,
}

/// A plain file that has just begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Begun {
    pub(super) offset: u64,
    pub(super) size: u64,
    /// The key it is held under, for [`TarIndex::saw`]; [`None`] if nothing can ask for it.
    pub(super) key: Option<String>,
}

impl TarIndex {
    pub(super) fn new() -> Self {
        Self {
            places: BTreeMap::new(),
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

    /// Takes the bytes that were wanted. A file that begins is told, so that its bytes may be looked at on the way.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Option<Begun>> {
        let Wanted::Bytes { offset, length } = self.wanted else {
            return Ok(None);
        };
        let behind = offset
            .checked_add(padded(length))
            .ok_or_else(|| invalid(offset, "an offset is beyond all numbers"))?;
        let expects = std::mem::replace(&mut self.expects, Expects::Header);
        self.wanted = Wanted::Bytes {
            offset: behind,
            length: BLOCK_BYTES,
        };
        match expects {
            Expects::Header => return self.take_header(offset, bytes),
            Expects::LongLink => {}
            Expects::LongName => {
                let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
                set(&mut self.about_next.name, name.to_vec()).map_err(|why| invalid(offset, &why))?;
            }
            Expects::Records => {
                let records = Records::parse(bytes).map_err(|why| invalid(offset, &why))?;
                let about = &mut self.about_next;
                about.is_sparse |= records.is_sparse;
                if let Some(path) = records.path {
                    set(&mut about.name, path).map_err(|why| invalid(offset, &why))?;
                }
                if let Some(size) = records.size {
                    set(&mut about.size, size).map_err(|why| invalid(offset, &why))?;
                }
            }
            Expects::GlobalRecords => {
                let records = Records::parse(bytes).map_err(|why| invalid(offset, &why))?;
                if records != Records::default() {
                    return Err(invalid(offset, "a record gives all entries one name or size"));
                }
            }
        }
        Ok(None)
    }

    fn take_header(&mut self, offset: u64, bytes: &[u8]) -> Result<Option<Begun>> {
        let refuse = |why: String| invalid(offset, &why);
        let block = bytes.try_into().map_err(|_| invalid(offset, "a header is short"))?;
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
                let key = self.hold(&about.name.unwrap_or(name), place)?;
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
            offset: behind.ok_or_else(|| invalid(header, "an entry is larger than any archive"))?,
            length: BLOCK_BYTES,
        };
        Ok(())
    }

    fn hold(&mut self, name: &[u8], place: Place) -> Result<Option<String>> {
        if name.len() > MAX_NAME_BYTES {
            return Ok(None);
        }
        let Some(key) = key(name) else { return Ok(None) };
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

    /// Remembers what was seen of the file that began last under `key`.
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

    pub(super) fn into_places(self) -> BTreeMap<String, Place> {
        self.places
    }
}

const fn padded(length: u64) -> u64 {
    length.next_multiple_of(BLOCK_BYTES)
}

fn invalid(offset: u64, why: &str) -> Error {
    let why = if offset == 0 {
        format!("not a tar, {why}")
    } else {
        format!("at byte {offset}, {why}")
    };
    Error::refused(Code::ArchiveInvalid, why)
}

#[cfg(test)]
mod tests;
