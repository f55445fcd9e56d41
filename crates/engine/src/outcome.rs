//! What an attempt comes to: a terminal state with its code and sentence, or another attempt.

use transship_copy::{Report, State};
use transship_oci::{Code, Digest, Error, Existing, Persistence};

use crate::replicate::Ended;
use crate::{Bytes, Outcome, Replicator, Task, TaskState};

impl Replicator {
    pub(crate) fn judge(&self, task: &Task, tries: u32, error: &Error) -> Ended {
        let message = error.to_string();
        if is_not_there_yet(error, task) && self.is_settling(task, tries) {
            return Ended::Later {
                code: error.code().into(),
                message,
                after: None,
            };
        }
        match error.persistence() {
            Persistence::Permanent => Ended::Outcome(self.failed(error.code(), message), Vec::new()),
            Persistence::Temporary(after) => Ended::Later {
                code: error.code().into(),
                message,
                after,
            },
            Persistence::Persistent => Ended::Later {
                code: error.code().into(),
                message,
                after: None,
            },
        }
    }

    pub(crate) fn of_report(&self, task: &Task, report: &Report) -> Outcome {
        let (state, code, message) = match report.state {
            State::Copied if !report.kept_tags.is_empty() => (
                TaskState::Succeeded,
                Some("SIGNATURE_TAG_KEPT"),
                Some(format!(
                    "the destination has its own {}; it was kept",
                    report.kept_tags.join(", ")
                )),
            ),
            State::Copied if report.foreign_layers > 0 => (
                TaskState::Succeeded,
                Some("FOREIGN_LAYER_SKIPPED"),
                Some(format!(
                    "{} layers that may not be distributed stay at their urls",
                    report.foreign_layers
                )),
            ),
            State::Copied => (TaskState::Succeeded, None, None),
            State::Unchanged => (TaskState::Unchanged, None, None),
            State::Kept => {
                let why = match task.existing {
                    Existing::Keep => "the rule keeps what is there (existing: keep)",
                    _ => "the destination tag names an image we did not write there (existing: follow)",
                };
                (TaskState::Kept, Some("DESTINATION_KEPT"), Some(why.to_owned()))
            }
            State::Skipped => (
                TaskState::Skipped,
                Some("KIND_NOT_MATCHED"),
                Some("the rule does not let this kind pass".to_owned()),
            ),
        };
        let bytes = Bytes {
            copied: report.bytes.copied,
            mounted: report.bytes.mounted,
            skipped: report.bytes.skipped,
        };
        Outcome {
            bytes,
            ..self.outcome(state, Some(report.digest.clone()), code, message)
        }
    }

    pub(crate) fn failed(&self, code: &str, message: String) -> Outcome {
        self.outcome(TaskState::Failed, None, Some(code), Some(message))
    }

    pub(crate) fn outcome(
        &self,
        state: TaskState,
        digest: Option<Digest>,
        code: Option<&str>,
        message: Option<String>,
    ) -> Outcome {
        Outcome {
            state,
            digest,
            code: code.map(str::to_owned),
            message,
            bytes: Bytes::default(),
            finished: self.now(),
        }
    }
}

/// True if the source has no such tag, as opposed to a part of the image missing there.
fn is_not_there_yet(error: &Error, task: &Task) -> bool {
    error.is(Code::SourceNotFound) && error.operation().target() == Some(&task.source.target)
}
