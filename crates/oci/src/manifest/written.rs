//! A manifest as it is written: which fields there are, and what is wrong with one that matters.
//!
//! Registries and tools are written in Go, which writes an absent list or map as `null`. So `null` is an empty list or map.
//! Only the fields that decide what is copied are read strictly: digests, sizes, and the media types of manifests. Annotations,
//! platforms and the like never refuse a manifest. An error names the descriptor: `layers[2] has no size`.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{MAX_DESCRIPTORS, too_many};
use crate::error::{Code, Error, shown};
use crate::{Descriptor, Digest, MediaType, Platform};

/// Annotations of one map that are read.
const MAX_ANNOTATIONS: usize = 1_000;

/// The fields of a manifest. A field that is [`None`] is absent or null.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Written<'a> {
    #[serde(borrow, default)]
    pub(super) schema_version: Option<&'a RawValue>,
    #[serde(borrow, default)]
    media_type: Option<&'a RawValue>,
    #[serde(borrow, default)]
    config: Option<&'a RawValue>,
    #[serde(borrow, default)]
    layers: Option<&'a RawValue>,
    #[serde(borrow, default)]
    manifests: Field<'a>,
    #[serde(borrow, default)]
    pub(super) fs_layers: Option<&'a RawValue>,
    #[serde(borrow, default)]
    subject: Option<&'a RawValue>,
    #[serde(borrow, default)]
    artifact_type: Option<&'a RawValue>,
    #[serde(borrow, default)]
    annotations: Option<&'a RawValue>,
}

/// A field whose absence differs from null.
#[derive(Default)]
enum Field<'a> {
    #[default]
    Absent,
    Null,
    Value(&'a RawValue),
}

impl<'de: 'a, 'a> Deserialize<'de> for Field<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Null, Self::Value))
    }
}

impl<'a> Written<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        serde_json::from_slice(bytes).map_err(|error| invalid(format_args!("it is not a JSON object: {error}")))
    }

    /// The media type, if the manifest states one.
    pub(super) fn media_type(&self) -> Result<Option<MediaType>, Error> {
        match self.media_type {
            None => Ok(None),
            Some(own) => match text(Some(own)) {
                Some(own) => Ok(Some(MediaType::new(&own)).filter(|own| !own.as_str().is_empty())),
                None => Err(invalid("its mediaType is not a text")),
            },
        }
    }

    pub(super) fn config(&self) -> Result<Option<Descriptor>, Error> {
        let config = self.config.map(|config| of_blob(config, &"config"));
        config.transpose()
    }

    pub(super) fn layers(&self) -> Result<Vec<Descriptor>, Error> {
        list("layers", self.layers, of_blob)
    }

    /// The list of an index, empty if it is null; [`None`] if it is absent.
    pub(super) fn manifests(&self) -> Result<Option<Vec<Descriptor>>, Error> {
        match self.manifests {
            Field::Absent => Ok(None),
            Field::Null => Ok(Some(Vec::new())),
            Field::Value(manifests) => list("manifests", Some(manifests), of_manifest).map(Some),
        }
    }

    /// The list of an index with the annotations of its entries.
    pub(super) fn annotated_manifests(&self) -> Result<Vec<Descriptor>, Error> {
        match self.manifests {
            Field::Value(manifests) => list("manifests", Some(manifests), with_annotations),
            Field::Absent | Field::Null => Ok(Vec::new()),
        }
    }

    /// The list of an index as it is written.
    pub(super) fn raw_manifests(&self) -> Result<Vec<&'a RawValue>, Error> {
        let Field::Value(manifests) = self.manifests else {
            return Ok(Vec::new());
        };
        let entries: Entries<'a> =
            serde_json::from_str(manifests.get()).map_err(|_| invalid("manifests is not a list"))?;
        Ok(entries.first)
    }

    /// The annotations as they are written, all of them.
    pub(super) fn raw_annotations(&self) -> BTreeMap<String, Box<RawValue>> {
        lenient(self.annotations).unwrap_or_default()
    }

    /// `artifactType` and `subject` as they are written.
    pub(super) fn raw_others(&self) -> [(&'static str, Option<&'a RawValue>); 2] {
        [("artifactType", self.artifact_type), ("subject", self.subject)]
    }

    /// True if there is a list of an index that is not null.
    pub(super) const fn lists_manifests(&self) -> bool {
        matches!(self.manifests, Field::Value(_))
    }

    /// True if it has the shape of an index. A manifest in which everything is null is one.
    pub(super) const fn is_index(&self) -> bool {
        self.lists_manifests() || matches!(self.manifests, Field::Null) && !self.has_blobs()
    }

    /// True if there is a config or a list of layers.
    pub(super) const fn has_blobs(&self) -> bool {
        self.config.is_some() || self.layers.is_some()
    }

    /// The subject, of which only the digest matters.
    pub(super) fn subject(&self) -> Result<Option<Descriptor>, Error> {
        let subject = self
            .subject
            .map(|subject| descriptor(subject, &"subject", &Needs::DIGEST));
        subject.transpose()
    }

    pub(super) fn artifact_type(&self) -> Option<String> {
        text(self.artifact_type).filter(|kind| !kind.is_empty())
    }

    pub(super) fn annotations(&self) -> BTreeMap<String, String> {
        texts(self.annotations)
    }
}

