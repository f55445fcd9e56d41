//! What was pushed, and what a rule says of it, in words that `explain` can print.

use transship_notifications::Event;
use transship_oci::{Kind, Repository, Tag};

use crate::namespace::Namespace;
use crate::rule::Rule;

/// A push, as far as its event tells.
#[derive(Debug, Clone, Copy)]
pub struct Pushed<'a> {
    /// The repository.
    pub repository: &'a Repository,
    /// The tag; [`None`] for a push by digest.
    pub tag: Option<&'a Tag>,
    /// The kind of content, only if it is certain; [`None`] passes, and the worker looks.
    pub kind: Option<Kind>,
}

impl<'a> From<&'a Event> for Pushed<'a> {
    fn from(event: &'a Event) -> Self {
        Self {
            repository: &event.repository,
            tag: event.tag.as_ref(),
            kind: event.kind.certain(),
        }
    }
}

/// One rule and what it says.
#[derive(Debug, Clone)]
pub struct Evaluation<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// What it says.
    pub verdict: Verdict,
}

/// What a rule says of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is to be brought there; the tag is always named.
    Matches(Destination),
    /// The repository is one of the rule's, but what was pushed is not a release: an untagged manifest, or a tag that names a
    /// digest (a cosign tag, a referrers fallback tag). It goes where its subject went. The tag, if any, stays as it is.
    Follows(Destination),
    /// The rule has nothing to do with it.
    No(Reason),
}

/// A place at a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The registry's name in the document.
    pub registry: String,
    /// The repository.
    pub repository: Repository,
    /// The tag; [`None`] for what is pushed by digest.
    pub tag: Option<Tag>,
}

/// Why a rule has nothing to do with a push: a sentence each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Another source.
    #[error("its source is the registry {0:?}")]
    OtherRegistry(String),
    /// Switched off.
    #[error("it is not enabled")]
    Disabled,
    /// Started by hand only.
    #[error("its triggers do not name event")]
    NotOnEvent,
    /// Not below the rule's namespace.
    #[error("the repository is not below its namespace {:?}", .0.as_str())]
    OutsideNamespace(Namespace),
    /// The repository pattern does not match.
    #[error("the path below the namespace does not match source.repository")]
    RepositoryNotIncluded,
    /// The repository pattern leaves it out.
    #[error("the path below the namespace is left out by source.repository.exclude")]
    RepositoryExcluded,
    /// The tag pattern does not match.
    #[error("the tag does not match source.tag")]
    TagNotIncluded,
    /// The tag pattern leaves it out.
    #[error("the tag is left out by source.tag.exclude")]
    TagExcluded,
    /// Another kind of content, which the event states for certain.
    #[error("its kinds do not name {}", .0.as_str())]
    Kind(Kind),
    /// A referrer or an untagged manifest, and the rule leaves those behind.
    #[error("it is attached to an image, and the rule excludes referrers")]
    ReferrersExcluded,
    /// The name at the destination would not be valid.
    #[error("{0}")]
    NameInvalid(String),
    /// The destination is where it comes from.
    #[error("its destination is the image itself")]
    SamePlace,
}

impl Reason {
    /// A stable code for metrics and `--json`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::OtherRegistry(_) => "OTHER_REGISTRY",
            Self::Disabled => "DISABLED",
            Self::NotOnEvent => "NOT_ON_EVENT",
            Self::OutsideNamespace(_) => "OUTSIDE_NAMESPACE",
            Self::RepositoryNotIncluded => "REPOSITORY_NOT_INCLUDED",
            Self::RepositoryExcluded => "REPOSITORY_EXCLUDED",
            Self::TagNotIncluded => "TAG_NOT_INCLUDED",
            Self::TagExcluded => "TAG_EXCLUDED",
            Self::Kind(_) => "KIND_NOT_INCLUDED",
            Self::ReferrersExcluded => "REFERRERS_EXCLUDED",
            Self::NameInvalid(_) => "NAME_INVALID",
            Self::SamePlace => "SAME_PLACE",
        }
    }
}
