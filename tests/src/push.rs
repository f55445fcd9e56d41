//! A raw pusher: any bytes as blobs and manifests, also what polite clients rewrite or refuse.

use crate::http::{self, Response};

/// Pushes a blob under `digest` in one POST and one PUT.
///
/// # Panics
/// If the registry refuses.
pub fn blob(host: &str, repository: &str, digest: &str, bytes: &[u8]) {
    let path = format!("/v2/{repository}/blobs/uploads/");
    let opened = http::request("POST", host, &path, &[], &[]).expect("the registry answers");
    assert_eq!(opened.status, 202, "POST {path}: {}", opened.text());
    let location = opened.header("location").expect("an upload has a location");
    let path = path_of(location, host);
    let joint = if path.contains('?') { '&' } else { '?' };
    let path = format!("{path}{joint}digest={}", digest.replace(':', "%3A"));
    let content_type = [("Content-Type", "application/octet-stream")];
    let closed = http::request("PUT", host, &path, &content_type, bytes).expect("the registry answers");
    assert_eq!(closed.status, 201, "PUT of blob {digest}: {}", closed.text());
}

/// Pushes a manifest under a tag or digest.
///
/// # Panics
/// If the registry refuses.
pub fn manifest(host: &str, repository: &str, reference: &str, media_type: &str, bytes: &[u8]) {
    let answer = try_manifest(host, repository, reference, media_type, bytes);
    assert_eq!(
        answer.status,
        201,
        "PUT of manifest {repository}:{reference}: {}",
        answer.text()
    );
}

/// Pushes a manifest and returns the registry's response.
pub fn try_manifest(host: &str, repository: &str, reference: &str, media_type: &str, bytes: &[u8]) -> Response {
    let path = format!("/v2/{repository}/manifests/{reference}");
    http::request("PUT", host, &path, &[("Content-Type", media_type)], bytes).expect("the registry answers")
}

/// A location may be absolute or a path.
fn path_of<'a>(location: &'a str, host: &str) -> &'a str {
    let without_scheme = location.strip_prefix("http://").unwrap_or(location);
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    without_scheme.strip_prefix(host).unwrap_or(without_scheme)
}
