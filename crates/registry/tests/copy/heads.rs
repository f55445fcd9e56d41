//! Registries whose HEAD says another thing than their GET.

use transship_copy::{Existing, Manifests as _, Options, State};
use transship_embedded_registry::EmbeddedRegistry;
use transship_embedded_registry::faults::Action;
use transship_oci::{Provider, Target};
use transship_registry::{Profile, Registry};
use transship_testkit::images;

use crate::world::{World, always, answer, asked, name, options_of, script, tag, watch};

const POLICY: &str = r#"{"errors":[{"code":"PROJECTPOLICYVIOLATION","message":"The image is not signed by cosign. Signed ones are immutable."}]}"#;

fn of(existing: Existing) -> Options {
    Options {
        existing,
        ..Options::default()
    }
}

/// The requests for manifests of `registry` by `method`.
fn count(registry: &EmbeddedRegistry, method: &str) -> usize {
    asked(registry, method, "/manifests/").len()
}

#[tokio::test]
async fn a_refused_head_is_repeated_as_get_and_remembered() {
    for code in [400, 403, 405, 406, 412, 501] {
        let sample = images::with_cosign_signature(1);
        let world = World::with(&sample).await;
        world.copy().await.unwrap();
        for registry in [&world.source, &world.destination] {
            registry.set_faults(Some(always("HEAD", "/manifests/", Action::status(code))));
        }
        world.reset_requests();
        assert_eq!(world.copy().await.unwrap().state, State::Unchanged, "{code}");
        assert_eq!(
            (count(&world.source, "HEAD"), count(&world.destination, "HEAD")),
            (1, 1),
            "{code}: one HEAD to each"
        );
        world.reset_requests();
        assert_eq!(world.copy().await.unwrap().state, State::Unchanged);
        assert_eq!(
            count(&world.source, "HEAD") + count(&world.destination, "HEAD"),
            0,
            "{code}"
        );
    }
}

/// A connection that hangs, while the registry answers on others.
#[tokio::test]
async fn a_head_that_hangs_is_asked_again_where_others_were_answered() {
    let world = World::with(&images::image(1, &[10])).await;
    let source = world.from.repository(name("core/app"));
    let target = Target::Tag(tag("v1"));
    for _ in 0..8 {
        assert!(source.manifest_head(&target).await.unwrap().is_some());
    }
    let hang = script("HEAD", "/manifests/v1", Action::Delay { delay_ms: 3_600_000 });
    world.source.set_faults(Some(hang));
    world.reset_requests();
    assert!(source.manifest_head(&target).await.unwrap().is_some());
    assert_eq!(count(&world.source, "HEAD"), 2);
}

#[tokio::test]
async fn the_number_of_heads_does_not_depend_on_which_is_answered_first() {
    let sample = images::with_cosign_signature(1);
    let mut counts = Vec::new();
    for late in [".sig", ".att"] {
        let world = World::with(&sample).await;
        world
            .source
            .set_faults(Some(always("HEAD", late, Action::Delay { delay_ms: 200 })));
        world.copy().await.unwrap();
        counts.push(count(&world.source, "HEAD"));
    }
    assert_eq!(counts[0], counts[1]);
}

#[tokio::test]
async fn a_refusal_that_is_about_the_login_or_passes_is_not_repeated() {
    for (code, expected) in [
        (401, "AUTH_FAILED"),
        (503, "REGISTRY_UNAVAILABLE"),
        (505, "REGISTRY_REFUSED"),
    ] {
        let world = World::with(&images::image(2, &[10])).await;
        world
            .destination
            .set_faults(Some(always("HEAD", "/manifests/", Action::status(code))));
        assert_eq!(world.fails().await.code(), expected);
        assert_eq!(count(&world.destination, "GET"), 0, "{code}");
    }
}

#[tokio::test]
async fn a_policy_is_quoted_and_is_no_immutable_tag() {
    let sample = images::image(3, &[10]);
    for is_there in [false, true] {
        let world = World::with(&sample).await;
        if is_there {
            images::image(4, &[10]).seed_into(&world.destination, &name("copy/app"), &tag("v1"));
        }
        watch(&world.source, |request| {
            let body = if request.method == "HEAD" { "" } else { POLICY };
            let is_meant = request.path.contains("/manifests/");
            is_meant.then(|| answer(412, &[("content-type", "application/json")], body))
        });
        let error = world.fails().await;
        assert_eq!(error.code(), "REGISTRY_REFUSED");
        assert!(error.to_string().contains("not signed by cosign"), "{error}");
    }
}

#[tokio::test]
async fn a_head_that_finds_nothing_does_not_let_keep_replace_anything() {
    for existing in [Existing::Keep, Existing::Follow] {
        let (foreign, new) = (images::image(5, &[500]), images::image(6, &[600]));
        let world = World::with(&new).await;
        foreign.seed_into(&world.destination, &name("copy/app"), &tag("v1"));
        world
            .destination
            .set_faults(Some(always("HEAD", "/manifests/", Action::status(404))));
        let report = world.copy_with(of(existing)).await.unwrap();
        assert_eq!(report.state, State::Kept, "{existing:?}");
        assert_eq!(world.arrived(), Some(foreign.root.clone()));
        world.reset_requests();
        world.copy_with(of(existing)).await.unwrap();
        assert_eq!(count(&world.destination, "HEAD"), 0, "what HEAD says there is known");
    }
}

