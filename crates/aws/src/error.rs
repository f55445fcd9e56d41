//! What AWS answers, as our errors.
//!
//! What must hold: only the answer is told, never what was asked, because a request may hold an upload location. The
//! sentence names the table or queue and says what to look at.

use std::error::Error as StdError;
use std::fmt::Debug;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use transship_oci::{Code, Error, Operation, Persistence};

/// Answers that are as long as a page are cut.
const MESSAGE_CHARS_MAX: usize = 300;

/// Codes of an answer that says: too much, later.
const THROTTLED: [&str; 7] = [
    "ProvisionedThroughputExceededException",
    "ThrottlingException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "Throttling",
    "KmsThrottled",
    "SlowDown",
];

/// Codes for what is not there.
const MISSING: [&str; 7] = [
    "ResourceNotFoundException",
    "ParameterNotFound",
    "ParameterVersionNotFound",
    "QueueDoesNotExist",
    "AWS.SimpleQueueService.NonExistentQueue",
    "InvalidAddress",
    "NoSuchBucket",
];

/// Codes for what we may not do.
const DENIED: [&str; 4] = ["AccessDenied", "AccessDeniedException", "KmsAccessDenied", "Forbidden"];

/// Codes for what cannot be read as it is.
const INVALID: [&str; 5] = [
    "InvalidParameterException",
    "InvalidRequestException",
    "DecryptionFailure",
    "InvalidKeyId",
    "ValidationException",
];

/// Codes for credentials that are not believed, for want of a key, of time, or of a right clock.
const UNKNOWN: [&str; 7] = [
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "MissingAuthenticationToken",
];

/// What AWS answered, or that it did not. The code is AWS's own; `Timeout` and `Unreachable` where there was no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub(crate) struct Answer {
    pub(crate) code: String,
    pub(crate) message: String,
}

impl Answer {
    pub(crate) fn of<E, R>(error: &SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + StdError + 'static,
        R: Debug + 'static,
    {
        let (code, message) = match error {
            SdkError::ServiceError(answered) => {
                let answered = answered.err();
                let code = answered.code().unwrap_or("Unknown").to_owned();
                (code, answered.message().unwrap_or("no reason is given").to_owned())
            }
            SdkError::TimeoutError(_) => ("Timeout".to_owned(), "no answer came in time".to_owned()),
            _ => ("Unreachable".to_owned(), chain(error)),
        };
        let message = message.chars().take(MESSAGE_CHARS_MAX).collect();
        Self { code, message }
    }

    /// AWS asks for patience.
    pub(crate) fn is_throttled(&self) -> bool {
        THROTTLED.contains(&self.code.as_str())
    }

    fn advice(&self) -> &'static str {
        let is_one_of = |codes: &[&str]| codes.contains(&self.code.as_str());
        if is_one_of(&MISSING) {
            "see whether it exists in this region and is named right"
        } else if is_one_of(&DENIED) {
            "see whether the policy of our role lets us use it"
        } else if is_one_of(&UNKNOWN) {
            "see the credentials of this process and its clock"
        } else if self.is_throttled() {
            "it is tried again; see its capacity if that stays"
        } else {
            "it is tried again"
        }
    }

    fn sentence(&self, what: &str) -> String {
        format!("{what}: {self}; {}", self.advice())
    }

    /// `LEDGER_UNAVAILABLE` of a table.
    pub(crate) fn of_table(self, table: &str, operation: &str) -> Error {
        Error::of(Code::LedgerUnavailable, Operation::of(operation))
            .because(self.sentence(&format!("table {table}")))
            .with_source(self)
    }

    /// `QUEUE_UNAVAILABLE` of a queue.
    pub(crate) fn of_queue(self, queue_url: &str, operation: &str) -> Error {
        Error::of(Code::QueueUnavailable, Operation::of(operation))
            .because(self.sentence(&format!("queue {queue_url}")))
            .with_source(self)
    }
}

impl Answer {
    /// What is missing or denied stays so until an operator changes it.
    pub(crate) fn persistence(&self) -> Persistence {
        let code = self.code.as_str();
        if MISSING.contains(&code) || DENIED.contains(&code) || INVALID.contains(&code) {
            Persistence::Persistent
        } else {
            Persistence::Temporary(None)
        }
    }

    /// The sentence about a secret, a token, a role or an object called `name`. Reading it needs `permission`.
    pub(crate) fn of_secret(&self, name: &str, permission: &str) -> String {
        format!("{} ({permission})", self.sentence(name))
    }
}

/// The sentences of an error and of what is beneath it.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut sentences = vec![error.to_string()];
    let mut beneath = error.source();
    while let Some(error) = beneath {
        sentences.push(error.to_string());
        beneath = error.source();
    }
    sentences.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: &str) -> Answer {
        Answer {
            code: code.into(),
            message: "why".into(),
        }
    }

    #[test]
    fn an_error_names_the_table_and_what_to_look_at() {
        for (code, advice) in [
            ("ResourceNotFoundException", "exists in this region"),
            ("AccessDeniedException", "policy of our role"),
            ("ExpiredTokenException", "credentials"),
            ("ThrottlingException", "capacity"),
            ("InternalServerError", "tried again"),
        ] {
            let error = answer(code).of_table("transship", "ledger begin");
            let text = error.to_string();
            assert_eq!(error.code(), "LEDGER_UNAVAILABLE");
            assert!(!error.persistence().is_permanent());
            for part in ["ledger begin", "table transship", code, "why", advice] {
                assert!(text.contains(part), "{part} is not in {text}");
            }
        }
        let error = answer("QueueDoesNotExist").of_queue("https://q", "queue send");
        assert_eq!(error.code(), "QUEUE_UNAVAILABLE");
        assert!(error.to_string().contains("queue https://q"));
    }
}
