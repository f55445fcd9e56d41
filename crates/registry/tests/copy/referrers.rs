//! The referrers API as registries have it: in odd types, on several pages, here and not there, and behind a login page.

use std::sync::atomic::{AtomicUsize, Ordering};

use transship_copy::{Manifests as _, Options, Referrers, Source as _, State};
use transship_embedded_registry::EmbeddedRegistry;
use transship_embedded_registry::faults::Action;
use transship_oci::media_type::OCI_INDEX;
use transship_oci::{Digest, Target};
use transship_testkit::images::{self, Sample};

use crate::stage::{Stage, reply};
use crate::world::{Job, World, always, answer, asked, name, tag, watch};

/// The body of a list of the referrers of `sample`, in a certain form.
fn list_of(sample: &Sample) -> String {
    let referrer = sample.manifests.last().unwrap();
    let descriptor = serde_json::json!({
        "mediaType": referrer.media_type, "digest": referrer.digest, "size": referrer.bytes.len(),
    });
    serde_json::json!({ "schemaVersion": 2, "manifests": [descriptor] }).to_string()
}

fn required() -> Options {
    Options {
        referrers: Referrers::Require,
        ..Options::default()
    }
}

#[tokio::test]
async fn a_list_is_known_by_its_content_and_not_by_its_type() {
    for content_type in [
        "application/json",
        "text/plain; charset=utf-8",
        "Application/Vnd.OCI.Image.Index.V1+JSON",
        "application/octet-stream",
    ] {
        let sample = images::with_referrer(1);
        let world = World::with(&sample).await;
        let page = answer(200, &[("content-type", content_type)], list_of(&sample));
        let subject = format!("/referrers/{}", sample.root);
        world.source.set_faults(Some(always("GET", &subject, page)));
        world.copy_with(required()).await.unwrap();
        world.assert_equal(&sample);
    }
}

