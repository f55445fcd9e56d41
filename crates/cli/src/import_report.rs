//! The report of `import`: the JSON keys of the contract or text, with a list of failures.

use std::time::Duration;

use serde::Serialize;
use transship_copy::{Counts, Report, State};
use transship_layout::SourceRef;

use crate::failure::{Exit, Failure};
use crate::output::Form;
use crate::units;
use transship_oci::{Code, Result};

/// Result of an import.
#[derive(Debug, Default, Serialize)]
pub(crate) struct ImportReport {
    /// Number of images, including failed ones.
    pub(crate) images: u64,
    /// Number of images that were copied.
    pub(crate) copied: u64,
    /// Number of images that were already equal.
    pub(crate) unchanged: u64,
    /// Number of images that were kept, because the policy does not replace the image at the destination.
    pub(crate) kept: u64,
    /// Failures; a source that cannot be read at all is one failure.
    pub(crate) failed: Vec<Failed>,
    /// Archives that hold no image. They are neither images nor failures.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) skipped: Vec<Failed>,
    /// Bytes of blobs that were copied, mounted and skipped.
    pub(crate) bytes: Counts,
    /// Time since the start of the command, in milliseconds.
    pub(crate) elapsed_ms: u64,
}

/// The location of `found` in `store`, for messages.
pub(crate) fn place(store: &str, found: &SourceRef) -> String {
    format!("{store}/{found}").trim_end_matches('/').to_owned()
}

/// An image or source that was not imported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Failed {
    /// The layout, archive or repository that contains it.
    pub(crate) source: String,
    /// Its name there; null for a failure of the whole source.
    pub(crate) reference: Option<String>,
    /// Stable code of the reason.
    pub(crate) code: String,
    /// The reason as a sentence.
    pub(crate) message: String,
}

/// Final state of an image that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Number of images that were copied.
    Copied,
    /// Number of images that were already equal.
    Unchanged,
    /// Number of images that were kept, because the policy does not replace the image at the destination.
    Kept,
}

impl ImportReport {
    /// Counts an image that did not fail.
    pub(crate) fn count(&mut self, report: &Report) {
        let end = match report.state {
            State::Copied => End::Copied,
            // Skipped cannot occur, because an import does not filter by kind.
            State::Unchanged | State::Skipped => End::Unchanged,
            State::Kept => End::Kept,
        };
        self.count_as(end, report.bytes);
    }

    /// Counts an image that a stack imported.
    pub(crate) fn count_as(&mut self, end: End, bytes: Counts) {
        self.images += 1;
        *match end {
            End::Copied => &mut self.copied,
            End::Unchanged => &mut self.unchanged,
            End::Kept => &mut self.kept,
        } += 1;
        self.bytes.copied += bytes.copied;
        self.bytes.mounted += bytes.mounted;
        self.bytes.skipped += bytes.skipped;
    }

    /// Counts a failure.
    pub(crate) fn fail(&mut self, failed: Failed) {
        self.images += 1;
        self.failed.push(failed);
    }

    /// Counts an archive that holds no image.
    pub(crate) fn skip(&mut self, skipped: Failed) {
        self.skipped.push(skipped);
    }

    /// The report as text.
    pub(crate) fn text(&self) -> String {
        let counts = [
            (self.copied, "copied"),
            (self.unchanged, "unchanged"),
            (self.kept, "kept"),
            (self.failed.len() as u64, "failed"),
        ];
        let counts: Vec<String> = counts
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        let skipped = self.skipped.iter();
        let skipped: Vec<String> = skipped
            .map(|one| format!("\nskipped {}: {}", one.source, one.message))
            .collect();
        format!(
            "{}: {}; {} sent, {} mounted, {} there, in {}{}",
            units::count(self.images, "image"),
            counts.join(", "),
            units::bytes(self.bytes.copied),
            units::bytes(self.bytes.mounted),
            units::bytes(self.bytes.skipped),
            units::duration(Duration::from_millis(self.elapsed_ms)),
            skipped.concat(),
        )
    }

    /// The result of the command. Text output has one line for each failure; JSON output has the list already.
    pub(crate) fn end(&self, form: Form) -> Result<(), Failure> {
        if self.images == 0 && !self.skipped.is_empty() {
            let message = format!("{}: none of the archives holds an image", Code::SourceEmpty.meaning());
            return Err(Failure::new(Exit::Input, Code::SourceEmpty.as_str(), message));
        }
        if self.failed.is_empty() {
            return Ok(());
        }
        Err(match form {
            Form::Json => Failure::new(
                Exit::Failed,
                "IMPORT_INCOMPLETE",
                format!(
                    "{} of {} failed: see the list of failures",
                    self.failed.len(),
                    units::count(self.images, "image")
                ),
            ),
            Form::Text => Failure::several(Exit::Failed, self.failed.iter().map(Failed::line)),
        })
    }
}

impl Failed {
    fn line(&self) -> (&str, String) {
        let what = match &self.reference {
            Some(reference) => format!("{} {reference}", self.source),
            None => self.source.clone(),
        };
        (&self.code, format!("{what}: {}", self.message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_has_the_keys_of_the_contract_in_order() {
        let mut report = ImportReport {
            images: 8,
            copied: 5,
            unchanged: 2,
            kept: 1,
            bytes: Counts {
                copied: 4096,
                mounted: 10,
                skipped: 0,
            },
            elapsed_ms: 38,
            ..ImportReport::default()
        };
        assert!(report.end(Form::Text).is_ok());
        report.fail(Failed {
            source: "/images/app".into(),
            reference: Some("v1".into()),
            code: "BLOB_NOT_FOUND".into(),
            message: "the source does not have a blob its manifest names".into(),
        });
        insta::assert_json_snapshot!(report);
        insta::assert_snapshot!(report.text());
        assert_eq!(report.end(Form::Text).unwrap_err().code(), "BLOB_NOT_FOUND");
        assert_eq!(report.end(Form::Json).unwrap_err().code(), "IMPORT_INCOMPLETE");
    }
}
