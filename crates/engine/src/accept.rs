//! Accept: a delivery becomes tasks in the queue, and only then is answered.
//!
//! Authentic? What happened? Which rules? Then *send, then record*: a message is the task, the ledger is memory. Ids are
//! deterministic, so a delivery that comes three times makes one task. The document in force when it arrives decides.

use std::collections::HashSet;
use std::sync::Arc;

use http::HeaderMap;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use transship_copy::Clock;
use transship_notifications::{Action as EventAction, Delivery, Event, Format, Origin, authenticate, parse};
use transship_oci::media_type::{DOCKER_LIST, DOCKER_MANIFEST};
use transship_oci::{Algorithm, Hasher, Target};
use transship_rules::{Destination, Pushed, Registry, Rule, Verdict, Webhook};

use crate::memory::now;
use crate::task::TASK_VERSION;
use crate::{Action, Configuration, Execution, Ledger, Outgoing, Place, Secrets, Task, TaskQueue, Trigger};

/// A request to `/hooks/{source}[/{token}]`.
#[derive(Debug, Clone, Copy)]
pub struct Hook<'a> {
    /// The registry's name in the document.
    pub source: &'a str,
    /// The last segment of the URL, where there is one.
    pub token: Option<&'a str>,
    /// All headers.
    pub headers: &'a HeaderMap,
    /// The body as sent, within the size the intake takes.
    pub body: &'a [u8],
}

/// What an authentic delivery came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// Nothing to do; the code says why where that is worth a look (`HOST_MISMATCH`).
    Nothing {
        /// A stable code.
        code: Option<&'static str>,
    },
    /// Tasks are in the queue.
    Tasks {
        /// Events that made tasks.
        events: usize,
        /// The executions they made.
        executions: Vec<String>,
    },
}

/// Why a delivery is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 404: the document has no such registry.
    #[error("there is no source of that name")]
    UnknownSource,
    /// 401: not authentic, or nobody can be.
    #[error("{0}")]
    NotAuthentic(&'static str),
    /// 400: not a delivery of this format.
    #[error("{0}")]
    Invalid(String),
    /// 503: it could not be made durable, or the secret could not be read. The sender tries again.
    #[error("{0}")]
    Unavailable(String),
}

impl Refusal {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownSource => "UNKNOWN_SOURCE",
            Self::NotAuthentic(_) => "NOT_AUTHENTIC",
            Self::Invalid(_) => "DELIVERY_INVALID",
            Self::Unavailable(_) => "UNAVAILABLE",
        }
    }
}

/// Takes deliveries in.
pub struct Intake {
    /// The document in force.
    pub configuration: Configuration,
    /// Where tasks become durable.
    pub queue: Arc<dyn TaskQueue>,
    /// Where they are remembered.
    pub ledger: Arc<dyn Ledger>,
    /// Where the senders' secrets are.
    pub secrets: Arc<dyn Secrets>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Intake {
    /// Accepts one delivery. When this returns [`Accepted::Tasks`], every task is in the queue.
    pub async fn accept(&self, hook: Hook<'_>) -> Result<Accepted, Refusal> {
        let snapshot = self.configuration.current();
        let registry = snapshot
            .document
            .registries
            .get(hook.source)
            .ok_or(Refusal::UnknownSource)?;
        let format: Format = registry
            .provider
            .as_str()
            .parse()
            .map_err(|_| Refusal::Invalid("no notifications of this provider are read".into()))?;
        let delivery = Delivery {
            headers: hook.headers,
            body: hook.body,
            token: hook.token,
        };
        self.authenticate(format, &delivery, registry).await?;
        // The host is read from the body although it is known: a body that names another registry is not this one's.
        let origin = Origin {
            registry_host: None,
            aliases: &registry.aliases,
        };
        let events = parse(format, &delivery, &origin).map_err(|error| Refusal::Invalid(error.to_string()))?;
        let (events, foreign): (Vec<_>, Vec<_>) = events
            .into_iter()
            .partition(|event| event.registry_host.as_ref().is_none_or(|host| registry.is_called(host)));
        if let Some(event) = foreign.first() {
            let host = event
                .registry_host
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default();
            tracing::warn!(
                code = "HOST_MISMATCH",
                source = hook.source,
                host,
                events = foreign.len(),
                "a delivery names a host that is not this registry's; add it to its `hosts` if it is"
            );
        }
        let received = now(self.clock.as_ref());
        let mut planned = Vec::new();
        let mut accepted = 0;
        for event in &events {
            let before = planned.len();
            planned.extend(
                snapshot
                    .document
                    .evaluate(hook.source, &pushed(event))
                    .into_iter()
                    .filter_map(|found| plan(hook.source, event, found.rule, found.verdict, received)),
            );
            accepted += usize::from(planned.len() > before);
        }
        if planned.is_empty() {
            return Ok(Accepted::Nothing {
                code: (!foreign.is_empty()).then_some("HOST_MISMATCH"),
            });
        }
        self.make_durable(&planned).await?;
        let mut executions: Vec<String> = planned.into_iter().map(|(execution, _)| execution.id).collect();
        let mut seen = HashSet::new();
        executions.retain(|id| seen.insert(id.clone()));
        Ok(Accepted::Tasks {
            events: accepted,
            executions,
        })
    }

    async fn authenticate(&self, format: Format, delivery: &Delivery<'_>, registry: &Registry) -> Result<(), Refusal> {
        let reference = match &registry.webhook {
            Some(Webhook::Anyone) => return Ok(()),
            Some(Webhook::Secret { reference, .. }) => reference,
            None => {
                return Err(Refusal::NotAuthentic(
                    "this source has no webhook secret: set one in the document",
                ));
            }
        };
        let secret = self.secrets.secret(reference).await.map_err(|error| {
            tracing::error!(code = error.code(), %error, "a webhook secret cannot be read; deliveries are answered 503");
            Refusal::Unavailable("the secret of this source cannot be read now".into())
        })?;
        authenticate(format, delivery, secret.expose_secret())
            .map_err(|_| Refusal::NotAuthentic("the delivery does not know the secret of this source"))
    }

    /// Send, then record. A ledger that does not answer loses nothing: the worker records what it receives.
    async fn make_durable(&self, planned: &[(Execution, Task)]) -> Result<(), Refusal> {
        let messages: Vec<Outgoing> = planned.iter().map(|(_, task)| Outgoing::now(task.clone())).collect();
        self.queue.send(&messages).await.map_err(|error| {
            tracing::error!(code = error.code(), %error, "a delivery could not be made durable and is answered 503");
            Refusal::Unavailable("the delivery could not be made durable: send it again".into())
        })?;
        for (execution, task) in planned {
            if let Err(error) = self.ledger.record(execution, std::slice::from_ref(task)).await {
                tracing::warn!(code = error.code(), %error, task = task.id, "a task is in the queue and not yet in the ledger");
            }
        }
        Ok(())
    }
}

fn pushed(event: &Event) -> Pushed<'_> {
    Pushed {
        repository: &event.repository,
        tag: event.tag.as_ref(),
        digest: event.digest.as_ref(),
        kind: event.kind.certain(),
    }
}

