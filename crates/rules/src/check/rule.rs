//! Checks the rules, one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use transship_oci::{Code, Kind, Platform, Platforms, Provider, Referrers, Repository, Tag};

use super::{Known, check_known, check_name, namespace, pattern};
use crate::deletes::{DeleteLimit, Deletes};
use crate::error::{Diagnostics, fault, shown};
use crate::namespace::Namespace;
use crate::naming::{Flatten, Naming, Part, Template};
use crate::path::Path;
use crate::pattern::Scope;
use crate::raw::{self, KindWord, TextOr};
use crate::rule::{Rule, RuleDestination, Source, Trigger};
use crate::schedule::{Schedule, ScheduleFault};
use crate::selection::Selection;

/// Reads every rule; one that cannot be read is missing from the result.
pub(super) fn rules(raw: Vec<raw::Rule>, registries: &Known, diagnostics: &mut Diagnostics) -> Vec<Rule> {
    let mut names = BTreeSet::new();
    let mut rules = Vec::new();
    for (position, raw) in raw.into_iter().enumerate() {
        let path = Path::of("rules").index(position);
        if !names.insert(raw.name.clone()) {
            let sentence = format!("another rule is called {}: give each its own name", shown(&raw.name));
            diagnostics.error(path.key("name"), fault(Code::DuplicateRule, sentence));
        }
        rules.extend(rule(&raw, &path, registries, diagnostics));
    }
    rules
}

fn rule(raw: &raw::Rule, path: &Path, registries: &Known, diagnostics: &mut Diagnostics) -> Option<Rule> {
    diagnostics.accept(
        &path.key("name"),
        check_name(&raw.name).map_err(|why| fault(Code::RuleInvalid, why)),
    );
    let source = source(&raw.source, &path.key("source"), registries, diagnostics);
    let namespace = source.as_ref().map(|source| source.namespace.clone());
    let destination = destination(
        &raw.destination,
        &namespace.unwrap_or_default(),
        &path.key("destination"),
        registries,
        diagnostics,
    );
    let deletes = deletes(&raw.deletes, &path.key("deletes"), diagnostics);
    let platforms = platforms(raw.platforms.as_ref(), &path.key("platforms"), diagnostics);
    let bandwidth = bandwidth(raw.bandwidth.as_ref(), &path.key("bandwidth"), diagnostics);
    let triggers = triggers(raw.trigger.as_deref(), &path.key("trigger"), diagnostics);
    let rule = Rule {
        name: raw.name.clone(),
        description: raw.description.clone(),
        enabled: raw.enabled,
        source: source?,
        destination: destination?,
        kinds: kinds(&raw.kinds),
        triggers: triggers?,
        existing: raw.existing,
        deletes: deletes?,
        referrers: raw.referrers,
        platforms: platforms?,
        bandwidth,
        backfill: raw.backfill,
        selection: Selection::of(raw),
    };
    check_required_referrers(&rule, path, diagnostics);
    if let Some(provider) = registries.get(&rule.destination.registry) {
        check_levels(&rule, *provider, &path.key("destination"), diagnostics);
        check_deletes(&rule, *provider, &path.key("deletes"), diagnostics);
    }
    check_names(&rule, path, diagnostics);
    Some(rule)
}

fn deletes(raw: &raw::Deletes, path: &Path, diagnostics: &mut Diagnostics) -> Option<Deletes> {
    match raw {
        raw::Deletes::Ignore => Some(Deletes::Ignore),
        raw::Deletes::Propagate(None) => Some(Deletes::Propagate { at_most: None }),
        raw::Deletes::Propagate(Some(limit)) => {
            let limit = DeleteLimit::parse(limit).map_err(|why| fault(Code::RuleInvalid, why));
            let at_most = Some(diagnostics.accept(&path.key("at_most"), limit)?);
            Some(Deletes::Propagate { at_most })
        }
    }
}

fn platforms(raw: Option<&raw::Platforms>, path: &Path, diagnostics: &mut Diagnostics) -> Option<Platforms> {
    let Some(raw) = raw else {
        return Some(Platforms::default());
    };
    let list = if raw.is_table { path.key("only") } else { path.clone() };
    let mut only: Vec<Platform> = Vec::new();
    for (position, text) in raw.only.iter().enumerate() {
        let parsed = text.parse::<Platform>().map_err(|why| fault(Code::RuleInvalid, why));
        only.push(diagnostics.accept(&list.index(position), parsed)?);
    }
    if raw.sparse && only.is_empty() {
        let sentence = "sparse needs platforms: list them under only";
        diagnostics.error(path.key("sparse"), fault(Code::RuleInvalid, sentence));
    }
    Some(Platforms::new(only, raw.sparse))
}

