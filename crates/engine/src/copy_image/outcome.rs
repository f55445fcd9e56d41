//! The result of an attempt: a terminal state with its code and message, or another attempt.

use metrics::counter;
use transship_copy::{KeepReason, Report, SkipReason, State};
use transship_oci::{Code, Error, Existing, Side};

use super::CopyImage;
use crate::jobs::Pause;
use crate::retry_policy::Wait;
use crate::{Counts, Outcome, Replica, TaskState};

/// How an attempt ended.
pub(super) enum AttemptResult {
    /// The task has ended.
    Ended(Outcome, Vec<Replica>),
    /// The task is to be tried again.
    Later { code: String, message: String, wait: Wait },
    /// Nothing was tried, because a host is paused.
    Paused(Pause),
}

impl CopyImage<'_> {
    pub(super) fn classify(&self, error: &Error) -> AttemptResult {
        let (code, message) = (error.code(), error.to_string());
        tracing::debug!(code, side = error.side().map(Side::as_str), %error, "an attempt failed");
        let later = |wait| AttemptResult::Later {
            code: code.into(),
            message: message.clone(),
            wait,
        };
        if self.is_not_there_yet(error) && self.is_settling() {
            return later(Wait::Growing);
        }
        if error.is(Code::ExecutionCancelled) {
            return self.cancelled_by_operator();
        }
        if error.is(Code::PlatformMissing) {
            return AttemptResult::Ended(self.skipped(Code::PlatformMissing, &message), Vec::new());
        }
        if error.persistence().is_permanent() {
            return self.failed(code, message);
        }
        later(Wait::of(error))
    }

    pub(super) fn failed(&self, code: &str, message: String) -> AttemptResult {
        AttemptResult::Ended(self.jobs.failed(code, message), Vec::new())
    }

    /// The task ends because its rule does not act any more.
    pub(super) fn cancelled(&self, code: Code) -> AttemptResult {
        let message = Some(code.meaning().to_owned());
        let outcome = self
            .jobs
            .outcome(TaskState::Cancelled, None, Some(code.as_str()), message);
        AttemptResult::Ended(outcome, Vec::new())
    }

    /// The task ends because an operator cancelled its execution.
    pub(super) fn cancelled_by_operator(&self) -> AttemptResult {
        AttemptResult::Ended(self.jobs.cancelled(), Vec::new())
    }

    /// The task waits for a version of the document that is as new as it.
    pub(super) fn unclear() -> AttemptResult {
        AttemptResult::Later {
            code: Code::RuleUnclear.as_str().into(),
            message: Code::RuleUnclear.meaning().to_owned(),
            wait: Wait::ForDocument,
        }
    }

    pub(super) fn outcome(&self, report: &Report) -> Outcome {
        let incomplete = missing(report);
        let is_incomplete = incomplete.is_some();
        let (state, code, message) = match report.state {
            State::Copied if !report.kept_tags.is_empty() => (
                TaskState::Succeeded,
                Some("SIGNATURE_TAG_KEPT"),
                Some(format!(
                    "the destination already has {}, which was kept",
                    report.kept_tags.join(", ")
                )),
            ),
            State::Copied if report.foreign_layers > 0 => (
                TaskState::Succeeded,
                Some("FOREIGN_LAYER_SKIPPED"),
                Some(format!(
                    "{} non-distributable layers were not copied",
                    report.foreign_layers
                )),
            ),
            State::Copied if is_incomplete => (TaskState::Succeeded, Some("PLATFORMS_INCOMPLETE"), incomplete),
            State::Unchanged if is_incomplete => (TaskState::Unchanged, Some("PLATFORMS_INCOMPLETE"), incomplete),
            State::Copied => (TaskState::Succeeded, None, None),
            State::Unchanged => (TaskState::Unchanged, None, None),
            State::Kept => {
                if report.kept == Some(KeepReason::NotOurs) {
                    counter!("KeptUnexplained").increment(1);
                }
                let why = match (report.kept, self.task.policy.existing) {
                    (Some(KeepReason::OtherSource), _) => {
                        "a later push of another image to the same destination tag has it"
                    }
                    (_, Existing::Keep) => "the rule never replaces an image (existing: keep)",
                    _ => "Transship did not write the image at the destination tag (existing: follow)",
                };
                (TaskState::Kept, Some("DESTINATION_KEPT"), Some(why.to_owned()))
            }
            State::Skipped if report.skipped == Some(SkipReason::Labels) => (
                TaskState::Skipped,
                Some("LABELS_NOT_MATCHED"),
                Some("the image does not have the labels that the rule selects".to_owned()),
            ),
            State::Skipped => (
                TaskState::Skipped,
                Some("KIND_NOT_MATCHED"),
                Some("the rule does not select this kind of content".to_owned()),
            ),
        };
        let bytes = Counts {
            copied: report.bytes.copied,
            mounted: report.bytes.mounted,
            skipped: report.bytes.skipped,
        };
        Outcome {
            bytes,
            ..self.jobs.outcome(state, Some(report.digest.clone()), code, message)
        }
    }

    /// True if the source has no such tag, as opposed to a part of the image missing there.
    pub(super) fn is_not_there_yet(&self, error: &Error) -> bool {
        error.is(Code::SourceNotFound) && error.operation().target() == Some(self.task.source.target())
    }
}

/// The platforms that are selected and that the image lacks, in words.
fn missing(report: &Report) -> Option<String> {
    let missing = &report.selection.as_ref()?.missing;
    let names: Vec<String> = missing.iter().map(ToString::to_string).collect();
    (!names.is_empty()).then(|| format!("the image has no {}; its other platforms were copied", names.join(", ")))
}
