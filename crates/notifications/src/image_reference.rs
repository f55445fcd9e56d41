//! Splits image references of deliveries without validation, because some use an older grammar.

/// The parts of `host/repository:tag`, `host/repository@digest` or the old form `host/repository:sha256:…`, not validated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ImageReference<'a> {
    pub(crate) host: &'a str,
    pub(crate) repository: &'a str,
    pub(crate) tag: Option<&'a str>,
    pub(crate) digest: Option<&'a str>,
}

/// Splits at the first `/`. The tag or digest follows the first `:` or `@` of the last component. Hosts may have ports.
pub(crate) fn split(reference: &str) -> Option<ImageReference<'_>> {
    let reference = reference
        .strip_prefix("https://")
        .or_else(|| reference.strip_prefix("http://"))
        .unwrap_or(reference);
    let (host, path) = reference.split_once('/')?;
    let last = path.rfind('/').map_or(0, |slash| slash + 1);
    let end = path[last..].find([':', '@']).map_or(path.len(), |at| last + at);
    let (repository, rest) = path.split_at(end);
    let (name, digest) = match rest.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (rest, None),
    };
    let name = name.strip_prefix(':').filter(|name| !name.is_empty());
    let is_digest = name.is_some_and(|name| name.contains(':'));
    Some(ImageReference {
        host,
        repository,
        tag: name.filter(|_| !is_digest),
        digest: digest.or_else(|| name.filter(|_| is_digest)),
    })
}

/// The host of an absolute URL, with its port.
pub(crate) fn authority(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let authority = rest.split(['/', '?', '#']).next()?;
    authority.rsplit('@').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_url_has_neither_user_nor_path() {
        for (url, host) in [
            ("https://h:8443/a?b#c", Some("h:8443")),
            ("http://user:password@h", Some("h")),
            ("https://", Some("")),
            ("h/a", None),
            ("ftp://h/a", None),
        ] {
            assert_eq!(authority(url), host, "{url}");
        }
    }

    #[test]
    fn references_are_taken_apart_with_ports_digests_and_the_old_colon() {
        let parts = |host, repository, tag, digest| {
            Some(ImageReference {
                host,
                repository,
                tag,
                digest,
            })
        };
        for (reference, expected) in [
            ("h/a:1", parts("h", "a", Some("1"), None)),
            ("h:8443/a/b:1", parts("h:8443", "a/b", Some("1"), None)),
            ("https://h/a", parts("h", "a", None, None)),
            ("h/a@sha256:00", parts("h", "a", None, Some("sha256:00"))),
            ("h/a:sha256:00", parts("h", "a", None, Some("sha256:00"))),
            ("h/a:1@sha256:00", parts("h", "a", Some("1"), Some("sha256:00"))),
            ("h/a:", parts("h", "a", None, None)),
            ("h", None),
        ] {
            assert_eq!(split(reference), expected, "{reference}");
        }
    }
}
