//! What a tar holds under a name.
//!
//! Names are only ever compared, never made into paths of this machine.

use bytes::Bytes;
use transship_oci::Digest;

/// Where the bytes of a plain file lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    /// From which byte of the unpacked tar on.
    pub(crate) offset: u64,
    /// How many.
    pub(crate) size: u64,
    /// What was seen of them when the archive was read through; [`None`] if it was not.
    pub(crate) seen: Option<Seen>,
}

/// What a pass through the whole archive learns of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) digest: Digest,
    /// Its first bytes, at most [`HEAD_BYTES`].
    pub(crate) head: Bytes,
    /// All of it, if it is small.
    pub(crate) whole: Option<Bytes>,
}

/// Enough to tell how a file is compressed.
pub(crate) const HEAD_BYTES: usize = 6;

/// What stands under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A plain file.
    File(Span),
    /// Several entries of plain files; only the same content would make them one.
    Several(Vec<Span>),
    /// A link, a device, a sparse file: never followed, made or filled in.
    Unsafe(&'static str),
}

/// Of one name more entries than this are not compared.
const MAX_COPIES: usize = 4;

impl Place {
    /// What stands there once another entry of the name came.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::File(one), Self::File(two)) => Self::Several(vec![one, two]),
            (Self::Several(mut spans), Self::File(another)) if spans.len() < MAX_COPIES => {
                spans.push(another);
                Self::Several(spans)
            }
            (Self::Unsafe(what), _) | (_, Self::Unsafe(what)) => Self::Unsafe(what),
            _ => Self::Unsafe("many entries"),
        }
    }
}

/// The key a name of the tar is found by: without `./` and doubled slashes, as every reader of paths takes it.
/// [`None`] for what climbs, is absolute or no text: nothing asks for such names.
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
