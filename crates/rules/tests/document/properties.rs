//! What must hold for every document: a checked document never lets a rule start itself, names stay apart where the rule says
//! so, and the index finds what a look at every rule finds.

use std::collections::HashMap;

use proptest::prelude::*;
use proptest::sample::select;
use transship_oci::{Repository, Tag};
use transship_rules::{Document, Pushed, Verdict};

use super::with;

const NAMESPACES: &[&str] = &["\"\"", "n", "m", "n/m", "m/n"];
const REPOSITORIES: &[&str] = &[
    "",
    ", repository: x",
    ", repository: [x, n/x]",
    ", repository: \"*\"",
    ", repository: \"x*\"",
    ", repository: { glob: \"n/**\" }",
    ", repository: { glob: \"**/x\" }",
    ", repository: { regex: \"^x\" }",
    ", repository: { regex: \"^(n|m)/\", exclude: \"**/y\" }",
    ", repository: { exclude: [\"n/**\", \"m/**\"] }",
    ", repository: { exclude: { regex: \"^m/\" } }",
    ", repository: { exclude: \"*\" }",
    ", repository: { exclude: x }",
];
const TAGS: &[&str] = &[
    "",
    ", tag: v1",
    ", tag: \"v*\"",
    ", tag: { exclude: \"*-y\" }",
    ", tag: { semver: \">=1\" }",
];
const DESTINATIONS: &[&str] = &[
    "",
    ", namespace: \"\"",
    ", namespace: n",
    ", namespace: m",
    ", namespace: n/m",
];
const FLATTEN: &[&str] = &["", ", flatten: 0", ", flatten: 1", ", flatten: 2", ", flatten: all"];
const TEMPLATES: &[&str] = &[
    "",
    "",
    ", repository: \"{repository}-y\"",
    ", repository: \"n/{repository}\"",
    ", repository: \"x/{tag}\"",
    ", repository: \"{repository}-{tag}\"",
    ", tag: \"{tag}-y\"",
    ", tag: \"{repository}\"",
    ", tag: v1",
    ", repository: \"{repository}-{tag}\", tag: \"{repository}-{tag}\"",
];
const REGISTRIES: &[&str] = &["a", "b"];

fn rule() -> impl Strategy<Value = String> {
    let source = (
        select(REGISTRIES),
        select(NAMESPACES),
        select(REPOSITORIES),
        select(TAGS),
    );
    let destination = (
        select(REGISTRIES),
        select(DESTINATIONS),
        select(FLATTEN),
        select(TEMPLATES),
    );
    (source, destination).prop_map(|((from, namespace, repository, tag), (to, into, flatten, template))| {
        format!(
            "source: {{ registry: {from}, namespace: {namespace}{repository}{tag} }}, destination: {{ registry: {to}{into}{flatten}{template} }}"
        )
    })
}

fn text(rules: &[String]) -> String {
    let rules = rules.iter().enumerate();
    let rules: Vec<String> = rules
        .map(|(number, rule)| format!("  - {{ name: r{number}, {rule} }}\n"))
        .collect();
    let rules = rules.concat();
    with(&format!("rules:\n{rules}"))
}

/// Names that the patterns above are about.
fn pushes() -> Vec<(Repository, Tag)> {
    let repositories = [
        "x", "y", "xx", "n/x", "m/x", "n/y", "n/m/x", "m/n/x", "n/n/x", "m/m/y", "n/m/n/x", "x/v1", "n/x-y",
    ];
    let tags = ["v1", "v2", "latest", "v1-y"];
    let pair = |repository: &&str| tags.map(|tag| (repository.parse().unwrap(), tag.parse().unwrap()));
    repositories.iter().flat_map(pair).collect()
}

/// The rules that a push starts one after another, until one is started again; the names of that chain.
fn chain_that_repeats(
    document: &Document,
    registry: &str,
    repository: &Repository,
    tag: &Tag,
    chain: &mut Vec<String>,
) -> Option<Vec<String>> {
    let pushed = Pushed {
        repository,
        tag: Some(tag),
        kind: None,
    };
    for found in document.matching(registry, &pushed) {
        let Verdict::Matches(to) = found.verdict else { continue };
        chain.push(found.rule.name.clone());
        if chain[..chain.len() - 1].contains(&found.rule.name) {
            return Some(chain.clone());
        }
        let repeated = chain_that_repeats(document, &to.registry, &to.repository, &to.tag.unwrap(), chain);
        if repeated.is_some() {
            return repeated;
        }
        chain.pop();
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_checked_document_never_produces_a_cycle(rules in prop::collection::vec(rule(), 1..5)) {
        let Ok(parsed) = Document::parse(&text(&rules)) else { return Ok(()) };
        for (repository, tag) in pushes() {
            for registry in REGISTRIES {
                let repeated = chain_that_repeats(&parsed.document, registry, &repository, &tag, &mut Vec::new());
                prop_assert_eq!(repeated, None, "{}/{}:{}\n{}", registry, repository, tag, text(&rules));
            }
        }
    }

    #[test]
    fn names_stay_apart_where_the_rule_says_so(rule in rule()) {
        let Ok(parsed) = Document::parse(&text(std::slice::from_ref(&rule))) else { return Ok(()) };
        let rule = &parsed.document.rules[0];
        let warned = parsed.warnings.iter().any(|warning| warning.code.as_str() == "DESTINATION_CONFLICT");
        prop_assert_eq!(warned, !rule.keeps_names_apart());
        let mut names: HashMap<String, String> = HashMap::new();
        for (repository, tag) in pushes() {
            let pushed = Pushed { repository: &repository, tag: Some(&tag), kind: None };
            if let Verdict::Matches(to) = rule.matches(&pushed) {
                let (from, to) = (format!("{repository}:{tag}"), format!("{}:{}", to.repository, to.tag.unwrap()));
                let earlier = names.insert(to.clone(), from.clone());
                prop_assert!(earlier.is_none() || !rule.keeps_names_apart(), "{earlier:?} and {from} are {to}");
            }
        }
    }

    #[test]
    fn the_index_finds_what_a_look_at_every_rule_finds(rules in prop::collection::vec(rule(), 1..8)) {
        let rules: Vec<String> = rules.into_iter().map(|rule| rule.replace("registry: b", "registry: a")).collect();
        // Rules that would start each other are as good for this: a link allows them.
        let text = format!("{}links: [{{ from: a, to: a, because: test }}]\n", text(&rules));
        let Ok(parsed) = Document::parse(&text) else { return Ok(()) };
        for (repository, tag) in pushes() {
            let pushed = Pushed { repository: &repository, tag: Some(&tag), kind: None };
            let all = parsed.document.evaluate("a", &pushed);
            let all = all.iter().filter(|found| !matches!(found.verdict, Verdict::No(_)));
            let all: Vec<_> = all.map(|found| (&found.rule.name, found.verdict.clone())).collect();
            let found = parsed.document.matching("a", &pushed);
            let found: Vec<_> = found.map(|found| (&found.rule.name, found.verdict)).collect();
            prop_assert_eq!(found, all);
        }
    }
}

#[test]
fn the_generated_documents_are_worth_checking() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut accepted = 0;
    for _ in 0..500 {
        let rules = Strategy::new_tree(&prop::collection::vec(rule(), 2..4), &mut runner).unwrap();
        let rules = proptest::strategy::ValueTree::current(&rules);
        accepted += usize::from(Document::parse(&text(&rules)).is_ok());
    }
    assert!((100..450).contains(&accepted), "{accepted} of 500");
}
