//! What belongs to an image without being in its graph: referrers, by API or fallback tag, and cosign's tags.

use std::collections::BTreeSet;

use serde_json::Value;

use super::fetch::Registry;
use super::same_image;

/// The tags cosign hangs on a digest.
const COSIGN_SUFFIXES: [&str; 3] = ["sig", "att", "sbom"];

/// Every referrer and signature tag that the source has for one of `manifests` is at the destination, and equal;
/// referrers of referrers too.
pub(super) fn equal(source: &Registry, destination: &Registry, manifests: &BTreeSet<String>) -> Result<(), String> {
    let tags: BTreeSet<_> = source.tags()?.into_iter().collect();
    let mut seen = BTreeSet::new();
    let mut open: Vec<String> = manifests.iter().cloned().collect();
    while let Some(subject) = open.pop() {
        if !seen.insert(subject.clone()) {
            continue;
        }
        let listed = listed(destination, &subject)?;
        for referrer in listed_at_source(source, &subject, &tags)? {
            if !listed.contains(&referrer) {
                return Err(format!(
                    "the destination does not list {referrer} as a referrer of {subject}"
                ));
            }
            let below = same_image(source, &referrer, destination, &referrer)
                .map_err(|reason| format!("referrer {referrer} of {subject}: {reason}"))?;
            open.extend(below);
        }
        for tag in COSIGN_SUFFIXES.map(|suffix| format!("{}.{suffix}", subject.replace(':', "-"))) {
            if tags.contains(&tag) {
                open.extend(same_image(source, &tag, destination, &tag)?);
            }
        }
    }
    Ok(())
}

fn listed_at_source(source: &Registry, subject: &str, tags: &BTreeSet<String>) -> Result<BTreeSet<String>, String> {
    // Asking only for tags that exist spares most of the requests.
    if !tags.contains(&fallback_tag(subject)) {
        return Ok(source
            .referrers(subject)?
            .map(|index| digests(&index))
            .unwrap_or_default());
    }
    listed(source, subject)
}

/// The digests listed by the API and by the fallback tag together.
pub(super) fn listed(registry: &Registry, subject: &str) -> Result<BTreeSet<String>, String> {
    let mut all = registry
        .referrers(subject)?
        .map(|index| digests(&index))
        .unwrap_or_default();
    if let Some(index) = registry.manifest(&fallback_tag(subject))? {
        all.extend(digests(&index.file.json()?));
    }
    Ok(all)
}

/// The referrers tag schema of the distribution specification: `sha256-<hex>`, at most 128 characters.
fn fallback_tag(digest: &str) -> String {
    digest.replace(':', "-").chars().take(128).collect()
}

fn digests(index: &Value) -> BTreeSet<String> {
    let entries = index["manifests"].as_array().into_iter().flatten();
    entries
        .filter_map(|entry| entry["digest"].as_str())
        .map(str::to_owned)
        .collect()
}
