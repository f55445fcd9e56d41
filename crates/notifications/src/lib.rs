//! A registry's delivery becomes normalized events, and proves where it comes from. No I/O.
//!
//! What is read is a hint: it says *look at this tag*, and the tag is resolved at the source before anything is copied.
//! So an event is kept whenever it names a repository and a tag or a digest, and everything else about it may be missing
//! or wrong. One bad event never costs its neighbours, and a delivery of no interest is answered like any other: senders
//! that are refused stop sending.

mod authenticity;
mod error;
mod event;
mod formats;
mod image_reference;
mod lenient;
mod origin;

use http::HeaderMap;

pub use authenticity::authenticate;
pub use error::{Error, ErrorKind};
pub use event::{Event, EventAction, EventKind};
pub use formats::{Format, UnknownFormat};
pub use origin::Origin;

/// The most events one delivery may hold. Distribution sends one; a body within the size the intake takes holds fewer.
pub const MAX_EVENTS: usize = 10_000;

/// A request as it came in.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'a> {
    /// All headers.
    pub headers: &'a HeaderMap,
    /// The body, as sent.
    pub body: &'a [u8],
    /// The last segment of the URL, where the sender can hold its secret nowhere else.
    pub token: Option<&'a str>,
}

/// The events of a delivery, in its order; empty for a delivery of no interest.
///
/// # Errors
/// `DELIVERY_INVALID` for a body that is not of this format; `FORMAT_NOT_YET_SUPPORTED`.
pub fn parse(format: Format, delivery: &Delivery<'_>, origin: &Origin<'_>) -> Result<Vec<Event>, Error> {
    let events = format.parse(delivery, origin)?;
    if events.len() > MAX_EVENTS {
        return Err(Error::invalid(format!(
            "it holds {} events, and at most {MAX_EVENTS} are read",
            events.len()
        )));
    }
    Ok(events)
}
