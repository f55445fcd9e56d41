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

use http::HeaderMap;
use transship_oci::Error;

pub use authenticity::authenticate;
pub use event::{Event, EventAction, EventKind};
pub use formats::{Format, UnknownFormat};
pub use origin::Origin;

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

/// The events of a delivery in order; may be empty.
///
/// # Errors
/// `DELIVERY_INVALID` for a body that is not of this format; `FORMAT_NOT_YET_SUPPORTED`.
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
