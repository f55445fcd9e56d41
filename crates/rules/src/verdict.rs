//! A push, and the result of a rule for it, with the reasons that `explain` prints.

use transship_notifications::Event;
use transship_oci::{Kind, Repository, Tag};

use crate::namespace::Namespace;
use crate::rule::Rule;

/// A push, with the facts of its event.
#[derive(Debug, Clone, Copy)]
pub struct Pushed<'a> {
    /// The repository.
    pub repository: &'a Repository,
    /// The tag; [`None`] for a push by digest.
    pub tag: Option<&'a Tag>,
    /// The kind of content, if it is certain; with [`None`] the rule matches and the worker checks the kind.
    pub kind: Option<Kind>,
}

impl<'a> Pushed<'a> {
    /// The push of `event`; [`None`] if the name of its repository is not valid, so that no rule can match.
    pub fn of(event: &'a Event) -> Option<Self> {
        Some(Self {
            repository: event.repository.valid()?,
            tag: event.tag.as_ref(),
            kind: event.kind.certain(),
        })
    }
}

/// One rule and its result.
#[derive(Debug, Clone)]
pub struct Evaluation<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// The result.
    pub verdict: Verdict,
}

/// Result of a rule for a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The image is copied to this destination, which always has a tag.
    Matches(Destination),
    /// The rule selects the repository, but the push is an untagged manifest or a digest tag (cosign or fallback tag). It is
    /// copied wherever its subject was copied, and keeps its tag, if any.
    Follows(Destination),
    /// The rule does not match.
    No(Reason),
}

/// The destination of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The registry's name in the document.
    pub registry: String,
    /// The repository.
    pub repository: Repository,
    /// The tag; [`None`] for a push by digest.
    pub tag: Option<Tag>,
}

/// Why a rule does not match a push, each with a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Another source.
    #[error("its source is the registry {0:?}")]
    OtherRegistry(String),
    /// Switched off.
    #[error("it is not enabled")]
    Disabled,
    /// Started by hand only.
    #[error("its triggers do not include event")]
    NotOnEvent,
    /// Not below the rule's namespace.
    #[error("the repository is not below its namespace {:?}", .0.as_str())]
    OutsideNamespace(Namespace),
    /// The repository pattern does not match.
    #[error("the path below the namespace does not match source.repository")]
    RepositoryNotIncluded,
    /// The repository pattern leaves it out.
    #[error("source.repository.exclude excludes the path below the namespace")]
    RepositoryExcluded,
    /// The tag pattern does not match.
    #[error("the tag does not match source.tag")]
    TagNotIncluded,
    /// The tag is not a version in the range.
    #[error("the tag is not a version that source.tag.semver holds")]
    TagOutsideVersions,
    /// The tag pattern leaves it out.
    #[error("source.tag.exclude excludes the tag")]
    TagExcluded,
    /// Another kind of content, which the event states for certain.
    #[error("its kinds do not include {}", .0.as_str())]
    Kind(Kind),
    /// An attachment, and the rule excludes referrers.
    #[error("it is attached to an image, and the rule excludes referrers")]
    ReferrersExcluded,
    /// The name at the destination would not be valid.
    #[error("{0}")]
    NameInvalid(String),
    /// The destination is where it comes from.
    #[error("its destination is the source image itself")]
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
            Self::TagOutsideVersions => "TAG_OUTSIDE_VERSIONS",
            Self::TagExcluded => "TAG_EXCLUDED",
            Self::Kind(_) => "KIND_NOT_INCLUDED",
            Self::ReferrersExcluded => "REFERRERS_EXCLUDED",
            Self::NameInvalid(_) => "NAME_INVALID",
            Self::SamePlace => "SAME_PLACE",
        }
    }
}
