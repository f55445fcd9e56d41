//! A plain push over HTTP to a registry without authentication. It shares no code with the product.

use bytes::Bytes;
use reqwest::{Client, Response, header};
use transship_oci::{Digest, Repository, Tag};

use super::{Sample, SampleManifest};
use crate::{Error, ErrorKind, Result};

impl Sample {
    /// Pushes the sample to the registry at `url` (`http://127.0.0.1:5000`): blobs, manifests, the tag, then the referrers. If
    /// the registry does not process subjects, the fallback tag is written as the specification requires.
    pub async fn push_over_http(&self, url: &str, repository: &Repository, tag: &Tag) -> Result<()> {
        let push = Push {
            client: crate::http::client(),
            base: format!("{}/v2/{repository}", url.trim_end_matches('/')),
            url: url.trim_end_matches('/').to_owned(),
        };
        for (digest, bytes) in &self.blobs {
            push.blob(digest, bytes.clone()).await?;
        }
        let mut is_subject_processed = true;
        for manifest in &self.manifests {
            let reference = match &manifest.tag {
                _ if manifest.digest == self.root => tag.to_string(),
                Some(own) => own.to_string(),
                None => manifest.digest.to_string(),
            };
            let answer = push.manifest(&reference, manifest).await?;
            let is_referrer = manifest.understood().is_some_and(|read| read.subject().is_some());
            is_subject_processed &= !is_referrer || answer.headers().contains_key("oci-subject");
        }
        if is_subject_processed {
            return Ok(());
        }
        for fallback in self.fallbacks() {
            let reference = fallback.tag.as_ref().map_or_else(String::new, ToString::to_string);
            push.manifest(&reference, &fallback).await?;
        }
        Ok(())
    }
}

struct Push {
    client: Client,
    /// With the repository.
    base: String,
    /// Without.
    url: String,
}

impl Push {
    async fn blob(&self, digest: &Digest, bytes: Bytes) -> Result<()> {
        let operation = format!("push of blob {digest}");
        let start = self.client.post(format!("{}/blobs/uploads/", self.base)).send();
        let start = expect(start.await, &operation).await?;
        let location = start.headers().get(header::LOCATION);
        let location = location.and_then(|location| location.to_str().ok()).unwrap_or_default();
        let location = if location.starts_with('/') {
            format!("{}{location}", self.url)
        } else {
            location.to_owned()
        };
        let joint = if location.contains('?') { '&' } else { '?' };
        let commit = self
            .client
            .put(format!("{location}{joint}digest={digest}"))
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .body(bytes)
            .send();
        expect(commit.await, &operation).await.map(drop)
    }

    async fn manifest(&self, reference: &str, manifest: &SampleManifest) -> Result<Response> {
        let put = self
            .client
            .put(format!("{}/manifests/{reference}", self.base))
            .header(header::CONTENT_TYPE, manifest.media_type.as_str())
            .body(manifest.bytes.clone())
            .send();
        expect(put.await, &format!("push of manifest {reference}")).await
    }
}

async fn expect(answer: reqwest::Result<Response>, operation: &str) -> Result<Response> {
    let answer = answer.map_err(|error| Error::new(ErrorKind::RequestFailed, operation).with_source(error))?;
    if answer.status().is_success() {
        return Ok(answer);
    }
    let status = answer.status().as_u16();
    let body = answer.text().await.unwrap_or_default().chars().take(500).collect();
    Err(Error::new(ErrorKind::RequestRefused { status, body }, operation))
}
