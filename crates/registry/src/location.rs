//! Upload locations. A location is a capability: it is used unchanged, never logged, and must be on the registry's own host.
//!
//! Source: distribution-spec, Pushing blobs. CVE-2026-50151 and go-containerregistry e5983f2 are consequences of following any
//! location.

use http::header::LOCATION;
use url::Url;

use crate::RemoteRepository;
use crate::exchange::Response;
use crate::network::Guard;
use crate::profile::is_listed;
use transship_oci::{Code, Error, Result};

impl RemoteRepository {
    /// The next location of an upload, resolved against the URL of the response. It must be on the registry's own origin or on a
    /// host of its profile. For a registry behind a proxy that returns `http`, the path is used and the scheme is not.
    pub(crate) fn location(&self, response: &Response) -> Result<Url> {
        let reject = |why: &str| Error::of(Code::LocationRejected, &response.operation).because(why);
        let text = response
            .headers()
            .get(LOCATION)
            .and_then(|value| value.to_str().ok())
            .ok_or_else(|| reject("the response has no Location"))?;
        let location = response
            .url()
            .join(text)
            .map_err(|_| reject("its Location is not a valid URL"))?;
        self.judge(location).map_err(|why| reject(&why))
    }

    /// A location that was stored outside this process, if the current rules allow it.
    pub(crate) fn remembered_location(&self, text: &str) -> Option<Url> {
        self.judge(Url::parse(text).ok()?).ok()
    }

    fn judge(&self, location: Url) -> std::result::Result<Url, String> {
        let registry = &self.registry.0;
        judge(location, &registry.base, registry.profile.storage, &registry.guard)
    }
}

fn judge(mut location: Url, base: &Url, storage: &[&str], guard: &Guard) -> std::result::Result<Url, String> {
    if !location.username().is_empty() || location.password().is_some() {
        return Err("it contains a user name".into());
    }
    if base.scheme() == "https"
        && location.scheme() == "http"
        && location.host() == base.host()
        && location.set_scheme("https").is_ok()
    {
        // The port of the proxy, not the port on which the registry itself listens.
        let _ = location.set_port(base.port());
    }
    if location.origin() == base.origin() {
        return Ok(location);
    }
    let host = location.host_str().unwrap_or_default();
    if location.scheme() != "https" || !is_listed(host, storage) {
        let is_port_lost = location.host() == base.host() && location.port().is_none();
        return Err(if is_port_lost {
            "it has no port, and the registry's endpoint has one: see the Host header that a proxy in front of it sends"
                .into()
        } else {
            "its host, scheme or port is not the registry's".into()
        });
    }
    guard.check(&location).map_err(|denied| denied.to_string())?;
    Ok(location)
}

#[cfg(test)]
mod tests {
    use super::*;
    use transship_oci::Network;

    #[test]
    fn a_lost_port_is_named_with_its_remedy() {
        let base = Url::parse("http://127.0.0.1:5000/v2/").unwrap();
        let guard = Guard::new(&base, &[], Network::Public);
        let refusal = |text: &str| judge(Url::parse(text).unwrap(), &base, &[], &guard).unwrap_err();
        assert!(refusal("http://127.0.0.1/v2/a").contains("Host header"));
        assert!(!refusal("http://127.0.0.2:5000/v2/a").contains("Host header"));
    }

    #[test]
    fn an_upload_goes_on_only_where_the_registry_is() {
        let base = Url::parse("https://r.example.com/v2/").unwrap();
        let guard = Guard::new(&base, &[], Network::Public);
        let to = |text: &str| judge(base.join(text).unwrap(), &base, &[".googleapis.com"], &guard).map(String::from);
        assert_eq!(
            to("/v2/a/blobs/uploads/1?_state=x%3D").unwrap(),
            "https://r.example.com/v2/a/blobs/uploads/1?_state=x%3D"
        );
        assert_eq!(to("http://r.example.com/u").unwrap(), "https://r.example.com/u");
        assert_eq!(
            to("https://storage.googleapis.com/u").unwrap(),
            "https://storage.googleapis.com/u"
        );
        for bad in [
            "https://evil.example/u",
            "https://r.example.com:8443/u",
            "https://r.example.com@evil.example/u",
            "http://storage.googleapis.com/u",
            "http://169.254.169.254/u",
            "https://127.0.0.1/u",
        ] {
            assert!(to(bad).is_err(), "{bad}");
        }
    }
}