/// A new index has a new digest, which no signature names.
fn check_required_referrers(rule: &Rule, path: &Path, diagnostics: &mut Diagnostics) {
    if rule.referrers == Referrers::Require && rule.platforms.only.len() > 1 && !rule.platforms.sparse {
        let sentence = "referrers: require cannot be combined with several platforms, whose index is new and has no signatures: choose one platform, write sparse: true, or write referrers: include";
        diagnostics.error(path.key("referrers"), fault(Code::RuleInvalid, sentence));
    }
}

fn bandwidth(raw: Option<&raw::Rate>, path: &Path, diagnostics: &mut Diagnostics) -> Option<u64> {
    let parsed = raw?.bandwidth().map_err(|why| fault(Code::ConfigInvalid, why));
    diagnostics.accept(path, parsed).flatten()
}

/// Without a list, events start the rule.
fn triggers(raw: Option<&[raw::Trigger]>, path: &Path, diagnostics: &mut Diagnostics) -> Option<Vec<Trigger>> {
    let Some(raw) = raw else {
        return Some(vec![Trigger::Event]);
    };
    let mut triggers = Vec::new();
    let mut are_valid = true;
    for (position, trigger) in raw.iter().enumerate() {
        let trigger = match trigger {
            raw::Trigger::Event => Trigger::Event,
            raw::Trigger::Schedule(raw) => match Schedule::parse(&raw.schedule, raw.timezone.as_deref()) {
                Ok(schedule) => Trigger::Schedule(Box::new(schedule)),
                Err(ScheduleFault { key, sentence }) => {
                    let path = path.index(position).key(key);
                    diagnostics.error(path, fault(Code::ScheduleInvalid, sentence));
                    are_valid = false;
                    continue;
                }
            },
        };
        if !triggers.contains(&trigger) {
            triggers.push(trigger);
        }
    }
    are_valid.then_some(triggers)
}

pub(super) fn kinds(raw: &[KindWord]) -> Vec<Kind> {
    if raw.contains(&KindWord::Any) {
        return Vec::new();
    }
    let kinds: BTreeSet<Kind> = raw
        .iter()
        .filter_map(|word| match word {
            KindWord::Image => Some(Kind::Image),
            KindWord::Chart => Some(Kind::Chart),
            KindWord::Artifact => Some(Kind::Artifact),
            KindWord::Any => None,
        })
        .collect();
    kinds.into_iter().collect()
}

pub(super) fn source(
    raw: &raw::Source,
    path: &Path,
    registries: &Known,
    diagnostics: &mut Diagnostics,
) -> Option<Source> {
    check_known(&raw.registry, registries, &path.key("registry"), diagnostics);
    let namespace = namespace(&raw.namespace, &path.key("namespace"), diagnostics);
    let repository = pattern::of::<Repository, _>(raw.repository.as_ref(), &path.key("repository"), diagnostics);
    let tag = pattern::of::<Tag, _>(raw.tag.as_ref(), &path.key("tag"), diagnostics);
    let latest = latest(raw.tag.as_ref(), &path.key("tag"), diagnostics);
    check_labels(&raw.labels, &path.key("labels"), diagnostics);
    Some(Source {
        registry: raw.registry.clone(),
        namespace: namespace?,
        repository: repository?,
        tag: tag?,
        latest,
        labels: raw.labels.clone(),
    })
}

/// The number of tags, if the tags are written as a mapping that has one.
fn latest(raw: Option<&raw::TagPattern>, path: &Path, diagnostics: &mut Diagnostics) -> Option<NonZeroU32> {
    let latest = raw?.items.iter().find_map(|item| match item {
        TextOr::Table(table) => table.latest,
        TextOr::Text(_) => None,
    })?;
    let number = NonZeroU32::new(latest).ok_or_else(|| {
        let sentence = "latest: 0 leaves no tag: write 1 or more, or set enabled: false on the rule";
        fault(Code::RuleNeverMatches, sentence)
    });
    diagnostics.accept(&path.key("latest"), number)
}

fn check_labels(labels: &BTreeMap<String, String>, path: &Path, diagnostics: &mut Diagnostics) {
    if labels.contains_key("") {
        let sentence = "a label has no name: write name: value";
        diagnostics.error(path.clone(), fault(Code::RuleInvalid, sentence));
    }
}

