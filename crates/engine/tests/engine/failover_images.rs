//! What the sites of a group have, as a model: images by tag, which workers copy and clients push.

use std::collections::BTreeMap;

/// The tags of the repository.
pub const TAGS: [&str; 3] = ["v1", "v2", "v3"];

/// What the sites have. An image is the number of its push, so a later image has a greater number.
#[derive(Default)]
pub struct Images {
    pushed: u64,
    /// By site and tag.
    pub at: BTreeMap<(&'static str, &'static str), u64>,
    /// What a worker wrote last, by destination and tag.
    replicated: BTreeMap<(&'static str, &'static str), u64>,
    /// The latest image of each tag that both sites had.
    pub counted: BTreeMap<&'static str, u64>,
    /// Images that a worker of the reverse did not replace, because they were pushed there.
    pub kept: u64,
}

impl Images {
    pub fn push(&mut self, site: &'static str, tag: &'static str) {
        self.pushed += 1;
        self.at.insert((site, tag), self.pushed);
    }

    /// Writes what was read at the source, and counts it. The reverse replaces only what was replicated last, unless an operator
    /// decided.
    pub fn write(&mut self, (from, to): (&'static str, &'static str), tag: &'static str, image: u64, is_decided: bool) {
        let found = self.at.get(&(to, tag));
        let is_last = |site| self.replicated.get(&(site, tag)) == found;
        if to == "a" && !is_decided && found.is_some() && !is_last("a") && !is_last("b") {
            self.kept += 1;
            return;
        }
        self.at.insert((to, tag), image);
        self.replicated.insert((to, tag), image);
        // The source may have a later one since. Then what it has counts only when that is copied.
        let counted = self.counted.entry(tag).or_default();
        if self.at.get(&(from, tag)).is_some_and(|source| *source >= image) {
            *counted = image.max(*counted);
        }
    }

    /// The write of a worker that read `image` before. What clients pushed to the site that they are led to is not replaced by it.
    pub fn write_late(&mut self, ends: (&'static str, &'static str), tag: &'static str, image: u64, is_led_here: bool) {
        let found = self.at.get(&(ends.1, tag)).copied().unwrap_or_default();
        assert!(
            !is_led_here || found <= image,
            "{tag} is {found} where clients are led to, and replaced by {image}"
        );
        self.write(ends, tag, image, false);
    }

    /// Nothing that was counted as replicated is older at the site that clients are led to.
    pub fn expect_nothing_lost(&self, seed: u64, site: &'static str) {
        for (tag, counted) in &self.counted {
            let found = self.at.get(&(site, *tag)).copied().unwrap_or_default();
            assert!(
                found >= *counted,
                "seed {seed}: {tag} is {found} at {site}, and {counted} was replicated"
            );
        }
    }
}
