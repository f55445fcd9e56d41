//! What a rule selected and where it wrote, as a text that is kept while the document changes.
//!
//! A later version of the rule is compared with it: whether it writes elsewhere, and whether an image was selected before. What
//! must hold: the same rule has the same text in every release, so a key that is added is left out while it has its default.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use transship_oci::Kind;

use crate::check;
use crate::raw::{self, KindWord};
use crate::rule::{Rule, Source};
use crate::verdict::Pushed;

/// The largest text that is kept, in bytes. Of a rule with a larger one it is only known whether it is the same.
const TEXT_BYTES_MAX: usize = 200 << 10;

/// The text. Equal for rules that select the same images and write them to the same destination.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Selection(String);

#[derive(Serialize)]
struct Written<'a> {
    source: &'a raw::Source,
    #[serde(skip_serializing_if = "<[KindWord]>::is_empty")]
    kinds: &'a [KindWord],
    destination: &'a raw::Destination,
}

#[derive(Deserialize)]
struct Read {
    source: raw::Source,
    #[serde(default)]
    kinds: Vec<KindWord>,
    destination: raw::Destination,
}

/// A selection that was read again.
#[derive(Debug)]
pub struct Selected {
    source: Source,
    kinds: Vec<Kind>,
    destination: String,
}

impl Selection {
    pub(crate) fn of(rule: &raw::Rule) -> Self {
        let written = Written {
            source: &rule.source,
            kinds: &rule.kinds,
            destination: &rule.destination,
        };
        let text = serde_json::to_string(&written).unwrap_or_default();
        if text.len() <= TEXT_BYTES_MAX {
            return Self(text);
        }
        let digest = transship_oci::Digest::sha256(text.as_bytes());
        Self(digest.to_string())
    }

    /// The text of the rule in the other direction between the same registries.
    pub(crate) fn reversed(&self) -> Self {
        let Ok(mut read) = serde_json::from_str::<Read>(&self.0) else {
            return Self(format!("reverse of {}", self.0));
        };
        std::mem::swap(&mut read.source.registry, &mut read.destination.registry);
        let written = Written {
            source: &read.source,
            kinds: &read.kinds,
            destination: &read.destination,
        };
        Self(serde_json::to_string(&written).unwrap_or_default())
    }

    /// What the text says; [`None`] if it was too large to be kept, or is of a newer release.
    pub fn read(&self) -> Option<Selected> {
        let read: Read = serde_json::from_str(&self.0).ok()?;
        Some(Selected {
            source: check::selected_source(&read.source)?,
            kinds: check::selected_kinds(&read.kinds),
            destination: serde_json::to_string(&read.destination).ok()?,
        })
    }
}

impl fmt::Debug for Selection {
    /// Without the text: the rule that has it shows its parts.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Selection")
    }
}

impl Selected {
    /// True if both name the same destination. The source's namespace is part of the names there.
    pub fn writes_where(&self, rule: &Rule) -> bool {
        let other = rule.selection.read();
        other.is_some_and(|other| other.destination == self.destination)
            && self.source.namespace == rule.source.namespace
    }

    /// The images, without the kinds.
    pub const fn source(&self) -> &Source {
        &self.source
    }

    /// The kinds; empty for any.
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// The labels that an image must have.
    pub const fn labels(&self) -> &BTreeMap<String, String> {
        &self.source.labels
    }

    /// True if it selects the image by its names. Kinds, labels and the number of latest tags are not asked.
    pub fn holds(&self, registry: &str, pushed: &Pushed<'_>) -> bool {
        self.source.registry == registry && self.source.admits(pushed)
    }
}

#[cfg(test)]
mod tests {
    use transship_oci::Tag;

    use super::*;
    use crate::Document;

    fn rule(source: &str, rest: &str) -> Rule {
        let text = format!(
            "version: 1\nregistries:\n  a: {{ provider: distribution, endpoint: \"https://a.example.com\" }}\n  b: {{ provider: distribution, endpoint: \"https://b.example.com\" }}\nrules:\n  - {{ name: r, source: {{ registry: a, namespace: core{source} }}, destination: {{ registry: b, namespace: copy{rest}\n"
        );
        let document = Document::parse(&text)
            .map_err(|errors| errors.to_string())
            .unwrap()
            .document;
        document.rules.into_iter().next().unwrap()
    }

    #[test]
    fn the_text_of_a_rule_is_the_same_in_every_release() {
        let text = rule(
            ", repository: [app, \"x*\"], tag: { semver: \">=1\", latest: 3 }",
            ", flatten: 0 }, kinds: [image] }",
        )
        .selection
        .0;
        assert_eq!(
            text,
            r#"{"source":{"registry":"a","namespace":"core","repository":["app","x*"],"tag":{"semver":">=1","latest":3}},"kinds":["image"],"destination":{"registry":"b","namespace":"copy","flatten":0}}"#
        );
    }

    #[test]
    fn a_selection_is_read_again_and_selects_the_same() {
        for source in [
            "",
            ", repository: app",
            ", repository: [app, other]",
            ", tag: \"v*\"",
            ", tag: { regex: \"^v1\", exclude: { glob: \"*-rc*\" }, semver: [\"1\", \"2\"] }",
            ", repository: { glob: [\"**\"], exclude: [secret, { regex: \"^x\" }] }, labels: { team: core }",
        ] {
            let rule = rule(source, " }, kinds: [chart, any] }");
            let selected = rule.selection.read().unwrap();
            assert!(selected.writes_where(&rule));
            assert_eq!(selected.kinds(), rule.kinds);
            assert_eq!(selected.labels(), &rule.source.labels);
            for repository in ["core/app", "core/other", "core/secret", "core/a/b", "elsewhere/app"] {
                for tag in ["v1.0.0", "v1.0.0-rc1", "1.2.3", "latest"] {
                    let (repository, tag): (_, Tag) = (repository.parse().unwrap(), tag.parse().unwrap());
                    let pushed = Pushed {
                        repository: &repository,
                        tag: Some(&tag),
                        kind: None,
                    };
                    let is_selected = matches!(rule.matches(&pushed), crate::Verdict::Matches(_));
                    assert_eq!(
                        selected.holds("a", &pushed),
                        is_selected,
                        "{source}: {repository}:{tag}"
                    );
                    assert!(!selected.holds("b", &pushed));
                }
            }
        }
    }

    #[test]
    fn another_destination_is_noticed() {
        let before = rule("", " } }").selection.read().unwrap();
        assert!(before.writes_where(&rule(", tag: \"v*\"", " } }")));
        assert!(!before.writes_where(&rule("", ", flatten: 0 } }")));
        assert!(!before.writes_where(&rule("", ", tag: \"x-{tag}\" } }")));
    }

    #[test]
    fn a_selection_that_is_too_large_is_only_compared() {
        let many: Vec<String> = (0..20_000).map(|number| format!("repository-{number}")).collect();
        let large = rule(&format!(", repository: [{}]", many.join(", ")), " } }").selection;
        assert!(large.0.len() < 100 && large.read().is_none());
        assert_ne!(large, rule("", " } }").selection);
    }
}
