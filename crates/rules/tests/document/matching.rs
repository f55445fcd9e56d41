//! What rules say of pushes, and under which names images arrive.

use transship_oci::{Algorithm, Digest, Kind, Repository, Tag};
use transship_rules::{Document, Pushed, Reason, Verdict};

use super::parse;

fn document(source: &str, destination: &str, more: &str) -> Document {
    parse(&format!(
        "rules:\n  - {{ name: x, source: {{ registry: a, namespace: core, {source} }}, destination: {{ registry: b, {destination} }}, {more} }}\n"
    ))
    .document
}

fn verdict(document: &Document, repository: &str, tag: Option<&str>, kind: Option<Kind>) -> Verdict {
    let repository: Repository = repository.parse().unwrap();
    let tag: Option<Tag> = tag.map(|tag| tag.parse().unwrap());
    let pushed = Pushed {
        repository: &repository,
        tag: tag.as_ref(),
        kind,
    };
    document.evaluate("a", &pushed).remove(0).verdict
}

/// `registry/repository:tag` of a match, or the code of the reason against it.
fn told(verdict: &Verdict) -> String {
    let place = |word: &str, to: &transship_rules::Destination| {
        let tag = to.tag.as_ref().map_or(String::new(), |tag| format!(":{tag}"));
        format!("{word}{}/{}{tag}", to.registry, to.repository)
    };
    match verdict {
        Verdict::Matches(to) => place("", to),
        Verdict::Follows(to) => place("follows ", to),
        Verdict::No(reason) => reason.code().to_owned(),
    }
}

#[test]
fn the_naming_table_of_the_design_holds() {
    for (destination, result) in [
        ("", "b/core/team/app:v1"),
        ("namespace: copy", "b/copy/team/app:v1"),
        ("namespace: copy, flatten: namespace", "b/copy/team/app:v1"),
        ("namespace: copy, flatten: 0", "b/copy/core/team/app:v1"),
        ("namespace: copy, flatten: 2", "b/copy/app:v1"),
        ("namespace: copy, flatten: all", "b/copy/app:v1"),
        (
            "namespace: copy, repository: \"m/{repository}\"",
            "b/copy/m/team/app:v1",
        ),
        ("namespace: \"\"", "b/team/app:v1"),
        ("flatten: all", "b/app:v1"),
        (
            "repository: \"m/{repository}\", tag: \"{tag}-a\"",
            "b/m/core/team/app:v1-a",
        ),
        (
            "namespace: copy, repository: \"{namespace}/{repository}\"",
            "b/copy/core/team/app:v1",
        ),
        (
            "namespace: copy, repository: \"{repository}/{tag}\"",
            "b/copy/team/app/v1:v1",
        ),
        ("namespace: copy, tag: \"{tag}.\"", "b/copy/team/app:v1."),
        ("namespace: copy, repository: \"{repository}.\"", "NAME_INVALID"),
    ] {
        let document = document("", destination, "");
        assert_eq!(
            told(&verdict(&document, "core/team/app", Some("v1"), None)),
            result,
            "{destination}"
        );
    }
}

