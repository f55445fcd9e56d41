//! The proof: reads both registries over plain HTTP, computes every digest from the received bytes, and compares both sides.
//! It shares no code with the copy.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::ACCEPT;
use serde::Serialize;
use serde_json::Value;
use transship_oci::{Digest, Result};

use super::fixture::{DESTINATION_REPOSITORY, Fixture, SOURCE_REPOSITORY, TAG};
use super::transcript::failed;
use crate::failure::Failure;

const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json";

/// What was compared and is equal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Proof {
    /// Number of manifests, including referrers and signatures.
    pub(super) manifests: usize,
    /// Number of blobs.
    pub(super) blobs: usize,
    /// Bytes of manifests and blobs.
    pub(super) bytes: u64,
}

/// Everything that a tag refers to in one repository, by the digests of the bytes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Contents {
    manifests: BTreeMap<String, Bytes>,
    blobs: BTreeMap<String, Bytes>,
}

/// One repository of one registry.
struct Reader {
    client: reqwest::Client,
    base: String,
}

impl Proof {
    /// Reads both registries; the tag must name `digest`.
    pub(super) async fn of(fixture: &Fixture, digest: &Digest) -> Result<Self, Failure> {
        let source = Contents::of(&fixture.source.url(), SOURCE_REPOSITORY, digest).await?;
        let destination = Contents::of(&fixture.destination.url(), DESTINATION_REPOSITORY, digest).await?;
        Self::between(&source, &destination)
    }

    fn between(source: &Contents, destination: &Contents) -> Result<Self, Failure> {
        if source != destination {
            let names = |contents: &Contents| contents.manifests.len() + contents.blobs.len();
            let sentence = format!(
                "the destination is not equal to the source: {} and {} objects",
                names(destination),
                names(source)
            );
            return Err(failed(&sentence));
        }
        let all = source.manifests.values().chain(source.blobs.values());
        Ok(Self {
            manifests: source.manifests.len(),
            blobs: source.blobs.len(),
            bytes: all.map(|bytes| bytes.len() as u64).sum(),
        })
    }
}

impl Contents {
    async fn of(url: &str, repository: &str, digest: &Digest) -> Result<Self, Failure> {
        let reader = Reader {
            client: super::client(),
            base: format!("{url}/v2/{repository}"),
        };
        let mut contents = Self::default();
        let tagged = reader.must("manifests", TAG).await?;
        expect(&tagged, &digest.to_string())?;
        let mut open = vec![digest.to_string()];
        while let Some(name) = open.pop() {
            if contents.manifests.contains_key(&name) {
                continue;
            }
            let bytes = reader.must("manifests", &name).await?;
            expect(&bytes, &name)?;
            let manifest: Value = serde_json::from_slice(&bytes).map_err(|error| failed(&error))?;
            contents.manifests.insert(name.clone(), bytes);
            for blob in digests(&manifest["layers"]).chain(digest_of(&manifest["config"])) {
                let bytes = reader.must("blobs", &blob).await?;
                expect(&bytes, &blob)?;
                contents.blobs.insert(blob, bytes);
            }
            open.extend(digests(&manifest["manifests"]));
            open.extend(reader.attached(&name).await?);
        }
        Ok(contents)
    }
}

impl Reader {
    /// Finds what belongs to `digest`: by the referrers API, and by the tag of a signature.
    async fn attached(&self, digest: &str) -> Result<Vec<String>, Failure> {
        let referrers = self.must("referrers", digest).await?;
        let referrers: Value = serde_json::from_slice(&referrers).map_err(|error| failed(&error))?;
        let mut attached: Vec<String> = digests(&referrers["manifests"]).collect();
        let signature = format!("{}.sig", digest.replace(':', "-"));
        if let Some(bytes) = self.get("manifests", &signature).await? {
            attached.push(Digest::sha256(&bytes).to_string());
        }
        Ok(attached)
    }

    async fn must(&self, kind: &str, name: &str) -> Result<Bytes, Failure> {
        let found = self.get(kind, name).await?;
        found.ok_or_else(|| failed(&format!("{}/{kind}/{name} is missing", self.base)))
    }

    async fn get(&self, kind: &str, name: &str) -> Result<Option<Bytes>, Failure> {
        let url = format!("{}/{kind}/{name}", self.base);
        let answer = self.client.get(url).header(ACCEPT, MANIFESTS).send().await;
        let answer = answer.map_err(|error| failed(&error))?;
        if answer.status() == http::StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let answer = answer.error_for_status().map_err(|error| failed(&error))?;
        answer.bytes().await.map(Some).map_err(|error| failed(&error))
    }
}

fn expect(bytes: &[u8], name: &str) -> Result<(), Failure> {
    let found = Digest::sha256(bytes).to_string();
    if found == name {
        Ok(())
    } else {
        Err(failed(&format!(
            "{name} was requested, but the response has the digest {found}"
        )))
    }
}

fn digests(descriptors: &Value) -> impl Iterator<Item = String> + '_ {
    descriptors.as_array().into_iter().flatten().filter_map(digest_of)
}

fn digest_of(descriptor: &Value) -> Option<String> {
    descriptor["digest"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(blob: &'static [u8]) -> Contents {
        Contents {
            manifests: BTreeMap::from([("m".into(), Bytes::from_static(b"{}"))]),
            blobs: BTreeMap::from([("b".into(), Bytes::from_static(blob))]),
        }
    }

    #[test]
    fn only_what_is_equal_is_proved() {
        let proof = Proof::between(&contents(b"one"), &contents(b"one")).unwrap();
        assert_eq!((proof.manifests, proof.blobs, proof.bytes), (1, 1, 5));
        for other in [contents(b"two"), Contents::default()] {
            assert_eq!(
                Proof::between(&contents(b"one"), &other).unwrap_err().code(),
                "DEMO_FAILED"
            );
        }
    }

    #[tokio::test]
    async fn bytes_that_do_not_have_their_digest_are_found() {
        let registry = transship_embedded_registry::EmbeddedRegistry::builder()
            .start()
            .await
            .unwrap();
        let repository = "a".parse().unwrap();
        let index = Bytes::from_static(br#"{"schemaVersion":2,"manifests":[]}"#);
        let media_type = transship_oci::media_type::OCI_INDEX.into();
        let digest = registry.seed_manifest(&repository, &media_type, index);
        registry.tag(&repository, &TAG.parse().unwrap(), &digest);
        let found = Contents::of(&registry.url(), "a", &digest).await.unwrap();
        assert_eq!(found.manifests.len(), 1);
        let other = Digest::sha256(b"other");
        let failure = Contents::of(&registry.url(), "a", &other).await.unwrap_err();
        assert_eq!(failure.code(), "DEMO_FAILED");
    }
}
