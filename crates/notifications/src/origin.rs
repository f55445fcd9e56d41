//! What the document says about the sender; the delivery cannot override it.

use transship_oci::{RegistryHost, Repository};

use crate::ReportedRepository;

/// The sender of a delivery, according to the configuration.
#[derive(Debug, Clone, Copy, Default)]
pub struct Origin<'a> {
    /// The registry's host, which has precedence over the one in the delivery.
    pub registry_host: Option<&'a str>,
    /// The registry's host, for deliveries that name none. With it, an event without a host names something that is none.
    pub fallback_host: Option<&'a str>,
    /// Repository prefixes of whole components in deliveries, and those that clients use. The first match applies.
    pub aliases: &'a [(String, String)],
}

impl Origin<'_> {
    /// The configured host, else the first of `reported` that is a host, else the fallback.
    pub(crate) fn host<'t>(&self, reported: impl IntoIterator<Item = Option<&'t str>>) -> Option<RegistryHost> {
        self.host_or(reported, None)
    }

    /// As [`Origin::host`], and without a fallback `assumed`: the host that a sender has which does not name one.
    pub(crate) fn host_or<'t>(
        &self,
        reported: impl IntoIterator<Item = Option<&'t str>>,
        assumed: Option<&str>,
    ) -> Option<RegistryHost> {
        if let Some(configured) = self.registry_host {
            return configured.parse().ok();
        }
        let mut is_named = false;
        for name in reported.into_iter().flatten().filter(|name| !name.is_empty()) {
            match name.parse() {
                Ok(host) => return Some(host),
                Err(_) => is_named = true,
            }
        }
        // A delivery that names something else than a host is not one of the configured registry.
        let fallback = self.fallback_host.or(assumed).filter(|_| !is_named)?;
        fallback.parse().ok()
    }

    /// The repository that deliveries call `name`; [`None`] if it is not a valid repository name.
    pub(crate) fn repository(&self, name: &str) -> Option<ReportedRepository> {
        let repository: Repository = self.aliased(name).as_deref().unwrap_or(name).parse().ok()?;
        Some(repository.into())
    }

    /// As [`Origin::repository`], for a sender whose names may have capital letters.
    pub(crate) fn repository_with_capitals(&self, name: &str) -> Option<ReportedRepository> {
        let aliased = self.aliased(name);
        ReportedRepository::with_capitals(aliased.as_deref().unwrap_or(name)).ok()
    }

    /// The name that an alias gives to `name`; [`None`] if no alias has its prefix.
    pub(crate) fn aliased(&self, name: &str) -> Option<String> {
        self.aliases.iter().find_map(|(from, to)| {
            let rest = name.strip_prefix(from.as_str())?;
            let path = match (to.as_str(), rest.strip_prefix('/')) {
                ("", rest) => rest?.to_owned(),
                (to, Some(rest)) => format!("{to}/{rest}"),
                (to, None) if rest.is_empty() => to.to_owned(),
                (_, None) => return None,
            };
            Some(path)
        })
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
                ..Origin::default()
            };
            origin.host(told.iter().copied().map(Some)).map(|host| host.to_string())
        };
        assert_eq!(host(Some("a:1"), &["b"]).as_deref(), Some("a:1"));
        assert_eq!(host(Some("a b"), &["b"]), None);
        assert_eq!(host(None, &["not a host", "b"]).as_deref(), Some("b"));
        assert_eq!(host(None, &[]), None);
    }

    #[test]
    fn a_fallback_replaces_what_is_assumed_and_not_what_is_reported() {
        let host = |origin: &Origin<'_>, reported| {
            let host = origin.host_or([reported], Some("assumed.example"));
            host.map(|host| host.to_string())
        };
        let configured = Origin {
            fallback_host: Some("mine.example"),
            ..Origin::default()
        };
        assert_eq!(host(&configured, None).as_deref(), Some("mine.example"));
        assert_eq!(
            host(&configured, Some("other.example")).as_deref(),
            Some("other.example")
        );
        assert_eq!(host(&Origin::default(), None).as_deref(), Some("assumed.example"));
        assert_eq!(host(&configured, Some("")).as_deref(), Some("mine.example"));
        for trick in [
            "mine.example@evil.example",
            "mine.example:x",
            "mine example",
            "\u{043c}ine.example",
        ] {
            assert_eq!(host(&configured, Some(trick)), None, "{trick}");
        }
    }

    #[test]
    fn an_alias_replaces_whole_components() {
        let aliases = [("docker-local".into(), "docker".into()), ("root".into(), String::new())];
        let origin = Origin {
            aliases: &aliases,
            ..Origin::default()
        };
        let name = |told: &str| origin.repository(told).map(|name| name.to_string());
        assert_eq!(name("docker-local/a/b").as_deref(), Some("docker/a/b"));
        assert_eq!(name("docker-locals/a").as_deref(), Some("docker-locals/a"));
        assert_eq!(name("root/a").as_deref(), Some("a"));
        assert_eq!(name("../a"), None);
    }
}
