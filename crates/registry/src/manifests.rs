//! Manifests: HEAD, GET, PUT.
//!
//! Source: distribution-spec, Pulling and Pushing Manifests. Bytes are proven against the digest they were asked by, and
//! against `Docker-Content-Digest` where it is sent (it may be missing, empty, or of another algorithm).

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use transship_oci::ErrorKind::Schema1Unsupported;
use transship_oci::manifest::MAX_BYTES;
use transship_oci::media_type::ACCEPT_MANIFESTS;
use transship_oci::{Algorithm, Descriptor, Digest, Manifest, MediaType, Target};

use crate::exchange::Call;
use crate::{Error, ErrorKind, RemoteRepository, Result};

impl RemoteRepository {
    fn manifest_call(&self, verb: &str, method: Method, target: &Target) -> Result<Call<'_>> {
        let url = self.url(&format!("manifests/{target}"))?;
        Ok(Call::new(self.operation(verb, target), method, url, self.scope(), &self.requests).accept(ACCEPT_MANIFESTS))
    }

    /// One HEAD; a GET as well where the registry does not tell the digest or does not answer HEAD.
    pub(crate) async fn head_manifest(&self, target: &Target) -> Result<Option<Descriptor>> {
        let answer = self
            .registry
            .send(self.manifest_call("manifest_head", Method::HEAD, target)?)
            .await?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            StatusCode::METHOD_NOT_ALLOWED => {
                return Ok(self.get_manifest(target).await?.map(|manifest| manifest.descriptor()));
            }
            _ => return Err(answer.into_error().await),
        }
        let headers = answer.headers();
        let told = content_digest(headers).or_else(|| target.digest().cloned());
        let media_type = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .map(MediaType::new);
        // From the header itself: the body of a HEAD has no length.
        let size = headers
            .get(CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .unwrap_or(0);
        match (told, media_type) {
            (Some(digest), Some(media_type)) if media_type.is_manifest() || media_type.is_schema1() => {
                Ok(Some(Descriptor::new(media_type, digest, size)))
            }
            _ => Ok(self.get_manifest(target).await?.map(|manifest| manifest.descriptor())),
        }
    }

    /// The manifest, proven; [`None`] if it is not there. Bytes that do not have their digest are read anew once, as a
    /// blob's are: that tells a bad line from a bad manifest.
    pub(crate) async fn get_manifest(&self, target: &Target) -> Result<Option<Manifest>> {
        match self.read_manifest(target).await {
            Err(error) if matches!(error.kind, ErrorKind::ManifestDigestMismatch(_)) => {
                self.read_manifest(target).await
            }
            read => read,
        }
    }

    async fn read_manifest(&self, target: &Target) -> Result<Option<Manifest>> {
        let answer = self
            .registry
            .send(self.manifest_call("manifest_get", Method::GET, target)?)
            .await?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(answer.into_error().await),
        }
        let operation = answer.operation.clone();
        let told = content_digest(answer.headers());
        let content_type = answer
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let bytes = match answer.body(MAX_BYTES).await {
            Err(Error {
                kind: ErrorKind::TooLarge(limit),
                ..
            }) => {
                // Under the name manifests have for it.
                let refusal = Manifest::parse(Bytes::from(vec![b' '; limit + 1]), None).err();
                return Err(Error::new(
                    refusal.map_or(ErrorKind::TooLarge(limit), ErrorKind::Content),
                    operation,
                ));
            }
            body => body?,
        };
        let digest = match prove(&bytes, target, told.as_ref()) {
            Ok(digest) => digest,
            // The digest of a signed schema 1 manifest leaves its signatures out: it is refused for what it is.
            Err(why) => {
                let schema1 = Manifest::parse(bytes, content_type.as_deref())
                    .err()
                    .filter(|refusal| refusal.kind == Schema1Unsupported);
                return Err(Error::new(
                    schema1.map_or(ErrorKind::ManifestDigestMismatch(why), ErrorKind::Content),
                    operation,
                ));
            }
        };
        let manifest = Manifest::parse_with_digest(bytes, content_type.as_deref(), digest);
        manifest
            .map(Some)
            .map_err(|error| Error::new(ErrorKind::Content(error), operation))
    }

    /// Writes the bytes and proves the answer. True if the registry processed the `subject` itself.
    pub(crate) async fn put_manifest(&self, target: &Target, manifest: &Manifest) -> Result<bool> {
        let mut call = self.manifest_call("manifest_put", Method::PUT, target)?;
        let media_type = HeaderValue::from_str(manifest.media_type().as_str()).map_err(|_| {
            Error::new(
                ErrorKind::Invalid("the media type is no header value".into()),
                &call.operation,
            )
        })?;
        call.headers.insert(CONTENT_TYPE, media_type);
        call.body = manifest.bytes().clone();
        let operation = call.operation.clone();
        let answer = self.registry.send(call).await?;
        if !answer.status().is_success() {
            return Err(answer.into_error().await);
        }
        let told = content_digest(answer.headers());
        let processed_subject = answer.headers().contains_key("oci-subject");
        // Any web server answers 200 to a PUT: only what a registry says counts as an acknowledgement.
        let is_acknowledged =
            answer.status() == StatusCode::CREATED && (told.is_some() || answer.headers().contains_key(LOCATION));
        answer.drain().await;
        let told = match told {
            Some(told) => Some(told),
            None if is_acknowledged => None,
            None => self.head_manifest(target).await?.map(|found| found.digest),
        };
        match told {
            Some(told) if told == *manifest.digest() || told == Digest::of(told.algorithm(), manifest.bytes()) => {
                Ok(processed_subject)
            }
            Some(told) => Err(Error::new(
                ErrorKind::VerifyFailed(format!("{told} for {}", manifest.digest())),
                operation,
            )),
            None if is_acknowledged => Ok(processed_subject),
            None => Err(Error::new(
                ErrorKind::VerifyFailed("the manifest is not there".into()),
                operation,
            )),
        }
    }
}

/// `Docker-Content-Digest`, if it is a digest.
pub(crate) fn content_digest(headers: &HeaderMap) -> Option<Digest> {
    headers.get("docker-content-digest")?.to_str().ok()?.parse().ok()
}

/// The digest of `bytes`, in the algorithm they were asked by or are told under.
fn prove(bytes: &[u8], target: &Target, told: Option<&Digest>) -> std::result::Result<Digest, String> {
    let named = target.digest().or(told);
    let digest = Digest::of(named.map_or(Algorithm::Sha256, Digest::algorithm), bytes);
    match (target.digest(), told) {
        (Some(asked), _) if *asked != digest => Err(format!("asked for {asked}, got bytes of {digest}")),
        (None, Some(told)) if *told != digest => Err(format!("announced as {told}, got bytes of {digest}")),
        _ => Ok(digest),
    }
}
