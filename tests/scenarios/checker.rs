//! Tests of the checker: it must accept equal and complete images, and find every kind of difference.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests, and what they share")]

use std::sync::Arc;

use bytes::Bytes;
use transship_testkit::faults::{Action, Fault, Script};
use transship_testkit::proxy::FaultProxy;
use transship_tests::images::{Content, fallback_index};
use transship_tests::{DockerRegistry, Image, assert_consistent, assert_equal, check, push, skopeo};

const REPOSITORY: &str = "core/app";

/// Two registries with the same image in both.
fn same_in_both(image: &Image) -> (DockerRegistry, DockerRegistry) {
    let (source, destination) = (DockerRegistry::start(), DockerRegistry::start());
    image.push(&source.host(), REPOSITORY, "v1");
    image.push(&destination.host(), REPOSITORY, "v1");
    assert_equal(&source.host(), REPOSITORY, "v1", &destination.host(), REPOSITORY, "v1");
    (source, destination)
}

fn difference(source: &DockerRegistry, destination: &DockerRegistry) -> String {
    check::equal(&source.host(), REPOSITORY, "v1", &destination.host(), REPOSITORY, "v1")
        .expect_err("the checker calls what differs equal")
}

#[test]
fn what_skopeo_copied_is_equal_and_consistent() {
    if DockerRegistry::skipped() {
        return;
    }
    let (source, destination) = (DockerRegistry::start(), DockerRegistry::start());
    let layout = tempfile::tempdir().unwrap();
    Image::multi_platform(1, 20_000).write_layout(layout.path(), "v1");
    skopeo::push_layout(layout.path(), "v1", &format!("{}/{REPOSITORY}:v1", source.host()));
    skopeo::copy(
        &["--all"],
        &format!("docker://{}/{REPOSITORY}:v1", source.host()),
        &format!("docker://{}/mirror:v1", destination.host()),
    );
    assert_equal(&source.host(), REPOSITORY, "v1", &destination.host(), "mirror", "v1");
    assert_eq!(assert_consistent(&destination.host()), 1);
}

#[test]
fn what_a_repository_is_to_hold_is_looked_for_by_name_digest_and_byte() {
    if DockerRegistry::skipped() {
        return;
    }
    let (image, other) = (Image::multi_platform(7, 900), Image::single(8, &[100]));
    let (registry, _same) = same_in_both(&image);
    let holds = |reference: &str, digest: &str| {
        let expected = [(reference.to_owned(), digest.to_owned())].into();
        check::holds(&registry.host(), REPOSITORY, &expected)
    };
    let (digest, wrong) = (&image.root().digest, &other.root().digest);
    assert_eq!(holds("v1", digest), Ok(()));
    assert_eq!(holds(digest, digest), Ok(()));
    assert!(holds("v1", wrong).unwrap_err().contains(wrong));
    assert!(holds("v2", digest).unwrap_err().contains("v2"));
    flip(&registry, &image.blobs[0]);
    assert!(holds("v1", digest).unwrap_err().contains(&image.blobs[0].digest));
}

#[test]
fn a_flipped_byte_in_a_blob_is_found() {
    if DockerRegistry::skipped() {
        return;
    }
    let image = Image::multi_platform(2, 4000);
    let (source, destination) = same_in_both(&image);
    let blob = &image.blobs[1];
    flip(&destination, blob);
    let found = difference(&source, &destination);
    assert!(found.contains(&blob.digest) && found.contains("hash to"), "{found}");
    let found = check::consistent(&destination.host()).unwrap_err();
    assert!(found.contains(&blob.digest), "{found}");
}

#[test]
fn a_flipped_byte_in_a_sha512_blob_is_found() {
    if DockerRegistry::skipped() {
        return;
    }
    let image = Image::sha512_layer(3);
    let (source, destination) = same_in_both(&image);
    let layer = image
        .blobs
        .iter()
        .find(|blob| blob.digest.starts_with("sha512:"))
        .unwrap();
    // The registry stores it under its sha256 name.
    flip(&destination, &Content::new(&layer.media_type, layer.bytes.clone()));
    let found = difference(&source, &destination);
    assert!(found.contains(&layer.digest) && found.contains("hash to"), "{found}");
}

