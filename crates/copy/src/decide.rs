//! Whether a copy may replace what a destination tag names.
//!
//! The only place that decides this: for the tag of an image, for cosign's digest tags, for the sweep and for a dry run.
//! The functions are pure; the callers ask the registries and the ledger.

use transship_oci::Digest;

use crate::Existing;

/// What a copy does with a destination tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The tag names the wanted manifest already.
    Equal,
    /// The tag keeps what it names.
    Keep(KeepReason),
    /// The tag is written.
    Write {
        /// What the tag names now gets a tag of its own first.
        backup: bool,
    },
}

/// Why a tag keeps what it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepReason {
    /// `existing: keep` never replaces.
    Policy,
    /// `existing: follow` replaces only what we wrote, and the record does not say that we wrote this.
    NotOurs,
    /// We wrote it from another source that maps to the same tag. The last push decides, and that was a later one, or it is not
    /// known which was last.
    OtherSource,
}

/// The writer of what a destination tag names now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// This copy wrote it in an earlier round, or another worker has since replaced what this copy wrote.
    ThisCopy,
    /// The record says that we wrote it, or were about to.
    Ours,
    /// The record says that we wrote it from another source, see [`KeepReason::OtherSource`].
    OtherSource,
    /// The record does not name it, or was not asked.
    Unknown,
}

/// What to do with a tag that should name `wanted` and names `found`, which `owner` wrote.
pub fn decide(existing: Existing, wanted: &Digest, found: Option<&Digest>, owner: Owner) -> Decision {
    let Some(found) = found else {
        return Decision::Write { backup: false };
    };
    if found == wanted {
        return Decision::Equal;
    }
    match (owner, existing) {
        (Owner::ThisCopy, _) => Decision::Write { backup: false },
        (_, Existing::Keep) => Decision::Keep(KeepReason::Policy),
        (Owner::OtherSource, _) => Decision::Keep(KeepReason::OtherSource),
        (Owner::Ours, Existing::Follow) | (_, Existing::Overwrite) => Decision::Write { backup: false },
        (Owner::Unknown, Existing::Follow) => Decision::Keep(KeepReason::NotOurs),
        (_, Existing::Backup) => Decision::Write { backup: true },
    }
}

/// True if the decision depends on the record. `knows_sources`: the record can answer [`Owner::OtherSource`].
pub const fn needs_record(existing: Existing, knows_sources: bool) -> bool {
    match existing {
        Existing::Keep => false,
        Existing::Follow => true,
        Existing::Overwrite | Existing::Backup => knows_sources,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICIES: [Existing; 4] = [Existing::Follow, Existing::Keep, Existing::Overwrite, Existing::Backup];
    const OWNERS: [Owner; 4] = [Owner::ThisCopy, Owner::Ours, Owner::OtherSource, Owner::Unknown];
    const WRITE: Decision = Decision::Write { backup: false };

    fn digest(seed: u8) -> Digest {
        Digest::sha256(&[seed])
    }

    proptest! {
        #[test]
        fn a_decision_follows_from_policy_owner_and_what_is_there(
            existing in proptest::sample::select(&POLICIES[..]),
            owner in proptest::sample::select(&OWNERS[..]),
            wanted in 0u8..3,
            found in proptest::option::of(0u8..3),
        ) {
            let decision = decide(existing, &digest(wanted), found.map(digest).as_ref(), owner);
            prop_assert_eq!(decision == Decision::Equal, found == Some(wanted));
            if found.is_none() {
                prop_assert_eq!(decision, WRITE, "what is absent is written");
            }
            let Some(found) = found.filter(|found| *found != wanted) else { return Ok(()) };
            prop_assert_eq!(
                decision == Decision::Write { backup: true },
                existing == Existing::Backup && matches!(owner, Owner::Ours | Owner::Unknown),
                "only backup saves, and only what this copy did not write"
            );
            match (existing, owner) {
                (_, Owner::ThisCopy) => prop_assert_eq!(decision, WRITE, "a copy may replace what it wrote itself"),
                (Existing::Keep, _) => prop_assert_eq!(decision, Decision::Keep(KeepReason::Policy)),
                (_, Owner::OtherSource) => prop_assert_eq!(decision, Decision::Keep(KeepReason::OtherSource)),
                (Existing::Follow, Owner::Unknown) => prop_assert_eq!(decision, Decision::Keep(KeepReason::NotOurs)),
                _ => prop_assert!(matches!(decision, Decision::Write { .. }), "{:?}", decision),
            }
            if !needs_record(existing, false) {
                let unasked = decide(existing, &digest(wanted), Some(&digest(found)), Owner::Unknown);
                let asked = decide(existing, &digest(wanted), Some(&digest(found)), Owner::Ours);
                prop_assert_eq!(unasked, asked, "the record need not be asked");
            }
            if !needs_record(existing, true) {
                let answers = [Owner::Ours, Owner::OtherSource, Owner::Unknown];
                let decisions = answers.map(|owner| decide(existing, &digest(wanted), Some(&digest(found)), owner));
                prop_assert!(decisions.iter().all(|one| *one == decisions[0]));
            }
        }
    }
}
