//! Checks the imports: one by one, against the names of the rules, and against each other.

use std::collections::{BTreeMap, BTreeSet};

use super::{Known, check_known, check_name, namespace};
use transship_oci::Code;

use crate::document::Document;
use crate::error::{Diagnostics, fault, shown};
use crate::import::{Import, ImportDestination};
use crate::path::Path;
use crate::raw;
use crate::registry::Registry;

/// Reads every import; one that cannot be read is missing from the result. `rules` are the names that rules have.
pub(super) fn imports(
    raw: Vec<raw::Import>,
    rules: &BTreeSet<String>,
    registries: &Known,
    diagnostics: &mut Diagnostics,
) -> Vec<Import> {
    let mut names = BTreeSet::new();
    let mut imports = Vec::new();
    for (position, raw) in raw.into_iter().enumerate() {
        let path = Path::of("imports").index(position);
        check_unique(&raw.name, &names, rules, &path.key("name"), diagnostics);
        names.insert(raw.name.clone());
        imports.extend(import(raw, &path, registries, diagnostics));
    }
    imports
}

/// Tasks tell by one name which import or rule made them.
fn check_unique(
    name: &str,
    imports: &BTreeSet<String>,
    rules: &BTreeSet<String>,
    path: &Path,
    diagnostics: &mut Diagnostics,
) {
    let other = if imports.contains(name) {
        "another import"
    } else if rules.contains(name) {
        "a rule"
    } else {
        return;
    };
    let sentence = format!("{other} is called {}: give each its own name", shown(name));
    diagnostics.error(path.clone(), fault(Code::DuplicateRule, sentence));
}

fn import(raw: raw::Import, path: &Path, registries: &Known, diagnostics: &mut Diagnostics) -> Option<Import> {
    diagnostics.accept(
        &path.key("name"),
        check_name(&raw.name).map_err(|why| fault(Code::RuleInvalid, why)),
    );
    diagnostics.accept(
        &path.key("bucket"),
        check_bucket(&raw.bucket).map_err(|why| fault(Code::ConfigInvalid, why)),
    );
    let prefix = diagnostics.accept(
        &path.key("prefix"),
        prefix(&raw.prefix).map_err(|why| fault(Code::ConfigInvalid, why)),
    );
    let destination = destination(&raw.destination, &path.key("destination"), registries, diagnostics);
    Some(Import {
        name: raw.name,
        description: raw.description,
        enabled: raw.enabled,
        bucket: raw.bucket,
        prefix: prefix?,
        destination: destination?,
        existing: raw.existing,
        referrers: raw.referrers,
    })
}

fn destination(
    raw: &raw::ImportDestination,
    path: &Path,
    registries: &Known,
    diagnostics: &mut Diagnostics,
) -> Option<ImportDestination> {
    check_known(&raw.registry, registries, &path.key("registry"), diagnostics);
    Some(ImportDestination {
        registry: raw.registry.clone(),
        namespace: namespace(&raw.namespace, &path.key("namespace"), diagnostics)?,
    })
}

/// The names S3 allows: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>.
fn check_bucket(name: &str) -> Result<(), String> {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_bounded_by_words = name.bytes().next().is_some_and(word) && name.bytes().next_back().is_some_and(word);
    let is_valid = (3..=63).contains(&name.len())
        && is_bounded_by_words
        && !name.contains("..")
        && name.bytes().all(|byte| word(byte) || matches!(byte, b'-' | b'.'));
    if is_valid {
        return Ok(());
    }
    Err(format!(
        "{} is not a valid bucket name: write its name alone, 3 to 63 lower-case letters, digits, - and .",
        shown(name)
    ))
}

/// `text` with its final slash.
fn prefix(text: &str) -> Result<String, String> {
    let path = text.strip_suffix('/').unwrap_or(text);
    if text.is_empty() {
        return Ok(String::new());
    }
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(format!(
            "{} is not a valid path in a bucket: write seed/ or seed/team/, without a slash in front, . or ..; leave it out for the whole bucket",
            shown(text)
        ));
    }
    Ok(format!("{path}/"))
}

/// Two imports of the same objects may bring one image twice, or two images for one tag.
pub(super) fn warn_of_overlaps(document: &Document, diagnostics: &mut Diagnostics) {
    for (position, later) in document.imports.iter().enumerate() {
        let earlier = document.imports[..position]
            .iter()
            .find(|earlier| overlap(earlier, later, &document.registries));
        if let Some(earlier) = earlier {
            diagnostics.warn(
                Code::ImportsOverlap,
                &Path::of("imports").index(position),
                format!(
                    "the import {:?} brings the same objects to the same place, and where they name one tag existing decides about the later one: give each a prefix or namespace of its own",
                    earlier.name
                ),
            );
        }
    }
}

fn overlap(one: &Import, other: &Import, registries: &BTreeMap<String, Registry>) -> bool {
    let (to, other_to) = (&one.destination, &other.destination);
    let registry = |name: &str| registries.get(name);
    let is_same_registry = to.registry == other_to.registry
        || registry(&to.registry)
            .zip(registry(&other_to.registry))
            .is_some_and(|(one, other)| one.is_same(other));
    let (namespace, other_namespace) = (to.namespace.as_str(), other_to.namespace.as_str());
    one.enabled
        && other.enabled
        && one.bucket == other.bucket
        && (one.prefix.starts_with(&other.prefix) || other.prefix.starts_with(&one.prefix))
        && is_same_registry
        && (namespace == other_namespace
            || to.namespace.below(other_namespace).is_some()
            || other_to.namespace.below(namespace).is_some())
}
