//! From the written document to the one that is used: every field is read, and everything that cannot be honoured is
//! refused with its path.

mod import;
mod registry;
mod rule;

use std::collections::{BTreeMap, BTreeSet};

use crate::document::{Document, Link};
use crate::error::{ErrorKind, shown};
use crate::faults::Faults;
use crate::namespace::Namespace;
use crate::path::Path;
use crate::registry::Registry;
use crate::topology;
use crate::written;

/// Checks the whole document. What could not be read is missing from the result, and noted in `faults`.
pub(crate) fn document(written: written::Document, faults: &mut Faults) -> Document {
    if written.version != 1 {
        let sentence = format!("version {} of the document is not known: write 1", written.version);
        faults.refuse(Path::of("version"), ErrorKind::ConfigInvalid(sentence));
    }
    let names: Vec<String> = written.registries.keys().cloned().collect();
    let registries: BTreeMap<String, Registry> = written
        .registries
        .into_iter()
        .filter_map(|(name, written)| {
            let path = Path::of("registries").key(&name);
            registry::registry(&name, written, &path, faults).map(|registry| (name, registry))
        })
        .collect();
    let links = written
        .links
        .into_iter()
        .enumerate()
        .map(|(position, link)| check_link(link, &names, &Path::of("links").index(position), faults))
        .collect();
    let rule_names: BTreeSet<String> = written.rules.iter().map(|rule| rule.name.clone()).collect();
    let rules = rule::rules(written.rules, &names, faults);
    let imports = import::imports(written.imports, &rule_names, &names, faults);
    let document = Document {
        registries,
        topology: written.topology,
        links,
        rules,
        imports,
    };
    // Where a rule leads is only known when all of them could be read.
    if faults.is_clean() {
        topology::check(&document, faults);
        warn_of_deliveries(&document, faults);
        import::warn_of_overlaps(&document, faults);
    }
    document
}

fn check_link(written: written::Link, names: &[String], path: &Path, faults: &mut Faults) -> Link {
    check_known(&written.from, names, &path.key("from"), faults);
    check_known(&written.to, names, &path.key("to"), faults);
    if written.because.trim().is_empty() {
        let sentence = "the reason is empty: say why this exception is safe".to_owned();
        faults.refuse(path.key("because"), ErrorKind::ConfigInvalid(sentence));
    }
    Link {
        from: written.from,
        to: written.to,
        because: written.because,
    }
}

/// Notes a fault if no registry is called `name`.
fn check_known(name: &str, names: &[String], path: &Path, faults: &mut Faults) {
    if names.iter().any(|known| known == name) {
        return;
    }
    let nearest = names
        .iter()
        .map(|known| (strsim::damerau_levenshtein(known, name), known))
        .min()
        .filter(|(distance, known)| *distance <= known.len() / 3 + usize::from(known.len() > 2));
    let hint = match nearest {
        Some((_, known)) => format!("did you mean {known}?"),
        None => "write it under registries first".to_owned(),
    };
    let sentence = format!("there is no registry {}: {hint}", shown(name));
    faults.refuse(path.clone(), ErrorKind::UnknownRegistry(sentence));
}

fn namespace(text: &str, path: &Path, faults: &mut Faults) -> Option<Namespace> {
    let parsed = Namespace::parse(text).map_err(|why| ErrorKind::RuleInvalid(format!("{} {why}", shown(text))));
    faults.accept(path, parsed)
}

/// `[a-z0-9][a-z0-9-._]*`, at most 128 characters: fit for an address and for a file name.
fn check_name(name: &str) -> Result<(), String> {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let valid = name.len() <= 128
        && name.bytes().next().is_some_and(word)
        && name
            .bytes()
            .all(|byte| word(byte) || matches!(byte, b'-' | b'.' | b'_'));
    if valid {
        Ok(())
    } else {
        Err(format!(
            "the name {} is not valid: write lower-case letters, digits, - . and _, beginning with a letter or digit, at most 128",
            shown(name)
        ))
    }
}

/// A rule that waits for events its source cannot deliver loads, and never runs.
fn warn_of_deliveries(document: &Document, faults: &mut Faults) {
    for (name, registry) in &document.registries {
        let Some(rule) = document
            .rules
            .iter()
            .find(|rule| rule.enabled && rule.on_event && rule.source.registry == *name)
        else {
            continue;
        };
        let path = Path::of("registries").key(name).key("webhook");
        if registry.webhook.is_none() && registry.provider.cloud().is_some() {
            // The cloud brings its events to a stack deployed there, and proves where they come from.
            continue;
        }
        if registry.webhook.is_none() {
            faults.warn(
                &path,
                format!(
                    "it has no webhook secret, so its deliveries are refused and events never start the rule {:?}: add webhook, or write trigger: [] in the rule",
                    rule.name
                ),
            );
        } else if registry.webhook == Some(crate::Webhook::Anyone) {
            faults.warn(
                &path,
                "anyone who reaches the address can start its rules: add a secret if the sender can hold one",
            );
        }
    }
}
