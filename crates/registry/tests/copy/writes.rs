//! Writing to a destination that breaks, forgets or lies.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use transship_copy::Options;
use transship_embedded_registry::faults::Action;
use transship_testkit::images;

use crate::world::{World, always, answer, asked, name, script, watch};

const POST: (&str, &str) = ("POST", "/blobs/uploads/");
const PUT_BLOB: (&str, &str) = ("PUT", "/blobs/uploads/");
const PUT_MANIFEST: (&str, &str) = ("PUT", "/manifests/");

#[tokio::test]
async fn whatever_passes_by_itself_is_sent_again() {
    let actions = [
        Action::status(500),
        Action::status(503),
        Action::too_many_requests(0),
        answer(503, &[("retry-after", "0")], ""),
        Action::Reset,
    ];
    for action in actions {
        for (method, path) in [POST, PUT_BLOB, PUT_MANIFEST, ("HEAD", "/manifests/")] {
            let sample = images::image(1, &[50_000, 10]);
            let world = World::with(&sample).await;
            let faults = script(method, path, action.clone());
            world.destination.set_faults(Some(Arc::clone(&faults) as _));
            world
                .copy()
                .await
                .unwrap_or_else(|error| panic!("{action:?} {method} {path}: {error}"));
            assert_eq!(faults.struck(), 1, "{action:?} {method} {path}");
            world.assert_equal(&sample);
        }
    }
}

#[tokio::test]
async fn an_upload_that_is_reset_in_the_middle_begins_again() {
    let sample = images::image(2, &[2 << 20]);
    let world = World::with(&sample).await;
    let cut = script("PUT", "/blobs/uploads/", Action::CutRequest { after_bytes: 1 << 20 });
    world.destination.set_faults(Some(Arc::clone(&cut) as _));
    let report = world.copy().await.unwrap();
    assert_eq!(cut.struck(), 1);
    assert_eq!(
        report.bytes.copied,
        sample.blobs_size(),
        "what was sent in vain does not count"
    );
    world.assert_equal(&sample);
    assert_eq!(world.destination.open_uploads(), 0, "the broken session is cancelled");
}

#[tokio::test]
async fn a_lost_answer_to_a_commit_is_looked_for_and_not_sent_again() {
    let sample = images::image(3, &[100_000]);
    let world = World::with(&sample).await;
    let lost = script("PUT", "/blobs/uploads/", Action::LoseResponse);
    world.destination.set_faults(Some(Arc::clone(&lost) as _));
    world.copy().await.unwrap();
    assert_eq!(lost.struck(), 1);
    assert_eq!(
        asked(&world.destination, "PUT", "/blobs/uploads/").len(),
        2,
        "one for each blob"
    );
    assert_eq!(asked(&world.source, "GET", "/blobs/").len(), 2);
    world.assert_equal(&sample);
}

#[tokio::test]
async fn a_lost_answer_to_the_tag_is_no_harm() {
    let sample = images::image(4, &[10]);
    let world = World::with(&sample).await;
    let lost = script("PUT", "/manifests/v1", Action::LoseResponse);
    world.destination.set_faults(Some(Arc::clone(&lost) as _));
    world.copy().await.unwrap();
    assert_eq!(lost.struck(), 1);
    world.assert_equal(&sample);
}

#[tokio::test]
async fn an_upload_session_that_is_gone_is_opened_anew() {
    let sample = images::image(5, &[1000]);
    let world = World::with(&sample).await;
    let gone = answer(
        404,
        &[],
        r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"gone"}]}"#,
    );
    let faults = script("PUT", "/blobs/uploads/", gone);
    world.destination.set_faults(Some(Arc::clone(&faults) as _));
    world.copy().await.unwrap();
    assert_eq!((faults.struck(), asked(&world.destination, "POST", "").len()), (1, 3));
    world.assert_equal(&sample);
}

#[tokio::test]
async fn sessions_that_are_lost_again_and_again_are_left_for_later() {
    let world = World::with(&images::image(5, &[])).await;
    let gone = always("PUT", "/blobs/uploads/", Action::status(404));
    world.destination.set_faults(Some(Arc::clone(&gone) as _));
    let error = world.fails().await;
    assert_eq!((error.code(), gone.struck()), ("UPLOAD_SESSION_LOST", 6));
    assert!(!error.persistence().is_permanent());
}

#[tokio::test]
async fn a_session_a_mount_opened_and_lost_is_opened_anew() {
    let sample = images::image(6, &[1000]);
    let world = World::with(&sample).await;
    world.claim(&sample, &name("never/was"));
    let faults = script("PUT", "/blobs/uploads/", Action::status(404));
    world.destination.set_faults(Some(Arc::clone(&faults) as _));
    world.copy().await.unwrap();
    assert_eq!(faults.struck(), 1);
    world.assert_equal(&sample);
}

