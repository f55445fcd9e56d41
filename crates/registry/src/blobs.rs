//! Blobs at the destination: HEAD and mount.
//!
//! Source: distribution-spec, Checking if content exists, Mounting a blob from another repository.

use http::header::{CONTENT_LENGTH, LOCATION};
use http::{Method, StatusCode};
use transship_copy::{Mount, Upload};
use transship_oci::{Descriptor, Repository};

use crate::auth::Scope;
use crate::exchange::Call;
use crate::{ErrorKind, RemoteRepository, Result};

impl RemoteRepository {
    /// True if the repository has the blob. A size that differs from the descriptor's counts as not having it.
    pub(crate) async fn head_blob(&self, blob: &Descriptor) -> Result<bool> {
        let url = self.url(&format!("blobs/{}", blob.digest))?;
        let call = Call::new(
            self.blob_operation("blob_head", &blob.digest),
            Method::HEAD,
            url,
            self.scope(),
            &self.requests,
        );
        let answer = self.registry.send(call).await?;
        match answer.status() {
            StatusCode::OK => {
                let length: Option<u64> = answer
                    .headers()
                    .get(CONTENT_LENGTH)
                    .and_then(|value| value.to_str().ok()?.parse().ok());
                Ok(length.is_none_or(|length| length == blob.size))
            }
            // Some registries do not answer HEAD for blobs; not knowing costs an upload, no more.
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::FORBIDDEN => Ok(false),
            _ => Err(answer.into_error().await),
        }
    }

    /// Mounts the blob from another repository. Only 201 is a mount: a registry that opens an upload instead (202) has
    /// refused, and its session is used. A registry that refuses in any other way is uploaded to as if nothing was asked.
    pub(crate) async fn mount_blob(&self, blob: &Descriptor, from: &Repository) -> Result<Mount> {
        if !self.registry.0.profile.mounts {
            return Ok(Mount::NotMounted(None));
        }
        let mut url = self.url("blobs/uploads/")?;
        url.query_pairs_mut()
            .append_pair("mount", &blob.digest.to_string())
            .append_pair("from", from.as_str());
        let scope = Scope::Mount(self.repository.clone(), from.clone());
        let call = Call::new(
            self.blob_operation("blob_mount", &blob.digest),
            Method::POST,
            url,
            scope,
            &self.requests,
        );
        let answer = match self.registry.send(call).await {
            Ok(answer) => answer,
            // What stumbles over mounts may still take uploads.
            Err(error) if matches!(error.kind, ErrorKind::AuthFailed(_) | ErrorKind::Unavailable { .. }) => {
                return Ok(Mount::NotMounted(None));
            }
            Err(error) => return Err(error),
        };
        let mount = match answer.status() {
            StatusCode::CREATED => Mount::Mounted,
            StatusCode::ACCEPTED => Mount::NotMounted(self.location(&answer).ok().map(|location| Upload {
                location: location.into(),
            })),
            _ => Mount::NotMounted(None),
        };
        if answer.headers().contains_key(LOCATION) || answer.status().is_client_error() {
            answer.drain().await;
        }
        Ok(mount)
    }
}
