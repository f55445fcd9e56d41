//! A validated rule with compiled patterns: whether it matches an image, and separately, what starts it.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use semver::Version;
use transship_oci::{Code, DigestTag, Error, Existing, Kind, Platforms, Referrers, Repository, Result, Tag, Verb};

use crate::deletes::Deletes;
use crate::namespace::Namespace;
use crate::naming::Naming;
use crate::pattern::{Filter, Match, Scope, version_of};
use crate::schedule::Schedule;
use crate::selection::Selection;
use crate::verdict::{Destination, Pushed, Reason, Verdict};

/// Which images are copied from which registry to which destination.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Unique in the document: `[a-z0-9][a-z0-9-._]*`.
    pub name: String,
    /// A description for readers of the document.
    pub description: Option<String>,
    /// A rule that is not enabled does nothing.
    pub enabled: bool,
    /// Which images.
    pub source: Source,
    /// The destination.
    pub destination: RuleDestination,
    /// The kinds of content to copy; empty for any.
    pub kinds: Vec<Kind>,
    /// What starts the rule, in addition to an operator.
    pub triggers: Vec<Trigger>,
    /// What to do if the destination tag already names another image.
    pub existing: Existing,
    /// What to do when an image is deleted at the source.
    pub deletes: Deletes,
    /// What to do with signatures, SBOMs and other referrers.
    pub referrers: Referrers,
    /// The platforms to copy.
    pub platforms: Platforms,
    /// Bytes per second of all tasks of the rule together, in each process; [`None`] for no limit.
    pub bandwidth: Option<u64>,
    /// The sweep also copies what existed before the rule.
    pub backfill: bool,
    /// What it selects and where it writes, as a text.
    pub selection: Selection,
}

/// The images that a rule selects.
#[derive(Debug, Clone)]
pub struct Source {
    /// The registry's name in the document.
    pub registry: String,
    /// The namespace of the repositories.
    pub namespace: Namespace,
    /// Matched against the path below the namespace.
    pub(crate) repository: Filter,
    /// Matched against the tag.
    pub(crate) tag: Filter,
    /// Of the tags of a repository that pass: only this number of the highest versions. A listing of the tags decides.
    pub latest: Option<NonZeroU32>,
    /// The image has all of these labels. Its manifest and configuration decide.
    pub labels: BTreeMap<String, String>,
}

/// The destination of a rule.
#[derive(Debug, Clone)]
pub struct RuleDestination {
    /// The registry's name in the document.
    pub registry: String,
    /// The names at the destination.
    pub(crate) naming: Naming,
}

/// What starts a rule automatically.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trigger {
    /// A notification of the source registry; a sweep repeats what notifications missed.
    Event,
    /// A schedule, which runs the rule for everything that it selects.
    Schedule(Box<Schedule>),
}

impl Rule {
    /// True if notifications start the rule. An operator can start any rule by hand.
    pub fn is_on_event(&self) -> bool {
        self.enabled && self.triggers.contains(&Trigger::Event)
    }

    /// The schedules that run the rule.
    pub fn schedules(&self) -> impl Iterator<Item = &Schedule> {
        let triggers = self.triggers.iter().filter(|_| self.enabled);
        triggers.filter_map(|trigger| match trigger {
            Trigger::Schedule(schedule) => Some(&**schedule),
            Trigger::Event => None,
        })
    }

    /// The result of this rule for a notification of a push to the registry named `source_registry`: whether events start the
    /// rule, then [`Rule::matches`].
    pub fn evaluate(&self, source_registry: &str, pushed: &Pushed<'_>) -> Verdict {
        let no = if self.source.registry != source_registry {
            Reason::OtherRegistry(self.source.registry.clone())
        } else if !self.enabled {
            Reason::Disabled
        } else if !self.is_on_event() {
            Reason::NotOnEvent
        } else {
            return self.matches(pushed);
        };
        Verdict::No(no)
    }

    /// The result of this rule for an image at its source registry, regardless of what started the rule.
    pub fn matches(&self, pushed: &Pushed<'_>) -> Verdict {
        match self.destination_of(pushed) {
            Ok(verdict) => verdict,
            Err(reason) => Verdict::No(reason),
        }
    }

