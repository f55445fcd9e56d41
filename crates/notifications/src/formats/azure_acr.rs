//! Azure Container Registry: one event of Distribution's form each, without its envelope.
//!
//! Charts of the old chart repository, quarantine and pings are of no interest; charts pushed as OCI artifacts are pushes. A
//! delete names a manifest or a repository, never a tag. Source: Microsoft, "Azure Container Registry webhook reference".

use transship_oci::{Error, Provider};

use super::FormatSpec;
use super::distribution::{Notification, event};
use crate::authenticity::Proof;
use crate::error::invalid;
use crate::event::Event;
use crate::lenient::object;
use crate::{Delivery, Origin};

/// The row of the table.
pub(super) const FORMAT: FormatSpec = FormatSpec {
    name: "azure-acr",
    provider: Some(Provider::AzureAcr),
    parse,
    proof: Proof::TEXT,
    repeats: true,
    handshake: None,
    trial: r#"{"action":"trial"}"#,
};

fn parse(delivery: &Delivery<'_>, origin: &Origin<'_>) -> Result<Vec<Event>, Error> {
    let notification: Notification = object(delivery.body)?;
    if notification.action().is_none() {
        return Err(invalid("it has no action"));
    }
    Ok(event(notification, origin).into_iter().collect())
}