#[tokio::test]
async fn a_page_for_people_is_no_list() {
    for (content_type, body) in [
        ("text/html", "<html>log in</html>"),
        ("text/html", r#"{"schemaVersion":2,"manifests":[]}"#),
        ("text/plain", "404 page not found"),
        ("application/json", r#"{"errors":[{"code":"UNSUPPORTED"}]}"#),
    ] {
        let sample = images::with_referrer(2);
        let world = World::of(
            EmbeddedRegistry::builder().referrers_api(false),
            EmbeddedRegistry::builder(),
        )
        .await;
        world.seed(&sample);
        let page = answer(200, &[("content-type", content_type)], body);
        world.source.set_faults(Some(always("GET", "/referrers/", page)));
        world.copy_with(required()).await.unwrap();
        world.assert_equal(&sample);
    }
}

#[tokio::test]
async fn every_page_of_referrers_is_read_or_the_copy_fails() {
    let sample = images::with_referrer(3);
    for (link, later, expected) in [
        ("?last=x", None, None),
        ("http://upstream.example/v2/other/referrers/x?last=x", None, None),
        ("?last=x", Some(Action::status(404)), Some("LIST_ABORTED")),
        (
            "?last=x",
            Some(answer(200, &[("content-type", "text/html")], "")),
            Some("LIST_ABORTED"),
        ),
        ("http://upstream.example/", None, Some("LIST_ABORTED")),
    ] {
        let world = World::with(&sample).await;
        let (root, list) = (sample.root.to_string(), list_of(&sample));
        let header = format!("<{link}>; rel=\"next\"");
        watch(&world.source, move |request| {
            if !request.path.contains(&format!("/referrers/{root}")) {
                return None;
            }
            let headers = [("content-type", OCI_INDEX), ("link", header.as_str())];
            Some(match request.query {
                None => answer(200, &headers, r#"{"schemaVersion":2,"manifests":null}"#),
                Some(_) => later
                    .clone()
                    .unwrap_or_else(|| answer(200, &headers[..1], list.clone())),
            })
        });
        let done = world.copy_with(required()).await;
        match expected {
            None => world.assert_equal(&sample),
            Some(code) => {
                assert_eq!(done.unwrap_err().code(), code, "{link}");
                assert_eq!(world.arrived(), None);
            }
        }
    }
}

/// Copies `core/<short>:v1` to `copy/<short>:v1`.
async fn copy(world: &World, short: &str) -> State {
    let job = Job {
        from: (name(&format!("core/{short}")), Target::Tag(tag("v1"))),
        to: (name(&format!("copy/{short}")), Target::Tag(tag("v1"))),
        ..Job::default()
    };
    world.run(job).await.unwrap().state
}

#[tokio::test]
async fn a_repository_without_the_api_says_nothing_about_another() {
    for refusal in [
        Action::status(404),
        answer(404, &[], r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#),
        Action::status(405),
        answer(200, &[("content-type", "text/html")], "<html>"),
    ] {
        let world = World::new().await;
        let samples = [
            images::with_referrer(4),
            images::image(5, &[10]),
            images::with_referrer(6),
        ];
        for (sample, short) in samples.iter().zip(["one", "odd", "two"]) {
            sample.seed_into(&world.source, &name(&format!("core/{short}")), &tag("v1"));
        }
        world
            .source
            .set_faults(Some(always("GET", "/core/odd/referrers/", refusal)));
        for short in ["one", "odd", "two"] {
            assert_eq!(copy(&world, short).await, State::Copied);
        }
        for (sample, short) in [(&samples[0], "one"), (&samples[2], "two")] {
            let referrer = &sample.manifests.last().unwrap().digest;
            let arrived = world.destination.manifests(&name(&format!("copy/{short}")));
            assert!(arrived.contains(referrer), "{short}: the signature is copied");
        }
    }
}

#[tokio::test]
async fn one_refusal_of_an_api_that_is_known_is_not_believed() {
    let world = World::new().await;
    let (one, two) = (images::with_referrer(7), images::with_referrer(8));
    one.seed_into(&world.source, &name("core/one"), &tag("v1"));
    two.seed_into(&world.source, &name("core/two"), &tag("v1"));
    copy(&world, "one").await;
    let asked_so_far = AtomicUsize::new(0);
    watch(&world.source, move |request| {
        let is_asked = request.path.contains("/core/two/referrers/");
        (is_asked && asked_so_far.fetch_add(1, Ordering::Relaxed) == 0).then(|| Action::status(404))
    });
    copy(&world, "two").await;
    let referrer = &two.manifests.last().unwrap().digest;
    assert!(world.destination.manifests(&name("copy/two")).contains(referrer));
}

#[tokio::test]
async fn an_api_that_disappears_fails_the_copy_instead_of_hiding_signatures() {
    let sample = images::with_referrer(9);
    let world = World::with(&sample).await;
    let source = world.from.repository(name("core/app"));
    assert_eq!(source.referrers(&sample.root).await.unwrap().len(), 1);
    world
        .source
        .set_faults(Some(always("GET", "/referrers/", Action::status(404))));
    let error = source.referrers(&sample.root).await.unwrap_err();
    assert_eq!(error.code(), "LIST_ABORTED");
    assert!(error.persistence().is_temporary(), "it is asked again later");
    world.source.set_faults(None);
    assert_eq!(source.referrers(&sample.root).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_repository_without_the_api_is_asked_once() {
    let sample = images::with_referrer(10);
    let world = World::of(
        EmbeddedRegistry::builder().referrers_api(false),
        EmbeddedRegistry::builder(),
    )
    .await;
    world.seed(&sample);
    for _ in 0..2 {
        world.copy().await.unwrap();
    }
    world.assert_equal(&sample);
    assert_eq!(asked(&world.source, "GET", "/referrers/").len(), 1);
}

#[tokio::test]
async fn a_redirect_to_a_login_page_is_no_api() {
    let sample = images::with_referrer(11);
    let page = Stage::start(|_| reply(200, &[("content-type", "text/html")], "<html>log in</html>")).await;
    let login = format!("http://127.0.0.1:{}/login", page.port());
    for location in [
        "/login",
        &login,
        // Nobody listens there, and the second is an address that is never connected to.
        "http://127.0.0.1:1/login",
        "http://169.254.169.254/login",
        "ftp://elsewhere.example/",
        "http://[",
        "",
    ] {
        let world = World::of(
            EmbeddedRegistry::builder().referrers_api(false),
            EmbeddedRegistry::builder(),
        )
        .await;
        world.seed(&sample);
        let to_login = location.to_owned();
        watch(&world.source, move |request| match request.path {
            "/login" => Some(answer(200, &[("content-type", "text/html")], "<html>")),
            path if path.contains("/referrers/") => Some(answer(303, &[("location", &to_login)], "")),
            _ => None,
        });
        world
            .copy_with(required())
            .await
            .unwrap_or_else(|error| panic!("{location}: {error}"));
        world.assert_equal(&sample);
    }
    assert!(page.heard().iter().all(|heard| heard.authorization().is_none()));
}

#[tokio::test]
async fn a_list_behind_a_redirect_is_a_list() {
    let sample = images::with_referrer(12);
    let list = list_of(&sample);
    let world = World::with(&sample).await;
    watch(&world.source, move |request| match request.path {
        "/list" => Some(answer(200, &[("content-type", OCI_INDEX)], list.clone())),
        path if path.contains("/referrers/") => Some(answer(307, &[("location", "/list")], "")),
        _ => None,
    });
    let listed = world.from.repository(name("core/app")).referrers(&sample.root).await;
    assert_eq!(listed.unwrap().len(), 1);
}

#[tokio::test]
async fn a_refused_list_is_an_error_and_a_refused_probe_is_none() {
    let sample = images::with_referrer(13);
    let world = World::with(&sample).await;
    world
        .source
        .set_faults(Some(always("GET", "/referrers/", Action::status(403))));
    assert_eq!(world.fails().await.code(), "ACCESS_DENIED");
    let source = world.from.repository(name("core/app"));
    assert!(!source.has_referrers_api(&sample.root).await.unwrap());
    world.source.set_faults(None);
    assert!(
        source.has_referrers_api(&sample.root).await.unwrap(),
        "nothing was learned"
    );
}

#[tokio::test]
async fn a_fallback_tag_that_is_the_image_itself_lists_nothing() {
    let sample = images::multi_platform(14);
    let world = World::of(
        EmbeddedRegistry::builder().referrers_api(false),
        EmbeddedRegistry::builder(),
    )
    .await;
    world.seed(&sample);
    let fallback = tag(&sample.root.fallback_tag());
    world.source.tag(&name("core/app"), &fallback, &sample.root);
    let source = world.from.repository(name("core/app"));
    assert_eq!(source.referrers(&sample.root).await.unwrap(), []);
    let other = Digest::sha256(b"other");
    world
        .source
        .tag(&name("core/app"), &tag(&other.fallback_tag()), &sample.root);
    assert!(!source.referrers(&other).await.unwrap().is_empty());
}