#[tokio::test]
async fn a_head_that_finds_nothing_does_not_let_backup_lose_anything() {
    let (foreign, new) = (images::image(7, &[500]), images::image(8, &[600]));
    let world = World::with(&new).await;
    foreign.seed_into(&world.destination, &name("copy/app"), &tag("v1"));
    world
        .destination
        .set_faults(Some(always("HEAD", "/manifests/", Action::status(404))));
    assert_eq!(
        world.copy_with(of(Existing::Backup)).await.unwrap().state,
        State::Copied
    );
    assert_eq!(world.arrived(), Some(new.root.clone()));
    let saved = tag(&format!("v1-{}", &foreign.root.hex()[..12]));
    assert_eq!(world.destination.digest(&name("copy/app"), &saved), Some(foreign.root));
}

#[tokio::test]
async fn a_signature_that_head_does_not_find_is_kept_at_the_destination() {
    let signed = images::with_cosign_signature(9);
    let world = World::with(&signed).await;
    let signature = signed.manifests.last().unwrap().tag.clone().unwrap();
    let other = images::image(10, &[10]);
    other.seed_into(&world.destination, &name("copy/app"), &signature);
    world
        .destination
        .set_faults(Some(always("HEAD", "/manifests/", Action::status(404))));
    let report = world.copy_with(of(Existing::Follow)).await.unwrap();
    assert_eq!(report.kept_tags, [signature.to_string()]);
    assert_eq!(
        world.destination.digest(&name("copy/app"), &signature),
        Some(other.root)
    );
}

#[tokio::test]
async fn a_signature_that_head_does_not_find_is_copied() {
    let sample = images::with_cosign_signature(11);
    let world = World::with(&sample).await;
    world
        .source
        .set_faults(Some(always("HEAD", "/manifests/", Action::status(404))));
    world.copy().await.unwrap();
    world.assert_equal(&sample);
}

#[tokio::test]
async fn head_is_proven_once_for_a_registry() {
    let world = World::with(&images::image(12, &[10])).await;
    let proofs = |world: &World, root: &str| asked(&world.source, "HEAD", root).len();
    let first = images::image(12, &[10]).root.to_string();
    world.copy().await.unwrap();
    assert_eq!(proofs(&world, &first), 1, "three tags, one proof");
    let second = images::image(13, &[10]);
    world.seed(&second);
    world.copy().await.unwrap();
    assert_eq!(proofs(&world, &second.root.to_string()), 0);
    assert_eq!(count(&world.source, "GET"), 2, "no GET where HEAD is right");
}

#[tokio::test]
async fn an_image_that_is_pushed_between_two_looks_contradicts_nothing() {
    let sample = images::image(14, &[10]);
    let world = World::with(&sample).await;
    let source = world.from.repository(name("core/app"));
    assert!(source.manifest_find(&Target::Tag(tag("v1"))).await.unwrap().is_some());
    world.reset_requests();
    assert!(source.manifest_head(&Target::Tag(tag("v1"))).await.unwrap().is_some());
    assert_eq!((count(&world.source, "HEAD"), count(&world.source, "GET")), (1, 0));
}

#[tokio::test]
async fn where_gets_count_against_a_quota_head_has_the_last_word() {
    let sample = images::with_cosign_signature(15);
    let world = World::with(&sample).await;
    world
        .source
        .set_faults(Some(always("HEAD", "/manifests/", Action::status(404))));
    let hub = Registry::new(transship_registry::Options {
        profile: Profile::of(Provider::DockerHub),
        ..options_of(&world.source)
    });
    let source = hub.unwrap().repository(name("core/app"));
    let target = Target::Tag(tag("v1"));
    assert_eq!(source.manifest_find(&target).await.unwrap(), None);
    assert_eq!(
        source.digest_tag_heads(&[tag("v1")], &sample.root).await.unwrap(),
        [None]
    );
    world
        .source
        .set_faults(Some(always("HEAD", "/manifests/", Action::status(403))));
    assert_eq!(source.manifest_head(&target).await.unwrap_err().code(), "ACCESS_DENIED");
    assert_eq!(count(&world.source, "GET"), 0);
}

#[tokio::test]
async fn a_blob_that_head_refuses_is_sent() {
    for code in [400, 403, 404, 405, 412, 501] {
        let sample = images::image(16, &[crate::world::LARGE + 1]);
        let world = World::with(&sample).await;
        world
            .destination
            .set_faults(Some(always("HEAD", "/blobs/", Action::status(code))));
        world.copy().await.unwrap_or_else(|error| panic!("{code}: {error}"));
        world.assert_equal(&sample);
    }
}
