//! `transship copy`: its reports and errors.

use transship_tests::{DockerRegistry, Image, assert_equal, check, transship};

use crate::{assert_keys, assert_refused};

#[test]
fn copy_reports_what_it_did_and_does_nothing_twice() {
    if DockerRegistry::skipped() {
        return;
    }
    let (source, destination) = (DockerRegistry::start(), DockerRegistry::start());
    Image::multi_platform(1, 5000).push(&source.host(), "by/hand", "1");
    let memory = tempfile::tempdir().unwrap();
    let copy = |to: &str, more: &[&str]| {
        let (from, to) = (
            format!("{}/by/hand:1", source.host()),
            format!("{}/{to}", destination.host()),
        );
        let data = memory.path().to_str().unwrap();
        transship::run(&[&["copy", &from, &to, "--data", data, "--json"], more].concat())
    };
    let first = copy("by/hand:2", &[]);
    assert_eq!(first.code, 0, "{first:?}");
    let report = first.json();
    assert_keys(
        &report,
        &[
            "source",
            "destination",
            "digest",
            "state",
            "manifests",
            "blobs",
            "bytes",
            "requests",
            "elapsed_ms",
        ],
    );
    assert_keys(&report["blobs"], &["copied", "mounted", "skipped"]);
    assert_keys(&report["bytes"], &["copied", "mounted", "skipped"]);
    assert_keys(&report["requests"], &["source", "destination"]);
    assert_eq!(report["state"], "copied");
    let digest = check::digest(&destination.host(), "by/hand", "2").unwrap();
    assert_eq!(report["digest"].as_str(), digest.as_deref());
    assert_equal(&source.host(), "by/hand", "1", &destination.host(), "by/hand", "2");

    let again = copy("by/hand:2", &[]).json();
    assert_eq!(again["state"], "unchanged", "{again}");
    assert_eq!(
        (again["manifests"].as_u64(), again["bytes"]["copied"].as_u64()),
        (Some(0), Some(0)),
        "{again}"
    );

    let second = copy("other/place:1", &[]).json();
    assert_eq!(
        second["bytes"]["copied"], 0,
        "what the registry has is mounted: {second}"
    );
    assert_equal(&source.host(), "by/hand", "1", &destination.host(), "other/place", "1");

    Image::single(9, &[10]).push(&destination.host(), "by/hand", "kept");
    let kept = copy("by/hand:kept", &["--existing", "keep"]);
    assert_eq!(
        (kept.code, kept.json()["state"].as_str()),
        (0, Some("kept")),
        "{kept:?}"
    );
    assert_ne!(check::digest(&destination.host(), "by/hand", "kept").unwrap(), digest);
}

#[test]
fn a_copy_that_cannot_be_exits_1_with_its_code() {
    if DockerRegistry::skipped() {
        return;
    }
    let (source, destination) = (DockerRegistry::start(), DockerRegistry::start());
    Image::single(2, &[100]).push(&source.host(), "by/hand", "1");
    let missing = transship::run(&[
        "copy",
        &format!("{}/by/hand:nope", source.host()),
        &format!("{}/x:1", destination.host()),
    ]);
    assert_refused(&missing, 1);
    assert_eq!(missing.error_code(), Some("SOURCE_NOT_FOUND"));
    let to_s3 = transship::run(&["copy", "s3://bucket/prefix:1", &format!("{}/x:1", destination.host())]);
    assert_eq!(to_s3.error_code(), Some("S3_NOT_BUILT"), "{to_s3:?}");
}

#[test]
fn a_layout_is_a_source_and_keeps_its_digest() {
    if DockerRegistry::skipped() {
        return;
    }
    let destination = DockerRegistry::start();
    let image = Image::multi_platform(3, 3000);
    let layout = tempfile::tempdir().unwrap();
    image.write_layout(layout.path(), "v9");
    let from = format!("oci:{}:v9", layout.path().display());
    let run = transship::run(&[
        "copy",
        &from,
        &format!("{}/from/layout:1", destination.host()),
        "--json",
    ]);
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(
        check::digest(&destination.host(), "from/layout", "1").unwrap().as_ref(),
        Some(&image.root().digest)
    );
    check::whole(&destination.host(), "from/layout", "1").unwrap();
}
