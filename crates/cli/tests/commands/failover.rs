//! Rules between the sites of a failover group, run by a command that is the worker itself.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use jiff::Timestamp;
use transship_engine::failover::{GroupState, Phase, ZoneState};
use transship_engine::ledger::Failovers;
use transship_local::{Database, SqliteLedger};
use transship_rules::Document;
use transship_testkit::images;

use crate::run::Run;
use crate::runs::Sides;

/// A zone as a command: the clients are led to `a`, and nothing was ever switched.
const ZONE: &str = r#"#!/bin/sh
read -r order
case $order in
*'"operation":"zone"'*) echo '{"zone":"example.com"}' ;;
*) echo '{"found":{"records":[{"type":"A","values":["127.0.0.1"],"ttl":60}],"texts":[]}}' ;;
esac
"#;

/// Two sites, the rule `core` from `a` to `b`, and one image at `a`. The option that registers the zone comes second.
async fn sites() -> (Sides, String) {
    let sides = Sides::new().await;
    let text = format!(
        r#"
version: 1
registries:
  a: {{ provider: distribution, endpoint: "{}", webhook: none }}
  b: {{ provider: distribution, endpoint: "{}", webhook: none }}
rules:
  - {{ name: core, source: {{ registry: a, namespace: core }}, destination: {{ registry: b }} }}
failover:
  - name: main
    endpoint: https://images.example.com
    sites:
      - {{ registry: a, record: {{ type: A, value: 127.0.0.1 }} }}
      - {{ registry: b, record: {{ type: A, value: 127.0.0.2 }} }}
    writer: a
    zones: [{{ name: public, home: a, dns: {{ exec: lb }} }}]
"#,
        sides.a.url(),
        sides.b.url()
    );
    std::fs::write(sides.path("transship.yaml"), text).unwrap();
    let zone = sides.path("zone.sh");
    std::fs::write(&zone, ZONE).unwrap();
    std::fs::set_permissions(&zone, std::fs::Permissions::from_mode(0o755)).unwrap();
    Sides::put(&sides.a, "core/app", "v1", &images::image(1, &[100]));
    (sides, format!("lb={zone}"))
}

/// The line on standard error with the code of the failure; notes come before it.
fn last_code(run: &Run) -> &str {
    let last = run.err.lines().next_back().unwrap_or_default();
    last.split_once(": ").map_or(last, |(code, _)| code)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_works_itself_knows_the_state_first_or_says_why_not() {
    let (sides, zone) = sites().await;
    // Without the command of the zone it is not known where clients are led, and no task would end.
    for arguments in [
        &["run", "core", "--wait"][..],
        &["replicate", "a/core/app:v1", "b/core/app", "--wait"],
    ] {
        let run = sides.transship(arguments).await;
        assert_eq!((run.code, last_code(&run)), (1, "FAILOVER_EPOCH_UNKNOWN"), "{run:?}");
        assert!(run.err.contains("no command is registered"), "{run:?}");
        assert!(!sides.arrived("core/app", "v1"));
    }
    let run = sides
        .transship(&["run", "core", "--wait", "--dns-command", &zone])
        .await;
    assert_eq!(run.code, 0, "{run:?}");
    assert!(sides.arrived("core/app", "v1"));
    // The state is in the ledger from now on.
    let run = sides.transship(&["run", "core", "--wait"]).await;
    assert_eq!(run.code, 0, "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_fenced_is_no_success() {
    let (sides, _) = sites().await;
    let document = std::fs::read_to_string(sides.path("transship.yaml")).unwrap();
    let document = Document::parse(&document).map_err(|errors| errors.to_string()).unwrap();
    let group = document.document.failover_group("main").unwrap();
    std::fs::create_dir_all(sides.path("data")).unwrap();
    let database = Database::open(sides.path("data").as_ref()).unwrap();
    let failovers = Failovers::new(Arc::new(SqliteLedger::new(database)));
    let led_to = |site: &str, epoch: u64| ZoneState {
        site: site.to_owned(),
        epoch,
        since: Some(Timestamp::UNIX_EPOCH),
    };
    let state = GroupState {
        epoch: 1,
        writer: "b".to_owned(),
        phase: Phase::Reversed,
        zones: std::iter::once(("public".to_owned(), led_to("b", 1))).collect(),
        ..GroupState::new(group)
    };
    failovers.put("main", None, &state).await.unwrap();
    let run = sides
        .transship(&["replicate", "a/core/app:v1", "b/core/app:late", "--wait"])
        .await;
    assert_eq!((run.code, last_code(&run)), (1, "FAILOVER_FENCED"), "{run:?}");
    assert!(run.err.contains("b/core/app:late not written"), "{run:?}");
    assert!(!sides.arrived("core/app", "late"));
}
