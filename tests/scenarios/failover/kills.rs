//! kill -9 at every step of a flip and of a failback: the command that is repeated ends, and nothing is done twice.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests, and what they share")]

use std::process::Command;
use std::sync::Arc;

use serde_json::Value;
use transship_testkit::name_server::Product;
use transship_tests::failover::stage::PATIENCE;
use transship_tests::failover::{Barrier, CLIENTS, Pulled, Stage, Updates};
use transship_tests::process::Process;
use transship_tests::{Image, wait};

use crate::held::HoldTag;

fn image(number: u64) -> Image {
    Image::single(number, &[1500, 100])
}

/// Starts the command; its output goes to a file of the stage.
fn start(stage: &Stage, arguments: &[&str]) -> Process {
    let mut command: Command = stage.command(arguments);
    Process::start(&mut command, &stage.serve.data().join("command.log"))
}

/// How far the operation under way is: the phase, and the steps that have begun, ended, and the zones that are moved.
fn progress(stage: &Stage) -> (String, Vec<String>) {
    let status = stage.json(&["dr", "status", "main"]);
    let operation = &status["operation"];
    let phase = status["phase"].as_str().unwrap().to_owned();
    if !operation["ended"].is_null() || operation.is_null() {
        return (phase, Vec::new());
    }
    let steps = operation["steps"].as_array().unwrap();
    let shown = |step: &Value| {
        let ended = if step["ended"].is_null() { "begun" } else { "ended" };
        format!("{} {ended}", step["phase"].as_str().unwrap())
    };
    let mut done: Vec<String> = steps.iter().map(shown).collect();
    if !operation["zones"]["inside"]["done"].is_null() {
        done.push("moved".to_owned());
    }
    (phase, done)
}

/// Runs the command again and again, and kills it after each write of the state. A command that continues repeats some writes before
/// it makes a step of its own: it is let write once more than the one before, until it does. Returns where it was killed.
fn kill_at_every_write(stage: &Stage, barrier: &Barrier, arguments: &[&str]) -> Vec<(String, Vec<String>)> {
    let mut killed = Vec::new();
    let mut own = 1;
    let mut is_updated = false;
    // No update passes before the command was killed around one.
    stage.names.servers().gate.set(Updates::HoldRequests);
    loop {
        let limit = barrier.version().unwrap() + own;
        barrier.close_after(limit);
        let mut process = start(stage, arguments);
        let reached = wait::until(PATIENCE, || match barrier.version() {
            Some(version) if version >= limit => Ok(true),
            _ if !process.is_running() => Ok(false),
            version => Err(format!("the state has version {version:?}, and {limit} is awaited")),
        });
        let is_killed = reached.unwrap_or_else(|reason| panic!("{reason}\n{}", process.log_tail()));
        process.kill();
        barrier.lift();
        if !is_killed {
            return killed;
        }
        let found = progress(stage);
        if found.1.is_empty() && !killed.is_empty() {
            return killed;
        }
        own = if killed.last() == Some(&found) { own + 1 } else { 1 };
        if !is_updated && found.1.iter().any(|step| step == "flipped begun") {
            is_updated = true;
            kill_around_the_update(stage, arguments);
        }
        killed.push(found);
    }
}

/// Kills the command before its update reaches the name server, and after it did.
fn kill_around_the_update(stage: &Stage, arguments: &[&str]) {
    let before = stage.names.answers("TXT", &format!("_transship.{CLIENTS}"));
    for updates in [Updates::HoldRequests, Updates::HoldAnswers] {
        stage.names.servers().gate.set(updates);
        let mut process = start(stage, arguments);
        stage.names.servers().gate.await_held();
        process.kill();
        let now = stage.names.answers("TXT", &format!("_transship.{CLIENTS}"));
        assert_eq!(now[0] != before[0], updates == Updates::HoldAnswers, "{now:?}");
    }
    stage.names.servers().gate.set(Updates::Pass);
}

const STEPS: [&str; 6] = [
    "fenced ended",
    "drained begun",
    "drained ended",
    "flipped begun",
    "flipped ended",
    "reversed begun",
];

fn assert_every_step(killed: &[(String, Vec<String>)]) {
    for step in STEPS {
        assert!(
            killed.iter().any(|(_, done)| done.iter().any(|found| found == step)),
            "not killed after {step}: {killed:#?}"
        );
    }
    assert!(
        killed
            .iter()
            .any(|(_, done)| done.last().is_some_and(|last| last == "moved")
                && done.iter().any(|step| step == "flipped begun")),
        "{killed:#?}"
    );
}

