//! Deliveries of CNCF Distribution written by hand: what a registry would say, when a scenario wants it said.

use serde_json::json;

use crate::http::{self, Response};
use crate::{HOOK_SECRET, images};

/// The content type of Distribution's deliveries.
pub const DISTRIBUTION_EVENTS: &str = "application/vnd.docker.distribution.events.v1+json";

/// One delivery that says `repository:tag` on `host` names `digest` now; `number` makes it an event of its own.
pub fn push_event(host: &str, repository: &str, tag: &str, digest: &str, number: u32) -> String {
    json!({ "events": [{
        "id": format!("00000000-0000-4000-8000-{number:012}"),
        "timestamp": "2026-01-02T03:04:05.678Z",
        "action": "push",
        "target": {
            "mediaType": images::IMAGE, "digest": digest, "size": 500, "length": 500,
            "repository": repository, "tag": tag,
            "url": format!("http://{host}/v2/{repository}/manifests/{digest}"),
        },
        "request": { "id": "r", "addr": "127.0.0.1:2", "host": host, "method": "PUT", "useragent": "t" },
        "actor": {}, "source": { "addr": "x:5000", "instanceID": "i" },
    }]})
    .to_string()
}

/// Posts it to source `a` of a `serve`, with the secret.
pub fn post(serve: &str, event: &str) -> Response {
    post_to(serve, "a", event)
}

/// The same to any source.
pub fn post_to(serve: &str, source: &str, event: &str) -> Response {
    let headers = [("Content-Type", DISTRIBUTION_EVENTS), ("Authorization", HOOK_SECRET)];
    http::request("POST", serve, &format!("/hooks/{source}"), &headers, event.as_bytes()).expect("serve answers")
}
