//! A registry's own storage, copied into the bucket, fills another registry.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use transship_tests::layouts::Objects;
use transship_tests::{DockerRegistry, Image, check, skopeo};

use crate::stage::{Stage, alone, failed};

/// Where the copy lies in the bucket.
const COPY: &str = "copy/";

#[test]
fn a_copied_storage_tree_fills_a_registry_by_events_and_by_an_order() {
    if DockerRegistry::skipped() {
        return;
    }
    let _alone = alone();
    let (source, referrers) = filled();
    let stage = Stage::set(|document, bucket| document.import("tree", bucket, COPY, "by-events"));
    let tree = source.storage().join("docker");
    let mut objects = BTreeMap::new();
    collect(&tree, &format!("{COPY}docker"), &mut objects);
    stage.upload(&Objects::shuffled(objects, 11));
    let by_events = stage.at_rest(5);
    assert_eq!(failed(&by_events), Vec::<&Value>::new());
    assert_same(&stage, &source, "by-events", &referrers);

    let order = json!({ "bucket": stage.bucket(), "prefix": COPY, "to": "b/by-order" });
    let begun = stage.stack.invoke_bulk_import(&order);
    assert!(begun["execution"].is_string(), "{begun}");
    let all = stage.at_rest(by_events.len() + 5);
    assert_eq!(failed(&all), Vec::<&Value>::new());
    assert_same(&stage, &source, "by-order", &referrers);
    stage.assert_clean();
}

/// A registry as strangers fill it; and the referrers that no tag leads to: repository, subject, digest.
fn filled() -> (DockerRegistry, Vec<[String; 3]>) {
    let source = DockerRegistry::start();
    let host = source.host();
    let single = Image::single(31, &[4000, 100]);
    for (name, tag, image) in [
        ("core/app", "v1", single.clone()),
        ("core/app", "v2", Image::single(32, &[4000, 50])),
        ("core/deep/er/multi", "v1", Image::multi_platform(33, 1000)),
        ("other", "latest", single.clone()),
    ] {
        let layout = tempfile::tempdir().unwrap();
        image.write_layout(layout.path(), tag);
        skopeo::push_layout(layout.path(), tag, &format!("{host}/{name}:{tag}"));
    }
    let referrer = Image::referrer(34, single.root());
    referrer.push(&host, "core/app", &referrer.root().digest);
    let [subject, digest] = [single.root(), referrer.root()].map(|manifest| manifest.digest.clone());
    (source, vec![["core/app".to_owned(), subject, digest]])
}

/// Every file below `folder`, as objects below `key`.
fn collect(folder: &Path, key: &str, objects: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let key = format!("{key}/{}", path.file_name().unwrap().to_str().unwrap());
        if path.is_dir() {
            collect(&path, &key, objects);
        } else {
            objects.insert(key, fs::read(&path).unwrap());
        }
    }
}

fn assert_same(stage: &Stage, source: &DockerRegistry, namespace: &str, referrers: &[[String; 3]]) {
    let (from, to) = (source.host(), stage.destination.host());
    let all = check::repositories(&from).unwrap();
    let below: BTreeSet<_> = all.iter().map(|name| format!("{namespace}/{name}")).collect();
    let arrived: BTreeSet<_> = check::repositories(&to)
        .unwrap()
        .into_iter()
        .filter(|name| name.starts_with(namespace))
        .collect();
    assert_eq!(arrived, below, "{}", stage.stack.logs_tail());
    for name in all {
        let copy = format!("{namespace}/{name}");
        let tags = check::tags(&from, &name).unwrap();
        for tag in &tags {
            transship_tests::assert_equal(&from, &name, tag, &to, &copy, tag);
        }
        let mut copied = check::tags(&to, &copy).unwrap();
        copied.retain(|tag| !tag.starts_with("sha256-"));
        assert_eq!(copied, tags, "{copy}");
    }
    for [name, subject, digest] in referrers {
        let copy = format!("{namespace}/{name}");
        check::whole(&to, &copy, digest).unwrap();
        let listed = check::referrers(&to, &copy, subject).unwrap();
        assert!(listed.contains(digest), "{copy} does not list {digest}");
    }
}
