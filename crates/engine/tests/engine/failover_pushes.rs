//! Pushes to a site of a group during and after a switch: each is copied, and by the rules of the right writer.

use serde_json::json;
use transship_embedded_registry::EmbeddedRegistry;
use transship_engine::failover::{GroupState, Operation, Phase};
use transship_engine::ledger::{Failovers, Ledger};
use transship_engine::{Accepted, TaskState};
use transship_oci::Digest;
use transship_testkit::images;

use crate::fixture::{Fixture, tag};

/// Registry `b` is the writer of a group with `a`.
pub const GROUP: &str = r"  - { name: core, source: { registry: b, namespace: core }, destination: { registry: a, namespace: core } }
failover:
  - name: main
    endpoint: https://clients.example.com
    sites:
      - { registry: a, record: { type: CNAME, value: a.example.net } }
      - { registry: b, record: { type: CNAME, value: b.example.net } }
    writer: b
    zones: [{ name: public, home: b, dns: { exec: public } }]
";

async fn group() -> (Fixture, Failovers, GroupState) {
    let fixture = Fixture::of(EmbeddedRegistry::builder(), EmbeddedRegistry::builder(), GROUP).await;
    let failovers = Ledger::new(&fixture.ledger).failovers;
    fixture.configuration.follow(failovers.clone());
    let snapshot = fixture.configuration.current();
    let state = GroupState::new(snapshot.document.failover_group("main").unwrap());
    (fixture, failovers, state)
}

#[tokio::test]
async fn a_push_by_the_name_of_a_group_follows_its_writer_at_once() {
    let (fixture, failovers, mut state) = group().await;
    let digest = Digest::sha256(b"x");
    let mut event = fixture.event("v1", &digest);
    event["target"]["url"] = "https://clients.example.com/v2/core/app/manifests/x".into();
    event["request"]["host"] = "clients.example.com".into();
    let events = [event];
    let nothing = Accepted::Nothing { code: None };
    assert_eq!(fixture.deliver(&events).await.unwrap(), nothing, "`b` is the writer");
    state.epoch = 1;
    state.writer = "a".to_owned();
    failovers.put("main", None, &state).await.unwrap();
    // No time has passed since the writers were read for the delivery before.
    assert!(matches!(
        fixture.deliver(&events).await.unwrap(),
        Accepted::Tasks { .. }
    ));
}

/// A flip to `a` whose records lead clients there already, while `b` is still the writer.
fn under_way() -> Operation {
    let moment = "2026-01-01T00:00:00Z";
    let operation = json!({
        "kind": "flip", "to": "a", "zones": {}, "writer": { "from": "b", "to": "a" }, "by": "ops@host", "started": moment,
        "ended": null, "steps": [], "accepted": null, "driver": { "process": "p", "by": "ops@host", "until": moment },
    });
    serde_json::from_value(operation).unwrap()
}

#[tokio::test]
async fn a_push_during_a_switch_waits_for_its_end() {
    for is_taken_back in [false, true] {
        let (fixture, failovers, mut state) = group().await;
        let image = images::all(1).remove(0).1;
        fixture.push(&image);
        (state.epoch, state.phase) = (1, Phase::Flipped);
        state.operation = Some(under_way());
        let version = failovers.put("main", None, &state).await.unwrap();
        fixture.tell(&fixture.event("v1", &image.root)).await;
        fixture.attempt().await;
        let waiting = fixture.task().await;
        assert_eq!(waiting.state, TaskState::Waiting, "{waiting:?}");
        assert_eq!(waiting.code.as_deref(), Some("FAILOVER_UNDER_WAY"), "{waiting:?}");

        let operation = state.operation.as_mut().unwrap();
        (operation.ended, operation.is_aborted) = (Some(operation.started), is_taken_back);
        state.phase = Phase::Ready;
        if !is_taken_back {
            (state.phase, state.writer) = (Phase::Reversed, "a".to_owned());
        }
        failovers.put("main", version, &state).await.unwrap();
        fixture.drain().await;
        let ended = fixture.task().await;
        let found = fixture.b.digest(&fixture.from(), &tag("v1"));
        if is_taken_back {
            assert_eq!(ended.code.as_deref(), Some("FAILOVER_FENCED"), "{ended:?}");
            assert_eq!((ended.state, found), (TaskState::Skipped, None));
        } else {
            assert_eq!(
                (ended.state, found),
                (TaskState::Succeeded, Some(image.root)),
                "{ended:?}"
            );
        }
    }
}
