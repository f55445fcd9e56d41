//! Notifications, as the CNCF Distribution registry 3.x makes them (with `includereferences: true`).
//!
//! Every blob and every manifest that is pushed, mounted or deleted is one delivery. Reads make none: the registry is
//! read by tests to look at it. Source: distribution, docs/content/about/notifications.md, and recorded deliveries.

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
use transship_oci::{Descriptor, Digest, Manifest, Repository, Tag};
use uuid::Uuid;

use crate::registry::Head;
use crate::{Error, ErrorKind, Result};

/// The type of a delivery.
pub const CONTENT_TYPE: &str = "application/vnd.docker.distribution.events.v2+json";
/// How long one delivery may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait after a delivery that was refused. The one behind it waits too, as at the original.
const BACKOFF: Duration = Duration::from_millis(250);

/// Where notifications go.
#[derive(Clone)]
pub enum Notify {
    /// To a function, called before the request that caused it is answered.
    Call(Arc<dyn Fn(Notification) + Send + Sync>),
    /// By POST, one after another, each until it is accepted (2xx or 3xx).
    Post {
        /// `http://…`; the deliveries stay on this machine, so there is no TLS.
        url: String,
        /// Sent with each.
        headers: Vec<(String, String)>,
    },
}

/// One delivery.
#[derive(Debug, Clone)]
pub struct Notification {
    /// `push`, `mount` or `delete`.
    pub action: &'static str,
    /// The repository.
    pub repository: Repository,
    /// The tag, where one was written or deleted.
    pub tag: Option<Tag>,
    /// What was written or deleted; absent for a deleted tag.
    pub digest: Option<Digest>,
    /// Of a manifest its type, of a blob `application/octet-stream`, empty for what was deleted.
    pub media_type: String,
    /// The envelope, as it goes over the wire. Its type is [`CONTENT_TYPE`].
    pub body: Bytes,
}

/// What happened in the registry.
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
    /// A blob or a manifest: the original does not tell which.
    DigestDeleted {
        repository: Repository,
        digest: Digest,
    },
    TagDeleted {
        repository: Repository,
        tag: Tag,
    },
}

/// Makes deliveries and hands them on.
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
    /// Begins to deliver. Must be called within a tokio runtime.
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
            // The receiver ends only with the runtime.
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

/// Three spaces, as the original indents.
fn pretty(value: &Value) -> Bytes {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"   ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    match value.serialize(&mut serializer) {
        Ok(()) => text.into(),
        // A value made of strings and numbers, written to memory: there is nothing to fail on.
        Err(_) => value.to_string().into(),
    }
}

/// Where deliveries are posted to.
struct Endpoint {
    url: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Endpoint {
    fn new(url: &str, headers: &[(String, String)]) -> Result<Self> {
        let refuse = || Error::new(ErrorKind::NotifyUrlInvalid, "notify");
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
