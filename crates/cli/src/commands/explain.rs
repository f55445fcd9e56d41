//! `transship explain`: shows for each rule whether it matches an event or an image, and why, and the tasks that follow; or what a
//! code means. It makes no connections.

mod code;

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};
use transship_notifications::{Event, EventAction, EventKind};
use transship_rules::{Deletes, Document, Evaluation, Pushed, Reason, Rule, Verdict};

use super::events::read_input;
use crate::document;
use crate::failure::{Exit, Failure};
use crate::output::Form;
use crate::table::shown;
use transship_oci::Result;

/// Arguments of `transship explain`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  transship events parse --provider harbor delivery.json > event.json\n  transship explain --config transship.yaml --event event.json\n  transship explain --config transship.yaml hangzhou/core/app:v1\n  transship explain TLS_ERROR"
)]
pub(crate) struct Arguments {
    /// Code to explain; upper and lower case are the same. Or an image as REGISTRY/REPOSITORY:TAG, with a name or a host of the
    /// document, as if it was pushed now
    #[arg(value_name = "CODE|IMAGE", conflicts_with_all = ["event", "source"])]
    subject: Option<String>,
    /// Configuration document, YAML or JSON
    #[arg(
        long,
        value_name = "FILE",
        env = "TRANSSHIP_CONFIG",
        hide_env_values = true,
        required_unless_present = "subject"
    )]
    config: Option<PathBuf>,
    /// File with an event or an array of events, as printed by `events parse`; - is standard input
    #[arg(long, value_name = "FILE", required_unless_present = "subject")]
    event: Option<PathBuf>,
    /// Name of the source registry in the document; by default the registry whose host is in the event
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
}

/// One event or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Told {
    One(Box<Event>),
    Many(Vec<Event>),
}

/// The decisions of all rules about one event.
#[derive(Debug, Serialize)]
struct Explanation {
    event: Event,
    /// The registry's name in the document; null if no registry has the event's host.
    source: Option<String>,
    rules: Vec<RuleExplanation>,
    /// What a push like this puts into the queue.
    tasks: Vec<PlannedTask>,
}

