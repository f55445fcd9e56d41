//! The sweep finds pushes whose notification was lost.

use transship_tests::fleet::Options;
use transship_tests::images::fallback_index;
use transship_tests::{DockerRegistry, Image, push, wait};

use crate::stage::{Stage, TIMEOUT, alone, seed};

const LOST: usize = 20;
const TOLD: usize = 10;
/// What the schedule sends.
const ORDER: &str = r#"{"version":1,"sweep":{}}"#;

fn image(number: usize) -> (Image, String, String) {
    let image = Image::single(number as u64, &[20_000, 100]);
    (image, format!("app{}", number % 3), format!("v{number}"))
}

/// Attaches an SBOM to one image and a signature to another: three manifests.
fn attach(stage: &Stage, sbom_to: usize, signature_to: usize) {
    let host = stage.source.host();
    let (image, name, _) = image(sbom_to);
    let (repository, sbom) = (format!("core/{name}"), Image::referrer(100, image.root()));
    sbom.push(&host, &repository, &sbom.root().digest);
    let (index, fallback) = (fallback_index(&[&sbom]), image.root().digest.replace(':', "-"));
    push::manifest(&host, &repository, &fallback, &index.media_type, &index.bytes);
    let (image, name, _) = self::image(signature_to);
    let tag = format!("{}.sig", image.root().digest.replace(':', "-"));
    Image::artifact(101).push(&host, &format!("core/{name}"), &tag);
}

/// Loses the notifications of what `push` pushes, and waits until they are lost.
fn unheard(stage: &Stage, notifications: usize, push: impl FnOnce()) {
    stage.fleet.bridge().drop_next(notifications);
    push();
    let is_over = || stage.fleet.bridge().left_to_drop() == 0;
    wait::until_true(TIMEOUT, "no result was reported", is_over).unwrap();
}

#[test]
fn twenty_lost_notifications_are_healed_by_one_sweep() {
    if DockerRegistry::skipped() {
        return;
    }
    let _alone = alone();
    let stage = Stage::set(Options::calm(seed()));
    let push = |number: usize| {
        let (image, name, tag) = image(number);
        image.push(&stage.source.host(), &format!("core/{name}"), &tag);
    };
    // The first sweep of a new rule records what exists, which is nothing here.
    stage.fleet.send(ORDER);
    stage.fleet.until_at_rest(TIMEOUT);
    (0..TOLD).for_each(push);
    stage.until_told(TOLD);
    unheard(&stage, LOST, || (TOLD..TOLD + LOST).for_each(push));
    Image::single(1, &[10]).push(&stage.source.host(), "other/app", "v1");
    let told = stage.fleet.until_at_rest(TIMEOUT);
    assert_eq!(told.len(), TOLD);

    stage.fleet.send(ORDER);
    let tasks = stage.fleet.until_at_rest(TIMEOUT);
    for number in 0..TOLD + LOST {
        let (_, name, tag) = image(number);
        stage.assert_equal(&name, &tag);
    }
    let swept: Vec<_> = tasks.iter().filter(|task| task["trigger"] == "sweep").collect();
    assert_eq!(swept.len(), LOST, "a task for each that was lost, and no other");
    assert!(swept.iter().all(|task| task["state"] == "succeeded"), "{swept:?}");
    assert_eq!(stage.arrived().len(), TOLD + LOST, "nothing unmatched");

    // Then the attachments of an image with a notification, and of one that the sweep found.
    unheard(&stage, 3, || attach(&stage, 1, TOLD + 1));
    // And then there is nothing left to find.
    for _ in 0..2 {
        stage.fleet.send(ORDER);
        let all = stage.fleet.until_at_rest(TIMEOUT);
        assert_eq!(
            all.len(),
            tasks.len() + 2,
            "a task for each image that lacked something"
        );
    }
    for number in [1, TOLD + 1] {
        let (_, name, tag) = image(number);
        stage.assert_equal(&name, &tag);
    }
    stage.assert_clean();
}
