//! Settings that only the stack deployed on AWS supports. Elsewhere they are accepted, so that the same document can be used
//! for both, and fail with their own code when they are used.

use transship_oci::Code;

use crate::document::Document;
use crate::error::Warning;
use crate::path::Path;
use crate::registry::{Registry, Tls, Webhook};

/// Where secrets of AWS are not read.
const ELSEWHERE: &str =
    "is only supported by the stack deployed on AWS: use env:NAME or file:PATH for transship on your own machine";

impl Document {
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
