//! `transship executions` and `transship tasks`: their JSON keys.

use std::time::Duration;

use transship_tests::{DockerRegistry, Image, Scenario, transship};

use crate::assert_keys;

#[test]
fn the_ledger_is_told_with_the_keys_of_the_contract() {
    if DockerRegistry::skipped() {
        return;
    }
    let scenario = Scenario::start();
    Image::single(4, &[1000]).push(&scenario.source.host(), "core/app", "v1");
    scenario.assert_arrives("app", "v1");
    let tasks = scenario.serve.until_at_rest(Duration::from_secs(30));
    assert_keys(
        &tasks[0],
        &[
            "id",
            "execution",
            "rule",
            "action",
            "source",
            "destination",
            "digest",
            "state",
            "code",
            "attempts",
            "created",
            "finished",
        ],
    );
    let executions = scenario.serve.executions();
    assert_keys(
        &executions[0],
        &[
            "id",
            "rule",
            "trigger",
            "created",
            "duration_ms",
            "state",
            "success_ratio",
            "repositories",
            "bytes",
        ],
    );
    let id = executions[0]["id"].as_str().unwrap();
    let data = scenario.serve.data();
    let of_one = transship::run(&["tasks", id, "--data", data.to_str().unwrap(), "--json"]);
    assert_eq!(of_one.json().as_array().map(Vec::len), Some(1), "{of_one:?}");
    let plain = transship::run(&["tasks", "--data", data.to_str().unwrap()]);
    assert!(plain.code == 0 && plain.stdout.contains("succeeded"), "{plain:?}");
}
