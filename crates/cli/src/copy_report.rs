//! What `copy` tells of a copy: the contract's keys for scripts, one line for people.

use std::time::Duration;

use serde::Serialize;
use transship_copy::{Counts, State};
use transship_oci::Digest;

use crate::units;

/// What a copy did.
#[derive(Debug, Serialize)]
pub(crate) struct CopyReport {
    /// From where.
    pub(crate) source: String,
    /// To where.
    pub(crate) destination: String,
    /// What the destination names now.
    pub(crate) digest: Digest,
    /// How it ended.
    pub(crate) state: State,
    /// Manifests written.
    pub(crate) manifests: u64,
    /// Blobs, by how they came there.
    pub(crate) blobs: Counts,
    /// Their bytes.
    pub(crate) bytes: Counts,
    /// Requests, those for tokens not among them.
    pub(crate) requests: Requests,
    /// From the start of the command.
    pub(crate) elapsed_ms: u64,
}

/// Requests by the end they went to.
#[derive(Debug, Serialize)]
pub(crate) struct Requests {
    /// To the source; 0 for a layout.
    pub(crate) source: u64,
    /// To the destination.
    pub(crate) destination: u64,
}

impl CopyReport {
    /// One line for people.
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
                format!("unchanged {destination} {digest}: it is equal to {source}, checked in {elapsed}")
            }
            State::Kept => format!("kept {destination} {digest}: it is not {source}, and is not to be replaced"),
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
