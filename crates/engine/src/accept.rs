//! Accept: turns a delivery into tasks in the queue before it is answered.
//!
//! A delivery is authenticated and parsed, and its events are matched with the rules. Then *send, then record*: a message
//! contains the whole task, so the ledger may be updated later. Ids are deterministic, so a delivery that is received three
//! times creates one task. The document in force at the time of the delivery applies.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use transship_copy::Clock;
use transship_notifications::{Delivery, Event, Format, Origin, Part, handshake, parse};
use transship_oci::{Code, Provider, Result};
use transship_rules::{Pushed, Registry, Webhook};

use crate::authenticity::rejected;
use crate::delivery_log;
use crate::ledger::History;
use crate::plan::{Planned, is_nobodys_referrer, plan};
use crate::send::{now, send_then_record_entries};
use crate::{Configuration, Outgoing, RecentPushes, Secrets, SigningKeys, Snapshot, TaskQueue};

/// Time limit for recording in the ledger. No delivery depends on it, and a sender that reaches its time-out sends everything
/// again.
const RECORD_TIMEOUT: Duration = Duration::from_secs(2);

/// Result of an authentic delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// Nothing to do. The code is set for conditions that an operator should check (`HOST_MISMATCH`).
    Nothing {
        /// A stable code.
        code: Option<Code>,
    },
    /// Tasks are in the queue.
    Tasks {
        /// Number of events that created tasks.
        events: usize,
        /// The executions of these tasks, except those that are recorded once they are known to be more than a part of an image.
        executions: Vec<String>,
    },
    /// The sender asks whether its deliveries are wanted, and expects this text in the response.
    Handshake {
        /// The text.
        response: String,
    },
}

/// Accepts deliveries.
pub struct Intake {
    /// The document in force.
    pub configuration: Configuration,
    /// The queue.
    pub queue: Arc<dyn TaskQueue>,
    /// The history of tasks.
    pub history: Arc<dyn History>,
    /// The secrets of the senders.
    pub secrets: Arc<dyn Secrets>,
    /// The public keys of the senders' clouds.
    pub keys: Arc<dyn SigningKeys>,
    /// The pushes of the last minutes.
    pub recent: Arc<RecentPushes>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

impl Intake {
    /// Accepts one delivery to `/hooks/{source}`: `source` is the name of a registry in the document. When this returns
    /// [`Accepted::Tasks`], every task is in the queue. Errors: `UNKNOWN_SOURCE`, `NOT_AUTHENTIC`, `DELIVERY_INVALID`, and
    /// `UNAVAILABLE` if the delivery could not be made durable or the secret could not be read, so that the sender tries again.
    pub async fn accept(&self, source: &str, delivery: &Delivery<'_>) -> Result<Accepted> {
        self.admit(source, delivery.headers, delivery.token)
            .await?
            .accept(delivery)
            .await
    }

    /// Checks what can be known before the body is read: that the document has the source, and that the sender is the expected
    /// one, unless the proof of that is in the body. Errors as of [`Intake::accept`].
    pub async fn admit(&self, source: &str, headers: &HeaderMap, token: Option<&str>) -> Result<Admission<'_>> {
        self.configuration.refresh_writers(now(self.clock.as_ref())).await;
        let snapshot = self.configuration.current();
        let registry = registry_of(&snapshot, source)?;
        let body = &[];
        let head = Delivery { headers, body, token };
        let is_authentic = self.is_authentic(registry, &head, Part::Head).await?;
        Ok(Admission {
            intake: self,
            snapshot,
            source: source.to_owned(),
            is_authentic,
        })
    }

