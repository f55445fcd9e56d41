//! The repository as a destination: puts manifests, and checks, mounts and uploads blobs.
//!
//! Source: distribution-spec, Pushing Manifests, Checking if content exists, Mounting a blob from another repository.

use async_trait::async_trait;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Method, StatusCode};
use transship_copy::{BlobSource, Destination, Gate, Manifests, Mount, UploadOptions, UploadSession};
use transship_oci::{Code, Descriptor, Digest, Error, Manifest, Repository, Result, Target, Verb};

use crate::RemoteRepository;
use crate::auth::Scope;
use crate::exchange::Request;
use crate::heads::may_be_about_head;
use crate::manifests::content_digest;

#[async_trait]
impl Destination for RemoteRepository {
    fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Writes the bytes and verifies the response. Returns true if the registry processed the `subject` itself.
    async fn manifest_put(&self, target: &Target, manifest: &Manifest, gate: Option<&dyn Gate>) -> Result<bool> {
        let mut request = self
            .manifest_request(Verb::ManifestPut, Method::PUT, target)?
            .behind(gate);
        let media_type = HeaderValue::from_str(manifest.media_type().as_str()).map_err(|_| {
            Error::of(Code::ResponseInvalid, &request.operation).because("the media type is not a valid header value")
        })?;
        request.headers.insert(CONTENT_TYPE, media_type);
        request.body = manifest.bytes().clone();
        let operation = request.operation.clone();
        let response = self.registry.send(request).await?;
        if !response.status().is_success() {
            return Err(response.into_error().await);
        }
        let told = content_digest(response.headers());
        let processed_subject = response.headers().contains_key("oci-subject");
        if processed_subject {
            // Source: distribution-spec, Pushing Manifests with Subject: a registry with the API must say so.
            self.registry.0.referrers_api.learn(&self.repository, true);
        }
        // Any web server may answer 200 to a PUT, so only the response of a registry counts as an acknowledgement.
        let is_acknowledged =
            response.status() == StatusCode::CREATED && (told.is_some() || response.headers().contains_key(LOCATION));
        response.drain().await;
        let told = match told {
            Some(told) => Some(told),
            None if is_acknowledged => None,
            None => match self.manifest_head(target).await? {
                None => self.manifest_find(target).await?,
                found => found,
            }
            .map(|found| found.digest),
        };
        match told {
            Some(told) if told == *manifest.digest() || told == Digest::of(told.algorithm(), manifest.bytes()) => {
                Ok(processed_subject)
            }
            Some(told) => Err(Error::of(Code::DestinationVerifyFailed, operation)
                .because(format!("{told} for {}", manifest.digest()))),
            None if is_acknowledged => Ok(processed_subject),
            None => Err(Error::of(Code::DestinationVerifyFailed, operation).because("the manifest is not there")),
        }
    }

    /// True if the repository has the blob with the size of the descriptor.
    async fn blob_head(&self, blob: &Descriptor) -> Result<bool> {
        let url = self.url(&format!("blobs/{}", blob.digest))?;
        let request = Request::new(
            self.blob_operation(Verb::BlobHead, &blob.digest),
            Method::HEAD,
            url,
            self.scope(),
            &self.requests,
        );
        let response = self.registry.send(request).await?;
        match response.status() {
            StatusCode::OK => {
                let length: Option<u64> = response
                    .headers()
                    .get(CONTENT_LENGTH)
                    .and_then(|value| value.to_str().ok()?.parse().ok());
                Ok(length.is_none_or(|length| length == blob.size))
            }
            // Some registries do not answer HEAD for blobs. An unknown result only costs an upload.
            status if status == StatusCode::NOT_FOUND || may_be_about_head(status) => Ok(false),
            _ => Err(response.into_error().await),
        }
    }

    fn mounts(&self) -> bool {
        self.registry.0.profile.mounts
    }

    /// Mounts the blob from another repository. Only 201 is a mount. If the registry opens an upload session instead (202), that
    /// session is used. After any other response the blob is uploaded normally.
    async fn blob_mount(&self, blob: &Descriptor, from: &Repository) -> Result<Mount> {
        if !self.registry.0.profile.mounts || !self.registry.is_one_login(&self.repository, from).await {
            return Ok(Mount::NotMounted(None));
        }
        let mut url = self.url("blobs/uploads/")?;
        url.query_pairs_mut()
            .append_pair("mount", &blob.digest.to_string())
            .append_pair("from", from.as_str());
        let scope = Scope::Mount(self.repository.clone(), from.clone());
        let request = Request::new(
            self.blob_operation(Verb::BlobMount, &blob.digest),
            Method::POST,
            url,
            scope,
            &self.requests,
        );
        let response = match self.registry.send(request).await {
            Ok(response) => response,
            // A registry that fails on mounts may still accept uploads.
            Err(error) if matches!(error.kind(), Code::AuthFailed | Code::RegistryUnavailable) => {
                return Ok(Mount::NotMounted(None));
            }
            Err(error) => return Err(error),
        };
        let mount = match response.status() {
            StatusCode::CREATED => Mount::Mounted,
            StatusCode::ACCEPTED => Mount::NotMounted(self.location(&response).ok().map(|location| UploadSession {
                location: location.into(),
            })),
            _ => Mount::NotMounted(None),
        };
        if response.headers().contains_key(LOCATION) || response.status().is_client_error() {
            response.drain().await;
        }
        Ok(mount)
    }

    async fn blob_put(&self, blob: &Descriptor, source: &dyn BlobSource, sending: UploadOptions<'_>) -> Result<()> {
        self.upload(blob, source, sending).await
    }
}