/// A task that the event creates.
#[derive(Debug, Serialize)]
struct PlannedTask {
    rule: String,
    action: &'static str,
    /// `registry/repository:tag`, with the registry's name in the document.
    source: String,
    destination: String,
    /// The parts of the rule that a worker decides, because the event does not say enough.
    left_to_workers: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
struct RuleExplanation {
    rule: String,
    /// `matches`, `follows` or `no`.
    verdict: &'static str,
    /// `registry/repository:tag`, with the registry's name in the document.
    destination: Option<String>,
    /// Stable code of the reason why the rule does not match.
    code: Option<String>,
    /// The reason as a sentence.
    reason: Option<String>,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, form: Form) -> Result<(), Failure> {
    // No code contains a slash, and every image does.
    let image = arguments.subject.as_deref().filter(|subject| subject.contains('/'));
    if let (Some(code), None) = (&arguments.subject, image) {
        return code::run(code, form);
    }
    let Some(config) = &arguments.config else {
        return Err(Failure::usage("give the document: --config FILE"));
    };
    let (_, parsed) = document::load(config)?;
    let document = parsed.document;
    if let Some(image) = image {
        let (source, event) = push_of(&document, image)?;
        let explanations = vec![explain(&document, event, Some(&source))];
        return form.print(&explanations, |explanations| text(explanations));
    }
    let Some(event) = &arguments.event else {
        return Err(Failure::usage("give a code, an image, or --event FILE"));
    };
    if let Some(name) = &arguments.source
        && !document.registries.contains_key(name)
    {
        let sentence = format!("the document has no registry {name:?}");
        return Err(Failure::new(Exit::Input, "UNKNOWN_REGISTRY", sentence));
    }
    let explanations: Vec<_> = events(&read_input(event)?)?
        .into_iter()
        .map(|event| explain(&document, event, arguments.source.as_deref()))
        .collect();
    form.print(&explanations, |explanations| text(explanations))
}

fn events(bytes: &[u8]) -> Result<Vec<Event>, Failure> {
    match serde_json::from_slice(bytes) {
        Ok(Told::One(event)) => Ok(vec![*event]),
        Ok(Told::Many(events)) => Ok(events),
        Err(_) => Err(Failure::new(
            Exit::Input,
            "EVENT_INVALID",
            "the file does not contain a normalized event: create one with transship events parse",
        )),
    }
}

/// A push of `image` that says nothing but its name, and the name of its registry in the document.
fn push_of(document: &Document, image: &str) -> Result<(String, Event), Failure> {
    let invalid = |sentence: String| Failure::new(Exit::Input, "INVALID_REFERENCE", sentence);
    let (registry, rest) = image.split_once('/').unwrap_or((image, ""));
    let by_name = document
        .registries
        .get_key_value(registry)
        .map(|(name, _)| name.clone());
    let by_host = || {
        let host = registry.parse().ok()?;
        document.registry_at(&host).map(str::to_owned)
    };
    let Some(source) = by_name.or_else(by_host) else {
        let sentence = format!(
            "the document has no registry {registry:?}: write REGISTRY/REPOSITORY:TAG with a name or host of it"
        );
        return Err(Failure::new(Exit::Input, "UNKNOWN_REGISTRY", sentence));
    };
    let (named, digest) = match rest.split_once('@') {
        Some((named, digest)) => {
            let digest = digest
                .parse()
                .map_err(|_| invalid(format!("{digest:?} is not a valid digest")))?;
            (named, Some(digest))
        }
        None => (rest, None),
    };
    let (repository, tag) = match named.rsplit_once(':') {
        Some((repository, tag)) => {
            let tag = tag
                .parse()
                .map_err(|_| invalid(format!("{tag:?} is not a valid tag")))?;
            (repository, Some(tag))
        }
        None => (named, None),
    };
    let parsed: transship_oci::Repository = repository
        .parse()
        .map_err(|_| invalid(format!("{repository:?} is not a valid repository")))?;
    if tag.is_none() && digest.is_none() {
        return Err(invalid(
            "the image has neither a tag nor a digest: add :TAG or @DIGEST".to_owned(),
        ));
    }
    let host = document.registries.get(&source).map(|entry| entry.host().clone());
    let event = Event {
        action: EventAction::Push,
        registry_host: host,
        repository: parsed.into(),
        tag,
        digest,
        kind: EventKind::Unknown,
        media_type: None,
        time: None,
        actor: None,
        event_id: None,
    };
    Ok((source, event))
}

fn explain(document: &Document, event: Event, source: Option<&str>) -> Explanation {
    let source = source.map(str::to_owned).or_else(|| source_of(document, &event));
    let (rules, tasks) = match &source {
        Some(source) => (rules(document, &event, source), tasks(document, &event, source)),
        None => (Vec::new(), Vec::new()),
    };
    Explanation {
        event,
        source,
        rules,
        tasks,
    }
}

/// What the event puts into the queue.
fn tasks(document: &Document, event: &Event, source: &str) -> Vec<PlannedTask> {
    let Some(pushed) = Pushed::of(event) else {
        return Vec::new();
    };
    let is_delete = event.action == EventAction::Delete;
    let tasks = document.candidates(source, &pushed).filter_map(|found| {
        let Evaluation { rule, verdict } = found;
        if is_delete && rule.deletes == Deletes::Ignore {
            return None;
        }
        let (destination, left_to_workers) = match deleted(event, rule, verdict) {
            Verdict::Matches(destination) | Verdict::Follows(destination) if is_delete => {
                (destination, left_of_delete(event))
            }
            Verdict::Matches(destination) => (destination, rule.left_to_workers(&pushed)),
            Verdict::Follows(destination) => (destination, vec!["the subject"]),
            Verdict::No(_) => return None,
        };
        Some(PlannedTask {
            rule: rule.name.clone(),
            action: if is_delete { "delete" } else { "copy" },
            source: format!("{source}/{}{}", event.repository, target(event.tag.as_ref(), event)),
            destination: place(&destination, event),
            left_to_workers,
        })
    });
    tasks.collect()
}

/// What a worker finds out before it deletes.
fn left_of_delete(event: &Event) -> Vec<&'static str> {
    let confirmed = "what the source and the destination say now";
    match event.tag {
        Some(_) => vec![confirmed],
        None => vec!["the tags that were copied from the digest", confirmed],
    }
}

/// The result of `rule` for an event. A delete by digest may be the delete of an image, so it does not matter whether the rule
/// excludes referrers.
fn deleted(event: &Event, rule: &Rule, verdict: Verdict) -> Verdict {
    match (&verdict, event.action, &event.tag, event.repository.valid()) {
        (Verdict::No(Reason::ReferrersExcluded), EventAction::Delete, None, Some(repository)) => {
            rule.untagged_destination(repository).map_or(verdict, Verdict::Follows)
        }
        _ => verdict,
    }
}

fn target(tag: Option<&transship_oci::Tag>, event: &Event) -> String {
    match (tag, &event.digest) {
        (Some(tag), _) => format!(":{tag}"),
        (None, Some(digest)) => format!("@{digest}"),
        (None, None) => String::new(),
    }
}

fn place(destination: &transship_rules::Destination, event: &Event) -> String {
    let target = target(destination.tag.as_ref(), event);
    format!("{}/{}{target}", destination.registry, destination.repository)
}

