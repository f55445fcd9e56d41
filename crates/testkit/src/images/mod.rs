//! Sample images in every form that a registry may contain, generated from a seed. The same seed gives the same bytes.
//!
//! They are stored directly or pushed by plain HTTP, because common tools rewrite or reject the rarer forms.

mod draft;
mod kinds;
mod layout;
mod push;
mod referrers;
mod unpackable;
mod virtual_layer;

use std::collections::BTreeMap;

use bytes::Bytes;
use transship_embedded_registry::EmbeddedRegistry;
use transship_oci::{Digest, Manifest, MediaType, Repository, Tag};

pub use kinds::{
    artifact, docker_image, docker_list, empty_layers, helm_chart, image, large_manifest, multi_platform, nested_index,
    non_distributable, of_platforms, schema1, sha512_blob, unknown_fields,
};
pub use referrers::{referrer_of, with_cosign_signature, with_referrer};
pub use unpackable::unpackable;
pub use virtual_layer::seed_virtual_layer;

/// An image or artifact: its blobs, its manifests, and the manifest that the tag names.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Every blob by its digest, without non-distributable layers.
    pub blobs: BTreeMap<Digest, Bytes>,
    /// Children before parents, referrers after their subject.
    pub manifests: Vec<SampleManifest>,
    /// Digest of the manifest that the tag names.
    pub root: Digest,
}

/// One manifest of a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleManifest {
    /// Media type.
    pub media_type: MediaType,
    /// The sha256 digest.
    pub digest: Digest,
    /// The bytes.
    pub bytes: Bytes,
    /// Its own tag, for example of a cosign signature. The tag of the root is set when it is pushed.
    pub tag: Option<Tag>,
}

impl Sample {
    /// The manifest that the tag names.
    pub fn root_manifest(&self) -> Option<&SampleManifest> {
        self.manifests.iter().find(|manifest| manifest.digest == self.root)
    }

    /// Total size of all blobs in bytes.
    pub fn blobs_size(&self) -> u64 {
        self.blobs.values().map(|bytes| bytes.len() as u64).sum()
    }

    /// Stores the sample in an embedded registry, without requests or notifications. If that registry has no referrers API, the
    /// fallback tags are stored as well.
    pub fn seed_into(&self, registry: &EmbeddedRegistry, repository: &Repository, tag: &Tag) {
        for (digest, bytes) in &self.blobs {
            registry.seed_blob(repository, digest.algorithm(), bytes.clone());
        }
        for manifest in &self.manifests {
            registry.seed_manifest(repository, &manifest.media_type, manifest.bytes.clone());
            if let Some(own) = &manifest.tag {
                registry.tag(repository, own, &manifest.digest);
            }
        }
        if !registry.lists_referrers() {
            for fallback in self.fallbacks() {
                registry.seed_manifest(repository, &fallback.media_type, fallback.bytes.clone());
                if let Some(tag) = &fallback.tag {
                    registry.tag(repository, tag, &fallback.digest);
                }
            }
        }
        registry.tag(repository, tag, &self.root);
    }

    /// The index of the fallback tag for every subject in this sample.
    pub fn fallbacks(&self) -> Vec<SampleManifest> {
        let mut listed: BTreeMap<Digest, Vec<_>> = BTreeMap::new();
        for manifest in self.understood() {
            if let Some(subject) = manifest.subject() {
                let referrers = listed.entry(subject.digest.clone()).or_default();
                referrers.push(manifest.referrer_descriptor());
            }
        }
        let fallback = |(subject, referrers): (Digest, Vec<_>)| {
            let bytes = transship_oci::referrers::fallback_index(&referrers);
            SampleManifest {
                media_type: transship_oci::media_type::OCI_INDEX.into(),
                digest: Digest::sha256(&bytes),
                bytes,
                tag: subject.fallback_tag().parse().ok(),
            }
        };
        listed.into_iter().map(fallback).collect()
    }

    fn understood(&self) -> impl Iterator<Item = Manifest> + '_ {
        self.manifests.iter().filter_map(SampleManifest::understood)
    }
}

impl SampleManifest {
    fn understood(&self) -> Option<Manifest> {
        Manifest::parse(self.bytes.clone(), Some(self.media_type.as_str())).ok()
    }
}

/// One sample of every form that can be replicated, with a name for its repository. Schema 1 is not included.
pub fn all(seed: u64) -> Vec<(&'static str, Sample)> {
    vec![
        ("image", image(seed, &[100_000, 30_000, 10])),
        ("multi-platform", multi_platform(seed)),
        ("nested-index", nested_index(seed)),
        ("helm-chart", helm_chart(seed)),
        ("artifact", artifact(seed)),
        ("docker-image", docker_image(seed)),
        ("docker-list", docker_list(seed)),
        ("empty-layers", empty_layers(seed)),
        ("large-manifest", large_manifest(seed)),
        ("sha512-blob", sha512_blob(seed)),
        ("with-referrer", with_referrer(seed)),
        ("with-signature", with_cosign_signature(seed)),
        ("non-distributable", non_distributable(seed)),
        ("unknown-fields", unknown_fields(seed)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        for ((name, one), (_, two)) in all(7).into_iter().zip(all(7)) {
            assert_eq!(one.blobs, two.blobs, "{name}");
            assert_eq!(one.manifests, two.manifests, "{name}");
        }
        assert_ne!(image(1, &[10]).root, image(2, &[10]).root);
    }

    #[test]
    fn every_part_a_manifest_names_is_in_the_sample_before_it() {
        for (name, sample) in all(3) {
            let mut seen = Vec::new();
            for manifest in sample.understood() {
                for blob in manifest.blobs().filter(|blob| !blob.media_type.is_non_distributable()) {
                    let bytes = &sample.blobs[&blob.digest];
                    assert_eq!(bytes.len() as u64, blob.size, "{name}");
                    assert_eq!(Digest::of(blob.digest.algorithm(), bytes), blob.digest, "{name}");
                }
                for child in manifest.children().iter().chain(manifest.subject()) {
                    assert!(seen.contains(&child.digest), "{name}: {}", child.digest);
                }
                seen.push(manifest.digest().clone());
            }
            assert_eq!(
                seen.len(),
                sample.manifests.len(),
                "{name}: a manifest cannot be parsed"
            );
            assert!(seen.contains(&sample.root), "{name}");
        }
    }

    #[test]
    fn the_large_manifest_is_just_below_what_registries_take() {
        let size = large_manifest(1).root_manifest().unwrap().bytes.len();
        assert!((3_800_000..4_000_000).contains(&size), "{size}");
    }

    #[test]
    fn schema_1_is_what_a_copy_must_refuse() {
        let sample = schema1(1);
        let manifest = sample.root_manifest().unwrap();
        let error = Manifest::parse(manifest.bytes.clone(), Some(manifest.media_type.as_str())).unwrap_err();
        assert_eq!(error.code(), "MANIFEST_SCHEMA1_UNSUPPORTED");
    }

    #[test]
    fn a_referrer_is_listed_in_the_fallback_of_its_subject() {
        let sample = with_referrer(1);
        let [fallback] = sample.fallbacks().try_into().unwrap();
        assert_eq!(fallback.tag.unwrap().as_str(), sample.root.fallback_tag());
        let index = Manifest::parse(fallback.bytes, None).unwrap();
        assert_eq!(index.children().len(), 1);
        assert!(index.children()[0].artifact_type.is_some());
    }
}
