//! Rules between the sites of a failover group, run by a command that is the worker itself.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use transship_embedded_registry::EmbeddedRegistry;
use transship_embedded_registry::faults::{Action, Faults, RequestHead};
use transship_engine::failover::{GroupState, Phase, ZoneState};
use transship_engine::ledger::Failovers;
use transship_local::{Database, SqliteLedger};
use transship_rules::Document;
use transship_testkit::images;

use crate::run::{Run, command};
use crate::runs::Sides;

/// A zone as a command: the clients are led to `a`, and nothing was ever switched.
const ZONE: &str = r#"#!/bin/sh
read -r order
case $order in
*'"operation":"zone"'*) echo '{"zone":"example.com"}' ;;
*) echo '{"found":{"records":[{"type":"A","values":["127.0.0.1"],"ttl":60}],"texts":[]}}' ;;
esac
"#;

/// The same after a flip to `b`.
const ZONE_OF_B: &str = r#"#!/bin/sh
read -r order
case $order in
*'"operation":"zone"'*) echo '{"zone":"example.com"}' ;;
*) echo '{"found":{"records":[{"type":"A","values":["127.0.0.2"],"ttl":60}],"texts":["epoch=1; site=b; by=ops@host"]}}' ;;
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

/// Makes `b` the writer in the ledger, as a flip of another process does.
struct Flip {
    failovers: Failovers,
    state: GroupState,
}

impl Flip {
    fn prepare(sides: &Sides) -> Self {
        let document = std::fs::read_to_string(sides.path("transship.yaml")).unwrap();
        let document = Document::parse(&document).map_err(|errors| errors.to_string()).unwrap();
        let group = document.document.failover_group("main").unwrap();
        std::fs::create_dir_all(sides.path("data")).unwrap();
        let database = Database::open(sides.path("data").as_ref()).unwrap();
        let led_to_b = ZoneState {
            site: "b".to_owned(),
            epoch: 1,
            since: Some(Timestamp::UNIX_EPOCH),
        };
        let state = GroupState {
            epoch: 1,
            writer: "b".to_owned(),
            phase: Phase::Reversed,
            zones: std::iter::once(("public".to_owned(), led_to_b)).collect(),
            ..GroupState::new(group)
        };
        Self {
            failovers: Failovers::new(Arc::new(SqliteLedger::new(database))),
            state,
        }
    }

