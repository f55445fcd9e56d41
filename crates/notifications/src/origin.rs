//! What the document says about the sender; the delivery cannot override it.

use transship_oci::{RegistryHost, Repository};

/// The sender of a delivery, according to the configuration.
#[derive(Debug, Clone, Copy, Default)]
pub struct Origin<'a> {
    /// The registry's host, which has precedence over the one in the body.
    pub registry_host: Option<&'a str>,
    /// Repository prefixes of whole components in deliveries, and those that clients use. The first match applies.
    pub aliases: &'a [(String, String)],
}

impl Origin<'_> {
    /// The configured host, else the first of `reported` that is a host.
    pub(crate) fn host<'t>(&self, reported: impl IntoIterator<Item = Option<&'t str>>) -> Option<RegistryHost> {
        match self.registry_host {
            Some(configured) => configured.parse().ok(),
            None => reported.into_iter().flatten().find_map(|host| host.parse().ok()),
        }
    }

    /// The repository that deliveries call `name`; [`None`] if it is not a valid repository name.
    pub(crate) fn repository(&self, name: &str) -> Option<Repository> {
        let aliased = self.aliases.iter().find_map(|(from, to)| {
            let rest = name.strip_prefix(from.as_str())?;
            let path = match (to.as_str(), rest.strip_prefix('/')) {
                ("", rest) => rest?.to_owned(),
                (to, Some(rest)) => format!("{to}/{rest}"),
                (to, None) if rest.is_empty() => to.to_owned(),
                (_, None) => return None,
            };
            Some(path)
        });
        aliased.as_deref().unwrap_or(name).parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configured_host_wins_even_if_it_is_no_host() {
        let host = |configured, told: &[&str]| {
            let origin = Origin {
                registry_host: configured,
                aliases: &[],
            };
            origin.host(told.iter().copied().map(Some)).map(|host| host.to_string())
        };
        assert_eq!(host(Some("a:1"), &["b"]).as_deref(), Some("a:1"));
        assert_eq!(host(Some("a b"), &["b"]), None);
        assert_eq!(host(None, &["not a host", "b"]).as_deref(), Some("b"));
        assert_eq!(host(None, &[]), None);
    }

    #[test]
    fn an_alias_replaces_whole_components() {
        let aliases = [("docker-local".into(), "docker".into()), ("root".into(), String::new())];
        let origin = Origin {
            registry_host: None,
            aliases: &aliases,
        };
        let name = |told: &str| origin.repository(told).map(|name| name.to_string());
        assert_eq!(name("docker-local/a/b").as_deref(), Some("docker/a/b"));
        assert_eq!(name("docker-locals/a").as_deref(), Some("docker-locals/a"));
        assert_eq!(name("root/a").as_deref(), Some("a"));
        assert_eq!(name("../a"), None);
    }
}
