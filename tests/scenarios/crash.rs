//! Nothing is lost when `serve` is killed at any moment and deliveries are repeated, delayed and reordered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use transship_embedded_registry::faults::{Action, Faults, RequestHead};
use transship_testkit::proxy::FaultProxy;
use transship_tests::docker_registry::Options;
use transship_tests::random::Random;
use transship_tests::serve::is_terminal;
use transship_tests::{
    DockerRegistry, Document, Image, Relay, Scenario, Serve, Watch, assert_consistent, assert_equal, check, until, wait,
};

const PUSHES: usize = 50;
const KILLS: usize = 10;
const REPOSITORIES: usize = 7;
const SEED: u64 = 20_251_121;

/// What must never change of a task that has ended.
fn endings(tasks: &[Value]) -> BTreeMap<String, (Value, Value)> {
    let ended = tasks.iter().filter(|task| is_terminal(task));
    ended
        .map(|task| {
            (
                task["id"].to_string(),
                (task["state"].clone(), task["finished"].clone()),
            )
        })
        .collect()
}

/// Returns at the moment an upload is open, or after a while in which none was seen.
fn catch_an_upload(destination: &DockerRegistry) {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        if (0..REPOSITORIES).any(|number| destination.has_open_upload(&format!("copy/app{number}"))) {
            return;
        }
    }
}

#[test]
fn ten_kills_during_fifty_pushes_delivered_three_times_out_of_order_lose_nothing() {
    if DockerRegistry::skipped() {
        return;
    }
    let mut serve = Serve::prepare();
    let relay = Relay::start(&serve.host(), "/hooks/a", SEED);
    let source = DockerRegistry::start_with(&Options {
        notify: Some(relay.url()),
        ..Options::default()
    });
    let destination = DockerRegistry::start();
    serve.start(&Document::between(&source.host(), &destination.host()).rule("core", "core", "copy", ""));
    let watch = Watch::start(&destination.host());
    let mut random = Random::new(SEED);

    let repository = |number: usize| format!("app{}", number % REPOSITORIES);
    for number in 0..PUSHES {
        let sizes = [400_000 + random.below(800_000), 50_000, 1 + random.below(3000)];
        Image::single(random.next(), &sizes).push(
            &source.host(),
            &format!("core/{}", repository(number)),
            &format!("v{number}"),
        );
        if number % (PUSHES / KILLS) == PUSHES / KILLS - 1 {
            // Every other time in the middle of an upload, if there is one to be caught.
            if number % 2 == 1 {
                catch_an_upload(&destination);
            }
            serve.kill();
            // The images that are visible while no worker runs are complete as well.
            assert_consistent(&destination.host());
            let known = endings(&serve.tasks());
            serve.start_again();
            let now = endings(&serve.tasks());
            assert!(
                known.iter().all(|(id, ending)| now.get(id) == Some(ending)),
                "an ended task changed (seed {SEED})"
            );
        }
    }
    relay.drain(Duration::from_mins(2));

    for number in 0..PUSHES {
        let (name, tag) = (repository(number), format!("v{number}"));
        let (from, to) = (format!("core/{name}"), format!("copy/{name}"));
        let arrived = until(Duration::from_mins(1), || {
            match check::digest(&destination.host(), &to, &tag)? {
                Some(_) => Ok(()),
                None => Err(format!("{to}:{tag} has not arrived (seed {SEED})")),
            }
        });
        assert_eq!(arrived, Ok(()));
        assert_equal(&source.host(), &from, &tag, &destination.host(), &to, &tag);
    }
    let tasks = serve.until_at_rest(Duration::from_mins(1));
    let ended = endings(&tasks);
    assert_eq!(ended.len(), tasks.len(), "a task is listed twice");
    assert_eq!(tasks.len(), PUSHES, "one task per push, however often it was delivered");
    for task in &tasks {
        assert!(
            ["succeeded", "unchanged"].contains(&task["state"].as_str().unwrap_or_default()),
            "{task}"
        );
        assert!(
            task["attempts"].as_u64() >= Some(1) && task["finished"].is_string(),
            "{task}"
        );
    }

    // Everything once more, and one push behind it: when that has arrived, the rest was heard.
    relay.deliver_all_again();
    relay.drain(Duration::from_mins(2));
    Image::single(random.next(), &[1000]).push(&source.host(), "core/last", "v1");
    let last = until(Duration::from_mins(1), || {
        relay.drain(Duration::from_mins(1));
        let tasks = serve.tasks_to("copy/last:v1");
        if tasks.iter().any(is_terminal) {
            Ok(())
        } else {
            Err("the last push has not arrived".to_owned())
        }
    });
    assert_eq!(last, Ok(()));
    let after = endings(&serve.until_at_rest(Duration::from_mins(1)));
    assert!(
        ended.iter().all(|(id, ending)| after.get(id) == Some(ending)),
        "a redelivery changed an ended task"
    );
    assert_eq!(after.len(), ended.len() + 1, "a redelivery made a task");
    watch.assert_nothing_was_half_there();
}

/// Holds every manifest that is put until the test has killed the process, and reports that one is held.
#[derive(Default)]
struct HoldManifests {
    holding: AtomicBool,
}

impl Faults for HoldManifests {
    fn action(&self, request: &RequestHead<'_>) -> Option<Action> {
        if request.method != "PUT" || !request.path.contains("/manifests/") {
            return None;
        }
        self.holding.store(true, Ordering::SeqCst);
        Some(Action::Delay { delay_ms: 600_000 })
    }
}

#[test]
fn a_kill_in_the_middle_of_a_commit_holds_nothing_up() {
    if DockerRegistry::skipped() {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut scenario = Scenario::prepare(&Options::default());
    let proxy = runtime
        .block_on(FaultProxy::start(&scenario.destination.host().parse().unwrap()))
        .unwrap();
    let held = Arc::new(HoldManifests::default());
    proxy.set_faults(Some(held.clone()));
    let document = scenario
        .document()
        .registry("b", proxy.host().as_ref(), "description: behind a proxy");
    scenario.serve.start(&document);
    Image::single(SEED, &[5000]).push(&scenario.source.host(), "core/app", "v1");
    wait::until_true(Duration::from_secs(30), "no manifest is put", || {
        held.holding.load(Ordering::SeqCst)
    })
    .unwrap();
    scenario.serve.kill();
    proxy.set_faults(None);
    scenario.serve.start_again();
    // The lease of the dead process must not outlive it, because no other process uses this data.
    let arrived = until(Duration::from_secs(15), || {
        match scenario.serve.tasks_to("copy/app:v1").as_slice() {
            [task] if is_terminal(task) => Ok(task.clone()),
            others => Err(format!("{others:?}")),
        }
    });
    assert_eq!(arrived.unwrap()["state"], "succeeded");
    scenario.assert_arrives("app", "v1");
}
