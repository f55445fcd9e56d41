//! A tag that moves while it is copied: the newest wins, and an older image never comes back.

#![expect(clippy::unwrap_used, reason = "tests, and what they share")]

use std::time::Duration;

use transship_tests::{DockerRegistry, Image, Scenario, Watch, assert_equal, check, until, wait};

/// Waits until the destination names what the source names, with nothing left to do.
fn assert_ends_newest(scenario: &Scenario) {
    let (source, destination) = (scenario.source.host(), scenario.destination.host());
    let newest = check::digest(&source, "core/app", "v1").unwrap();
    let equal = until(Duration::from_mins(1), || {
        let found = check::digest(&destination, "copy/app", "v1")?;
        if found == newest {
            Ok(())
        } else {
            Err(format!("{found:?} at the destination, the newest is {newest:?}"))
        }
    });
    assert_eq!(equal, Ok(()));
    scenario.serve.until_at_rest(Duration::from_mins(1));
    // At rest nothing older may come after it.
    assert_equal(&source, "core/app", "v1", &destination, "copy/app", "v1");
}

#[test]
fn a_tag_that_moves_during_its_copy_ends_newest() {
    if DockerRegistry::skipped() {
        return;
    }
    let scenario = Scenario::start();
    let source = scenario.source.host();
    let watch = Watch::start(&scenario.destination.host());
    let (old, new) = (Image::single(1, &[300_000_000, 1000]), Image::single(2, &[5000]));
    new.push_parts(&source, "core/app");
    old.push(&source, "core/app", "v1");
    // The copy of the old image is under way when its upload is open: now the tag moves.
    wait::until_true(Duration::from_secs(30), "the copy does not begin", || {
        scenario.destination.has_open_upload("copy/app")
    })
    .unwrap();
    new.push_root(&source, "core/app", "v1");
    assert_ends_newest(&scenario);
    assert_eq!(
        check::digest(&scenario.destination.host(), "copy/app", "v1").unwrap(),
        Some(new.root().digest.clone())
    );
    let history = watch.history("copy/app", "v1");
    let newest_seen = history.iter().position(|digest| *digest == new.root().digest);
    assert!(
        newest_seen.is_none_or(|at| at + 1 == history.len()),
        "an older image came back: {history:?}"
    );
    watch.assert_nothing_was_half_there();
}

#[test]
fn twenty_overlapping_pushes_of_one_tag_end_newest() {
    if DockerRegistry::skipped() {
        return;
    }
    let scenario = Scenario::start();
    let source = scenario.source.host();
    let watch = Watch::start(&scenario.destination.host());
    let images = [
        Image::single(11, &[3_000_000, 10]),
        Image::multi_platform(12, 2_000_000),
    ];
    for image in &images {
        image.push_parts(&source, "core/app");
    }
    // Two hands push the same tag at once, each the other's content in turn.
    std::thread::scope(|scope| {
        for hand in 0..2 {
            let (images, source) = (&images, &source);
            scope.spawn(move || {
                for round in 0..10 {
                    images[(round + hand) % 2].push_root(source, "core/app", "v1");
                }
            });
        }
    });
    assert_ends_newest(&scenario);
    watch.assert_nothing_was_half_there();
}
