//! A registry under test and the few requests every test makes of it.

use bytes::Bytes;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use transship_embedded_registry::{Builder, EmbeddedRegistry};
use transship_oci::{Algorithm, Digest, Repository, media_type};

/// A registry and a client of it.
pub struct Subject {
    pub registry: EmbeddedRegistry,
    pub client: Client,
}

impl Subject {
    pub async fn new() -> Self {
        Self::of(EmbeddedRegistry::builder()).await
    }

    pub async fn of(builder: Builder) -> Self {
        transship_registry::use_ring();
        Self {
            registry: builder.start().await.unwrap(),
            client: Client::new(),
        }
    }

    /// `path` begins after `/v2/`, or is a location.
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let joint = if path.starts_with('/') { "" } else { "/v2/" };
        self.client
            .request(method, format!("{}{joint}{path}", self.registry.url()))
    }

    pub async fn send(&self, method: &str, path: &str) -> Response {
        self.request(method, path).send().await.unwrap()
    }

    pub async fn send_with(&self, method: &str, path: &str, body: impl Into<reqwest::Body>) -> Response {
        self.request(method, path).body(body).send().await.unwrap()
    }

    /// Opens an upload in `a/b`; its location.
    pub async fn open(&self) -> String {
        let answer = self.send("POST", "a/b/blobs/uploads/").await;
        assert_eq!(answer.status(), 202);
        header(&answer, "location")
    }

    /// Pushes a manifest under `reference`.
    pub async fn put_manifest(&self, reference: &str, manifest: &Value) -> Response {
        self.request("PUT", &format!("a/b/manifests/{reference}"))
            .header("content-type", manifest["mediaType"].as_str().unwrap())
            .body(manifest.to_string())
            .send()
            .await
            .unwrap()
    }

    /// Puts a blob into `a/b` without a request; its descriptor.
    pub fn seed(&self, bytes: &'static [u8]) -> Value {
        let digest = self
            .registry
            .seed_blob(&repository(), Algorithm::Sha256, Bytes::from_static(bytes));
        json!({ "mediaType": media_type::OCI_CONFIG, "digest": digest, "size": bytes.len() })
    }
}

pub fn repository() -> Repository {
    "a/b".parse().unwrap()
}

pub fn header(answer: &Response, name: &str) -> String {
    answer.headers()[name].to_str().unwrap().to_owned()
}

/// The first error code of a refusal.
pub async fn code(answer: Response) -> String {
    let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    body["errors"][0]["code"].as_str().unwrap().to_owned()
}

/// An image manifest of one config and no layers.
pub fn manifest_of(config: &Value) -> Value {
    json!({ "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config, "layers": [] })
}

pub fn digest_of(value: &Value) -> Digest {
    Digest::sha256(value.to_string().as_bytes())
}

/// A descriptor of a manifest.
pub fn descriptor_of(manifest: &Value) -> Value {
    let size = manifest.to_string().len();
    json!({ "mediaType": manifest["mediaType"], "digest": digest_of(manifest), "size": size })
}