/// The fields of a descriptor.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenDescriptor<'a> {
    #[serde(borrow, default)]
    media_type: Option<&'a RawValue>,
    #[serde(borrow, default)]
    digest: Option<&'a RawValue>,
    #[serde(borrow, default)]
    size: Option<&'a RawValue>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    artifact_type: Option<&'a RawValue>,
    #[serde(borrow, default)]
    annotations: Option<&'a RawValue>,
    #[serde(borrow, default)]
    platform: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WrittenPlatform<'a> {
    #[serde(borrow, default)]
    os: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "os.version")]
    os_version: Option<&'a RawValue>,
    #[serde(borrow, default)]
    architecture: Option<&'a RawValue>,
    #[serde(borrow, default)]
    variant: Option<&'a RawValue>,
}

/// Which fields of a descriptor must be there beside the digest, and whether its annotations are read.
struct Needs {
    media_type: bool,
    size: bool,
    annotations: bool,
}

impl Needs {
    /// The media type decides whether a part is a manifest, the size limits its transfer.
    const ALL: Self = Self {
        media_type: true,
        size: true,
        annotations: false,
    };
    const SIZE: Self = Self {
        media_type: false,
        ..Self::ALL
    };
    const DIGEST: Self = Self {
        size: false,
        ..Self::SIZE
    };
}

/// The descriptor of a manifest, with its annotations. `name` is what errors call it.
pub(crate) fn with_annotations(written: &RawValue, name: &dyn fmt::Display) -> Result<Descriptor, Error> {
    let needs = Needs {
        annotations: true,
        ..Needs::ALL
    };
    descriptor(written, name, &needs)
}

fn of_manifest(written: &RawValue, name: &dyn fmt::Display) -> Result<Descriptor, Error> {
    descriptor(written, name, &Needs::ALL)
}

fn of_blob(written: &RawValue, name: &dyn fmt::Display) -> Result<Descriptor, Error> {
    descriptor(written, name, &Needs::SIZE)
}