#[tokio::test]
async fn a_destination_that_never_recovers_is_asked_so_often_and_no_more() {
    for (method, path) in [POST, PUT_BLOB, PUT_MANIFEST] {
        let sample = images::image(7, &[]);
        let world = World::with(&sample).await;
        let faults = always(method, path, Action::status(503));
        world.destination.set_faults(Some(Arc::clone(&faults) as _));
        let error = world.fails().await;
        assert_eq!(error.code(), "REGISTRY_UNAVAILABLE");
        assert!(!error.persistence().is_permanent());
        assert_eq!(
            faults.struck(),
            6,
            "{method} {path}: one owner of retries, five times after the first"
        );
        world.assert_nothing_visible();
    }
}

#[tokio::test]
async fn a_refusal_is_not_repeated() {
    for (code, expected) in [
        (403, "ACCESS_DENIED"),
        (405, "REGISTRY_REFUSED"),
        (413, "REGISTRY_REFUSED"),
    ] {
        for (method, path) in [POST, PUT_BLOB, PUT_MANIFEST] {
            let world = World::with(&images::image(8, &[])).await;
            let faults = always(method, path, Action::status(code));
            world.destination.set_faults(Some(Arc::clone(&faults) as _));
            let error = world.fails().await;
            assert_eq!((error.code(), faults.struck()), (expected, 1), "{code} {method} {path}");
            assert!(error.persistence().is_permanent());
        }
    }
}

#[tokio::test]
async fn a_repository_that_pushes_do_not_create_is_said_to_be_missing() {
    let world = World::with(&images::image(9, &[])).await;
    world
        .destination
        .set_faults(Some(always("POST", "/blobs/uploads/", Action::status(404))));
    let error = world.fails().await;
    assert!(error.persistence().is_permanent());
    assert!(error.to_string().contains("does not exist"), "{error}");
}

#[tokio::test]
async fn a_wait_longer_than_ours_is_handed_on_instead_of_slept() {
    for (method, path) in [POST, PUT_BLOB, PUT_MANIFEST] {
        let world = World::with(&images::image(10, &[])).await;
        world
            .destination
            .set_faults(Some(always(method, path, Action::too_many_requests(3600))));
        let begin = Instant::now();
        let error = world.fails().await;
        assert!(begin.elapsed() < Duration::from_secs(5));
        assert_eq!(error.code(), "RATE_LIMITED", "{method} {path}");
        assert!(error.persistence().retry_after().unwrap() > Duration::from_secs(3590));
        let last = world.destination.requests().pop().unwrap();
        assert_eq!(
            last.status, 429,
            "{method} {path}: nothing is sent to who asked us to wait, not {last:?}"
        );
    }
}

#[tokio::test]
async fn an_acknowledgement_of_something_else_is_none() {
    let other = format!("sha256:{}", "0".repeat(64));
    let acknowledged = answer(201, &[("docker-content-digest", &other), ("location", "/v2/x")], "");
    let page = answer(200, &[("content-type", "text/html")], "<html>welcome</html>");
    let bare = answer(201, &[], "");
    for lie in [acknowledged, page, bare] {
        let world = World::with(&images::image(11, &[10])).await;
        world
            .destination
            .set_faults(Some(always("PUT", "/manifests/", lie.clone())));
        let error = world.fails().await;
        assert_eq!(error.code(), "DEST_VERIFY_FAILED", "{lie:?}");
        assert!(!error.persistence().is_permanent());
        world.assert_nothing_visible();
    }
}

#[tokio::test]
async fn a_blob_that_is_acknowledged_as_another_is_not_believed() {
    let other = format!("sha256:{}", "0".repeat(64));
    for lie in [
        answer(201, &[("docker-content-digest", &other)], ""),
        answer(200, &[], "<html>"),
    ] {
        let world = World::with(&images::image(12, &[])).await;
        world
            .destination
            .set_faults(Some(always("PUT", "/blobs/uploads/", lie.clone())));
        assert_eq!(world.fails().await.code(), "DEST_VERIFY_FAILED", "{lie:?}");
        world.assert_nothing_visible();
    }
}

#[tokio::test]
async fn a_digest_of_another_algorithm_is_no_contradiction() {
    let sample = images::image(13, &[]);
    let world = World::with(&sample).await;
    let root = sample.root_manifest().unwrap();
    let other = transship_oci::Digest::of(transship_oci::Algorithm::Sha512, &root.bytes);
    let head = answer(
        201,
        &[("docker-content-digest", &other.to_string()), ("location", "/v2/x")],
        "",
    );
    world.destination.set_faults(Some(always("PUT", "/manifests/", head)));
    world.copy().await.unwrap();
}

