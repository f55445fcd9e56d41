//! The report of `copy`: the JSON keys of the contract, or one line of text.

use std::time::Duration;

use serde::Serialize;
use transship_copy::{Counts, State};
use transship_oci::Digest;

use crate::units;

/// Result of a copy.
#[derive(Debug, Serialize)]
pub(crate) struct CopyReport {
    /// The source reference.
    pub(crate) source: String,
    /// The destination reference.
    pub(crate) destination: String,
    /// Digest of the manifest at the destination.
    pub(crate) digest: Digest,
    /// Final state.
    pub(crate) state: State,
    /// Number of manifests written.
    pub(crate) manifests: u64,
    /// Numbers of blobs that were copied, mounted and skipped.
    pub(crate) blobs: Counts,
    /// Bytes of these blobs.
    pub(crate) bytes: Counts,
    /// Numbers of requests, without those for tokens.
    pub(crate) requests: Requests,
    /// Time since the start of the command, in milliseconds.
    pub(crate) elapsed_ms: u64,
}

/// Numbers of requests to each side.
#[derive(Debug, Serialize)]
pub(crate) struct Requests {
    /// Requests to the source; 0 for a layout.
    pub(crate) source: u64,
    /// Requests to the destination.
    pub(crate) destination: u64,
}

impl CopyReport {
    /// The report as one line of text.
    pub(crate) fn text(&self) -> String {
        let Self {
            source,
            destination,
            digest,
            ..
        } = self;
        let elapsed = units::duration(Duration::from_millis(self.elapsed_ms));
        match self.state {
            State::Copied => format!(
                "copied {source} to {destination} {digest}: {}, blobs {} sent, {} mounted, {} there, {} in {elapsed}",
                units::count(self.manifests, "manifest"),
                self.blobs.copied,
                self.blobs.mounted,
                self.blobs.skipped,
                units::bytes(self.bytes.copied)
            ),
            State::Unchanged => {
                format!("unchanged {destination} {digest}: equal to {source}, checked in {elapsed}")
            }
            State::Kept => {
                format!("kept {destination} {digest}: it differs from {source} and the policy does not replace it")
            }
            State::Skipped => format!("skipped {source} {digest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_has_the_keys_of_the_contract_in_order() {
        let report = CopyReport {
            source: "oci:x:v1".into(),
            destination: "r.example/a:v1".into(),
            digest: Digest::sha256(b"x"),
            state: State::Copied,
            manifests: 2,
            blobs: Counts {
                copied: 3,
                mounted: 1,
                skipped: 0,
            },
            bytes: Counts {
                copied: 4096,
                mounted: 10,
                skipped: 0,
            },
            requests: Requests {
                source: 5,
                destination: 9,
            },
            elapsed_ms: 38,
        };
        insta::assert_json_snapshot!(report);
        insta::assert_snapshot!(report.text());
    }
}