/// The registry whose host is in the event.
fn source_of(document: &Document, event: &Event) -> Option<String> {
    let host = event.registry_host.as_ref()?;
    document.registry_at(host).map(str::to_owned)
}

fn rules(document: &Document, event: &Event, source: &str) -> Vec<RuleExplanation> {
    let Some(pushed) = Pushed::of(event) else {
        return Vec::new();
    };
    document
        .evaluate(source, &pushed)
        .into_iter()
        .map(|evaluation| of_rule(event, evaluation))
        .collect()
}

fn of_rule(event: &Event, Evaluation { rule, verdict }: Evaluation<'_>) -> RuleExplanation {
    let no = |code: &str, reason: String| RuleExplanation {
        rule: rule.name.clone(),
        verdict: "no",
        destination: None,
        code: Some(code.to_owned()),
        reason: Some(reason),
    };
    let (verdict, destination, reason) = match deleted(event, rule, verdict) {
        Verdict::No(reason) => return no(reason.code(), reason.to_string()),
        _ if event.action == EventAction::Delete && rule.deletes == Deletes::Ignore => {
            return no(
                "DELETES_IGNORED",
                "deletes at the source are not repeated at the destination (deletes: ignore)".into(),
            );
        }
        Verdict::Follows(destination) if event.action == EventAction::Delete => {
            let reason = "the tags that were copied from it are deleted".to_owned();
            ("follows", destination, event.tag.is_none().then_some(reason))
        }
        Verdict::Matches(destination) => ("matches", destination, None),
        Verdict::Follows(destination) => {
            let reason = "it belongs to another manifest, and is copied wherever that manifest was copied";
            ("follows", destination, Some(reason.to_owned()))
        }
    };
    RuleExplanation {
        rule: rule.name.clone(),
        verdict,
        destination: Some(place(&destination, event)),
        code: None,
        reason,
    }
}

fn text(explanations: &[Explanation]) -> String {
    if explanations.is_empty() {
        return "no events: the delivery would be answered 200 and ignored".to_owned();
    }
    let texts: Vec<String> = explanations.iter().map(Explanation::text).collect();
    texts.join("\n")
}

