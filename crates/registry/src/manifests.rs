//! Manifests: HEAD, GET, PUT.
//!
//! Source: distribution-spec, Pulling and Pushing Manifests. Bytes are verified against the requested digest, and against
//! `Docker-Content-Digest` if it is sent (it may be missing, empty, or use another algorithm).

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Method, StatusCode};
use transship_copy::Manifests;
use transship_oci::manifest::MAX_BYTES;
use transship_oci::media_type::{ACCEPT_MANIFESTS, DOCKER_SCHEMA1};
use transship_oci::{
    Algorithm, Code, Descriptor, Digest, Error, Manifest, MediaType, Operation, Result, Tag, Target, Verb,
};

use crate::RemoteRepository;
use crate::exchange::Request;
use crate::heads::may_be_about_head;

#[async_trait]
impl Manifests for RemoteRepository {
    fn name(&self) -> String {
        format!("{}/{}", self.registry.host(), self.repository)
    }

    /// Sends one HEAD, and a GET if the registry does not send the digest or refuses HEAD. Only 404 is final, unless a GET
    /// contradicted it at this registry.
    async fn manifest_head(&self, target: &Target) -> Result<Option<Descriptor>> {
        let heads = &self.registry.0.heads;
        if heads.are_contradicted() {
            return self.manifest_by_get(target).await;
        }
        let response = self
            .registry
            .send(self.manifest_request(Verb::ManifestHead, Method::HEAD, target)?)
            .await?;
        match response.status() {
            StatusCode::OK => heads.prove(),
            StatusCode::NOT_FOUND => return Ok(None),
            status if may_be_about_head(status) && !self.registry.0.profile.are_gets_limited => {
                // A refusal of GET has a body, with the reason.
                let found = self.manifest_by_get(target).await?;
                heads.contradict();
                return Ok(found);
            }
            _ => return Err(response.into_error().await),
        }
        let headers = response.headers();
        let told = content_digest(headers).or_else(|| target.digest().cloned());
        let media_type = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .map(MediaType::new);
        // The size is taken from the header, because a HEAD response has no body.
        let size = headers
            .get(CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .unwrap_or(0);
        match (told, media_type) {
            (Some(digest), Some(media_type)) if media_type.is_manifest() || media_type.is_schema1() => {
                Ok(Some(Descriptor::new(media_type, digest, size)))
            }
            _ => self.manifest_by_get(target).await,
        }
    }

    async fn manifest_find(&self, target: &Target) -> Result<Option<Descriptor>> {
        if self.registry.0.profile.are_gets_limited {
            return self.manifest_head(target).await;
        }
        self.find_by_get(target).await
    }

    async fn digest_tag_heads(&self, tags: &[Tag], subject: &Digest) -> Result<Vec<Option<Descriptor>>> {
        self.find_digest_tags(tags, subject).await
    }

    /// Bytes that do not match the digest are read once more, to distinguish a transmission error from a wrong manifest.
    async fn manifest_get(&self, target: &Target) -> Result<Option<Manifest>> {
        match self.manifest_read(target).await {
            Err(error) if error.is(Code::ManifestDigestMismatch) => self.manifest_read(target).await,
            read => read,
        }
    }

    async fn has_referrers_api(&self, subject: &Digest) -> Result<bool> {
        self.probe_referrers_api(subject).await
    }
}

impl RemoteRepository {
    pub(crate) fn manifest_request(&self, verb: Verb, method: Method, target: &Target) -> Result<Request<'_>> {
        let url = self.url(&format!("manifests/{target}"))?;
        Ok(
            Request::new(self.operation(verb, target), method, url, self.scope(), &self.requests)
                .accept(ACCEPT_MANIFESTS),
        )
    }

    async fn manifest_read(&self, target: &Target) -> Result<Option<Manifest>> {
        let Some(body) = self.manifest_body(target).await? else {
            return Ok(None);
        };
        let operation = &body.operation;
        let content_type = body.content_type.as_deref();
        let digest = match prove(&body.bytes, target, body.told.as_ref()) {
            Ok(digest) => digest,
            // The digest of a signed schema 1 manifest does not cover its signatures; it is rejected as schema 1.
            Err(why) => {
                let schema1 = Manifest::parse(body.bytes, content_type)
                    .err()
                    .filter(|refusal| refusal.is(Code::Schema1Unsupported));
                return Err(match schema1 {
                    Some(refusal) => refusal.during(operation),
                    None => Error::of(Code::ManifestDigestMismatch, operation).because(why),
                });
            }
        };
        let manifest = Manifest::parse_with_digest(body.bytes, content_type, digest);
        let manifest = manifest.map_err(|error: Error| error.during(operation))?;
        if let Some(called) = manifest.sent_as() {
            // Nexus sends every manifest as Docker's.
            tracing::debug!(digest = %manifest.digest(), %called, own = %manifest.media_type(), "the registry sent a manifest under another media type");
        }
        Ok(Some(manifest))
    }

    /// What `target` names, by GET. A manifest of a kind that is not copied is there all the same.
    pub(crate) async fn manifest_by_get(&self, target: &Target) -> Result<Option<Descriptor>> {
        match self.manifest_get(target).await {
            Err(error) if matches!(error.kind(), Code::Schema1Unsupported | Code::ManifestUnsupported) => {}
            read => return Ok(read?.map(|manifest| manifest.descriptor())),
        }
        Ok(self.manifest_body(target).await?.map(|body| {
            let digest = body.told.or_else(|| target.digest().cloned());
            let digest = digest.unwrap_or_else(|| Digest::sha256(&body.bytes));
            let media_type = MediaType::from(body.content_type.as_deref().unwrap_or(DOCKER_SCHEMA1));
            Descriptor::new(media_type, digest, body.bytes.len() as u64)
        }))
    }

    async fn manifest_body(&self, target: &Target) -> Result<Option<Body>> {
        let response = self
            .registry
            .send(self.manifest_request(Verb::ManifestGet, Method::GET, target)?)
            .await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(response.into_error().await),
        }
        let operation = response.operation.clone();
        let told = content_digest(response.headers());
        let content_type = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let bytes = match response.body(MAX_BYTES).await {
            // Converted to the code for manifests.
            Err(error) if error.is(Code::ResponseTooLarge) => {
                let refusal = Manifest::parse(Bytes::from(vec![b' '; MAX_BYTES + 1]), None).err();
                return Err(refusal.unwrap_or(error).during(operation));
            }
            body => body?,
        };
        Ok(Some(Body {
            operation,
            told,
            content_type,
            bytes,
        }))
    }
}

/// The response 200 to GET of a manifest, not verified yet.
struct Body {
    operation: Operation,
    /// `Docker-Content-Digest`.
    told: Option<Digest>,
    content_type: Option<String>,
    bytes: Bytes,
}

/// `Docker-Content-Digest`, if it is a digest.
pub(crate) fn content_digest(headers: &HeaderMap) -> Option<Digest> {
    headers.get("docker-content-digest")?.to_str().ok()?.parse().ok()
}

/// The digest of `bytes`, with the algorithm of the requested or announced digest.
fn prove(bytes: &[u8], target: &Target, told: Option<&Digest>) -> std::result::Result<Digest, String> {
    let named = target.digest().or(told);
    let digest = Digest::of(named.map_or(Algorithm::Sha256, Digest::algorithm), bytes);
    match (target.digest(), told) {
        (Some(asked), _) if *asked != digest => Err(format!("requested {asked}, received bytes of {digest}")),
        (None, Some(told)) if *told != digest => Err(format!("announced as {told}, received bytes of {digest}")),
        _ => Ok(digest),
    }
}
