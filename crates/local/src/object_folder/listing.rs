//! A page of a folder's objects, in the order of their keys' bytes.
//!
//! Only folders that may contain a part of the page must be read, so that listing a tree page by page reads it about once. Links
//! must not be followed, because they may lead out of the folder or in a circle.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::path::Path;

use transship_layout::{Object, Page};

/// A request for a page of the folder at `root`.
pub(crate) struct Wanted<'a> {
    /// The folder, as its canonical path.
    pub(crate) root: &'a Path,
    /// Prefix of the keys.
    pub(crate) prefix: &'a str,
    /// Keys up to this one are skipped.
    pub(crate) after: Option<&'a str>,
    /// Maximum number of objects.
    pub(crate) max: usize,
}

impl Wanted<'_> {
    /// The page. `is_object` excludes temporary files by their names; `object` reads the metadata of an object.
    pub(crate) fn page(
        &self,
        is_object: impl Fn(&str) -> bool,
        object: impl Fn(&str, &Metadata) -> Object,
    ) -> std::io::Result<Page> {
        let mut objects = Vec::new();
        // Folders that were entered and not yet gone through, the innermost last: a walk in order.
        let mut entered = vec![self.entries(self.top(), &is_object)?.into_iter()];
        while let Some(entries) = entered.last_mut() {
            let Some(key) = entries.next() else {
                entered.pop();
                continue;
            };
            if key.ends_with('/') {
                entered.push(self.entries(&key, &is_object)?.into_iter());
            } else if objects.len() == self.max {
                return Ok(Page {
                    objects,
                    is_last: false,
                });
            } else if let Ok(metadata) = std::fs::symlink_metadata(self.root.join(&key)) {
                // Gone since it was listed is not there.
                objects.push(object(&key, &metadata));
            }
        }
        Ok(Page { objects, is_last: true })
    }

    /// The folder that contains all requested objects.
    fn top(&self) -> &str {
        self.prefix.rfind('/').map_or("", |slash| &self.prefix[..=slash])
    }

    /// The entries of `folder` (empty, or ending in `/`) that may be or contain requested objects, sorted; folders are sorted with
    /// their trailing `/`.
    fn entries(&self, folder: &str, is_object: impl Fn(&str) -> bool) -> std::io::Result<Vec<String>> {
        let path = self.root.join(folder);
        let is_absent = |error: &std::io::Error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
        let entries = match path
            .canonicalize()
            .and_then(|real| Ok((std::fs::read_dir(&path)?, real)))
        {
            Ok((entries, real)) if real == path && real.starts_with(self.root) => entries,
            Ok(_) => return Ok(Vec::new()),
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut keys = Vec::new();
        for entry in entries {
            let entry = entry?;
            // A name that is not a valid key is skipped.
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                continue;
            };
            let kind = entry.file_type()?;
            let key = match () {
                () if kind.is_dir() => format!("{folder}{name}/"),
                () if kind.is_file() && is_object(&name) => format!("{folder}{name}"),
                () => continue,
            };
            if self.may_hold(&key) {
                keys.push(key);
            }
        }
        keys.sort_unstable();
        Ok(keys)
    }

    fn may_hold(&self, key: &str) -> bool {
        let is_folder = key.ends_with('/');
        let is_within = key.starts_with(self.prefix) || (is_folder && self.prefix.starts_with(key));
        let is_behind = |after: &str| key > after || (is_folder && after.starts_with(key));
        is_within && self.after.is_none_or(is_behind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 8] = ["a-b/x", "a.tar", "a/b", "a/c/d", "a/c/e", "a0", "b/c/d", "ä/b"];

    fn tree() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for key in KEYS {
            let path = folder.path().join(key);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, key).unwrap();
        }
        folder
    }

    fn page(root: &Path, prefix: &str, after: Option<&str>, max: usize) -> (Vec<String>, bool) {
        let root = root.canonicalize().unwrap();
        let wanted = Wanted {
            root: &root,
            prefix,
            after,
            max,
        };
        let object = |key: &str, metadata: &Metadata| Object {
            key: key.to_owned(),
            size: metadata.len(),
            etag: None,
            written: None,
        };
        let page = wanted.page(|name| !name.starts_with('.'), object).unwrap();
        let keys = page.objects.into_iter().map(|object| object.key).collect();
        (keys, page.is_last)
    }

    #[test]
    fn every_page_goes_on_where_the_last_one_ended() {
        let folder = tree();
        for prefix in ["", "a", "a/", "a/c", "a/c/", "a.", "b/c/d", "nothing", "a/b/", "../"] {
            let expected: Vec<&str> = KEYS.into_iter().filter(|key| key.starts_with(prefix)).collect();
            for max in 1..=KEYS.len() {
                let mut found: Vec<String> = Vec::new();
                loop {
                    let (keys, is_last) = page(folder.path(), prefix, found.last().map(String::as_str), max);
                    assert!(keys.len() <= max && (is_last || keys.len() == max), "{prefix}");
                    found.extend(keys);
                    if is_last {
                        break;
                    }
                }
                assert_eq!(found, expected, "{prefix} by {max}");
            }
        }
    }

    #[test]
    fn a_place_between_keys_is_one_to_go_on_from() {
        let folder = tree();
        let rest = |after| page(folder.path(), "", Some(after), 9).0;
        assert_eq!(rest("a/c/~"), ["a0", "b/c/d", "ä/b"]);
        assert_eq!(rest("a/c"), ["a/c/d", "a/c/e", "a0", "b/c/d", "ä/b"]);
        assert_eq!(rest("b~"), ["ä/b"]);
    }

    #[test]
    fn folders_that_cannot_hold_a_part_of_the_page_are_not_read() {
        let folder = tree();
        let wanted = |prefix, after| {
            let root = folder.path().canonicalize().unwrap();
            let wanted = Wanted {
                root: &root,
                prefix,
                after,
                max: 9,
            };
            wanted.entries("", |_| true).unwrap()
        };
        assert_eq!(wanted("b/", None), ["b/"]);
        assert_eq!(wanted("", Some("a/c/d")), ["a/", "a0", "b/", "ä/"]);
        assert_eq!(wanted("", Some("b~")), ["ä/"]);
    }

    #[test]
    fn nothing_outside_is_listed_and_no_link_followed() {
        let folder = tree();
        std::os::unix::fs::symlink(folder.path(), folder.path().join("round")).unwrap();
        std::os::unix::fs::symlink("/", folder.path().join("out")).unwrap();
        assert_eq!(page(folder.path(), "", None, 100).0.len(), KEYS.len());
        for prefix in ["round/", "out/etc/", "round/a/", "/etc/", "../"] {
            assert_eq!(page(folder.path(), prefix, None, 9), (Vec::new(), true), "{prefix}");
        }
    }
}
