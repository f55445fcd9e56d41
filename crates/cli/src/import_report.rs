//! What `import` tells of an import: the contract's keys for scripts, a line for people, and what failed as data.

use std::time::Duration;

use serde::Serialize;
use transship_copy::{Counts, Report, State};
use transship_layout::Found;

use crate::failure::{Exit, Failure};
use crate::output::Form;
use crate::units;

/// What an import did.
#[derive(Debug, Default, Serialize)]
pub(crate) struct ImportReport {
    /// Images that were seen, those that failed among them.
    pub(crate) images: u64,
    /// The destination became equal to the source.
    pub(crate) copied: u64,
    /// It was equal already.
    pub(crate) unchanged: u64,
    /// The destination holds another image, which is not to be replaced.
    pub(crate) kept: u64,
    /// What did not arrive, and why; a source that cannot be read at all is one.
    pub(crate) failed: Vec<Failed>,
    /// Bytes of blobs, by how they came there.
    pub(crate) bytes: Counts,
    /// From the start of the command.
    pub(crate) elapsed_ms: u64,
}

/// Where `found` lies in `store`, as it may be written.
pub(crate) fn place(store: &str, found: &Found) -> String {
    format!("{store}/{}", found.key).trim_end_matches('/').to_owned()
}

/// Something that did not arrive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Failed {
    /// The layout, archive or repository it lies in.
    pub(crate) source: String,
    /// What it is called there; null if it concerns the whole source.
    pub(crate) reference: Option<String>,
    /// Why, as a stable code.
    pub(crate) code: String,
    /// The sentence behind the code.
    pub(crate) message: String,
}

/// How an image ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The destination became equal to the source.
    Copied,
    /// It was equal already.
    Unchanged,
    /// The destination holds another image, which is not to be replaced.
    Kept,
}

impl ImportReport {
    /// Counts one image that did not fail.
    pub(crate) fn count(&mut self, report: &Report) {
        let end = match report.state {
            State::Copied => End::Copied,
            // Skipped cannot be: an import asks for no kinds.
            State::Unchanged | State::Skipped => End::Unchanged,
            State::Kept => End::Kept,
        };
        self.count_as(end, report.bytes);
    }

    /// The same of one that somebody else brought.
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

    /// Counts one that failed.
    pub(crate) fn fail(&mut self, failed: Failed) {
        self.images += 1;
        self.failed.push(failed);
    }

    /// Two lines for people.
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
        format!(
            "{}: {}; {} sent, {} mounted, {} there, in {}",
            units::count(self.images, "image"),
            counts.join(", "),
            units::bytes(self.bytes.copied),
            units::bytes(self.bytes.mounted),
            units::bytes(self.bytes.skipped),
            units::duration(Duration::from_millis(self.elapsed_ms)),
        )
    }

    /// How the command ends: scripts have the list already, people get a line for each.
    pub(crate) fn end(&self, form: Form) -> Result<(), Failure> {
        if self.failed.is_empty() {
            return Ok(());
        }
        Err(match form {
            Form::Json => Failure::new(
                Exit::Failed,
                "IMPORT_INCOMPLETE",
                format!(
                    "{} of {} did not arrive: the list of failures says why",
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