impl Explanation {
    fn text(&self) -> String {
        let event = &self.event;
        let action = match event.action {
            EventAction::Push => "push of",
            EventAction::Delete => "delete of",
        };
        let host = event
            .registry_host
            .as_ref()
            .map_or_else(String::new, |host| format!("{host}/"));
        let target = target(event.tag.as_ref(), event);
        let mut text = format!("{action} {host}{}{target}", event.repository);
        match (&self.source, &event.registry_host) {
            (Some(source), _) => text.extend([", source ", source, "\n"]),
            (None, Some(_)) => {
                text.push_str("\n  no registry of the document has this host: add it to the registry's hosts\n");
            }
            (None, None) => text.push_str("\n  the event has no host: select the registry with --source\n"),
        }
        if event.repository.valid().is_none() {
            text.push_str("\n  no rule matches: the name of the repository has capital letters\n");
        }
        let width = self.rules.iter().map(|rule| rule.rule.len()).max().unwrap_or_default();
        for rule in &self.rules {
            let parts = [rule.destination.as_deref(), rule.reason.as_deref()];
            let told: Vec<String> = parts.into_iter().flatten().map(shown).collect();
            let _ = writeln!(text, "  {:width$}  {:7}  {}", rule.rule, rule.verdict, told.join("  "));
        }
        for task in &self.tasks {
            let left = match task.left_to_workers.as_slice() {
                [] => String::new(),
                left => format!(", unless a worker finds that it does not match {}", left.join(", ")),
            };
            let _ = writeln!(
                text,
                "task: {} {} to {}{left}",
                task.action, task.source, task.destination
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"
version: 1
registries:
  a: { provider: generic, endpoint: "http://127.0.0.1:1", webhook: none }
  b: { provider: generic, endpoint: "http://127.0.0.1:2" }
rules:
  - { name: core, source: { registry: a, namespace: core, tag: { regex: "^v" } }, destination: { registry: b, namespace: copy } }
  - { name: others, source: { registry: a, namespace: other }, destination: { registry: b } }
  - { name: off, enabled: false, source: { registry: a, namespace: core }, destination: { registry: b, namespace: x } }
"#;

    fn explained(changes: &[(&str, serde_json::Value)]) -> Vec<Explanation> {
        let mut event = serde_json::json!({
            "action": "push", "registry_host": "127.0.0.1:1", "repository": "core/app", "tag": "v1", "digest": null,
            "kind": "image", "media_type": null, "time": null, "actor": null, "event_id": null,
        });
        for (key, value) in changes {
            event[*key] = value.clone();
        }
        let document = Document::parse(DOCUMENT).unwrap().document;
        let found = events(event.to_string().as_bytes()).unwrap();
        found.into_iter().map(|event| explain(&document, event, None)).collect()
    }

    #[test]
    fn every_rule_says_whether_and_why() {
        insta::assert_snapshot!(text(&explained(&[])));
        insta::assert_json_snapshot!(explained(&[]));
    }

    #[test]
    fn a_manifest_without_a_tag_follows_its_subject() {
        let digest = transship_oci::Digest::sha256(b"x").to_string();
        let changes = [("tag", serde_json::Value::Null), ("digest", digest.into())];
        insta::assert_snapshot!(text(&explained(&changes)));
    }

    #[test]
    fn an_image_is_explained_by_its_name() {
        let text_of = DOCUMENT.replace(
            "tag: { regex: \"^v\" } }",
            "tag: { regex: \"^v\", latest: 2 }, labels: { tier: gold } }, kinds: [image]",
        );
        let document = Document::parse(&text_of).unwrap().document;
        for image in ["a/core/app:v1", "127.0.0.1:1/core/app:v1"] {
            let (source, event) = push_of(&document, image).unwrap();
            let explained = explain(&document, event, Some(&source));
            assert_eq!(explained.rules[0].verdict, "matches");
            assert_eq!(explained.tasks[0].destination, "b/copy/app:v1");
            assert_eq!(
                explained.tasks[0].left_to_workers,
                ["kinds", "source.labels", "source.tag.latest"]
            );
        }
        for (image, code) in [
            ("c/core/app:v1", "UNKNOWN_REGISTRY"),
            ("a/core/app", "INVALID_REFERENCE"),
            ("a/Core/app:v1", "INVALID_REFERENCE"),
            ("a/core/app:v 1", "INVALID_REFERENCE"),
            ("a/core/app@sha256:12", "INVALID_REFERENCE"),
            ("a/", "INVALID_REFERENCE"),
        ] {
            assert_eq!(push_of(&document, image).unwrap_err().code(), code, "{image}");
        }
    }

    #[test]
    fn a_delete_is_not_propagated() {
        let explained = explained(&[("action", "delete".into())]);
        assert_eq!(explained[0].rules[0].code.as_deref(), Some("DELETES_IGNORED"));
    }

    #[test]
    fn a_delete_is_propagated_by_the_rules_that_say_so() {
        let text_of = DOCUMENT.replace(
            "namespace: copy }",
            "namespace: copy }, deletes: propagate, referrers: exclude",
        );
        let document = Document::parse(&text_of).unwrap().document;
        let explained = |tag: Option<&str>| {
            let digest = transship_oci::Digest::sha256(b"x");
            let event = serde_json::json!({
                "action": "delete", "registry_host": "127.0.0.1:1", "repository": "core/app", "tag": tag, "digest": digest,
                "kind": "unknown", "media_type": null, "time": null, "actor": null, "event_id": null,
            });
            let event = events(event.to_string().as_bytes()).unwrap().remove(0);
            (explain(&document, event, None), digest)
        };
        let (by_tag, _) = explained(Some("v1"));
        assert_eq!(by_tag.rules[0].verdict, "matches");
        let [task] = by_tag.tasks.as_slice() else {
            panic!("{by_tag:?}")
        };
        assert_eq!((task.action, task.destination.as_str()), ("delete", "b/copy/app:v1"));
        let (outside, _) = explained(Some("w1"));
        assert!(outside.tasks.is_empty());
        assert_eq!(outside.rules[0].code.as_deref(), Some("TAG_NOT_INCLUDED"));
        let (by_digest, digest) = explained(None);
        let [task] = by_digest.tasks.as_slice() else {
            panic!("{by_digest:?}")
        };
        assert_eq!(
            (task.action, task.destination.clone()),
            ("delete", format!("b/copy/app@{digest}"))
        );
        assert!(text(&[by_digest]).contains("the tags that were copied from the digest"));
    }

    #[test]
    fn a_host_that_is_nobodys_is_told() {
        let explained = explained(&[("registry_host", "elsewhere.example".into())]);
        assert!(explained[0].source.is_none() && explained[0].rules.is_empty());
        assert!(text(&explained).contains("add it to the registry's hosts"));
    }

    #[test]
    fn what_is_no_event_is_refused() {
        for bad in ["", "{}", "[1]", r#"{"action":"pull"}"#] {
            assert_eq!(events(bad.as_bytes()).unwrap_err().code(), "EVENT_INVALID");
        }
        assert!(events(b"[]").unwrap().is_empty());
    }
}