fn destination(
    raw: &raw::Destination,
    from: &Namespace,
    path: &Path,
    registries: &Known,
    diagnostics: &mut Diagnostics,
) -> Option<RuleDestination> {
    check_known(&raw.registry, registries, &path.key("registry"), diagnostics);
    let into = match &raw.namespace {
        None => Some(Namespace::default()),
        Some(text) => namespace(text, &path.key("namespace"), diagnostics),
    };
    let repository = template(
        raw.repository.as_deref(),
        Part::Repository,
        from,
        &path.key("repository"),
        diagnostics,
    );
    let tag = template(raw.tag.as_deref(), Part::Tag, from, &path.key("tag"), diagnostics);
    // Without a namespace of its own an image keeps its name.
    let default_flatten = match raw.namespace {
        None => Flatten::Components(0),
        Some(_) => Flatten::Namespace,
    };
    Some(RuleDestination {
        registry: raw.registry.clone(),
        naming: Naming {
            from: from.clone(),
            into: into?,
            flatten: raw.flatten.unwrap_or(default_flatten),
            repository: repository?,
            tag: tag?,
            levels_max: registries
                .get(&raw.registry)
                .and_then(|provider| provider.repository_levels().1),
        },
    })
}

/// Harbor refuses every DELETE by tag, and no other request deletes a tag and nothing else.
fn check_deletes(rule: &Rule, provider: Provider, path: &Path, diagnostics: &mut Diagnostics) {
    if rule.deletes != Deletes::Ignore && provider == Provider::Harbor {
        let sentence = "Harbor does not delete tags by the API of registries: each delete will end with this code";
        diagnostics.warn(Code::TagDeleteUnsupported, path, sentence);
    }
}

/// Refuses names that the destination registry cannot hold, and warns of those that it may not hold.
fn check_levels(rule: &Rule, provider: Provider, path: &Path, diagnostics: &mut Diagnostics) {
    let (fewest, most) = provider.repository_levels();
    let naming = &rule.destination.naming;
    let (least, largest) = naming.levels(rule.source.repository.levels());
    let levels = |count: usize| match count {
        1 => "1 level".to_owned(),
        count => format!("{count} levels"),
    };
    if let Some(most) = most.filter(|most| least > *most) {
        let sentence = format!(
            "the repositories would have {} or more, as in {:?}, but {provider} has {}: write flatten: all, or a shorter namespace",
            levels(least),
            naming.example(&rule.source),
            levels(most)
        );
        diagnostics.error(path.clone(), fault(Code::DestinationPathInvalid, sentence));
    } else if let Some(largest) = largest.filter(|largest| *largest < fewest) {
        let sentence = format!(
            "the repositories would have {}, but {provider} needs {}: write a namespace",
            levels(largest),
            levels(fewest)
        );
        if most.is_some() {
            diagnostics.error(path.clone(), fault(Code::DestinationPathInvalid, sentence));
        } else {
            diagnostics.warn(Code::DestinationPathInvalid, path, sentence);
        }
    } else if let Some(most) = most.filter(|most| largest.is_none_or(|largest| largest > *most)) {
        let sentence = format!(
            "{provider} has {}, so repositories that would have more are not copied: write flatten: all, or source.repository: \"*\"",
            levels(most)
        );
        diagnostics.warn(Code::DestinationPathInvalid, path, sentence);
    }
}

/// Warns of names that are probably not meant.
fn check_names(rule: &Rule, path: &Path, diagnostics: &mut Diagnostics) {
    if rule.source.latest.is_some() && !rule.source.tag.has_versions() {
        let sentence = "latest counts versions, because the registry's list of tags has no times: while another tag passes the other conditions, its tasks fail. Add semver: \"*\" to select versions only";
        let path = path.key("source").key("tag").key("latest");
        diagnostics.warn(Code::LatestUndecidable, &path, sentence);
    }
    let (source, destination) = (&rule.source, path.key("destination"));
    if !rule.keeps_names_apart() {
        let sentence = "several images can get the same name at the destination, where the last push has it: keep {repository} and {tag} in the templates, and flatten no more than the namespace";
        diagnostics.warn(Code::DestinationConflict, &destination, sentence);
    }
    let namespace = source.namespace.scope(&Scope::ALL);
    let repeats = |scope: &Scope| !source.namespace.is_root() && namespace.holds(scope);
    if source.repository.scopes().iter().any(repeats) {
        let sentence = format!(
            "the pattern is matched with the path below the namespace, so it selects repositories below {}{}: leave out the namespace",
            namespace.text, namespace.text
        );
        diagnostics.warn(Code::RuleNeverMatches, &path.key("source").key("repository"), sentence);
    }
}

fn template(
    text: Option<&str>,
    default: Part,
    from: &Namespace,
    path: &Path,
    diagnostics: &mut Diagnostics,
) -> Option<Template> {
    let Some(text) = text else {
        return Some(Template::of(default));
    };
    let template = diagnostics.accept(path, Template::parse(text).map_err(|why| fault(Code::RuleInvalid, why)))?;
    if from.is_root() && template.uses(&Part::Namespace) {
        let sentence = "the source namespace is the root, so {namespace} is empty: leave it out".to_owned();
        diagnostics.error(path.clone(), fault(Code::RuleInvalid, sentence));
        return None;
    }
    Some(template)
}