    async fn make(&self) {
        let known = self.failovers.get("main").await.unwrap().map(|known| known.version);
        let written = self.failovers.put("main", known, &self.state).await.unwrap();
        assert!(written.is_some(), "nobody else switches");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_fenced_is_no_success() {
    let (sides, _) = sites().await;
    Flip::prepare(&sides).make().await;
    let run = sides
        .transship(&["replicate", "a/core/app:v1", "b/core/app:late", "--wait"])
        .await;
    assert_eq!((run.code, last_code(&run)), (1, "FAILOVER_FENCED"), "{run:?}");
    assert!(run.err.contains("b/core/app:late not written"), "{run:?}");
    assert!(!sides.arrived("core/app", "late"));
}

/// Makes the flip when the first blob arrives, which is before any tag does: every other blob waits until the flip is made.
struct FlipAtFirstBlob {
    flip: Arc<Flip>,
    is_made: OnceLock<()>,
}

impl Faults for FlipAtFirstBlob {
    fn action(&self, request: &RequestHead<'_>) -> Option<Action> {
        if request.method == "POST" {
            self.is_made.get_or_init(|| {
                let flip = Arc::clone(&self.flip);
                let making = std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                    runtime.unwrap().block_on(flip.make());
                });
                making.join().unwrap();
            });
        }
        None
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_fenced_midway_writes_no_tag_more_and_says_so() {
    let (sides, zone) = sites().await;
    let order = ["run", "core", "--wait", "--dns-command", &zone];
    assert_eq!(sides.transship(&order).await.code, 0);
    for (tag, seed) in [("v2", 2), ("v3", 3)] {
        Sides::put(&sides.a, "core/app", tag, &images::image(seed, &[100]));
    }
    let faults = Arc::new(FlipAtFirstBlob {
        flip: Arc::new(Flip::prepare(&sides)),
        is_made: OnceLock::new(),
    });
    sides.b.set_faults(Some(faults.clone()));
    let run = sides.transship(&order).await;
    assert!(faults.is_made.get().is_some());
    assert_eq!((run.code, last_code(&run)), (1, "FAILOVER_FENCED"), "{run:?}");
    for part in [
        "and others not written",
        "b is the writer of the group main since epoch 1",
    ] {
        assert!(run.err.contains(part), "{run:?}");
    }
    let arrived = ["v1", "v2", "v3"].map(|tag| sides.arrived("core/app", tag));
    assert_eq!(arrived, [true, false, false]);
    // The rule is not in force any more.
    let repeated = sides.transship(&order).await;
    assert_eq!(repeated.code, 1, "{repeated:?}");
    assert!(!sides.arrived("core/app", "v2"));
}

/// Holds up every tag that is put, and counts them.
#[derive(Default)]
struct HoldTags(AtomicUsize);

impl Faults for HoldTags {
    fn action(&self, request: &RequestHead<'_>) -> Option<Action> {
        if request.method != "PUT" || !request.path.contains("/manifests/v") {
            return None;
        }
        self.0.fetch_add(1, Ordering::SeqCst);
        Some(Action::Delay { delay_ms: 600_000 })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflicts_are_overwritten_side_by_side() {
    let (sides, zone) = sites().await;
    std::fs::write(sides.path("zone.sh"), ZONE_OF_B).unwrap();
    Flip::prepare(&sides).make().await;
    let tags = ["v1", "v2", "v3"];
    for (tag, seed) in tags.into_iter().zip(1..) {
        Sides::put(&sides.a, "core/app", tag, &images::image(seed, &[100]));
        Sides::put(&sides.b, "core/app", tag, &images::image(seed + 10, &[100]));
    }
    let digests = |registry: &EmbeddedRegistry| {
        tags.map(|tag| registry.digest(&"core/app".parse().unwrap(), &tag.parse().unwrap()))
    };
    let order = ["dr", "failback", "main", "--dns-command", &zone];
    let undecided = sides.transship(&order).await;
    assert_eq!(
        (undecided.code, last_code(&undecided)),
        (1, "FAILOVER_CONFLICTS"),
        "{undecided:?}"
    );
    for tag in tags {
        assert!(undecided.err.contains(&format!("a/core/app:{tag}")), "{undecided:?}");
    }

    let decided = [&order[..], &["--conflicts", "overwrite"]].concat();
    let held = Arc::new(HoldTags::default());
    sides.a.set_faults(Some(held.clone()));
    let (config, data) = (sides.path("transship.yaml"), sides.path("data"));
    let place = ["--config", &config, "--data", &data];
    let mut command = command(&[&decided[..], &place].concat());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // All three are on their way at the same time; one after another, the first would hold up the others.
    while held.0.load(Ordering::SeqCst) < tags.len() {
        assert_eq!(child.try_wait().unwrap(), None, "the command ends");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    sides.a.set_faults(None);

    // No client could use `a` here, which has no TLS, so only the switch is refused.
    let repeated = sides.transship(&decided).await;
    assert_eq!(
        (repeated.code, last_code(&repeated)),
        (1, "FAILOVER_NOT_READY"),
        "{repeated:?}"
    );
    assert_eq!(digests(&sides.a), digests(&sides.b));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_compares_at_once_where_it_is_asked_to() {
    let (sides, zone) = sites().await;
    let order = ["dr", "check", "main", "--json", "--dns-command", &zone];
    let extra = async |more: &[&str]| {
        let run = sides.transship(&[&order[..], more].concat()).await;
        let report = run.json();
        let standby = report["sites"][1].clone();
        assert_eq!(standby["facts"]["missing"], 1, "{report}");
        (standby["facts"]["extra"].clone(), standby["facts"]["compared"].clone())
    };
    let (first, compared) = extra(&[]).await;
    assert_eq!(first, 0);
    Sides::put(&sides.b, "core/app", "late", &images::image(2, &[100]));
    // The comparison of a moment ago counts.
    assert_eq!(extra(&[]).await, (first, compared.clone()));
    let (found, again) = extra(&["--compare"]).await;
    assert_eq!(found, 1);
    assert!(again.as_str() > compared.as_str(), "{again} {compared}");
    assert_eq!(extra(&[]).await, (found, again));
}