#[tokio::test]
async fn a_blob_that_was_said_to_be_there_and_is_not_is_sent_after_all() {
    let sample = images::image(14, &[1000, 2000]);
    let world = World::with(&sample).await;
    for (digest, bytes) in &sample.blobs {
        world
            .destination
            .seed_blob(&name("copy/app"), digest.algorithm(), bytes.clone());
    }
    // Collected between our HEAD and our PUT.
    let lost = sample.blobs.keys().next().unwrap().clone();
    let (registry, puts) = (Arc::downgrade(&world.destination), AtomicUsize::new(0));
    watch(&world.destination, move |request| {
        if request.method == "PUT" && request.path.contains("/manifests/") && puts.fetch_add(1, Ordering::Relaxed) == 0
        {
            registry.upgrade()?.forget(&name("copy/app"), &lost);
        }
        None
    });
    let options = Options {
        is_repeated: true,
        ..Options::default()
    };
    world.copy_with(options).await.unwrap();
    assert_eq!(asked(&world.destination, "PUT", "/manifests/").len(), 2);
    world.assert_equal(&sample);
}

#[tokio::test]
async fn a_destination_that_loses_what_it_was_just_sent_is_given_up_on_for_now() {
    let sample = images::image(15, &[1000]);
    let world = World::with(&sample).await;
    let blobs: Vec<_> = sample.blobs.keys().cloned().collect();
    let registry = Arc::downgrade(&world.destination);
    watch(&world.destination, move |request| {
        if request.method == "PUT" && request.path.contains("/manifests/") {
            let registry = registry.upgrade()?;
            for digest in &blobs {
                registry.forget(&name("copy/app"), digest);
            }
        }
        None
    });
    let error = world.fails().await;
    assert_eq!(error.code(), "BLOB_UNKNOWN_AT_DEST");
    assert!(!error.persistence().is_permanent());
    world.assert_nothing_visible();
}

#[tokio::test]
async fn a_child_that_was_said_to_be_there_and_is_not_is_sent_after_all() {
    let sample = images::multi_platform(16);
    let world = World::with(&sample).await;
    sample.seed_into(&world.destination, &name("copy/app"), &"other".parse().unwrap());
    let lost = sample.manifests[0].digest.clone();
    let (registry, puts) = (Arc::downgrade(&world.destination), AtomicUsize::new(0));
    watch(&world.destination, move |request| {
        if request.method == "PUT"
            && request.path.ends_with("/manifests/v1")
            && puts.fetch_add(1, Ordering::Relaxed) == 0
        {
            registry.upgrade()?.forget(&name("copy/app"), &lost);
        }
        None
    });
    let options = Options {
        is_repeated: true,
        ..Options::default()
    };
    world.copy_with(options).await.unwrap();
    world.assert_equal(&sample);
}

#[tokio::test]
async fn an_upload_goes_nowhere_but_to_its_registry() {
    for location in [
        "http://127.0.0.1:1/v2/x",
        "http://example.com/u?token=capability",
        "https://169.254.169.254/latest",
        "//example.com/u",
        "ftp://127.0.0.1/u",
    ] {
        let world = World::with(&images::image(17, &[])).await;
        world.destination.set_faults(Some(always(
            "POST",
            "/blobs/uploads/",
            answer(202, &[("location", location)], ""),
        )));
        let error = world.fails().await;
        assert_eq!(error.code(), "UPLOAD_LOCATION_REJECTED", "{location}");
        assert!(error.persistence().is_permanent());
        assert!(
            !format!("{error:?}").contains("capability"),
            "the location is not shown"
        );
        assert_eq!(asked(&world.destination, "PUT", "").len(), 0);
    }
}

#[tokio::test]
async fn a_write_is_not_redirected() {
    for (method, path) in [POST, PUT_BLOB, PUT_MANIFEST] {
        let world = World::with(&images::image(18, &[])).await;
        let away = answer(307, &[("location", "/v2/elsewhere")], "");
        world.destination.set_faults(Some(always(method, path, away)));
        let error = world.fails().await;
        assert_eq!(error.code(), "REDIRECT_REFUSED", "{method} {path}");
        assert!(error.persistence().is_permanent());
        assert!(asked(&world.destination, "GET", "elsewhere").is_empty());
    }
}

#[tokio::test]
async fn an_immutable_tag_is_called_by_its_code() {
    let world = World::with(&images::image(19, &[])).await;
    let immutable =
        r#"{"errors":[{"code":"TAG_INVALID","message":"the tag v1 is immutable and cannot be overwritten"}]}"#;
    world
        .destination
        .set_faults(Some(always("PUT", "/manifests/v1", answer(400, &[], immutable))));
    let error = world.fails().await;
    assert_eq!(error.code(), "DEST_TAG_IMMUTABLE");
    assert!(error.persistence().is_permanent());
}