#[test]
fn a_command_that_is_killed_anywhere_is_continued() {
    if Stage::skipped() {
        return;
    }
    let stage = Stage::start(Product::Bind, "15m");
    let client = stage.client();
    client.push(&image(1), "core/app", "v1").unwrap();
    stage.write_document();
    assert_eq!(stage.run(&["run", "core", "--wait"]).code, 0);
    stage.json(&["dr", "check", "main"]);
    let barrier = Barrier::open(&stage.serve.data());

    let flip = ["dr", "flip", "main", "--to", "b"];
    let killed = kill_at_every_write(&stage, &barrier, &flip);
    assert_every_step(&killed);
    let repeated = stage.json(&flip);
    assert_eq!(
        (&repeated["epoch"], &repeated["writer"]),
        (&1.into(), &"b".into()),
        "{repeated}"
    );
    stage.assert_leads_to("b", 1);
    assert_eq!(
        client.pull("core/app", "v1"),
        Pulled::Whole(image(1).root().digest.clone())
    );

    // What is pushed meanwhile is copied back by a command that is killed while it copies.
    client.push(&image(2), "core/app", "v1").unwrap();
    client.push(&image(3), "core/app", "v3").unwrap();
    let failback = ["dr", "failback", "main"];
    let held = Arc::new(HoldTag::default());
    stage.a.faults.set_faults(Some(held.clone()));
    let mut copying = start(&stage, &failback);
    held.await_held();
    copying.kill();
    stage.a.faults.set_faults(None);
    let killed = kill_at_every_write(&stage, &barrier, &failback);
    assert_every_step(&killed);
    let repeated = stage.json(&failback);
    assert_eq!(
        (&repeated["epoch"], &repeated["writer"]),
        (&2.into(), &"a".into()),
        "{repeated}"
    );
    stage.assert_leads_to("a", 2);
    for (tag, number) in [("v1", 2), ("v3", 3)] {
        stage.assert_arrives("a", &image(number), "core/app", tag);
        assert_eq!(
            client.pull("core/app", tag),
            Pulled::Whole(image(number).root().digest.clone())
        );
    }
}

#[test]
fn a_worker_that_is_killed_during_the_drain_does_not_hold_the_switch_up() {
    if Stage::skipped() {
        return;
    }
    let mut stage = Stage::start(Product::Bind, "15m");
    let client = stage.client();
    client.push(&image(1), "core/app", "first").unwrap();
    stage.write_document();
    assert_eq!(stage.run(&["run", "core", "--wait"]).code, 0);
    stage.json(&["dr", "check", "main"]);
    stage.serve.start_again();
    let held = Arc::new(HoldTag::default());
    stage.b.faults.set_faults(Some(held.clone()));
    client.push(&image(2), "core/app", "v1").unwrap();
    held.await_held();

    let mut flip = start(&stage, &["dr", "flip", "main", "--to", "b"]);
    let drains = || progress(&stage).1.last().is_some_and(|step| step == "drained begun");
    wait::until_true(PATIENCE, "the flip does not drain", drains).unwrap();
    stage.serve.kill();
    stage.b.faults.set_faults(None);
    stage.serve.start_again();
    wait::until_true(PATIENCE, "the flip does not end", || !flip.is_running())
        .unwrap_or_else(|reason| panic!("{reason}\n{}", flip.log_tail()));
    stage.assert_leads_to("b", 1);
    // The write that was under way was not made after the drain, and nothing of it is lost: the image is where it was pushed.
    let ended = wait::until(PATIENCE, || match stage.serve.tasks_to("core/app:v1").as_slice() {
        [task] if task["state"] == "skipped" && task["code"] == "FAILOVER_FENCED" => Ok(()),
        tasks => Err(format!("{tasks:?}")),
    });
    assert_eq!(ended, Ok(()));
    assert_eq!(stage.digest_at("b", "core/app", "v1"), None);
    stage.assert_only_at("a", "core/app", "v1");
    let returned = stage.json(&["dr", "failback", "main"]);
    assert_eq!(returned["epoch"], 2, "{returned}");
    assert_eq!(stage.run(&["run", "core", "--wait"]).code, 0);
    stage.assert_arrives("b", &image(2), "core/app", "v1");
}
