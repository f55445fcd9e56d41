//! What of a document only the stack deployed on AWS can honour. Elsewhere it loads, so that one document serves both, and
//! fails under its own code where it is used.

use transship_oci::Provider;

use crate::document::Document;
use crate::error::Warning;
use crate::path::Path;
use crate::registry::{Registry, Webhook};
use crate::secret_reference::CredentialsRef;

/// Where secrets of AWS are not read.
const ELSEWHERE: &str = "is read by the stack deployed on AWS and by nothing else: write env:NAME or file:PATH where transship runs by itself";

impl Document {
    /// What does not work where `transship` runs by itself: references to AWS, and events that only AWS brings.
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

    /// True if an enabled rule waits for events of the registry `name`.
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
            "tokens of Amazon ECR are fetched by the stack deployed on AWS and by nothing else: write docker here, with Amazon's credential helper, where transship runs by itself".to_owned()
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
        let message = "events of Amazon ECR come to the stack deployed on AWS by themselves; elsewhere they need a webhook secret, and an API destination of EventBridge that sends it in Authorization".to_owned();
        ("webhook", message)
    })
}