#[test]
fn a_tag_that_names_something_else_is_found() {
    if DockerRegistry::skipped() {
        return;
    }
    let (source, destination) = same_in_both(&Image::single(4, &[1000]));
    Image::single(5, &[1000]).push(&destination.host(), REPOSITORY, "v1");
    let found = difference(&source, &destination);
    assert!(found.contains("differ"), "{found}");
}

#[test]
fn a_missing_tag_child_or_blob_is_found() {
    if DockerRegistry::skipped() {
        return;
    }
    let image = Image::nested(6);
    let (source, destination) = same_in_both(&image);
    let found = check::equal(&source.host(), REPOSITORY, "v1", &destination.host(), REPOSITORY, "v2").unwrap_err();
    assert!(found.contains("the destination has no v2"), "{found}");

    let lost = &image.blobs[0];
    std::fs::remove_file(destination.blob_file(&lost.digest)).unwrap();
    let found = difference(&source, &destination);
    assert!(found.contains(&lost.digest), "{found}");
    std::fs::write(destination.blob_file(&lost.digest), &lost.bytes).unwrap();
    assert_equal(&source.host(), REPOSITORY, "v1", &destination.host(), REPOSITORY, "v1");

    let child = &image.manifests[0];
    std::fs::remove_file(destination.blob_file(&child.digest)).unwrap();
    let found = difference(&source, &destination);
    assert!(found.contains(&child.digest), "{found}");
    assert!(
        check::consistent(&destination.host())
            .unwrap_err()
            .contains(&child.digest)
    );
}

#[test]
fn a_missing_referrer_or_signature_is_found() {
    if DockerRegistry::skipped() {
        return;
    }
    let image = Image::single(7, &[1000]);
    let (source, destination) = same_in_both(&image);
    let referrer = Image::referrer(8, image.root());
    let fallback = fallback_index(&[&referrer]);
    let fallback_tag = image.root().digest.replace(':', "-");
    let hang = |registry: &DockerRegistry| {
        referrer.push(&registry.host(), REPOSITORY, &referrer.root().digest);
        push::manifest(
            &registry.host(),
            REPOSITORY,
            &fallback_tag,
            &fallback.media_type,
            &fallback.bytes,
        );
    };
    hang(&source);
    let found = difference(&source, &destination);
    assert!(
        found.contains("referrer") && found.contains(&referrer.root().digest),
        "{found}"
    );
    hang(&destination);
    assert_equal(&source.host(), REPOSITORY, "v1", &destination.host(), REPOSITORY, "v1");

    let signature = Image::artifact(9);
    signature.push(&source.host(), REPOSITORY, &format!("{fallback_tag}.sig"));
    let found = difference(&source, &destination);
    assert!(found.contains(".sig"), "{found}");
    signature.push(&destination.host(), REPOSITORY, &format!("{fallback_tag}.sig"));
    assert_equal(&source.host(), REPOSITORY, "v1", &destination.host(), REPOSITORY, "v1");
}

/// Distribution 2.8.2 answers 500 for a moment while a manifest is put again. This is not an incomplete image; 404 is.
#[test]
fn a_moment_of_500_is_no_difference() {
    if DockerRegistry::skipped() {
        return;
    }
    let (_source, registry) = same_in_both(&Image::single(10, &[1000]));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let proxy = runtime
        .block_on(FaultProxy::start(&registry.host().parse().unwrap()))
        .unwrap();
    let answer = |code| {
        let body = Bytes::new();
        let fault = Fault::new(
            "GET",
            "manifests",
            Action::Status {
                code,
                headers: Vec::new(),
                body,
            },
        )
        .unwrap();
        proxy.set_faults(Some(Arc::new(Script::new([fault]))));
        check::whole(proxy.host().as_str(), REPOSITORY, "v1")
    };
    assert_eq!(answer(500), Ok(()));
    assert_eq!(answer(404), Err("no manifest v1".to_owned()));
    assert!(answer(403).is_err_and(|reason| reason.ends_with("answers 403")));
}

fn flip(registry: &DockerRegistry, blob: &Content) {
    let file = registry.blob_file(&blob.digest);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[blob.bytes.len() / 2] ^= 1;
    std::fs::write(&file, bytes).unwrap();
}
