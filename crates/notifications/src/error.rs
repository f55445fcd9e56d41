//! Errors of deliveries. They are always permanent, because the same delivery fails in the same way. They never contain a
//! secret or text of the body.

use transship_oci::{Code, Error, Operation};

/// `DELIVERY_INVALID`: the body is not a delivery of the format; HTTP 400, exit 2.
pub(crate) fn invalid(why: impl std::fmt::Display) -> Error {
    Error::refused(Code::DeliveryInvalid, why)
}

/// `DELIVERY_INVALID` for a body that is not JSON of the right shape. Only line and column are reported, because the text may
/// hold anything.
pub(crate) fn not_json(error: serde_json::Error) -> Error {
    let invalid = match error.classify() {
        serde_json::error::Category::Eof => invalid("it is cut off"),
        serde_json::error::Category::Data => {
            invalid("a required field is missing, has another type, or is there twice")
        }
        _ => {
            let (line, column) = (error.line(), error.column());
            invalid(format_args!("it is not JSON at line {line}, column {column}"))
        }
    };
    invalid.with_source(error)
}

/// `NOT_AUTHENTIC`: the sender is not the expected one; HTTP 401, exit 3. `why` is a sentence about the delivery.
pub(crate) fn not_authentic(why: &str) -> Error {
    let message = format!("the delivery is not authentic: {why}");
    Error::new(Code::NotAuthentic, Operation::default(), message)
}
