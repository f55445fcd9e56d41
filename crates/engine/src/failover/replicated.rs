//! Whether a tag still has what was replicated, after the direction of its rule changed.

use transship_oci::Digest;

use crate::{ImageRef, Replica};

/// True if `found`, which `destination` names, is what was copied from there to the source before. Then the source has moved on,
/// and replacing `found` loses nothing.
///
/// `own` is the replica of the destination and `reverse` that of the source. The later of the two counts. An image of which
/// only some platforms were copied is not replaced by them.
pub(crate) fn is_replicated(
    own: Option<&Replica>,
    reverse: Option<&Replica>,
    destination: &ImageRef,
    found: &Digest,
) -> bool {
    reverse.is_some_and(|reverse| {
        reverse.source.as_ref() == Some(destination)
            && reverse.selected.is_none()
            && reverse.digest == *found
            && own.is_none_or(|own| own.written <= reverse.written)
    })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn place(registry: &str) -> ImageRef {
        ImageRef {
            registry: registry.to_owned(),
            repository: "core/app".parse().unwrap(),
            target: transship_oci::Target::Tag("v1".parse().unwrap()),
        }
    }

    fn replica(from: &str, to: &str, digest: &Digest, second: i64) -> Replica {
        Replica {
            destination: place(to),
            source: Some(place(from)),
            digest: digest.clone(),
            earlier: Vec::new(),
            manifests: Vec::new(),
            selected: None,
            rule: "core".to_owned(),
            written: Timestamp::from_second(second).unwrap(),
            accepted: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn only_the_last_replicated_digest_is_replaced() {
        let [first, second] = [b"1", b"2"].map(|bytes| Digest::sha256(bytes));
        let forth = replica("a", "b", &first, 1);
        let ask = |own: Option<&Replica>, found: &Digest| is_replicated(own, Some(&forth), &place("a"), found);
        assert!(ask(None, &first), "the old site still has what was replicated from it");
        assert!(!ask(None, &second), "it was pushed to since");
        let back = replica("b", "a", &second, 2);
        assert!(!ask(Some(&back), &first), "what was copied back is the last one");
        assert!(ask(Some(&replica("b", "a", &second, 0)), &first));
        assert!(!is_replicated(None, None, &place("a"), &first));
        assert!(
            !is_replicated(None, Some(&forth), &place("c"), &first),
            "from elsewhere"
        );
    }
}
