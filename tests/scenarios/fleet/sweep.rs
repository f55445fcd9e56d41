//! What nobody was told of is found.

use std::time::Duration;

use transship_tests::fleet::Options;
use transship_tests::{DockerRegistry, Image};

use crate::stage::{Stage, alone, body, seed};

const LOST: usize = 20;
const TOLD: usize = 10;
/// What the schedule sends.
const ORDER: &str = r#"{"version":1,"sweep":{}}"#;

#[test]
fn twenty_lost_notifications_are_healed_by_one_sweep() {
    if DockerRegistry::skipped() {
        return;
    }
    let _alone = alone();
    let stage = Stage::set(Options::calm(seed()));
    let push = |number: usize| {
        let image = Image::single(number as u64, &[20_000, 100]);
        image.push(
            &stage.source.host(),
            &format!("core/app{}", number % 3),
            &format!("v{number}"),
        );
    };
    (0..TOLD).for_each(push);
    stage.until_told(TOLD);
    stage.fleet.bridge().drop_next(LOST);
    (TOLD..TOLD + LOST).for_each(push);
    transship_tests::wait::until_true(Duration::from_secs(30), "nothing is told", || {
        stage.fleet.bridge().left_to_drop() == 0
    })
    .unwrap();
    Image::single(1, &[10]).push(&stage.source.host(), "other/app", "v1");
    let told = stage.fleet.until_at_rest(Duration::from_mins(1));
    assert_eq!(told.len(), TOLD);

    stage.fleet.send(ORDER);
    let tasks = stage.fleet.until_at_rest(Duration::from_mins(1));
    for number in 0..TOLD + LOST {
        stage.assert_equal(&format!("app{}", number % 3), &format!("v{number}"));
    }
    let swept: Vec<_> = tasks
        .iter()
        .filter(|task| body(task)["trigger"] == "schedule")
        .collect();
    assert_eq!(swept.len(), LOST, "a task for each that was lost, and no other");
    assert!(swept.iter().all(|task| task["state"] == "succeeded"), "{swept:?}");
    assert_eq!(stage.arrived().len(), TOLD + LOST, "nothing unmatched");

    // There is nothing left to find.
    stage.fleet.send(ORDER);
    assert_eq!(stage.fleet.until_at_rest(Duration::from_mins(1)).len(), tasks.len());
    stage.assert_clean();
}
