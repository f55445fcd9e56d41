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

/// `NOT_AUTHENTIC`: the delivery does not contain the secret; HTTP 401, exit 3.
pub(crate) fn not_authentic() -> Error {
    let message = "the delivery does not contain the secret: set the Authorization header at the sender to the secret";
    Error::new(Code::NotAuthentic, Operation::default(), message)
}