    /// Checks whether deliveries to `source` are wanted, for a sender that asks with `OPTIONS` before the first one. A sender that
    /// shows tokens shows none here: its deliveries are checked. Errors as of [`Intake::accept`], and `METHOD_NOT_ALLOWED` for a
    /// format whose senders do not ask.
    pub async fn consent(&self, source: &str, headers: &HeaderMap, token: Option<&str>) -> Result<()> {
        let snapshot = self.configuration.current();
        let registry = registry_of(&snapshot, source)?;
        if !registry.format.has_handshake() {
            return Err(rejected(
                Code::MethodNotAllowed,
                "method not allowed: use POST for deliveries",
            ));
        }
        if matches!(registry.webhook, Some(Webhook::Identity { .. })) {
            return Ok(());
        }
        let body = &[];
        let head = Delivery { headers, body, token };
        self.is_authentic(registry, &head, Part::Head).await.map(drop)
    }

    /// Accepts an event of `provider` that the cloud delivered by invoking a function. It needs no authentication: on AWS only ECR
    /// can put events of the source `aws.ecr` on the bus of the account. The registry is found by the host in the event; if no
    /// registry of the document has it, the result is [`Accepted::Nothing`] with `HOST_MISMATCH`. Otherwise like
    /// [`Intake::accept`].
    pub async fn accept_event(&self, provider: Provider, body: &[u8]) -> Result<Accepted> {
        self.configuration.refresh_writers(now(self.clock.as_ref())).await;
        let snapshot = self.configuration.current();
        let delivery = Delivery {
            headers: &HeaderMap::new(),
            body,
            token: None,
        };
        let format = Format::of(provider);
        let events = read(format, &delivery, &Origin::default())?;
        let Some(host) = events.iter().find_map(|event| event.registry_host.as_ref()) else {
            return Ok(Accepted::Nothing { code: None });
        };
        let sources: Vec<&str> = snapshot
            .document
            .registries_called(host)
            .filter(|(_, registry)| registry.provider == provider)
            .map(|(name, _)| name)
            .collect();
        if sources.is_empty() {
            delivery_log::foreign(provider.as_str(), &events);
            return Ok(Accepted::Nothing {
                code: Some(Code::HostMismatch),
            });
        }
        let snapshot = self.newest(&snapshot, &sources).await;
        self.plan_and_send(&snapshot, &sources, format, &events, None).await
    }

    /// The document that applies. For a site of a failover group it has the rules of the writer that the ledger has now: an event is
    /// looked at only once, so a push that followed a switch at once would match no rule and be forgotten.
    async fn newest(&self, snapshot: &Arc<Snapshot>, sources: &[&str]) -> Arc<Snapshot> {
        if !sources.iter().any(|source| snapshot.document.is_site(source)) {
            return Arc::clone(snapshot);
        }
        let configuration = &self.configuration;
        if let Err(error) = configuration.read_writers(now(self.clock.as_ref())).await {
            tracing::warn!(code = error.code(), %error, "the writers of failover groups could not be read; those that were known stay");
        }
        configuration.current()
    }

    /// Sends the tasks for `events` in `format` at the registries `sources` to the queue. `code` is the code of the result if there are none.
    ///
    /// During a switch, clients push to the new site before it is the writer. Their events make tasks of the rules that the switch
    /// puts in force; those wait for its end.
    async fn plan_and_send(
        &self,
        snapshot: &Snapshot,
        sources: &[&str],
        format: Format,
        events: &[Event],
        code: Option<Code>,
    ) -> Result<Accepted> {
        let received = now(self.clock.as_ref());
        let recent = Some(self.recent.as_ref()).filter(|_| format.repeats());
        let mut planned = Vec::new();
        let mut accepted = 0;
        let mut traced = Vec::new();
        for event in events {
            let before = planned.len();
            let Some(pushed) = Pushed::of(event) else {
                tracing::warn!(
                    code = Code::InvalidReference.as_str(),
                    repository = event.repository.as_str(),
                    "an event was ignored, because the name of its repository has capital letters"
                );
                continue;
            };
            for source in sources {
                let in_force = snapshot.document.candidates(source, &pushed);
                let coming = snapshot
                    .coming()
                    .into_iter()
                    .flat_map(|document| document.candidates(source, &pushed));
                let coming = coming.filter(|found| {
                    let known = snapshot.document.rule(&found.rule.name);
                    found.rule.enabled && !known.is_some_and(|rule| rule.enabled)
                });
                for found in in_force.chain(coming) {
                    delivery_log::decision(source, event, &found);
                    planned.extend(plan(source, event, found.rule, found.verdict, recent, received));
                }
            }
            accepted += usize::from(planned.len() > before);
            traced.push((event, before..planned.len()));
        }
        let source = sources.join(",");
        if !planned.is_empty() {
            self.make_durable(&planned).await?;
        }
        for (event, made) in traced {
            match planned.get(made) {
                Some(made) if !made.is_empty() => delivery_log::accepted(&source, event, made),
                _ => delivery_log::unmatched(&source, event, is_nobodys_referrer(event)),
            }
        }
        if planned.is_empty() {
            return Ok(Accepted::Nothing { code });
        }
        planned.retain(|task| !task.is_recorded_late());
        let mut executions: Vec<String> = planned.iter().map(|task| task.execution().id.clone()).collect();
        let mut seen = HashSet::new();
        executions.retain(|id| seen.insert(id.clone()));
        Ok(Accepted::Tasks {
            events: accepted,
            executions,
        })
    }

