//! Settings that only the stack deployed on AWS supports. Elsewhere they are accepted, so that the same document can be used
//! for both, and fail with their own code when they are used.

use transship_oci::Provider;

use crate::document::Document;
use crate::error::Warning;
use crate::path::Path;
use crate::registry::{Registry, Webhook};
use crate::secret_reference::CredentialsRef;

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
                [credentials(registry), webhook(registry), events]
                    .into_iter()
                    .flatten()
                    .map(move |(key, message)| Warning {
                        path: path.key(key).to_string(),
                        message,
                    })
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
        Some(reference) if reference.is_aws() => format!("{reference} {ELSEWHERE}"),
        None if registry.provider == Provider::Ecr => {
            "tokens of Amazon ECR are only supported by the stack deployed on AWS: use docker with Amazon's credential helper for transship on your own machine".to_owned()
        }
        _ => return None,
    };
    Some(("credentials", message))
}

fn webhook(registry: &Registry) -> Option<Note> {
    match &registry.webhook {
        Some(Webhook::Secret { reference, .. })
            if CredentialsRef::parse(reference).is_ok_and(|reference| reference.is_aws()) =>
        {
            Some(("webhook", format!("{reference} {ELSEWHERE}")))
        }
        _ => None,
    }
}

fn events(registry: &Registry) -> Option<Note> {
    let is_told_by_the_bus = registry.provider == Provider::Ecr && registry.webhook.is_none();
    is_told_by_the_bus.then(|| {
        let message = "only the stack deployed on AWS receives events of Amazon ECR automatically; elsewhere set a webhook secret, and create an API destination of EventBridge that sends it in Authorization".to_owned();
        ("webhook", message)
    })
}
