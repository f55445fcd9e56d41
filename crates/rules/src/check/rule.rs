//! Checks the rules, one by one.

use std::collections::BTreeSet;

use transship_oci::{Code, Kind, Repository, Tag};

use super::{check_known, check_name, namespace, pattern};
use crate::error::{Diagnostics, fault, shown};
use crate::namespace::Namespace;
use crate::naming::{Flatten, Naming, Part, Template};
use crate::path::Path;
use crate::raw::{self, Deletes, KindWord, TextOr};
use crate::rule::{Rule, RuleDestination, Source, Trigger};

/// Reads every rule; one that cannot be read is missing from the result.
pub(super) fn rules(raw: Vec<raw::Rule>, registries: &[String], diagnostics: &mut Diagnostics) -> Vec<Rule> {
    let mut names = BTreeSet::new();
    let mut rules = Vec::new();
    for (position, raw) in raw.into_iter().enumerate() {
        let path = Path::of("rules").index(position);
        if !names.insert(raw.name.clone()) {
            let sentence = format!("another rule is called {}: give each its own name", shown(&raw.name));
            diagnostics.error(path.key("name"), fault(Code::DuplicateRule, sentence));
        }
        rules.extend(rule(raw, &path, registries, diagnostics));
    }
    rules
}

fn rule(raw: raw::Rule, path: &Path, registries: &[String], diagnostics: &mut Diagnostics) -> Option<Rule> {
    diagnostics.accept(
        &path.key("name"),
        check_name(&raw.name).map_err(|why| fault(Code::RuleInvalid, why)),
    );
    refuse_what_is_not_yet_honoured(&raw, path, diagnostics);
    let source = source(&raw.source, &path.key("source"), registries, diagnostics);
    let namespace = source.as_ref().map(|source| source.namespace.clone());
    let destination = destination(
        &raw.destination,
        &namespace.unwrap_or_default(),
        &path.key("destination"),
        registries,
        diagnostics,
    );
    Some(Rule {
        name: raw.name,
        description: raw.description,
        enabled: raw.enabled,
        source: source?,
        destination: destination?,
        kinds: kinds(&raw.kinds),
        triggers: triggers(raw.trigger.as_deref()),
        existing: raw.existing,
        referrers: raw.referrers,
    })
}

fn refuse_what_is_not_yet_honoured(raw: &raw::Rule, path: &Path, diagnostics: &mut Diagnostics) {
    for (position, trigger) in raw.trigger.iter().flatten().enumerate() {
        if let raw::Trigger::Schedule(_) = trigger {
            let path = path.key("trigger").index(position).key("schedule");
            diagnostics.not_yet(path, "running a rule on a schedule");
        }
    }
    if raw.deletes == Deletes::Propagate {
        diagnostics.not_yet(path.key("deletes"), "propagating deletions");
    }
    if !raw.platforms.is_empty() {
        diagnostics.not_yet(path.key("platforms"), "choosing platforms");
    }
    if let Some(rate) = &raw.bandwidth {
        let path = path.key("bandwidth");
        match rate.bytes_per_second() {
            Ok(None) => {}
            Ok(Some(_)) => diagnostics.not_yet(
                path,
                "limiting the bandwidth of a rule (limits.bandwidth of its registries is)",
            ),
            Err(why) => diagnostics.error(path, fault(Code::ConfigInvalid, why)),
        }
    }
    if !raw.source.labels.is_empty() {
        diagnostics.not_yet(path.key("source").key("labels"), "choosing images by label");
    }
}

/// Without a list, events start the rule.
fn triggers(raw: Option<&[raw::Trigger]>) -> Vec<Trigger> {
    let is_on_event = raw.is_none_or(|triggers| triggers.contains(&raw::Trigger::Event));
    is_on_event.then_some(Trigger::Event).into_iter().collect()
}

fn kinds(raw: &[KindWord]) -> Vec<Kind> {
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

fn source(raw: &raw::Source, path: &Path, registries: &[String], diagnostics: &mut Diagnostics) -> Option<Source> {
    check_known(&raw.registry, registries, &path.key("registry"), diagnostics);
    let namespace = namespace(&raw.namespace, &path.key("namespace"), diagnostics);
    let repository = pattern::of::<Repository, _>(raw.repository.as_ref(), &path.key("repository"), diagnostics);
    let tag = pattern::of::<Tag, _>(raw.tag.as_ref(), &path.key("tag"), diagnostics);
    if let Some(TextOr::Table(table)) = &raw.tag {
        refuse_tag_choices(table, &path.key("tag"), diagnostics);
    }
    Some(Source {
        registry: raw.registry.clone(),
        namespace: namespace?,
        repository: repository?,
        tag: tag?,
    })
}

fn refuse_tag_choices(table: &raw::TagTable, path: &Path, diagnostics: &mut Diagnostics) {
    if table.semver.is_some() {
        diagnostics.not_yet(path.key("semver"), "choosing tags by version range");
    }
    if table.latest.is_some() {
        diagnostics.not_yet(path.key("latest"), "choosing the latest tags");
    }
}

fn destination(
    raw: &raw::Destination,
    from: &Namespace,
    path: &Path,
    registries: &[String],
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
        },
    })
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