    /// What a worker has to read before it is certain that a tag that matches is copied, as keys of the rule.
    pub fn left_to_workers(&self, pushed: &Pushed<'_>) -> Vec<&'static str> {
        let is_kind_open = !self.kinds.is_empty() && pushed.kind.is_none();
        let left = [
            (is_kind_open, "kinds"),
            (!self.source.labels.is_empty(), "source.labels"),
            (self.source.latest.is_some(), "source.tag.latest"),
        ];
        left.into_iter()
            .filter_map(|(is_left, key)| is_left.then_some(key))
            .collect()
    }

    /// True if two different images never get the same name at the destination. False does not say that two do.
    pub fn keeps_names_apart(&self) -> bool {
        let is_one = |filter: &Filter| filter.names().is_some_and(|names| names.len() == 1);
        self.destination.naming.is_injective() || is_one(&self.source.repository) && is_one(&self.source.tag)
    }

    /// True if every image has the same repository and tag at the destination as at the source.
    pub(crate) fn keeps_names(&self) -> bool {
        self.destination.naming.is_identity()
    }

    /// The name at the destination of a tag of the source, whether or not the rule selects it; [`None`] for a digest tag, and if
    /// the name would not be valid.
    pub fn destination_name(&self, repository: &Repository, tag: &Tag) -> Option<(Repository, Tag)> {
        if DigestTag::of(tag).is_some() {
            return None;
        }
        let naming = &self.destination.naming;
        let name = naming.repository(repository, Some(tag)).ok()?;
        Some((name, naming.tag(repository, tag).ok()?))
    }

    /// The repository at the destination of a repository of the source; [`None`] if it depends on the tag, or if the name would
    /// not be valid.
    pub fn destination_repository(&self, repository: &Repository) -> Option<Repository> {
        self.destination.naming.repository(repository, None).ok()
    }

    /// True if [`Rule::source_repository`] finds the repository of every name that the rule gives.
    pub fn is_invertible(&self) -> bool {
        self.destination.naming.is_invertible()
    }

    /// The repository of the source that the rule copies to `destination`, whether or not the source has it; [`None`] if the
    /// rule copies none there, or if the naming does not tell which.
    pub fn source_repository(&self, destination: &Repository) -> Option<Repository> {
        let source = self.destination.naming.source_of(destination)?;
        self.source.holds(&source).then_some(source)
    }

    fn destination_of(&self, pushed: &Pushed<'_>) -> std::result::Result<Verdict, Reason> {
        self.source.admits_repository(pushed.repository)?;
        match pushed.tag {
            Some(tag) if DigestTag::of(tag).is_none() => self.tagged(pushed, tag).map(Verdict::Matches),
            tag => self.follower(pushed.repository, tag).map(Verdict::Follows),
        }
    }

    fn tagged(&self, pushed: &Pushed<'_>, tag: &Tag) -> std::result::Result<Destination, Reason> {
        if let Some(kind) = pushed.kind
            && !self.kinds.is_empty()
            && !self.kinds.contains(&kind)
        {
            return Err(Reason::Kind(kind));
        }
        self.source.admits_tag(tag)?;
        let naming = &self.destination.naming;
        let repository = naming
            .repository(pushed.repository, Some(tag))
            .map_err(Reason::NameInvalid)?;
        let destination_tag = naming.tag(pushed.repository, tag).map_err(Reason::NameInvalid)?;
        let is_source = self.destination.registry == self.source.registry
            && repository == *pushed.repository
            && destination_tag == *tag;
        if is_source {
            return Err(Reason::SamePlace);
        }
        Ok(self.at(repository, Some(destination_tag)))
    }

    /// An attachment keeps its tag, because the tag contains the digest of its subject.
    fn follower(&self, repository: &Repository, tag: Option<&Tag>) -> std::result::Result<Destination, Reason> {
        if self.referrers == Referrers::Exclude {
            return Err(Reason::ReferrersExcluded);
        }
        let repository = self
            .destination
            .naming
            .repository(repository, None)
            .map_err(Reason::NameInvalid)?;
        Ok(self.at(repository, tag.cloned()))
    }

    /// The destination of what has no tag in `repository`, regardless of what the rule says about referrers; [`None`] if the name depends on
    /// the tag.
    pub fn untagged_destination(&self, repository: &Repository) -> Option<Destination> {
        let repository = self.destination.naming.repository(repository, None).ok()?;
        Some(self.at(repository, None))
    }

    fn at(&self, repository: Repository, tag: Option<Tag>) -> Destination {
        Destination {
            registry: self.destination.registry.clone(),
            repository,
            tag,
        }
    }
}

impl Source {
    /// The repositories of the rule, if the document names them in full, so that no catalog is needed.
    pub fn named_repositories(&self) -> Option<Vec<Repository>> {
        let names = self.repository.names()?;
        let whole = names.into_iter().map(|name| self.namespace.scope(&Scope::exact(name)));
        Some(whole.filter_map(|scope| scope.text.parse().ok()).collect())
    }

