//! Links of a tar, resolved within the archive.
//!
//! `docker save` writes a layer that several images share once and links to it; tar writes a file with several names once. A
//! link is followed to an entry of the same archive and nowhere else: its target is looked up in the index and never used as a
//! path. Links are resolved after indexing, because a target may come after its link. Absolute targets, targets above the root of
//! the archive, and more than [`MAX_LINKS`] links on one way are refused.

use std::collections::{BTreeMap, VecDeque};

use super::entry::Place;

/// Maximum number of links that lead to one file.
const MAX_LINKS: usize = 8;
const ABSOLUTE: &str = "a link with an absolute target";
const OUTSIDE: &str = "a link that leads out of the archive";
const TOO_MANY: &str = "a chain of more than 8 links";

/// Kinds of links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkKind {
    /// The target is relative to the folder of the link.
    Symbolic,
    /// The target is the name of another entry.
    Hard,
}

/// A link to another entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    kind: LinkKind,
    /// The parts of the target, possibly `..`.
    target: Vec<String>,
}

impl Link {
    /// A link to `target`. The error is the reason why it is not followed.
    pub(super) fn new(kind: LinkKind, target: &[u8]) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(target).map_err(|_| "a link whose target is not UTF-8")?;
        if text.starts_with('/') {
            return Err(ABSOLUTE);
        }
        let parts = text.split('/').filter(|part| !matches!(*part, "" | "."));
        let target: Vec<String> = parts.map(str::to_owned).collect();
        if target.is_empty() {
            return Err("a link without a target");
        }
        Ok(Self { kind, target })
    }
}

/// The key of the entry to which `key` leads, through links of files and of folders. The error is the reason why a link is not
/// followed.
pub(super) fn resolve(places: &BTreeMap<String, Place>, key: &str) -> Result<String, &'static str> {
    let mut rest: VecDeque<&str> = key.split('/').collect();
    let mut resolved: Vec<&str> = Vec::new();
    let mut links = 0;
    while let Some(part) = rest.pop_front() {
        if part == ".." {
            resolved.pop().ok_or(OUTSIDE)?;
            continue;
        }
        resolved.push(part);
        let Some(Place::Link(link)) = places.get(&resolved.join("/")) else {
            continue;
        };
        links += 1;
        if links > MAX_LINKS {
            return Err(TOO_MANY);
        }
        match link.kind {
            LinkKind::Symbolic => drop(resolved.pop()),
            LinkKind::Hard => resolved.clear(),
        }
        for part in link.target.iter().rev() {
            rest.push_front(part);
        }
    }
    Ok(resolved.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(links: &[(&str, LinkKind, &str)]) -> BTreeMap<String, Place> {
        let place = |kind: LinkKind, target: &str| match Link::new(kind, target.as_bytes()) {
            Ok(link) => Place::Link(link),
            Err(what) => Place::Unsafe(what),
        };
        links
            .iter()
            .map(|(name, kind, target)| ((*name).to_owned(), place(*kind, target)))
            .collect()
    }

    #[test]
    fn a_link_leads_to_an_entry_of_its_archive_and_nowhere_else() {
        use LinkKind::{Hard, Symbolic};
        let places = places(&[
            ("z/layer.tar", Symbolic, "../x/layer.tar"),
            ("hard", Hard, "./x//layer.tar"),
            ("sub/hard", Hard, "x/layer.tar"),
            ("above", Symbolic, "../../etc/passwd"),
            ("sub/above", Symbolic, "../../x"),
            ("folder", Symbolic, "x"),
            ("chain", Symbolic, "folder/../z/layer.tar"),
            ("loop", Symbolic, "loop"),
            ("gone", Hard, "nowhere"),
        ]);
        for (key, expected) in [
            ("x/layer.tar", Ok("x/layer.tar")),
            ("z/layer.tar", Ok("x/layer.tar")),
            ("hard", Ok("x/layer.tar")),
            ("sub/hard", Ok("x/layer.tar")),
            ("folder/layer.tar", Ok("x/layer.tar")),
            ("chain", Ok("x/layer.tar")),
            ("gone", Ok("nowhere")),
            ("above", Err(OUTSIDE)),
            ("sub/above", Err(OUTSIDE)),
            ("loop", Err(TOO_MANY)),
        ] {
            assert_eq!(resolve(&places, key).as_deref(), expected.as_ref().copied(), "{key}");
        }
    }

    #[test]
    fn a_chain_of_eight_links_is_followed_and_one_of_nine_is_not() {
        let chain: Vec<(String, String)> = (0..9).map(|at| (format!("{at}"), format!("{}", at + 1))).collect();
        let links: Vec<(&str, LinkKind, &str)> = chain
            .iter()
            .map(|(name, target)| (name.as_str(), LinkKind::Symbolic, target.as_str()))
            .collect();
        let places = places(&links);
        assert_eq!(resolve(&places, "1").as_deref(), Ok("9"));
        assert_eq!(resolve(&places, "0"), Err(TOO_MANY));
    }

    #[test]
    fn an_absolute_or_empty_target_is_not_followed() {
        for kind in [LinkKind::Symbolic, LinkKind::Hard] {
            assert_eq!(Link::new(kind, b"/x/layer.tar"), Err(ABSOLUTE));
            assert!(Link::new(kind, b"").is_err());
            assert!(Link::new(kind, b"./").is_err());
            assert!(Link::new(kind, &[0xff]).is_err());
        }
    }
}
