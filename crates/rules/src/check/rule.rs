//! Checks the rules, one by one.

use std::collections::BTreeSet;

use transship_oci::Kind;

use super::{check_known, check_name, namespace};
use crate::byte_rate;
use crate::error::{ErrorKind, shown};
use crate::faults::Faults;
use crate::namespace::Namespace;
use crate::naming::{Flatten, Naming, Part, Template};
use crate::path::Path;
use crate::pattern::{Matcher, Pattern};
use crate::rule::{Rule, RuleDestination, Source};
use crate::written::{self, Deletes, Exclude, KindWord, TextOr, Trigger};

/// Reads every rule; one that cannot be read is missing from the result.
pub(super) fn rules(written: Vec<written::Rule>, registries: &[String], faults: &mut Faults) -> Vec<Rule> {
    let mut names = BTreeSet::new();
    let mut rules = Vec::new();
    for (position, written) in written.into_iter().enumerate() {
        let path = Path::of("rules").index(position);
        if !names.insert(written.name.clone()) {
            let sentence = format!(
                "another rule is called {}: give each its own name",
                shown(&written.name)
            );
            faults.refuse(path.key("name"), ErrorKind::DuplicateRule(sentence));
        }
        rules.extend(rule(written, &path, registries, faults));
    }
    rules
}

fn rule(written: written::Rule, path: &Path, registries: &[String], faults: &mut Faults) -> Option<Rule> {
    faults.accept(
        &path.key("name"),
        check_name(&written.name).map_err(ErrorKind::RuleInvalid),
    );
    refuse_what_is_not_yet_honoured(&written, path, faults);
    let source = source(&written.source, &path.key("source"), registries, faults);
    let namespace = source.as_ref().map(|source| source.namespace.clone());
    let destination = destination(
        &written.destination,
        &namespace.unwrap_or_default(),
        &path.key("destination"),
        registries,
        faults,
    );
    Some(Rule {
        name: written.name,
        description: written.description,
        enabled: written.enabled,
        source: source?,
        destination: destination?,
        kinds: kinds(&written.kinds),
        on_event: written
            .trigger
            .is_none_or(|triggers| triggers.contains(&Trigger::Event)),
        existing: written.existing,
        referrers: written.referrers,
    })
}

fn refuse_what_is_not_yet_honoured(written: &written::Rule, path: &Path, faults: &mut Faults) {
    for (position, trigger) in written.trigger.iter().flatten().enumerate() {
        if let Trigger::Schedule(_) = trigger {
            let path = path.key("trigger").index(position).key("schedule");
            faults.not_yet(path, "running a rule on a schedule");
        }
    }
    if written.deletes == Deletes::Propagate {
        faults.not_yet(path.key("deletes"), "propagating deletions");
    }
    if !written.platforms.is_empty() {
        faults.not_yet(path.key("platforms"), "choosing platforms");
    }
    if let Some(rate) = &written.bandwidth {
        let path = path.key("bandwidth");
        match byte_rate::parse(&rate.0) {
            Ok(None) => {}
            Ok(Some(_)) => faults.not_yet(
                path,
                "limiting the bandwidth of a rule (limits.bandwidth of its registries is)",
            ),
            Err(why) => faults.refuse(path, ErrorKind::ConfigInvalid(format!("{} {why}", shown(&rate.0)))),
        }
    }
    if !written.source.labels.is_empty() {
        faults.not_yet(path.key("source").key("labels"), "choosing images by label");
    }
}

