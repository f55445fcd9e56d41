//! Tar archives, valid and invalid, entry by entry.

/// Length in bytes of the fields for a name and for a link target in a header.
const NAME_BYTES: usize = 100;
/// Offset in bytes of the type in a header.
const TYPE_OFFSET: usize = 156;
/// Offset in bytes of the link target in a header.
const LINK_NAME_OFFSET: usize = 157;

/// What a header has room for: its field holds the start of a longer name.
fn cut(name: &str) -> &str {
    &name[..name.floor_char_boundary(NAME_BYTES)]
}

/// A tar archive to which entries are added.
#[derive(Debug, Default)]
pub struct Tar(Vec<u8>);

impl Tar {
    /// An archive without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file.
    #[must_use]
    pub fn file(self, name: &str, bytes: &[u8]) -> Self {
        self.long_name(name).special(b'0', cut(name), bytes)
    }

    /// Adds a link: `b'1'` for a hard link, `b'2'` for a symbolic one. A long target is written as GNU tar does.
    #[must_use]
    pub fn link(mut self, kind: u8, name: &str, target: &str) -> Self {
        if target.len() > NAME_BYTES {
            let record = [target.as_bytes(), b"\0"].concat();
            self = self.special(b'K', "././@LongLink", &record);
        }
        self = self.long_name(name);
        self.header(kind, cut(name), 0, cut(target));
        self
    }

    /// The record of GNU tar with the whole of a name that is too long for a header.
    fn long_name(self, name: &str) -> Self {
        if name.len() <= NAME_BYTES {
            return self;
        }
        let record = [name.as_bytes(), b"\0"].concat();
        self.special(b'L', "././@LongLink", &record)
    }

    /// An entry of any type.
    #[must_use]
    pub fn special(self, kind: u8, name: &str, bytes: &[u8]) -> Self {
        self.entry(kind, name, bytes.len() as u64, bytes)
    }

    /// A header with `size`, regardless of the data.
    #[must_use]
    pub fn entry(mut self, kind: u8, name: &str, size: u64, bytes: &[u8]) -> Self {
        self.header(kind, name, size, "");
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn header(&mut self, kind: u8, name: &str, size: u64, target: &str) {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.as_mut_bytes()[LINK_NAME_OFFSET..][..target.len()].copy_from_slice(target.as_bytes());
        header.as_mut_bytes()[TYPE_OFFSET] = kind;
        header.set_size(size);
        header.set_mode(0o644);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
    }

    /// Adds pax records about the next entry.
    ///
    /// # Panics
    /// If a record is longer than 99,999 bytes.
    #[must_use]
    pub fn pax(self, records: &[(&str, &str)]) -> Self {
        let mut text = String::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let length = (1..=5)
                .map(|digits| rest + digits)
                .find(|length| length.to_string().len() + rest == *length);
            text += &[&length.unwrap().to_string(), " ", key, "=", value, "\n"].concat();
        }
        self.special(b'x', "pax", text.as_bytes())
    }

    /// The bytes, with the two blocks of zeros at the end.
    pub fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }

    /// Without the blocks of zeros.
    pub fn unended(self) -> Vec<u8> {
        self.0
    }
}
/// Compresses bytes.
///
/// # Panics
/// Never: memory takes every write.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
