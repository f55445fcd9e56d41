//! Azure Container Registry by way of Azure Event Grid: a list of events, or one event, in Event Grid's schema or as
//! CloudEvents. The data of an event is the body of a webhook of the registry.
//!
//! Types are compared by their last part, because the vendor's sample and list differ in the first ones. When a subscription is
//! created, Event Grid sends an event with a code, and expects the code in the response: see [`crate::handshake`]. Source:
//! Microsoft, "Azure Container Registry as an Event Grid source" and "Webhook event delivery".

use serde::Deserialize;
use serde_json::value::RawValue;
use transship_oci::Error;

use super::FormatSpec;
use super::distribution::{self, Notification};
use crate::authenticity::Proof;
use crate::error::{invalid, not_json};
use crate::event::{Event, EventAction};
use crate::lenient::{Table, Text, is_object};
use crate::{Delivery, Origin};

/// The row of the table.
pub(super) const FORMAT: FormatSpec = FormatSpec {
    name: "azure-eventgrid",
    provider: None,
    parse,
    proof: Proof::TEXT,
    repeats: true,
    handshake: Some(validation_code),
    trial: r#"[{"eventType":"trial"}]"#,
};

/// One event of either schema.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GridEvent {
    #[serde(default)]
    id: Text,
    #[serde(default)]
    event_type: Text,
    #[serde(default)]
    event_time: Text,
    #[serde(default)]
    data: Table<Box<RawValue>>,
    /// CloudEvents.
    #[serde(default, rename = "type")]
    kind: Text,
    #[serde(default)]
    time: Text,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Validation {
    #[serde(default)]
    validation_code: Text,
}

fn parse(delivery: &Delivery<'_>, origin: &Origin<'_>) -> Result<Vec<Event>, Error> {
    let events = grid_events(delivery)?;
    Ok(events.iter().filter_map(|event| event.normalized(origin)).collect())
}

/// The code that Event Grid expects in the response when a subscription is created; [`None`] for every other delivery.
fn validation_code(delivery: &Delivery<'_>) -> Option<String> {
    let events = grid_events(delivery).ok()?;
    let event = events.first().filter(|_| events.len() == 1)?;
    if event.kind() != Some("SubscriptionValidationEvent") {
        return None;
    }
    let data: Validation = serde_json::from_str(event.data.0.as_ref()?.get()).ok()?;
    data.validation_code.word()
}

/// The events of a delivery, at least one; values that are not events are left out.
fn grid_events(delivery: &Delivery<'_>) -> Result<Vec<GridEvent>, Error> {
    let list: Vec<&RawValue> = if is_object(delivery.body) {
        vec![serde_json::from_slice(delivery.body).map_err(not_json)?]
    } else {
        serde_json::from_slice(delivery.body).map_err(not_json)?
    };
    let events: Vec<GridEvent> = list
        .into_iter()
        .filter(|raw| is_object(raw.get().as_bytes()))
        .filter_map(|raw| serde_json::from_str(raw.get()).ok())
        .filter(|event: &GridEvent| event.kind().is_some())
        .collect();
    if events.is_empty() {
        return Err(invalid("it has no event with a type"));
    }
    Ok(events)
}

impl GridEvent {
    /// The last part of the type.
    fn kind(&self) -> Option<&str> {
        self.event_type.get().or_else(|| self.kind.get())?.rsplit('.').next()
    }

    /// [`None`] for what is of no interest and for what cannot be used.
    fn normalized(&self, origin: &Origin<'_>) -> Option<Event> {
        let action = match self.kind()? {
            "ImagePushed" => EventAction::Push,
            "ImageDeleted" => EventAction::Delete,
            _ => return None,
        };
        let notification: Notification = serde_json::from_str(self.data.0.as_ref()?.get()).ok()?;
        let event = distribution::event(notification, origin).filter(|event| event.action == action)?;
        Some(Event {
            time: event
                .time
                .or_else(|| self.event_time.time())
                .or_else(|| self.time.time()),
            // The id in the data is that of the registry's own event; that of the delivery is the same when it is repeated.
            event_id: self.id.word().or(event.event_id),
            ..event
        })
    }
}
