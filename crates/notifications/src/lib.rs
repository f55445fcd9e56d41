//! Parses deliveries of registries into normalized events, and authenticates them. No I/O.
//!
//! An event only says that a tag changed; the tag is resolved at the source before anything is copied. An event is therefore
//! accepted if it has a repository and a tag or a digest; everything else may be missing or wrong. An invalid event does not
//! affect the others of its delivery. A delivery that matches no rule is a success, because senders that receive errors stop
//! sending.

mod authenticity;
mod error;
mod event;
mod formats;
mod image_reference;
mod lenient;
mod origin;
mod reported;

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use transship_oci::Error;

pub use authenticity::{Authenticity, EntraCloud, Expected, Identity, Keys, Part, SignedUrl, authenticate, prove};
pub use event::{Event, EventAction, EventKind};
pub use formats::{Format, UnknownFormat};
pub use origin::Origin;
pub use reported::ReportedRepository;

use error::invalid;

/// Maximum number of events in one delivery. Distribution sends one; a body of the maximum size contains fewer.
pub const MAX_EVENTS: usize = 10_000;

/// An HTTP request.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'a> {
    /// All headers.
    pub headers: &'a HeaderMap,
    /// The body, as sent.
    pub body: &'a [u8],
    /// The last segment of the URL, for senders that can only be given a URL.
    pub token: Option<&'a str>,
}

impl<'a> Delivery<'a> {
    /// The header `name`, if it is there and is text.
    pub(crate) fn header(&self, name: &str) -> Option<&'a str> {
        let value = self.headers.get(name)?.to_str().ok()?;
        Some(value.trim()).filter(|value| !value.is_empty())
    }

    /// True if the body is a form, according to the content type.
    pub(crate) fn is_form(&self) -> bool {
        let is_form = |value: &http::HeaderValue| value.as_bytes().starts_with(b"application/x-www-form-urlencoded");
        self.headers.get(CONTENT_TYPE).is_some_and(is_form)
    }
}

/// The text that the sender expects in the response to an authentic delivery that only asks whether it is wanted: Event Grid
/// sends one when a subscription is created. [`None`] for every other delivery.
pub fn handshake(format: Format, delivery: &Delivery<'_>) -> Option<String> {
    format.handshake(delivery)
}

/// The events of a delivery in order; may be empty.
///
/// # Errors
/// `DELIVERY_INVALID` for a body that is not of this format.
pub fn parse(format: Format, delivery: &Delivery<'_>, origin: &Origin<'_>) -> Result<Vec<Event>, Error> {
    let events = format.parse(delivery, origin)?;
    if events.len() > MAX_EVENTS {
        return Err(invalid(format!(
            "it contains {} events, but the limit is {MAX_EVENTS}",
            events.len()
        )));
    }
    Ok(events)
}