    /// Collects the latest tags of one repository; [`None`] if the rule selects all that pass.
    pub fn latest_tags(&self) -> Option<LatestTags<'_>> {
        Some(LatestTags {
            source: self,
            limit: self.latest?.get() as usize,
            versions: BTreeSet::new(),
        })
    }

    /// Scopes that together hold every repository of the rule, by their whole names.
    pub(crate) fn scopes(&self) -> Vec<Scope> {
        let below = self.repository.scopes();
        below.iter().map(|scope| self.namespace.scope(scope)).collect()
    }

    /// True if the rule selects repositories of this name, regardless of their tags.
    pub fn holds(&self, repository: &Repository) -> bool {
        self.admits_repository(repository).is_ok()
    }

    /// True if the rule selects the image by its names.
    pub(crate) fn admits(&self, pushed: &Pushed<'_>) -> bool {
        self.holds(pushed.repository) && pushed.tag.is_some_and(|tag| self.admits_tag(tag).is_ok())
    }

    fn admits_repository(&self, repository: &Repository) -> std::result::Result<(), Reason> {
        let below = self
            .namespace
            .below(repository.as_str())
            .ok_or_else(|| Reason::OutsideNamespace(self.namespace.clone()))?;
        match self.repository.matches(below) {
            Match::Included => Ok(()),
            Match::NotIncluded | Match::OutsideVersions => Err(Reason::RepositoryNotIncluded),
            Match::Excluded => Err(Reason::RepositoryExcluded),
        }
    }

    fn admits_tag(&self, tag: &Tag) -> std::result::Result<(), Reason> {
        match self.tag.matches(tag.as_str()) {
            Match::Included => Ok(()),
            Match::NotIncluded => Err(Reason::TagNotIncluded),
            Match::OutsideVersions => Err(Reason::TagOutsideVersions),
            Match::Excluded => Err(Reason::TagExcluded),
        }
    }
}

/// The latest tags of one repository: the highest versions of those that pass, as many as the rule selects.
#[derive(Debug)]
pub struct LatestTags<'a> {
    source: &'a Source,
    limit: usize,
    versions: BTreeSet<(Version, Tag)>,
}

impl LatestTags<'_> {
    /// Adds a tag of the repository. `LATEST_UNDECIDABLE` if it passes and is not a version.
    pub fn add(&mut self, tag: &Tag) -> Result<()> {
        if DigestTag::of(tag).is_some() || self.source.admits_tag(tag).is_err() {
            return Ok(());
        }
        let version = version_of(tag.as_str()).ok_or_else(|| {
            let sentence = format!(
                "the tag {:?} is not a version, and the registry's list of tags has no times, so it cannot be decided which tags are the latest: add semver: \"*\", or exclude the tag",
                tag.as_str()
            );
            Error::new(Code::LatestUndecidable, Verb::Configuration, sentence)
        })?;
        self.versions.insert((version, tag.clone()));
        if self.versions.len() > self.limit {
            self.versions.pop_first();
        }
        Ok(())
    }

    /// True if `tag` is among the latest of the tags that were added.
    pub fn has(&self, tag: &Tag) -> bool {
        version_of(tag.as_str()).is_some_and(|version| self.versions.contains(&(version, tag.clone())))
    }
}
