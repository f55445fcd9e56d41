//! The cheapest way for one blob: ask for it, mount it, or send it. Pure; the copy and a dry run follow it.

use transship_oci::{Descriptor, Repository};

/// From this size on a HEAD is cheap against the transfer it may save.
pub(crate) const HEAD_BLOB_BYTES_MIN: u64 = 4 * 1024 * 1024;
/// Known locations that are tried before the blob is sent.
const MOUNT_SOURCES_MAX: usize = 2;

/// How a blob comes to the destination: ask first, then mount from these, then send.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Approach {
    /// HEAD the blob at the destination first.
    pub(crate) ask: bool,
    /// The memory names the destination repository itself: forgotten if that proves wrong.
    pub(crate) is_named: bool,
    /// Repositories to mount it from, best first.
    pub(crate) mount_from: Vec<Repository>,
}

/// `known`: where the blob is said to be. `here`: the destination repository. `may_be_partial`: that repository may hold
/// parts of this image that no memory names.
pub(crate) fn approach(blob: &Descriptor, known: &[Repository], here: &Repository, may_be_partial: bool) -> Approach {
    let is_named = known.contains(here);
    let mount_from: Vec<Repository> = known
        .iter()
        .filter(|repository| *repository != here)
        .take(MOUNT_SOURCES_MAX)
        .cloned()
        .collect();
    let ask = is_named || (may_be_partial || blob.size >= HEAD_BLOB_BYTES_MIN) && mount_from.is_empty();
    Approach {
        ask,
        is_named,
        mount_from,
    }
}

#[cfg(test)]
mod tests {
    use transship_oci::Digest;

    use super::*;

    #[test]
    fn a_blob_takes_the_cheapest_way() {
        let blob = |size| Descriptor::new("a/b".into(), Digest::sha256(b"x"), size);
        let name = |text: &str| text.parse::<Repository>().unwrap();
        let here = name("here");
        let way = |size, known: &[Repository], may_be_partial| {
            let approach = approach(&blob(size), known, &here, may_be_partial);
            (approach.ask, approach.mount_from.len())
        };
        assert_eq!(way(1000, &[], false), (false, 0), "unknown and small: send");
        assert_eq!(way(10 << 20, &[], false), (true, 0), "unknown and large: ask");
        assert_eq!(way(1000, &[], true), (true, 0), "a repeated attempt asks");
        assert_eq!(
            way(10 << 20, &[name("a")], true),
            (false, 1),
            "known elsewhere: mount at once"
        );
        assert_eq!(
            way(1, &[here.clone(), name("a")], false),
            (true, 1),
            "said to be here: prove it, else mount"
        );
        assert_eq!(way(1, &[name("a"), name("b"), name("c")], false), (false, 2));
    }

    #[test]
    fn what_no_memory_named_needs_not_be_forgotten() {
        let blob = Descriptor::new("a/b".into(), Digest::sha256(b"x"), 10 << 20);
        let (here, elsewhere): (Repository, Repository) = ("here".parse().unwrap(), "a".parse().unwrap());
        let is_named = |known: &[Repository]| approach(&blob, known, &here, true).is_named;
        assert!(is_named(std::slice::from_ref(&here)));
        assert!(!is_named(&[]) && !is_named(&[elsewhere]));
    }
}