#[test]
fn every_part_of_a_rule_can_keep_an_image_out_and_says_so() {
    for (source, more, repository, tag, result) in [
        ("", "", "core/app", "v1", "b/core/app:v1"),
        ("", "enabled: false", "core/app", "v1", "DISABLED"),
        ("", "trigger: []", "core/app", "v1", "NOT_ON_EVENT"),
        ("", "trigger: [event]", "core/app", "v1", "b/core/app:v1"),
        ("", "", "corex/app", "v1", "OUTSIDE_NAMESPACE"),
        ("", "", "core", "v1", "OUTSIDE_NAMESPACE"),
        ("repository: app", "", "core/app", "v1", "b/core/app:v1"),
        ("repository: app", "", "core/app2", "v1", "REPOSITORY_NOT_INCLUDED"),
        (
            "repository: { glob: \"*\" }",
            "",
            "core/a/b",
            "v1",
            "REPOSITORY_NOT_INCLUDED",
        ),
        ("repository: { regex: \"^a/\" }", "", "core/a/b", "v1", "b/core/a/b:v1"),
        (
            "repository: { exclude: { glob: \"tmp/**\" } }",
            "",
            "core/tmp/x",
            "v1",
            "REPOSITORY_EXCLUDED",
        ),
        (
            "repository: { exclude: app }",
            "",
            "core/app",
            "v1",
            "REPOSITORY_EXCLUDED",
        ),
        (
            "repository: { exclude: \"tmp/**\" }",
            "",
            "core/tmp/x",
            "v1",
            "REPOSITORY_EXCLUDED",
        ),
        (
            "repository: { exclude: \"tmp/**\" }",
            "",
            "core/app",
            "v1",
            "b/core/app:v1",
        ),
        (
            "repository: \"team/*\"",
            "",
            "core/team/app",
            "v1",
            "b/core/team/app:v1",
        ),
        (
            "repository: \"team/*\"",
            "",
            "core/app",
            "v1",
            "REPOSITORY_NOT_INCLUDED",
        ),
        ("tag: \"v*\"", "", "core/app", "v1", "b/core/app:v1"),
        ("tag: \"v*\"", "", "core/app", "latest", "TAG_NOT_INCLUDED"),
        ("tag: { exclude: \"*-rc*\" }", "", "core/app", "v1-rc.1", "TAG_EXCLUDED"),
        (
            "tag: { exclude: \"{*-SNAPSHOT,latest}\" }",
            "",
            "core/app",
            "latest",
            "TAG_EXCLUDED",
        ),
        ("tag: { exclude: latest }", "", "core/app", "latest", "TAG_EXCLUDED"),
        ("tag: { exclude: latest }", "", "core/app", "v1", "b/core/app:v1"),
        (
            "tag: { regex: '^[\\w][\\w.-]{0,127}$' }",
            "",
            "core/app",
            "v1",
            "b/core/app:v1",
        ),
        ("tag: v1", "", "core/app", "v1", "b/core/app:v1"),
        ("tag: v1", "", "core/app", "v10", "TAG_NOT_INCLUDED"),
        (
            "tag: { regex: \"^v\\\\d+\", exclude: { glob: \"*-rc*\" } }",
            "",
            "core/app",
            "v2-rc.1",
            "TAG_EXCLUDED",
        ),
        (
            "tag: { regex: \"^v\\\\d+\", exclude: { glob: \"*-rc*\" } }",
            "",
            "core/app",
            "v2",
            "b/core/app:v2",
        ),
        ("tag: { regex: \"^v\" }", "", "core/app", "test", "TAG_NOT_INCLUDED"),
    ] {
        let document = document(source, "", more);
        assert_eq!(
            told(&verdict(&document, repository, Some(tag), None)),
            result,
            "{source} {more} {repository}:{tag}"
        );
    }
}

#[test]
fn a_kind_is_only_refused_when_it_is_certain() {
    let charts = document("", "", "kinds: [chart]");
    assert_eq!(
        told(&verdict(&charts, "core/app", Some("v1"), Some(Kind::Chart))),
        "b/core/app:v1"
    );
    assert_eq!(
        told(&verdict(&charts, "core/app", Some("v1"), Some(Kind::Image))),
        "KIND_NOT_INCLUDED"
    );
    assert_eq!(told(&verdict(&charts, "core/app", Some("v1"), None)), "b/core/app:v1");
    assert_eq!(charts.rules[0].kinds, [Kind::Chart]);
    assert!(document("", "", "kinds: [image, any]").rules[0].kinds.is_empty());
}

#[test]
fn what_is_no_release_follows_its_subject_past_the_tag_patterns() {
    let releases = document(
        "tag: { regex: \"^v\" }",
        "namespace: copy, tag: \"{tag}-x\"",
        "kinds: [image]",
    );
    let digest = Digest::sha256(b"x");
    let fallback = digest.fallback_tag();
    for tag in [
        fallback.clone(),
        format!("{fallback}.sig"),
        format!("{fallback}.att"),
        format!("{fallback}.sbom"),
        Digest::of(Algorithm::Sha512, b"x").fallback_tag(),
    ] {
        assert_eq!(
            told(&verdict(&releases, "core/app", Some(&tag), Some(Kind::Artifact))),
            format!("follows b/copy/app:{tag}")
        );
    }
    assert_eq!(told(&verdict(&releases, "core/app", None, None)), "follows b/copy/app");
    assert_eq!(told(&verdict(&releases, "other/app", None, None)), "OUTSIDE_NAMESPACE");
    assert_eq!(
        told(&verdict(&releases, "core/app", Some("sha256-beef.sig"), None)),
        "TAG_NOT_INCLUDED"
    );
    let without = document("", "", "referrers: exclude");
    assert_eq!(told(&verdict(&without, "core/app", None, None)), "REFERRERS_EXCLUDED");
    let by_tag = document("", "repository: \"{repository}-{tag}\"", "");
    assert_eq!(told(&verdict(&by_tag, "core/app", None, None)), "NAME_INVALID");
}

#[test]
fn a_push_elsewhere_is_another_registrys() {
    let document = document("", "", "");
    let repository: Repository = "core/app".parse().unwrap();
    let pushed = Pushed {
        repository: &repository,
        tag: None,
        kind: None,
    };
    let evaluations = document.evaluate("b", &pushed);
    assert_eq!(evaluations[0].verdict, Verdict::No(Reason::OtherRegistry("a".into())));
    assert_eq!(evaluations[0].rule.name, "x");
}
