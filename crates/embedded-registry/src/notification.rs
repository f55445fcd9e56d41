//! Notifications in the format of the CNCF Distribution registry 3.x (with `includereferences: true`).
//!
//! Every blob and every manifest that is pushed, mounted or deleted causes one delivery. Reads cause none, because tests read
//! the registry to inspect it. Source: distribution, docs/content/about/notifications.md, and recorded deliveries.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Uri, header};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Serialize as _;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use transship_oci::{Code, Descriptor, Digest, Error, Manifest, Repository, Result, Tag, Verb};
use uuid::Uuid;

use crate::registry::Head;

/// Content type of a delivery.
pub const CONTENT_TYPE: &str = "application/vnd.docker.distribution.events.v2+json";
/// Time limit for one delivery.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Wait after a rejected delivery. The next delivery waits as well, as in the original.
const BACKOFF: Duration = Duration::from_millis(250);

/// Receiver of notifications.
#[derive(Clone)]
pub enum Notify {
    /// A function, called before the response to the request that caused the notification.
    Call(Arc<dyn Fn(Notification) + Send + Sync>),
    /// A URL, by POST. Notifications are sent one after another, and each is repeated until it is accepted (2xx or 3xx).
    Post {
        /// `http://…`. TLS is not needed, because deliveries stay on the local machine.
        url: String,
        /// Headers of each delivery.
        headers: Vec<(String, String)>,
    },
}

/// One delivery.
#[derive(Debug, Clone)]
pub struct Notification {
    /// Action: `push`, `mount` or `delete`.
    pub action: &'static str,
    /// The repository.
    pub repository: Repository,
    /// The tag that was written or deleted, if there is one.
    pub tag: Option<Tag>,
    /// Digest of the content that was written or deleted; absent for a deleted tag.
    pub digest: Option<Digest>,
    /// Media type of a manifest, `application/octet-stream` for a blob, empty for deleted content.
    pub media_type: String,
    /// The body as it is sent, with the content type [`CONTENT_TYPE`].
    pub body: Bytes,
}

/// A change in the registry.
#[derive(Debug)]
pub(crate) enum Happening {
    BlobPushed {
        repository: Repository,
        digest: Digest,
        size: u64,
    },
    BlobMounted {
        repository: Repository,
        digest: Digest,
        size: u64,
        from: Repository,
    },
    ManifestPushed {
        repository: Repository,
        tag: Option<Tag>,
        manifest: Box<Manifest>,
    },
    /// A deleted blob or manifest; the original does not distinguish them.
    DigestDeleted {
        repository: Repository,
        digest: Digest,
    },
    TagDeleted {
        repository: Repository,
        tag: Tag,
    },
}

/// Creates and sends deliveries.
pub(crate) struct Notifier {
    sink: Sink,
    instance: String,
    address: SocketAddr,
    actor: Option<String>,
}

enum Sink {
    Call(Arc<dyn Fn(Notification) + Send + Sync>),
    Queue(mpsc::UnboundedSender<Notification>),
}

impl Notifier {
    /// Starts the delivery. Must be called within a tokio runtime.
    pub(crate) fn start(notify: Notify, address: SocketAddr, actor: Option<String>) -> Result<Self> {
        let sink = match notify {
            Notify::Call(function) => Sink::Call(function),
            Notify::Post { url, headers } => {
                let endpoint = Endpoint::new(&url, &headers)?;
                let (sender, receiver) = mpsc::unbounded_channel();
                tokio::spawn(endpoint.deliver_all(receiver));
                Sink::Queue(sender)
            }
        };
        Ok(Self {
            sink,
            instance: Uuid::now_v7().to_string(),
            address,
            actor,
        })
    }

    pub(crate) fn tell(&self, happening: Happening, head: &Head) {
        let notification = self.notification(happening, head);
        match &self.sink {
            Sink::Call(function) => function(notification),
            // The receiver ends only when the runtime ends.
            Sink::Queue(sender) => drop(sender.send(notification)),
        }
    }

