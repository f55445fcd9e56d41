//! Converts errors of AWS.
//!
//! A message must contain only the response and never the request, because a request may contain an upload location. The
//! message names the table or queue and says what to check.

use std::error::Error as StdError;
use std::fmt::Debug;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use transship_oci::{Code, Error, Persistence, Verb};

/// Maximum length of a message in characters.
const MESSAGE_CHARS_MAX: usize = 300;

/// Codes of throttling.
const THROTTLED: [&str; 7] = [
    "ProvisionedThroughputExceededException",
    "ThrottlingException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "Throttling",
    "KmsThrottled",
    "SlowDown",
];

/// Codes of missing resources.
const MISSING: [&str; 7] = [
    "ResourceNotFoundException",
    "ParameterNotFound",
    "ParameterVersionNotFound",
    "QueueDoesNotExist",
    "AWS.SimpleQueueService.NonExistentQueue",
    "InvalidAddress",
    "NoSuchBucket",
];

/// Codes of denied access.
const DENIED: [&str; 4] = ["AccessDenied", "AccessDeniedException", "KmsAccessDenied", "Forbidden"];

/// Codes of resources that cannot be read.
const INVALID: [&str; 5] = [
    "InvalidParameterException",
    "InvalidRequestException",
    "DecryptionFailure",
    "InvalidKeyId",
    "ValidationException",
];

/// Codes for invalid credentials: a wrong key, expired credentials, or a wrong clock.
const UNKNOWN: [&str; 7] = [
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "MissingAuthenticationToken",
];

/// An error of AWS. The code is AWS's own, or `Timeout` or `Unreachable` if there was no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub(crate) struct AwsError {
    pub(crate) code: String,
    pub(crate) message: String,
}

impl AwsError {
    pub(crate) fn of<E, R>(error: &SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + StdError + 'static,
        R: Debug + 'static,
    {
        let (code, message) = match error {
            SdkError::ServiceError(answered) => {
                let answered = answered.err();
                let code = answered.code().unwrap_or("Unknown").to_owned();
                (code, answered.message().unwrap_or("no reason given").to_owned())
            }
            SdkError::TimeoutError(_) => ("Timeout".to_owned(), "no response in time".to_owned()),
            _ => ("Unreachable".to_owned(), chain(error)),
        };
        let message = message.chars().take(MESSAGE_CHARS_MAX).collect();
        Self { code, message }
    }

    /// True if AWS throttles requests.
    pub(crate) fn is_throttled(&self) -> bool {
        THROTTLED.contains(&self.code.as_str())
    }

    fn advice(&self) -> &'static str {
        let is_one_of = |codes: &[&str]| codes.contains(&self.code.as_str());
        if is_one_of(&MISSING) {
            "check that it exists in this region and that its name is right"
        } else if is_one_of(&DENIED) {
            "check that the policy of the role allows its use"
        } else if is_one_of(&UNKNOWN) {
            "check the credentials of this process and its clock"
        } else if self.is_throttled() {
            "it is retried; check its capacity if this continues"
        } else {
            "it is retried"
        }
    }

    fn sentence(&self, what: &str) -> String {
        format!("{what}: {self}; {}", self.advice())
    }

    /// `LEDGER_UNAVAILABLE` of a table.
    pub(crate) fn of_table(self, table: &str, operation: &str) -> Error {
        Error::of(Code::LedgerUnavailable, Verb::Ledger.on(operation))
            .because(self.sentence(&format!("table {table}")))
            .with_source(self)
    }

    /// `QUEUE_UNAVAILABLE` of a queue.
    pub(crate) fn of_queue(self, queue_url: &str, operation: &str) -> Error {
        Error::of(Code::QueueUnavailable, Verb::Queue.on(operation))
            .because(self.sentence(&format!("queue {queue_url}")))
            .with_source(self)
    }
}

impl AwsError {
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

    fn aws_error(code: &str) -> AwsError {
        AwsError {
            code: code.into(),
            message: "why".into(),
        }
    }

    #[test]
    fn an_error_names_the_table_and_what_to_look_at() {
        for (code, advice) in [
            ("ResourceNotFoundException", "exists in this region"),
            ("AccessDeniedException", "policy of the role"),
            ("ExpiredTokenException", "credentials"),
            ("ThrottlingException", "capacity"),
            ("InternalServerError", "retried"),
        ] {
            let error = aws_error(code).of_table("transship", "begin");
            let text = error.to_string();
            assert_eq!(error.code(), "LEDGER_UNAVAILABLE");
            assert!(!error.persistence().is_permanent());
            for part in ["begin", "table transship", code, "why", advice] {
                assert!(text.contains(part), "{part} is not in {text}");
            }
        }
        let error = aws_error("QueueDoesNotExist").of_queue("https://q", "send");
        assert_eq!(error.code(), "QUEUE_UNAVAILABLE");
        assert!(error.to_string().contains("queue https://q"));
    }
}
