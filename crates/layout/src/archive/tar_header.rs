//! One 512-byte header of a tar, read strictly.
//!
//! Source: POSIX.1-2024 pax, ustar interchange format; GNU tar manual, Basic Tar Format. Readers of tar differ, and an
//! archive that two of them read differently is an attack (`TARmageddon`, CVE-2025-62518). So wherever the formats leave a
//! choice, what has two meanings is refused.

use tar::{EntryType, Header};
use transship_oci::Result;

/// Bytes of a header, and what all data is padded to.
pub(crate) const BLOCK_BYTES: u64 = 512;
/// The first size that does not fit the octal field of a header.
const TOO_LARGE_FOR_OCTAL: u64 = 8 * 1024 * 1024 * 1024;

/// What a header announces.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Announced {
    /// A block of zeros: the end.
    End,
    /// A plain file.
    File { name: Vec<u8>, size: u64 },
    /// A folder; its entry has no data.
    Folder,
    /// Something that is not read, with the bytes of data to jump over.
    Unsafe {
        name: Vec<u8>,
        size: u64,
        what: &'static str,
    },
    /// The name of the next entry, in so many bytes. Source: GNU.
    LongName(u64),
    /// The link target of the next entry, in so many bytes. Source: GNU.
    LongLink(u64),
    /// Records about the next entry. Source: POSIX.
    Records(u64),
    /// Records about all that follow. Source: POSIX.
    GlobalRecords(u64),
}

/// Reads one block; why not, if it is no header.
pub(super) fn read(block: &[u8; 512]) -> Result<Announced, String> {
    if block.iter().all(|byte| *byte == 0) {
        return Ok(Announced::End);
    }
    let header = Header::from_byte_slice(block);
    let said = header.cksum().map_err(|_| "a header has no checksum".to_owned())?;
    if said != checksum(block) {
        return Err("a header has another checksum than it says".to_owned());
    }
    let size = header.entry_size().map_err(|_| "a header has no size".to_owned())?;
    let name = header.path_bytes().into_owned();
    let without_data = |announced: Announced| {
        if size == 0 {
            Ok(announced)
        } else {
            Err("a link, folder or device says it has data, which readers take differently".to_owned())
        }
    };
    let special = |what: &'static str| Announced::Unsafe {
        name: name.clone(),
        size: 0,
        what,
    };
    match header.entry_type() {
        // Old archives end a folder's name in a slash and have no type for it.
        EntryType::Regular | EntryType::Continuous if name.ends_with(b"/") => without_data(Announced::Folder),
        EntryType::Regular | EntryType::Continuous => Ok(Announced::File { name, size }),
        EntryType::Directory => without_data(Announced::Folder),
        EntryType::Symlink => without_data(special("a symbolic link")),
        EntryType::Link => without_data(special("a hard link")),
        EntryType::Char | EntryType::Block => without_data(special("a device")),
        EntryType::Fifo => without_data(special("a pipe")),
        EntryType::GNULongName => Ok(Announced::LongName(size)),
        EntryType::GNULongLink => Ok(Announced::LongLink(size)),
        EntryType::XHeader => Ok(Announced::Records(size)),
        EntryType::XGlobalHeader => Ok(Announced::GlobalRecords(size)),
        // Its data is described by more headers, in two formats: where it ends cannot be said safely.
        EntryType::GNUSparse => Err("it holds a sparse file in the old GNU format".to_owned()),
        _ => Ok(Announced::Unsafe {
            name,
            size,
            what: "an entry of unknown type",
        }),
    }
}

/// The sum of all bytes, the checksum's own eight taken as spaces.
fn checksum(block: &[u8; 512]) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    sum(&block[..148]) + 8 * u32::from(b' ') + sum(&block[156..])
}

/// What pax records say about the next entry.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) is_sparse: bool,
}

impl Records {
    /// Reads `<length> <key>=<value>\n`, over and over.
    pub(super) fn parse(mut bytes: &[u8]) -> Result<Self, String> {
        let bad = || "a pax record is malformed".to_owned();
        let mut records = Self::default();
        while !bytes.is_empty() {
            let space = bytes.iter().position(|byte| *byte == b' ').ok_or_else(bad)?;
            let length = number(&bytes[..space]).and_then(|length| usize::try_from(length).ok());
            let length = length
                .filter(|length| *length > space + 1 && *length <= bytes.len())
                .ok_or_else(bad)?;
            let record = bytes[space + 1..length].strip_suffix(b"\n").ok_or_else(bad)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(bad)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"path" => set(&mut records.path, value.to_vec())?,
                b"size" => set(&mut records.size, number(value).ok_or_else(bad)?)?,
                key if key.starts_with(b"GNU.sparse.") => records.is_sparse = true,
                _ => {}
            }
            bytes = &bytes[length..];
        }
        Ok(records)
    }
}

/// One meaning only: said twice is fine if it is the same.
pub(super) fn set<T: PartialEq>(slot: &mut Option<T>, value: T) -> Result<(), String> {
    if slot.as_ref().is_some_and(|known| *known != value) {
        return Err("an entry is named or measured in two ways".to_owned());
    }
    *slot = Some(value);
    Ok(())
}

fn number(digits: &[u8]) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_number
        .then(|| std::str::from_utf8(digits).ok()?.parse().ok())
        .flatten()
}

/// The size of an entry whose header says `header` and whose records say `record`. A header may leave out only what its
/// field cannot hold.
pub(super) fn size(header: u64, record: Option<u64>) -> Result<u64, String> {
    match record {
        None => Ok(header),
        Some(record) if record == header || (header == 0 && record >= TOO_LARGE_FOR_OCTAL) => Ok(record),
        Some(record) => Err(format!(
            "a header says {header} bytes and its pax record {record}: readers would take it differently"
        )),
    }
}

/// The records of an entry that has no data may not give it any: some readers would jump over it, and others read it as the
/// next header.
pub(super) fn no_size(record: Option<u64>) -> Result<(), String> {
    match record {
        None | Some(0) => Ok(()),
        Some(record) => Err(format!(
            "a link, folder or device has {record} bytes by its pax record, which readers take differently"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_to_the_byte() {
        let records = Records::parse(b"12 path=a=b\n11 size=42\n17 mtime=1.5e0 x\n").unwrap();
        assert_eq!((records.path.as_deref(), records.size), (Some(&b"a=b"[..]), Some(42)));
        for bad in [
            &b"12 path=a=b"[..],
            b"999 path=a\n",
            b"0 path=a\n",
            b"x path=a\n",
            b"10 size=-1\n",
            b"12 size=1\n11 size=2\n",
            b"+9 path=a\n",
            b"18446744073709551616 path=a\n",
        ] {
            assert!(Records::parse(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
        assert!(Records::parse(b"22 GNU.sparse.major=1\n").unwrap().is_sparse);
    }

    #[test]
    fn a_size_has_one_meaning() {
        assert_eq!(size(5, None), Ok(5));
        assert_eq!(size(5, Some(5)), Ok(5));
        assert_eq!(size(0, Some(TOO_LARGE_FOR_OCTAL)), Ok(TOO_LARGE_FOR_OCTAL));
        assert!(size(0, Some(512)).is_err());
        assert!(size(512, Some(0)).is_err());
    }
}
