//! The keys of credentials: `registry.example`, `registry.example/team/app`, `https://index.docker.io/v1/`.
//!
//! Docker uses a URL for its own registry, and used URLs for others in the past. Podman uses hosts, with paths for specific
//! repositories. All are compared in one form: the lower-case host without scheme, and the path if it is a repository.

use transship_oci::{RegistryHost, Repository};

/// Docker's own registry in references.
const DOCKER: &str = "docker.io";

/// Docker's own registry in Docker's files and helpers.
const DOCKER_SERVER: &str = "https://index.docker.io/v1/";

/// `key` in the form in which keys are compared.
pub(super) fn normalized(key: &str) -> String {
    let without_scheme = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    let text = without_scheme.unwrap_or(key).trim_end_matches('/');
    let (host, path) = text.split_once('/').unwrap_or((text, ""));
    let host = host_of(host);
    // The path of a URL is that of the API, and means no repository.
    if path.is_empty() || without_scheme.is_some() || path == "v1" || path == "v2" {
        host
    } else {
        format!("{host}/{path}")
    }
}

/// True if `key` is for a path of a registry.
pub(super) fn has_path(key: &str) -> bool {
    normalized(key).contains('/')
}

/// True if `key` is for a path of `host`.
pub(super) fn is_below(key: &str, host: &RegistryHost) -> bool {
    let key = normalized(key);
    key.split_once('/').is_some_and(|(of, _)| of == host_of(host.as_str()))
}

/// The matching keys, the most specific first.
pub(super) fn fitting(host: &RegistryHost, repository: Option<&Repository>) -> Vec<String> {
    let host = host_of(host.as_str());
    let mut keys = Vec::new();
    let mut path = repository.map_or("", Repository::as_str);
    while !path.is_empty() {
        keys.push(format!("{host}/{path}"));
        path = path.rsplit_once('/').map_or("", |(above, _)| above);
    }
    keys.push(host);
    keys
}

/// The server name for a credential helper.
pub(super) fn server(host: &RegistryHost) -> String {
    if host_of(host.as_str()) == DOCKER {
        DOCKER_SERVER.to_owned()
    } else {
        host.to_string()
    }
}

fn host_of(text: &str) -> String {
    let host = text.to_ascii_lowercase();
    match host.as_str() {
        "index.docker.io" | "registry-1.docker.io" => DOCKER.to_owned(),
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_compared_in_one_form() {
        for (key, expected) in [
            ("https://index.docker.io/v1/", "docker.io"),
            ("index.docker.io/v1", "docker.io"),
            ("docker.io", "docker.io"),
            ("registry-1.docker.io", "docker.io"),
            ("https://Registry.Example:5000/v2/", "registry.example:5000"),
            ("http://localhost:5000", "localhost:5000"),
            ("https://registry.example/api/docker/", "registry.example"),
            ("registry.example/", "registry.example"),
            ("registry.example/team/app", "registry.example/team/app"),
            ("docker.io/library/nginx", "docker.io/library/nginx"),
        ] {
            assert_eq!(normalized(key), expected, "{key}");
        }
    }

    #[test]
    fn the_most_specific_key_comes_first() {
        let host = "r.example:5000".parse().unwrap();
        let repository = "team/app/web".parse().unwrap();
        assert_eq!(
            fitting(&host, Some(&repository)),
            [
                "r.example:5000/team/app/web",
                "r.example:5000/team/app",
                "r.example:5000/team",
                "r.example:5000"
            ]
        );
        assert_eq!(fitting(&host, None), ["r.example:5000"]);
    }
}
