//! Checks the imports: one by one, against the names of the rules, and against each other.

use std::collections::{BTreeMap, BTreeSet};

use super::{check_known, check_name, namespace};
use crate::document::Document;
use crate::error::{ErrorKind, shown};
use crate::faults::Faults;
use crate::import::{Import, ImportDestination};
use crate::path::Path;
use crate::registry::Registry;
use crate::written;

/// Reads every import; one that cannot be read is missing from the result. `rules` are the names that rules have.
pub(super) fn imports(
    written: Vec<written::Import>,
    rules: &BTreeSet<String>,
    registries: &[String],
    faults: &mut Faults,
) -> Vec<Import> {
    let mut names = BTreeSet::new();
    let mut imports = Vec::new();
    for (position, written) in written.into_iter().enumerate() {
        let path = Path::of("imports").index(position);
        check_unique(&written.name, &names, rules, &path.key("name"), faults);
        names.insert(written.name.clone());
        imports.extend(import(written, &path, registries, faults));
    }
    imports
}

/// Tasks tell by one name which import or rule made them.
fn check_unique(name: &str, imports: &BTreeSet<String>, rules: &BTreeSet<String>, path: &Path, faults: &mut Faults) {
    let other = if imports.contains(name) {
        "another import"
    } else if rules.contains(name) {
        "a rule"
    } else {
        return;
    };
    let sentence = format!("{other} is called {}: give each its own name", shown(name));
    faults.refuse(path.clone(), ErrorKind::DuplicateRule(sentence));
}

fn import(written: written::Import, path: &Path, registries: &[String], faults: &mut Faults) -> Option<Import> {
    faults.accept(
        &path.key("name"),
        check_name(&written.name).map_err(ErrorKind::RuleInvalid),
    );
    faults.accept(
        &path.key("bucket"),
        check_bucket(&written.bucket).map_err(ErrorKind::ConfigInvalid),
    );
    let prefix = faults.accept(
        &path.key("prefix"),
        prefix(&written.prefix).map_err(ErrorKind::ConfigInvalid),
    );
    let destination = destination(&written.destination, &path.key("destination"), registries, faults);
    Some(Import {
        name: written.name,
        description: written.description,
        enabled: written.enabled,
        bucket: written.bucket,
        prefix: prefix?,
        destination: destination?,
        existing: written.existing,
        referrers: written.referrers,
    })
}

fn destination(
    written: &written::ImportDestination,
    path: &Path,
    registries: &[String],
    faults: &mut Faults,
) -> Option<ImportDestination> {
    check_known(&written.registry, registries, &path.key("registry"), faults);
    Some(ImportDestination {
        registry: written.registry.clone(),
        namespace: namespace(&written.namespace, &path.key("namespace"), faults)?,
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
        "{} is no name of a bucket: write its name alone, 3 to 63 lower-case letters, digits, - and .",
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
            "{} is no path in a bucket: write seed/ or seed/team/, without a slash in front, . or ..; leave it out for the whole bucket",
            shown(text)
        ));
    }
    Ok(format!("{path}/"))
}

/// Two imports of the same objects may bring one image twice, or two images for one tag.
pub(super) fn warn_of_overlaps(document: &Document, faults: &mut Faults) {
    for (position, later) in document.imports.iter().enumerate() {
        let earlier = document.imports[..position]
            .iter()
            .find(|earlier| overlap(earlier, later, &document.registries));
        if let Some(earlier) = earlier {
            faults.warn(
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