fn kinds(written: &[KindWord]) -> Vec<Kind> {
    if written.contains(&KindWord::Any) {
        return Vec::new();
    }
    let kinds: BTreeSet<Kind> = written
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

fn source(written: &written::Source, path: &Path, registries: &[String], faults: &mut Faults) -> Option<Source> {
    check_known(&written.registry, registries, &path.key("registry"), faults);
    let namespace = namespace(&written.namespace, &path.key("namespace"), faults);
    let repository = match &written.repository {
        None => Some(Pattern::default()),
        Some(TextOr::Text(name)) => exact_repository(name, &path.key("repository"), faults),
        Some(TextOr::Table(table)) => pattern(
            table.glob.as_deref(),
            table.regex.as_deref(),
            table.exclude.as_ref(),
            &path.key("repository"),
            faults,
        ),
    };
    let tag = match &written.tag {
        None => Some(Pattern::default()),
        Some(TextOr::Text(tag)) => exact_tag(tag, &path.key("tag"), faults),
        Some(TextOr::Table(table)) => tag_pattern(table, &path.key("tag"), faults),
    };
    Some(Source {
        registry: written.registry.clone(),
        namespace: namespace?,
        repository: repository?,
        tag: tag?,
    })
}

fn exact_repository(name: &str, path: &Path, faults: &mut Faults) -> Option<Pattern> {
    let is_valid = name.parse::<transship_oci::Repository>().is_ok();
    exact(name, is_valid, "repository name", path, faults)
}

fn exact_tag(tag: &str, path: &Path, faults: &mut Faults) -> Option<Pattern> {
    let is_valid = tag.parse::<transship_oci::Tag>().is_ok();
    exact(tag, is_valid, "tag", path, faults)
}

fn exact(text: &str, is_valid: bool, what: &str, path: &Path, faults: &mut Faults) -> Option<Pattern> {
    if !is_valid {
        let sentence = format!(
            "{} is no {what}, so nothing can match it: write {{ glob: .. }} or {{ regex: .. }} for a pattern",
            shown(text)
        );
        faults.refuse(path.clone(), ErrorKind::RuleInvalid(sentence));
        return None;
    }
    Some(Pattern {
        include: Some(Matcher::Exact(text.to_owned())),
        exclude: None,
    })
}

fn tag_pattern(table: &written::TagTable, path: &Path, faults: &mut Faults) -> Option<Pattern> {
    if table.semver.is_some() {
        faults.not_yet(path.key("semver"), "choosing tags by version range");
    }
    if table.latest.is_some() {
        faults.not_yet(path.key("latest"), "choosing the latest tags");
    }
    pattern(
        table.glob.as_deref(),
        table.regex.as_deref(),
        table.exclude.as_ref(),
        path,
        faults,
    )
}

fn pattern(
    glob: Option<&str>,
    regex: Option<&str>,
    exclude: Option<&TextOr<Exclude>>,
    path: &Path,
    faults: &mut Faults,
) -> Option<Pattern> {
    let exclude_path = path.key("exclude");
    let include = matcher(glob, regex, path, faults);
    let exclude = match exclude {
        None => Ok(None),
        Some(TextOr::Text(text)) => Ok(Some(Matcher::Exact(text.clone()))),
        Some(TextOr::Table(table)) => matcher(table.glob.as_deref(), table.regex.as_deref(), &exclude_path, faults),
    };
    Some(Pattern {
        include: include.ok()?,
        exclude: exclude.ok()?,
    })
}

/// What stands there was noted as a fault.
struct Unreadable;

/// [`None`] if nothing is written.
fn matcher(
    glob: Option<&str>,
    regex: Option<&str>,
    path: &Path,
    faults: &mut Faults,
) -> Result<Option<Matcher>, Unreadable> {
    let (key, compiled) = match (glob, regex) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            let sentence = "both glob and regex stand here: keep one".to_owned();
            faults.refuse(path.clone(), ErrorKind::RuleInvalid(sentence));
            return Err(Unreadable);
        }
        (Some(glob), None) => ("glob", Matcher::glob(glob)),
        (None, Some(regex)) => ("regex", Matcher::regex(regex)),
    };
    faults
        .accept(&path.key(key), compiled.map_err(ErrorKind::RuleInvalid))
        .map(Some)
        .ok_or(Unreadable)
}

fn destination(
    written: &written::Destination,
    from: &Namespace,
    path: &Path,
    registries: &[String],
    faults: &mut Faults,
) -> Option<RuleDestination> {
    check_known(&written.registry, registries, &path.key("registry"), faults);
    let into = match &written.namespace {
        None => Some(Namespace::default()),
        Some(text) => namespace(text, &path.key("namespace"), faults),
    };
    let repository = template(
        written.repository.as_deref(),
        Part::Repository,
        from,
        &path.key("repository"),
        faults,
    );
    let tag = template(written.tag.as_deref(), Part::Tag, from, &path.key("tag"), faults);
    // Without a namespace of its own an image keeps its name.
    let default_flatten = match written.namespace {
        None => Flatten::Components(0),
        Some(_) => Flatten::Namespace,
    };
    Some(RuleDestination {
        registry: written.registry.clone(),
        naming: Naming {
            from: from.clone(),
            into: into?,
            flatten: written.flatten.unwrap_or(default_flatten),
            repository: repository?,
            tag: tag?,
        },
    })
}

fn template(text: Option<&str>, default: Part, from: &Namespace, path: &Path, faults: &mut Faults) -> Option<Template> {
    let Some(text) = text else {
        return Some(Template::of(default));
    };
    let template = faults.accept(path, Template::parse(text).map_err(ErrorKind::RuleInvalid))?;
    if from.is_root() && template.uses(&Part::Namespace) {
        let sentence = "the source namespace is the root, so {namespace} is empty: leave it out".to_owned();
        faults.refuse(path.clone(), ErrorKind::RuleInvalid(sentence));
        return None;
    }
    Some(template)
}
