//! What a slice of a comparison found, image by image.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use transship_oci::{Code, Digest, Error, Repository, Tag};

use crate::inspect::SeenNames;
use crate::ledger::{Difference, Failed, Found, Sample, Unfinished};
use crate::plan::hash_of;
use crate::{Checked, Finding, ImageRef};

/// The most characters of a reason that are kept.
const REASON_CHARS_MAX: usize = 300;

/// What is found, image by image.
pub(super) struct Collected {
    /// What the last whole comparison found.
    pub(super) known: HashMap<(Repository, Tag), Difference>,
    /// The beginning of the comparison before this one, or of this one: a difference that is new is not older.
    new_since: Timestamp,
    verified: BTreeSet<u64>,
    images: u64,
    replicated: u64,
    sample: Option<Sample>,
    differences: Vec<(Timestamp, Difference)>,
    unread: Option<Failed>,
}

impl Collected {
    pub(super) fn new(known: Vec<Difference>, new_since: Timestamp) -> Self {
        let by_name = |difference: Difference| ((difference.repository.clone(), difference.tag.clone()), difference);
        Self {
            known: known.into_iter().map(by_name).collect(),
            new_since,
            verified: BTreeSet::new(),
            images: 0,
            replicated: 0,
            sample: None,
            differences: Vec::new(),
            unread: None,
        }
    }

    /// Adds the numbers to `unfinished`, and returns the rest.
    pub(super) fn into_found(self, unfinished: &mut Unfinished, seen: SeenNames) -> Found {
        unfinished.images += self.images;
        unfinished.replicated += self.replicated;
        unfinished.sample = self.sample.or(unfinished.sample.take());
        unfinished.failure = unfinished.failure.take().or(self.unread);
        Found {
            differences: self.differences,
            verified: self.verified,
            seen,
        }
    }

    pub(super) fn add(&mut self, row: Checked) {
        if row.state == Finding::Unknown {
            self.unread.get_or_insert_with(|| Failed {
                code: row.code.clone().unwrap_or_default(),
                text: short(&format!(
                    "{} cannot be read: {}",
                    if row.source.is_empty() {
                        &row.destination
                    } else {
                        &row.source
                    },
                    row.reason.as_deref().unwrap_or_default()
                )),
            });
            return;
        }
        let Some((repository, tag)) = image_of(&row.destination) else {
            return;
        };
        if row.state != Finding::Extra {
            self.images += 1;
            let is_there = row.source_digest.is_some() && row.source_digest == row.destination_digest;
            // Where only some platforms are copied, the digests differ though nothing is missing.
            self.replicated += u64::from(is_there || row.state == Finding::Equal);
        }
        if row.state == Finding::Equal {
            if let Some(digest) = &row.destination_digest {
                self.verified.insert(hash_of(&[&row.destination, &digest.to_string()]));
            }
            self.sample = Some(Sample {
                repository,
                tag,
                digest: row.destination_digest,
            });
            return;
        }
        let name = (repository, tag);
        let known = self
            .known
            .get(&name)
            .filter(|known| known.source_digest == row.source_digest);
        let since = row
            .since
            .or_else(|| known.map(|known| known.since))
            .unwrap_or(self.new_since);
        let difference = Difference {
            state: row.state,
            repository: name.0,
            tag: name.1,
            source_digest: row.source_digest,
            destination_digest: row.destination_digest,
            code: row.code,
            reason: row.reason.as_deref().map(short),
            since,
            is_conflict: false,
        };
        self.differences.push((row.checked, difference));
    }
}

/// The hash of an image and its digest.
pub(super) fn hash(image: &ImageRef, digest: &Digest) -> u64 {
    hash_of(&[&image.to_string(), &digest.to_string()])
}

/// Repository and tag of `registry/repository:tag`.
pub(super) fn image_of(reference: &str) -> Option<(Repository, Tag)> {
    let (_, rest) = reference.split_once('/')?;
    let (repository, tag) = rest.rsplit_once(':')?;
    Some((repository.parse().ok()?, tag.parse().ok()?))
}

pub(super) fn failed(error: &Error) -> Failed {
    Failed {
        code: error.code().to_owned(),
        text: short(&error.to_string()),
    }
}

/// The failure of a comparison for which no registry is the cause.
pub(super) fn not_whole(text: String) -> Failed {
    Failed {
        code: Code::ComparisonFailed.as_str().to_owned(),
        text,
    }
}

fn short(text: &str) -> String {
    text.chars().take(REASON_CHARS_MAX).collect()
}

/// True if the registry did not answer at all.
pub(super) fn is_unreachable(error: &Error) -> bool {
    matches!(
        error.kind(),
        Code::ConnectFailed | Code::ConnectionBroken | Code::Timeout | Code::TooSlow
    )
}
