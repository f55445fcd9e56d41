//! Entries of a tar, by name.
//!
//! Names are only compared and never used as paths of the local machine.

use bytes::Bytes;
use transship_oci::Digest;

use super::link::Link;

/// Position of the bytes of a plain file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    /// Offset in the unpacked tar.
    pub(crate) offset: u64,
    /// How many.
    pub(crate) size: u64,
    /// Facts from a pass over the whole archive; [`None`] without a pass.
    pub(crate) seen: Option<Seen>,
}

/// Facts about a file from a pass over the whole archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) digest: Digest,
    /// Its first bytes, up to [`HEAD_BYTES`].
    pub(crate) head: Bytes,
    /// The whole file, if it is small.
    pub(crate) whole: Option<Bytes>,
}

/// Number of bytes that identify the compression of a file.
pub(crate) const HEAD_BYTES: usize = 6;

/// The entries of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A plain file.
    File(Span),
    /// Several plain files, which are valid only if they have the same content.
    Several(Vec<Span>),
    /// A link to another entry of the archive.
    Link(Link),
    /// A device, a sparse file, or a link that leads elsewhere: never created, filled in or followed.
    Unsafe(&'static str),
}

/// Maximum number of entries of one name that are compared.
const SAME_NAME_ENTRIES_MAX: usize = 4;

impl Place {
    /// The size in bytes of a plain file; [`None`] for anything else.
    pub(super) fn size(&self) -> Option<u64> {
        match self {
            Self::File(span) => Some(span.size),
            Self::Several(spans) => spans.first().map(|span| span.size),
            Self::Link(_) | Self::Unsafe(_) => None,
        }
    }

    /// The state after another entry of the name.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::File(one), Self::File(two)) => Self::Several(vec![one, two]),
            (Self::Several(mut spans), Self::File(another)) if spans.len() < SAME_NAME_ENTRIES_MAX => {
                spans.push(another);
                Self::Several(spans)
            }
            (Self::Link(one), Self::Link(two)) if one == two => Self::Link(one),
            (Self::Unsafe(what), _) | (_, Self::Unsafe(what)) => Self::Unsafe(what),
            _ => Self::Unsafe("many entries"),
        }
    }
}

/// The key for a name in the tar: without `./` and doubled slashes. [`None`] for names with `..`, absolute names and names that
/// are not text, which are never read.
pub(crate) fn key(name: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(name).ok()?;
    let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let is_plain = !text.starts_with('/') && !parts.contains(&"..") && !text.contains('\0');
    (is_plain && !parts.is_empty()).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_mean_the_same_have_one_key() {
        for (name, expected) in [
            ("oci-layout", Some("oci-layout")),
            ("./blobs//sha256/./ab", Some("blobs/sha256/ab")),
            ("blobs/", Some("blobs")),
            ("a+b%2Bü", Some("a+b%2Bü")),
            ("../x", None),
            ("blobs/../oci-layout", None),
            ("/oci-layout", None),
            ("./", None),
            ("a\0b", None),
        ] {
            assert_eq!(key(name.as_bytes()).as_deref(), expected, "{name}");
        }
        assert_eq!(key(&[0xff, b'a']), None);
    }
}
