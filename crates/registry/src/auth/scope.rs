//! The scopes of tokens: what a request needs, and what a registry asks for instead.
//!
//! A registry behind a gateway that rewrites paths names the repository in its challenge as it knows it itself (Artifactory,
//! oras-go#650). That scope is requested in addition to our own, as containerd, oras and crane do. The registry that asks
//! for it and its token service could grant the same without us, so it gains nothing; still, a request that reads never
//! asks for more than reading.

use transship_oci::Repository;

/// Scopes of a challenge that are requested; more were not seen.
const CHALLENGED_SCOPES_MAX: usize = 4;

/// The access that a request needs: the scope of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    /// No particular access: `GET /v2/`.
    Base,
    /// List the repositories.
    Catalog,
    /// Read one repository.
    Pull(Repository),
    /// Read and write one repository.
    Push(Repository),
    /// Read one repository and delete its tags.
    Delete(Repository),
    /// Write one repository, reading blobs of another.
    Mount(Repository, Repository),
}

impl Scope {
    /// The `scope` parameters in order. The scope for the push is first, because some registries use only the first one.
    pub(crate) fn parameters(&self) -> Vec<String> {
        match self {
            Self::Base => vec![],
            Self::Catalog => vec!["registry:catalog:*".to_owned()],
            Self::Pull(repository) => vec![format!("repository:{repository}:pull")],
            Self::Push(repository) => vec![format!("repository:{repository}:pull,push")],
            Self::Delete(repository) => vec![format!("repository:{repository}:pull,delete")],
            Self::Mount(repository, from) => vec![
                format!("repository:{repository}:pull,push"),
                format!("repository:{from}:pull"),
            ],
        }
    }

    /// The repository whose login is used; [`None`] for requests to the registry as a whole.
    pub(crate) const fn repository(&self) -> Option<&Repository> {
        match self {
            Self::Base | Self::Catalog => None,
            Self::Pull(repository) | Self::Push(repository) | Self::Delete(repository) | Self::Mount(repository, _) => {
                Some(repository)
            }
        }
    }

    /// Those scopes of a challenge that our own do not contain, without actions that the request does not need.
    pub(crate) fn beyond(&self, challenged: &str) -> Vec<String> {
        let may_push = match self {
            Self::Base | Self::Catalog => return Vec::new(),
            Self::Pull(_) | Self::Delete(_) => false,
            Self::Push(_) | Self::Mount(..) => true,
        };
        let own = self.parameters();
        let own: Vec<_> = own.iter().filter_map(|scope| parts(scope)).collect();
        let wanted = challenged.split_whitespace().filter_map(|scope| {
            let (name, actions) = parts(scope)?;
            name.parse::<Repository>().ok()?;
            let is_needed = |action: &&str| match *action {
                "pull" | "metadata_read" => true,
                "push" => may_push,
                "delete" => matches!(self, Self::Delete(_)),
                _ => false,
            };
            let actions: Vec<&str> = actions.split(',').filter(is_needed).collect();
            let is_own = own.iter().any(|(ours, granted)| {
                *ours == name
                    && actions
                        .iter()
                        .all(|action| granted.split(',').any(|own| own == *action))
            });
            (!actions.is_empty() && !is_own).then(|| format!("repository:{name}:{}", actions.join(",")))
        });
        wanted.take(CHALLENGED_SCOPES_MAX).collect()
    }
}

/// Name and actions of a repository's scope.
fn parts(scope: &str) -> Option<(&str, &str)> {
    scope.strip_prefix("repository:")?.rsplit_once(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_adds_what_our_scope_lacks_and_the_request_needs() {
        let pull = Scope::Pull("local/team/app".parse().unwrap());
        let push = Scope::Push("local/team/app".parse().unwrap());
        let delete = Scope::Delete("local/team/app".parse().unwrap());
        for (scope, challenged, expected) in [
            (&pull, "repository:team/app:pull", &["repository:team/app:pull"][..]),
            (
                &pull,
                "repository:team/app:pull,push,delete",
                &["repository:team/app:pull"],
            ),
            (
                &push,
                "repository:team/app:pull,push,*",
                &["repository:team/app:pull,push"],
            ),
            // Azure's scope for tags.
            (
                &pull,
                "repository:local/team/app:metadata_read",
                &["repository:local/team/app:metadata_read"],
            ),
            (&pull, "repository:local/team/app:pull", &[]),
            (&push, "repository:local/team/app:pull", &[]),
            (&pull, "repository:team/app:delete", &[]),
            (
                &delete,
                "repository:team/app:push,delete",
                &["repository:team/app:delete"],
            ),
            (&delete, "repository:local/team/app:pull,delete", &[]),
            (&pull, "registry:catalog:*", &[]),
            (&pull, "repository:../x:pull repository::pull repository nonsense", &[]),
            (&pull, "", &[]),
        ] {
            assert_eq!(scope.beyond(challenged), expected, "{challenged}");
        }
        let many = "repository:a:pull ".repeat(100);
        assert_eq!(pull.beyond(&many).len(), CHALLENGED_SCOPES_MAX);
        assert_eq!(Scope::Base.beyond("repository:a:pull"), [""; 0]);
    }
}
