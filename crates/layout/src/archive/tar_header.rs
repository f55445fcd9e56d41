//! Parses a 512-byte header of a tar strictly.
//!
//! Source: POSIX.1-2024 pax, ustar interchange format; GNU tar manual, Basic Tar Format. Readers of tar differ, and an archive
//! that two of them read differently is an attack (`TARmageddon`, CVE-2025-62518). Ambiguous content is therefore rejected.

use tar::{EntryType, Header};
use transship_oci::Result;

use super::link::LinkKind;

/// Size of a header in bytes, and the unit to which data is padded.
pub(crate) const BLOCK_BYTES: u64 = 512;
/// Offset in bytes of the type in a header.
const TYPE_OFFSET: usize = 156;
/// The smallest size that does not fit into the octal field of a header.
const TOO_LARGE_FOR_OCTAL: u64 = 8 * 1024 * 1024 * 1024;

/// Kinds of entries.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Announced {
    /// A block of zeros, the end marker.
    End,
    /// A plain file; a folder if its whole name ends in a slash, see [`is_folder`].
    File { name: Vec<u8>, size: u64 },
    /// A link, whose entry has no data.
    Link {
        name: Vec<u8>,
        target: Vec<u8>,
        kind: LinkKind,
    },
    /// A folder; its entry has no data.
    Folder,
    /// An entry that is not read, with the number of bytes to skip.
    Unsafe {
        name: Vec<u8>,
        size: u64,
        what: &'static str,
    },
    /// The name of the next entry, with its length in bytes. Source: GNU.
    LongName(u64),
    /// The link target of the next entry, with its length in bytes. Source: GNU.
    LongLink(u64),
    /// Records about the next entry. Source: POSIX.
    Records(u64),
    /// Records about all that follow. Source: POSIX.
    GlobalRecords(u64),
}

/// Parses one block. The error is a sentence.
pub(super) fn read(block: &[u8; 512]) -> Result<Announced, String> {
    if block.iter().all(|byte| *byte == 0) {
        return Ok(Announced::End);
    }
    let header = Header::from_byte_slice(block);
    let said = header.cksum().map_err(|_| "a header has no checksum".to_owned())?;
    if said != checksum(block) {
        return Err("the checksum of a header is wrong".to_owned());
    }
    let size = header.entry_size().map_err(|_| "a header has no size".to_owned())?;
    let name = header.path_bytes().into_owned();
    let link = |kind: LinkKind| Announced::Link {
        name: name.clone(),
        target: header.link_name_bytes().unwrap_or_default().into_owned(),
        kind,
    };
    let without_data = |announced: Announced| {
        if size == 0 {
            Ok(announced)
        } else {
            Err("a link, folder or device has data, which readers interpret differently".to_owned())
        }
    };
    let special = |what: &'static str| Announced::Unsafe {
        name: name.clone(),
        size: 0,
        what,
    };
    match header.entry_type() {
        // Some readers judge this type by the name in the header, even if a longer name replaces it.
        EntryType::Regular if block[TYPE_OFFSET] == 0 && is_folder(&name) => without_data(Announced::Folder),
        EntryType::Regular | EntryType::Continuous => Ok(Announced::File { name, size }),
        EntryType::Directory => without_data(Announced::Folder),
        EntryType::Symlink => without_data(link(LinkKind::Symbolic)),
        EntryType::Link => without_data(link(LinkKind::Hard)),
        EntryType::Char | EntryType::Block => without_data(special("a device")),
        EntryType::Fifo => without_data(special("a pipe")),
        EntryType::GNULongName => Ok(Announced::LongName(size)),
        EntryType::GNULongLink => Ok(Announced::LongLink(size)),
        EntryType::XHeader => Ok(Announced::Records(size)),
        EntryType::XGlobalHeader => Ok(Announced::GlobalRecords(size)),
        // Further headers in two formats describe its data, so its end cannot be determined safely.
        EntryType::GNUSparse => Err("it contains a sparse file in the old GNU format".to_owned()),
        _ => Ok(Announced::Unsafe {
            name,
            size,
            what: "an entry of unknown type",
        }),
    }
}

/// True for the name of a folder: in old archives a folder has the type of a file, and its name ends in a slash. A header has
/// only the first 100 bytes of a long name, which may end in a slash by chance, so the whole name decides.
pub(super) fn is_folder(name: &[u8]) -> bool {
    name.ends_with(b"/")
}

/// The sum of all bytes, with the eight bytes of the checksum as spaces.
fn checksum(block: &[u8; 512]) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    sum(&block[..148]) + 8 * u32::from(b' ') + sum(&block[156..])
}

/// Pax records of the next entry.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link_path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) is_sparse: bool,
}

impl Records {
    /// Parses repeated records `<length> <key>=<value>\n`.
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
                b"linkpath" => set(&mut records.link_path, value.to_vec())?,
                b"size" => set(&mut records.size, number(value).ok_or_else(bad)?)?,
                key if key.starts_with(b"GNU.sparse.") => records.is_sparse = true,
                _ => {}
            }
            bytes = &bytes[length..];
        }
        Ok(records)
    }
}

/// A repeated value is valid only if it is the same.
pub(super) fn set<T: PartialEq>(slot: &mut Option<T>, value: T) -> Result<(), String> {
    if slot.as_ref().is_some_and(|known| *known != value) {
        return Err("an entry has two different names, link targets or sizes".to_owned());
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

/// The size of an entry with the size `header` in its header and `record` in its records. A header may omit only a size that
/// does not fit into its field.
pub(super) fn size(header: u64, record: Option<u64>) -> Result<u64, String> {
    match record {
        None => Ok(header),
        Some(record) if record == header || (header == 0 && record >= TOO_LARGE_FOR_OCTAL) => Ok(record),
        Some(record) => Err(format!(
            "a header has the size {header} and its pax record {record}, which readers interpret differently"
        )),
    }
}

/// Records must not add data to an entry without data, because some readers would skip it and others would read it as the next
/// header.
pub(super) fn no_size(record: Option<u64>) -> Result<(), String> {
    match record {
        None | Some(0) => Ok(()),
        Some(record) => Err(format!(
            "a link, folder or device has {record} bytes of data, which readers interpret differently"
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