/// The task one rule makes of one event, if any.
fn plan(source: &str, event: &Event, rule: &Rule, verdict: Verdict, received: Timestamp) -> Option<(Execution, Task)> {
    // Deletes are not propagated in this version: the document refuses a rule that asks for it.
    if event.action == EventAction::Delete || !rule.on_event || is_nobodys_referrer(event) {
        return None;
    }
    let (
        Destination {
            registry,
            repository,
            tag,
        },
        follows,
    ) = match verdict {
        Verdict::Matches(destination) => (destination, false),
        Verdict::Follows(destination) => (destination, true),
        Verdict::No(_) => return None,
    };
    let from = match (&event.tag, &event.digest) {
        (Some(tag), _) => Target::Tag(tag.clone()),
        (None, Some(digest)) => Target::Digest(digest.clone()),
        (None, None) => return None,
    };
    let to = tag.map_or_else(|| from.clone(), Target::Tag);
    let source = Place {
        registry: source.to_owned(),
        repository: event.repository.clone(),
        target: from,
    };
    let destination = Place {
        registry,
        repository,
        target: to,
    };
    let occurrence = occurrence(event, received);
    let execution = Execution {
        id: id("e", &[&rule.name, &source.to_string(), &occurrence]),
        rule: rule.name.clone(),
        trigger: Trigger::Event,
        created: received,
    };
    let task = Task {
        version: TASK_VERSION,
        id: id(
            "t",
            &[&rule.name, &source.to_string(), &destination.to_string(), &occurrence],
        ),
        execution: execution.id.clone(),
        rule: rule.name.clone(),
        trigger: Trigger::Event,
        action: Action::Copy,
        source,
        destination,
        existing: rule.existing,
        referrers: rule.referrers,
        kinds: rule.kinds.clone(),
        follows,
        hint: event.digest.clone(),
        created: received,
        hops: 0,
        not_before: None,
    };
    Some((execution, task))
}

/// True for an untagged Docker manifest: schema 2 has no `subject`, so it is a child, and comes with its list.
fn is_nobodys_referrer(event: &Event) -> bool {
    event.tag.is_none() && matches!(event.media_type.as_deref(), Some(DOCKER_MANIFEST | DOCKER_LIST))
}

/// What tells this event from every other, and is the same each time it is delivered: its id, else its content and time.
/// A tag that goes from A to B and back to A makes three events, which must not become two. Without either the time of
/// receipt stands in, and a repeated delivery costs a look.
fn occurrence(event: &Event, received: Timestamp) -> String {
    match (&event.event_id, event.time) {
        (Some(id), _) => format!("id {id}"),
        (None, Some(time)) => format!(
            "at {time} {}",
            event.digest.as_ref().map(ToString::to_string).unwrap_or_default()
        ),
        (None, None) => format!("received {received}"),
    }
}

/// A prefix and 20 hexadecimal digits of the parts' hash: 80 bits.
fn id(prefix: &str, parts: &[&str]) -> String {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    for part in parts {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    format!("{prefix}-{}", &hasher.finish().hex()[..20])
}