fn descriptor(written: &RawValue, name: &dyn fmt::Display, needs: &Needs) -> Result<Descriptor, Error> {
    let written: WrittenDescriptor<'_> =
        serde_json::from_str(written.get()).map_err(|_| invalid(format_args!("{name} is not a descriptor")))?;
    let lacks = |field: &str| invalid(format_args!("{name} has no {field}"));
    let media_type = text(written.media_type).map(|kind| MediaType::new(&kind));
    let media_type = media_type.filter(|kind| !kind.as_str().is_empty());
    if needs.media_type && media_type.is_none() {
        return Err(lacks("mediaType"));
    }
    let digest = text(written.digest).ok_or_else(|| lacks("digest"))?;
    let digest: Digest = digest.parse().map_err(|refusal: Error| match refusal.kind() {
        Code::DigestUnsupported => refusal.because(name),
        _ => invalid(format_args!("{name}: {}", refusal.message())),
    })?;
    let size = match written.size {
        None if needs.size => return Err(lacks("size")),
        None => 0,
        Some(size) => serde_json::from_str(size.get()).map_err(|_| {
            invalid(format_args!(
                "{name} has the size {}, which is not a number of bytes",
                shown(size.get())
            ))
        })?,
    };
    let annotations = needs.annotations.then(|| texts(written.annotations));
    Ok(Descriptor {
        media_type: media_type.unwrap_or_default(),
        digest,
        size,
        data: text(written.data),
        artifact_type: text(written.artifact_type),
        annotations: annotations.unwrap_or_default(),
        platform: platform(written.platform),
    })
}

fn platform(written: Option<&RawValue>) -> Option<Platform> {
    let written: WrittenPlatform<'_> = lenient(written)?;
    Some(Platform {
        os: text(written.os).unwrap_or_default(),
        os_version: text(written.os_version),
        architecture: text(written.architecture).unwrap_or_default(),
        variant: text(written.variant),
    })
}

/// The descriptors of the list `name`.
fn list<'a>(
    name: &str,
    written: Option<&'a RawValue>,
    descriptor: impl Fn(&'a RawValue, &dyn fmt::Display) -> Result<Descriptor, Error>,
) -> Result<Vec<Descriptor>, Error> {
    let Some(written) = written else {
        return Ok(Vec::new());
    };
    let written: Entries<'_> =
        serde_json::from_str(written.get()).map_err(|_| invalid(format_args!("{name} is not a list")))?;
    if written.count > MAX_DESCRIPTORS {
        return Err(too_many(written.count));
    }
    let entries = written.first.into_iter().enumerate();
    entries
        .map(|(at, entry)| descriptor(entry, &format_args!("{name}[{at}]")))
        .collect()
}

/// A value that may have any form and matters only if it has this one.
fn lenient<'a, T: Deserialize<'a>>(written: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(written?.get()).ok()
}

fn text(written: Option<&RawValue>) -> Option<String> {
    lenient(written)
}

/// A map of texts, the first [`MAX_ANNOTATIONS`] of it. As in Go, null is the empty text; a value that is not a text is left out.
fn texts(written: Option<&RawValue>) -> BTreeMap<String, String> {
    lenient(written).map_or_else(BTreeMap::new, |Texts(texts)| texts)
}

/// The first entries of a list, and how many there are. A list of 4 MiB has up to two million, which are not kept.
struct Entries<'a> {
    first: Vec<&'a RawValue>,
    count: usize,
}

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Counting;

        impl<'de> Visitor<'de> for Counting {
            type Value = Entries<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Entries<'de>, A::Error> {
                let mut entries = Entries {
                    first: Vec::new(),
                    count: 0,
                };
                while let Some(entry) = list.next_element::<&RawValue>()? {
                    entries.count += 1;
                    if entries.count <= MAX_DESCRIPTORS {
                        entries.first.push(entry);
                    }
                }
                Ok(entries)
            }
        }

        deserializer.deserialize_seq(Counting)
    }
}

/// A map of texts, as [`texts`] reads it. A map of 4 MiB has up to half a million entries, which would take ten times as much.
struct Texts(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bounded;

        impl<'de> Visitor<'de> for Bounded {
            type Value = Texts;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Texts, A::Error> {
                let mut texts = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
                    let has_room = texts.len() < MAX_ANNOTATIONS || texts.contains_key(&key);
                    if let Ok(value) = serde_json::from_str::<Option<String>>(value.get())
                        && has_room
                    {
                        texts.insert(key, value.unwrap_or_default());
                    }
                }
                Ok(Texts(texts))
            }
        }

        deserializer.deserialize_map(Bounded)
    }
}

fn invalid(why: impl fmt::Display) -> Error {
    Error::refused(Code::ManifestInvalid, why)
}