    async fn make_durable(&self, tasks: &[Planned]) -> Result<()> {
        let messages: Vec<Outgoing> = tasks.iter().map(Planned::message).collect();
        let recorded = tasks.iter().filter(|task| !task.is_recorded_late());
        let entries = recorded.map(Planned::entry).collect();
        let (queue, history) = (self.queue.as_ref(), self.history.as_ref());
        let sent = send_then_record_entries(queue, history, &messages, entries, Some(RECORD_TIMEOUT));
        sent.await.map_err(|error| {
            tracing::error!(code = error.code(), %error, "a delivery could not be sent to the queue and is answered 503");
            rejected(Code::Unavailable, "the delivery could not be made durable: send it again")
        })
    }
}

fn registry_of<'a>(snapshot: &'a Snapshot, source: &str) -> Result<&'a Registry> {
    let unknown = || rejected(Code::UnknownSource, "there is no source with that name");
    snapshot.document.registries.get(source).ok_or_else(unknown)
}

/// A sender whose body may be read: see [`Intake::admit`]. The document in force at the time of the admission applies.
pub struct Admission<'a> {
    intake: &'a Intake,
    snapshot: Arc<Snapshot>,
    source: String,
    is_authentic: bool,
}

impl Admission<'_> {
    /// Accepts the delivery: see [`Intake::accept`].
    pub async fn accept(&self, delivery: &Delivery<'_>) -> Result<Accepted> {
        let source = self.source.as_str();
        if !self.is_authentic {
            let registry = registry_of(&self.snapshot, source)?;
            self.intake.is_authentic(registry, delivery, Part::Whole).await?;
        }
        let snapshot = self.intake.newest(&self.snapshot, &[source]).await;
        let document = &snapshot.document;
        let registry = registry_of(&snapshot, source)?;
        if let Some(response) = handshake(registry.format, delivery) {
            return Ok(Accepted::Handshake { response });
        }
        // The host is read from the body to detect a body of another registry.
        let origin = Origin {
            registry_host: None,
            fallback_host: Some(registry.host().as_str()),
            aliases: &registry.aliases,
        };
        let events = read(registry.format, delivery, &origin)?;
        let (events, foreign): (Vec<_>, Vec<_>) = events.into_iter().partition(|event| {
            let host = event.registry_host.as_ref();
            host.is_some_and(|host| document.names_registry(host, source))
        });
        delivery_log::foreign(source, &foreign);
        let code = (!foreign.is_empty()).then_some(Code::HostMismatch);
        self.intake
            .plan_and_send(&snapshot, &[source], registry.format, &events, code)
            .await
    }
}

fn read(format: Format, delivery: &Delivery<'_>, origin: &Origin<'_>) -> Result<Vec<Event>> {
    parse(format, delivery, origin).map_err(|error| rejected(Code::DeliveryInvalid, error.to_string()))
}