    fn notification(&self, happening: Happening, head: &Head) -> Notification {
        let host = head.host();
        let (action, target) = target(&happening, host);
        let event = json!({
            "id": Uuid::now_v7().to_string(),
            "timestamp": jiff::Timestamp::now().to_string(),
            "action": action,
            "target": target,
            "request": {
                "id": Uuid::now_v7().to_string(),
                "addr": head.peer.to_string(),
                "host": host,
                "method": head.method.as_str(),
                "useragent": head.header(&header::USER_AGENT).unwrap_or_default(),
            },
            "actor": self.actor.as_ref().map_or_else(|| json!({}), |name| json!({ "name": name })),
            "source": { "addr": self.address.to_string(), "instanceID": self.instance },
        });
        let media_type = target["mediaType"].as_str().unwrap_or_default().to_owned();
        let body = pretty(&json!({ "events": [event] }));
        let (repository, tag, digest) = match happening {
            Happening::BlobPushed { repository, digest, .. }
            | Happening::BlobMounted { repository, digest, .. }
            | Happening::DigestDeleted { repository, digest } => (repository, None, Some(digest)),
            Happening::ManifestPushed {
                repository,
                tag,
                manifest,
            } => (repository, tag, Some(manifest.digest().clone())),
            Happening::TagDeleted { repository, tag } => (repository, Some(tag), None),
        };
        Notification {
            action,
            repository,
            tag,
            digest,
            media_type,
            body,
        }
    }
}

fn target(happening: &Happening, host: &str) -> (&'static str, Value) {
    let blob = |repository: &Repository, digest: &Digest, size: u64| {
        json!({
            "mediaType": "application/octet-stream",
            "digest": digest,
            "size": size,
            "length": size,
            "repository": repository,
            "url": format!("http://{host}/v2/{repository}/blobs/{digest}"),
        })
    };
    match happening {
        Happening::BlobPushed {
            repository,
            digest,
            size,
        } => ("push", blob(repository, digest, *size)),
        Happening::BlobMounted {
            repository,
            digest,
            size,
            from,
        } => {
            let mut target = blob(repository, digest, *size);
            target["fromRepository"] = json!(from);
            ("mount", target)
        }
        Happening::ManifestPushed {
            repository,
            tag,
            manifest,
        } => {
            let (digest, size) = (manifest.digest(), manifest.size());
            let references: Vec<&Descriptor> = manifest.blobs().chain(manifest.children()).collect();
            let mut target = json!({
                "mediaType": manifest.media_type(),
                "digest": digest,
                "size": size,
                "length": size,
                "repository": repository,
                "url": format!("http://{host}/v2/{repository}/manifests/{digest}"),
            });
            if let Some(tag) = tag {
                target["tag"] = json!(tag);
            }
            if !references.is_empty() {
                target["references"] = json!(references);
            }
            ("push", target)
        }
        Happening::DigestDeleted { repository, digest } => (
            "delete",
            json!({ "mediaType": "", "digest": digest, "size": 0, "repository": repository }),
        ),
        Happening::TagDeleted { repository, tag } => (
            "delete",
            json!({ "mediaType": "", "digest": "", "size": 0, "repository": repository, "tag": tag }),
        ),
    }
}

/// Three spaces, the indentation of the original.
fn pretty(value: &Value) -> Bytes {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"   ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    match value.serialize(&mut serializer) {
        Ok(()) => text.into(),
        // Serializing strings and numbers to memory cannot fail.
        Err(_) => value.to_string().into(),
    }
}

/// URL that deliveries are posted to.
struct Endpoint {
    url: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Endpoint {
    fn new(url: &str, headers: &[(String, String)]) -> Result<Self> {
        let refuse = || Error::of(Code::NotifyUrlInvalid, Verb::Notify);
        let uri: Uri = url.parse().map_err(|error| refuse().with_source(error))?;
        if uri.scheme_str() != Some("http") || uri.host().is_none() {
            return Err(refuse());
        }
        let header = |(name, value): &(String, String)| {
            let name = HeaderName::try_from(name).map_err(|error| refuse().with_source(error))?;
            let mut value = HeaderValue::try_from(value).map_err(|error| refuse().with_source(error))?;
            value.set_sensitive(true);
            Ok((name, value))
        };
        Ok(Self {
            url: uri,
            headers: headers.iter().map(header).collect::<Result<_>>()?,
            client: Client::builder(TokioExecutor::new()).build_http(),
        })
    }

    async fn deliver_all(self, mut queue: mpsc::UnboundedReceiver<Notification>) {
        while let Some(notification) = queue.recv().await {
            while !self.deliver(&notification).await {
                if queue.is_closed() {
                    return;
                }
                tokio::time::sleep(BACKOFF).await;
            }
        }
    }

    async fn deliver(&self, notification: &Notification) -> bool {
        let mut request = Request::post(self.url.clone())
            .header(header::CONTENT_TYPE, CONTENT_TYPE)
            .header(header::USER_AGENT, "Go-http-client/1.1");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let Ok(request) = request.body(Full::new(notification.body.clone())) else {
            return false;
        };
        match tokio::time::timeout(TIMEOUT, self.client.request(request)).await {
            Ok(Ok(response)) => response.status().is_success() || response.status().is_redirection(),
            Ok(Err(_)) | Err(_) => false,
        }
    }
}
