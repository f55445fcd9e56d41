//! Settings that only the stack deployed on AWS supports, and those that it does not support. Both are accepted everywhere, so
//! that the same document can be used for both, and fail with their own code when they are used.

use transship_oci::Code;

use crate::document::Document;
use crate::error::Warning;
use crate::path::Path;
use crate::registry::{Registry, Tls, Webhook};

/// Where secrets of AWS are not read.
const ELSEWHERE: &str =
    "is only supported by the stack deployed on AWS: use env:NAME or file:PATH for transship on your own machine";

/// Where logins of a machine are not read.
const NOT_IN_THE_STACK: &str =
    "is not read by the stack deployed on AWS: use secretsmanager:NAME or ssm:NAME if this document is for a stack";

impl Document {
    /// True if the document is for the stack deployed on AWS: it refers to secrets or tokens of AWS, and to none that the stack
    /// does not read.
    pub fn is_for_aws(&self) -> bool {
        self.refers_to_aws() && self.not_on_aws().is_empty()
    }

    /// Warnings for an operator who has only the document: none if it is for a stack. A document that suits neither a stack
    /// nor a machine gets the warnings of both.
    pub fn platform_warnings(&self) -> Vec<Warning> {
        if self.is_for_aws() {
            return Vec::new();
        }
        let mut warnings = self.needs_aws();
        if self.refers_to_aws() {
            warnings.append(&mut self.not_on_aws());
        }
        warnings
    }

    /// True if the document refers to secrets or tokens of AWS.
    pub fn refers_to_aws(&self) -> bool {
        let of_aws = |registry: &Registry| {
            credentials(registry).is_some() || webhook(registry).is_some() || tls(registry).next().is_some()
        };
        self.registries.values().any(of_aws)
    }

    /// Warnings for the stack deployed on AWS: references to what only a process on a machine has.
    pub fn not_on_aws(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        for (name, registry) in &self.registries {
            let path = Path::of("registries").key(name);
            let mut warn = |path: Path, reference: String| {
                warnings.push(Warning {
                    code: Code::NotOnAws,
                    position: None,
                    path: path.to_string(),
                    message: format!("{reference} {NOT_IN_THE_STACK}"),
                });
            };
            if let Some(reference) = registry.credentials.as_ref().filter(|found| found.cloud().is_none()) {
                warn(path.key("credentials"), reference.to_string());
            }
            let references = registry.webhook.iter().flat_map(Webhook::references);
            for reference in references.filter(|found| found.cloud().is_none()) {
                warn(path.key("webhook"), reference.to_string());
            }
            let references = registry.tls.iter().flat_map(Tls::references);
            for (key, reference) in references.filter(|(_, found)| found.cloud().is_none()) {
                warn(path.key("tls").key(key), reference.to_string());
            }
        }
        warnings
    }

    /// Warnings for `transship` outside AWS: references to AWS, and events that only AWS delivers.
    pub fn needs_aws(&self) -> Vec<Warning> {
        self.registries
            .iter()
            .flat_map(|(name, registry)| {
                let path = Path::of("registries").key(name);
                let events = self.awaits_events(name).then(|| events(registry)).flatten();
                let notes = [credentials(registry), webhook(registry), events];
                let tls = tls(registry).map(|(key, message)| (path.key("tls").key(key), message));
                let notes = notes
                    .into_iter()
                    .flatten()
                    .map(|(key, message)| (path.key(key), message));
                let warnings = notes.chain(tls).map(|(path, message)| Warning {
                    code: Code::NeedsAws,
                    position: None,
                    path: path.to_string(),
                    message,
                });
                warnings.collect::<Vec<_>>()
            })
            .collect()
    }

    /// True if an enabled rule has a trigger for events of the registry `name`.
    pub(crate) fn awaits_events(&self, name: &str) -> bool {
        self.rules
            .iter()
            .any(|rule| rule.is_on_event() && rule.source.registry == name)
    }
}

type Note = (&'static str, String);

fn credentials(registry: &Registry) -> Option<Note> {
    let message = match &registry.credentials {
        Some(reference) if reference.cloud().is_some() => format!("{reference} {ELSEWHERE}"),
        None if registry.provider.cloud().is_some() => {
            "tokens of Amazon ECR are only supported by the stack deployed on AWS: use docker with Amazon's credential helper for transship on your own machine".to_owned()
        }
        _ => return None,
    };
    Some(("credentials", message))
}

fn webhook(registry: &Registry) -> Option<Note> {
    let mut references = registry.webhook.iter().flat_map(Webhook::references);
    let reference = references.find(|reference| reference.cloud().is_some())?;
    Some(("webhook", format!("{reference} {ELSEWHERE}")))
}

fn tls(registry: &Registry) -> impl Iterator<Item = Note> {
    let references = registry.tls.iter().flat_map(Tls::references);
    let of_cloud = references.filter(|(_, reference)| reference.cloud().is_some());
    of_cloud.map(|(key, reference)| (key, format!("{reference} {ELSEWHERE}")))
}

fn events(registry: &Registry) -> Option<Note> {
    let comes_by_the_bus = registry.provider.cloud().is_some() && registry.webhook.is_none();
    comes_by_the_bus.then(|| {
        let message = "only the stack deployed on AWS receives events of Amazon ECR automatically; elsewhere set a webhook secret, and create an API destination of EventBridge that sends it in Authorization".to_owned();
        ("webhook", message)
    })
}
