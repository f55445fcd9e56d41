//! An index of some of the manifests of another index.
//!
//! Its bytes follow from those of the original alone, so that its digest is always the same: the entries are kept as they are
//! written, in their order, and so are the media type, the artifact type, the subject and the annotations. One annotation is
//! added, which names the original.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use serde_json::value::{RawValue, to_raw_value};

use super::{Manifest, Written};
use crate::Digest;
use crate::error::{Code, Error};

/// The annotation of a derived index: the digest of the index at the source that it is a part of.
pub const SOURCE_DIGEST: &str = "dev.transship.source.digest";

/// What an entry of an index names instead: the derived form of an index within it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    /// The digest of the derived index.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

impl Manifest {
    /// The index that has only the entries at the positions `kept` of [`Manifest::children`], each as it is, or with what it
    /// names instead. It has [`SOURCE_DIGEST`].
    pub fn derived(&self, kept: &[(usize, Option<Replacement>)]) -> Result<Self, Error> {
        let written = Written::parse(&self.bytes)?;
        let entries = written.raw_manifests()?;
        let mut text = format!("{{\"schemaVersion\":2,\"mediaType\":{}", raw(self.media_type.as_str())?);
        let [artifact_type, subject] = written.raw_others();
        let add = |text: &mut String, (name, value): (&str, Option<&RawValue>)| {
            if let Some(value) = value {
                // Writing to a text cannot fail.
                let _ = write!(text, ",\"{name}\":{value}");
            }
        };
        add(&mut text, artifact_type);
        text.push_str(",\"manifests\":[");
        for (number, (position, replacement)) in kept.iter().enumerate() {
            let entry = entries.get(*position).copied().ok_or_else(|| no_entry(*position))?;
            let comma = if number == 0 { "" } else { "," };
            let _ = match replacement {
                None => write!(text, "{comma}{entry}"),
                Some(replacement) => write!(text, "{comma}{}", replaced(entry, replacement)?),
            };
        }
        text.push(']');
        add(&mut text, subject);
        let mut annotations = written.raw_annotations();
        annotations.insert(SOURCE_DIGEST.to_owned(), raw(&self.digest.to_string())?);
        add(&mut text, ("annotations", Some(&*raw(&annotations)?)));
        text.push('}');
        Self::parse(Bytes::from(text), Some(self.media_type.as_str()))
    }
}

/// The descriptor `entry`, naming something else.
fn replaced(entry: &RawValue, replacement: &Replacement) -> Result<Box<RawValue>, Error> {
    let mut fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(entry.get()).map_err(|error| odd(&error))?;
    fields.insert("digest".to_owned(), raw(&replacement.digest.to_string())?);
    fields.insert("size".to_owned(), raw(&replacement.size)?);
    // The content itself, which is not that of the derived index.
    fields.remove("data");
    raw(&fields)
}

fn raw(value: &(impl serde::Serialize + ?Sized)) -> Result<Box<RawValue>, Error> {
    to_raw_value(value).map_err(|error| odd(&error))
}

fn odd(error: &serde_json::Error) -> Error {
    Error::refused(Code::ManifestInvalid, format!("no index can be derived: {error}"))
}

fn no_entry(position: usize) -> Error {
    Error::refused(Code::ManifestInvalid, format!("the index has no entry {position}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media_type::{DOCKER_LIST, OCI_INDEX, OCI_MANIFEST};

    fn entry(text: &str, architecture: &str) -> String {
        format!(
            "{{ \"size\": 3, \"x-odd\": [1.50],\n\"mediaType\":\"{OCI_MANIFEST}\", \"digest\":\"{}\", \"platform\": {{\"os\":\"linux\",\"architecture\":\"{architecture}\"}}}}",
            Digest::sha256(text.as_bytes())
        )
    }

    fn index(media_type: &str, rest: &str) -> Manifest {
        let text = format!(
            "{{\"manifests\":[{}, {} ,{}],\"schemaVersion\":2,\"mediaType\":\"{media_type}\"{rest}}}",
            entry("a", "amd64"),
            entry("b", "arm64"),
            entry("c", "s390x")
        );
        Manifest::parse(Bytes::from(text), None).unwrap()
    }

    #[test]
    fn entries_are_kept_as_they_are_written() {
        let original = index(OCI_INDEX, ",\"annotations\":{\"b\":\"é\",\"a\":null}");
        let derived = original.derived(&[(0, None), (2, None)]).unwrap();
        let wanted = format!(
            "{{\"schemaVersion\":2,\"mediaType\":\"{OCI_INDEX}\",\"manifests\":[{},{}],\"annotations\":{{\"a\":null,\"b\":\"é\",\"{SOURCE_DIGEST}\":\"{}\"}}}}",
            entry("a", "amd64"),
            entry("c", "s390x"),
            original.digest()
        );
        assert_eq!(String::from_utf8_lossy(derived.bytes()), wanted);
        assert_eq!(
            derived.children(),
            [original.children()[0].clone(), original.children()[2].clone()]
        );
    }

    #[test]
    fn the_digest_is_always_the_same() {
        let derived = || index(OCI_INDEX, "").derived(&[(1, None), (2, None)]).unwrap();
        assert_eq!(derived().digest(), derived().digest());
    }

    #[test]
    fn an_entry_may_name_a_derived_index_instead() {
        let replacement = Replacement {
            digest: Digest::sha256(b"inner"),
            size: 77,
        };
        let original = index(OCI_INDEX, "");
        let derived = original.derived(&[(0, Some(replacement.clone()))]).unwrap();
        let [child] = derived.children() else { panic!() };
        assert_eq!((&child.digest, child.size), (&replacement.digest, 77));
        assert_eq!(child.platform, original.children()[0].platform);
    }

    #[test]
    fn the_media_type_stays() {
        for media_type in [OCI_INDEX, DOCKER_LIST] {
            let derived = index(media_type, "").derived(&[(0, None)]).unwrap();
            assert_eq!(derived.media_type().as_str(), media_type);
        }
        let typed = index(OCI_INDEX, ",\"artifactType\":\"a/b\"")
            .derived(&[(0, None)])
            .unwrap();
        assert!(String::from_utf8_lossy(typed.bytes()).contains("\"artifactType\":\"a/b\""));
        assert!(index(OCI_INDEX, "").derived(&[(9, None)]).is_err());
    }
}
