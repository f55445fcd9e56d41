//! A run lists the tags of the repositories that the last run began with, while the source still says which it has.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use transship_embedded_registry::faults::{Action, Faults, RequestHead};
use transship_engine::ledger::Ledger;
use transship_engine::{ExecutionState, Narrow};
use transship_testkit::images::{self, Sample};

use crate::fixture::{Fixture, name, tag};
use crate::runs::{progress, record, try_start};

const CATALOG_DELAY: Duration = Duration::from_secs(2);

/// Holds the catalog back, and notes when it and the tags are asked for. The catalog may name other repositories than there are; what
/// has `broken` in its path cannot be listed.
#[derive(Default)]
struct Slow {
    asked: Mutex<Vec<(String, Instant)>>,
    catalog: Option<&'static str>,
    broken: Option<&'static str>,
}

impl Faults for Slow {
    fn action(&self, request: &RequestHead<'_>) -> Option<Action> {
        let is_catalog = request.path == "/v2/_catalog";
        if !is_catalog && !request.path.ends_with("/tags/list") {
            return None;
        }
        self.asked
            .lock()
            .unwrap()
            .push((request.path.to_owned(), Instant::now()));
        if self.broken.is_some_and(|broken| request.path.contains(broken)) {
            return Some(Action::Status {
                code: 500,
                headers: Vec::new(),
                body: Bytes::new(),
            });
        }
        match self.catalog {
            Some(catalog) if is_catalog => Some(Action::Status {
                code: 200,
                headers: Vec::new(),
                body: catalog.into(),
            }),
            None if is_catalog => Some(Action::Delay {
                delay_ms: CATALOG_DELAY.as_millis().try_into().unwrap(),
            }),
            _ => None,
        }
    }
}

fn put(fixture: &Fixture, repository: &str, sample: &Sample) {
    sample.seed_into(&fixture.a, &name(repository), &tag("v1"));
}

/// Runs the rule, and returns how many repositories it walked and tasks it made.
async fn run(fixture: &Fixture) -> (u64, u64) {
    fixture.clock.advance(Duration::from_secs(1));
    let execution = try_start(fixture, Narrow::default()).await.unwrap().execution;
    fixture.drain().await;
    assert_eq!(record(fixture, &execution).await.state, ExecutionState::Succeeded);
    let progress = progress(fixture, &execution).await;
    (progress.repositories, progress.enqueued)
}

#[tokio::test]
async fn known_repositories_are_listed_while_the_catalog_is_read() {
    let fixture = Fixture::new().await;
    put(&fixture, "core/app", &images::image(1, &[100]));
    put(&fixture, "core/web", &images::image(2, &[100]));
    assert_eq!(run(&fixture).await, (2, 2));
    put(&fixture, "core/new", &images::image(3, &[100]));
    let slow = Arc::new(Slow::default());
    fixture.a.set_faults(Some(Arc::clone(&slow) as _));
    assert_eq!(run(&fixture).await, (3, 1));
    let asked = slow.asked.lock().unwrap();
    let paths: Vec<_> = asked.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths.len(), 4, "each is asked for once: {paths:?}");
    let at = |part: &str| asked.iter().find(|(path, _)| path.contains(part)).unwrap().1;
    let answered = at("_catalog") + CATALOG_DELAY;
    for (repository, is_ahead) in [("core/app", true), ("core/web", true), ("core/new", false)] {
        assert_eq!(at(repository) < answered, is_ahead, "{repository}");
    }
}

#[tokio::test]
async fn repositories_that_are_gone_or_hidden_harm_no_run() {
    let fixture = Fixture::new().await;
    put(&fixture, "core/app", &images::image(1, &[100]));
    put(&fixture, "core/gone", &images::image(2, &[100]));
    assert_eq!(run(&fixture).await, (2, 2));
    let slow = Slow {
        catalog: Some(r#"{"repositories":["core/app"]}"#),
        broken: Some("core/gone"),
        ..Slow::default()
    };
    fixture.a.set_faults(Some(Arc::new(slow)));
    assert_eq!(run(&fixture).await, (1, 0));
    fixture.a.set_faults(None);
    assert_eq!(run(&fixture).await, (2, 0));
}

#[tokio::test]
async fn a_walk_that_fails_forgets_nothing() {
    let fixture = Fixture::new().await;
    put(&fixture, "core/app", &images::image(1, &[100]));
    assert_eq!(run(&fixture).await, (1, 1));
    let expected = async || {
        let runs = Ledger::new(&fixture.ledger).runs;
        runs.beginning("core-images", Timestamp::UNIX_EPOCH).await.unwrap()
    };
    let known = expected().await;
    assert_eq!(known.repositories, [name("core/app")]);
    let broken = Slow {
        broken: Some("_catalog"),
        ..Slow::default()
    };
    fixture.a.set_faults(Some(Arc::new(broken)));
    fixture.clock.advance(Duration::from_secs(1));
    try_start(&fixture, Narrow::default()).await.unwrap();
    fixture.attempt().await;
    assert_eq!(expected().await, known);
}
