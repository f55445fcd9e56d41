//! A drill: everything of a flip and a failback, on a name that no client uses, and nothing is left behind.

use transship_engine::failover::{DRILL_AGE_MAX, GroupState, overdue};
use transship_engine::names::{Entry, Names as _};
use transship_testkit::images;

use crate::failover_stage::{CLIENTS, Stage, entry, host};

const DRILL: &str = "drill-images.example.com";

fn steps(report: &transship_engine::failover::DrillReport) -> Vec<&str> {
    report.zones[0].steps.iter().map(|step| step.step.as_str()).collect()
}

#[tokio::test]
async fn a_drill_switches_there_and_back_and_leaves_nothing_behind() {
    let stage = Stage::ready().await;
    let before = stage.zone.names.read(&host(CLIENTS)).await.unwrap();
    stage.a.registry.reset_requests();
    stage.b.registry.reset_requests();
    let report = stage.drill().await;
    assert!(report.ok, "{report:?}");
    assert_eq!(
        steps(&report),
        [
            "create",
            "switch",
            "confirm",
            "pull",
            "switch back",
            "confirm back",
            "pull back",
            "remove"
        ]
    );
    assert_eq!(
        (report.name.as_str(), report.from.as_str(), report.to.as_str()),
        (DRILL, "a", "b")
    );
    assert!(report.rto_ms.is_some() && report.rpo_seconds == Some(0) && report.at_risk_count == 0);
    let pulls = |registry: &transship_embedded_registry::EmbeddedRegistry| {
        let requests = registry.requests();
        requests
            .iter()
            .filter(|request| request.path.contains("/manifests/v1"))
            .count()
    };
    // One pull of the check's site, one of the drill.
    assert!(pulls(&stage.a.registry) > 0 && pulls(&stage.b.registry) > 0);

    assert_eq!(stage.zone.names.read(&host(CLIENTS)).await.unwrap(), before);
    assert_eq!(stage.zone.names.read(&host(DRILL)).await.unwrap(), Entry::default());
    // The check before it wrote what DNS says; the drill changed nothing.
    let known = stage.ledger.failovers.get("main").await.unwrap().unwrap();
    assert_eq!(known.state, GroupState::new(&stage.group()));

    let kept = stage.ledger.drills.report("main", report.started).await.unwrap();
    assert_eq!(kept, Some(report.clone()));
    let last = stage.ledger.drills.last("main").await.unwrap();
    assert_eq!(
        (last.last, last.last_good),
        (Some(report.started), Some(report.started))
    );
    assert!(overdue("main", &last, stage.now()).is_none());
    stage.clock.advance(DRILL_AGE_MAX);
    stage.clock.advance(std::time::Duration::from_mins(1));
    assert_eq!(overdue("main", &last, stage.now()).unwrap().code, "DRILL_OVERDUE");
}

#[tokio::test]
async fn a_drill_that_fails_removes_its_record_and_is_not_good() {
    let mut stage = Stage::ready().await;
    stage.b.proxy = None;
    let report = stage.drill().await;
    assert!(!report.ok && report.rto_ms.is_none());
    assert_eq!(steps(&report), ["create", "switch", "confirm", "pull", "remove"]);
    assert!(report.zones[0].removed);
    assert_eq!(stage.zone.names.read(&host(DRILL)).await.unwrap(), Entry::default());
    let last = stage.ledger.drills.last("main").await.unwrap();
    assert_eq!((last.last, last.last_good), (Some(report.started), None));
}

#[tokio::test]
async fn a_drill_of_a_site_that_lags_measures_what_would_be_lost() {
    let stage = Stage::ready().await;
    stage.a.put("core/app", "v2", &images::image(2, &[10]));
    stage.compare().await;
    stage.clock.advance(std::time::Duration::from_mins(20));
    let report = stage.drill().await;
    assert!(!report.ok);
    assert_eq!(report.reasons[0].code, "FAILOVER_LAG");
    assert_eq!((report.rpo_seconds, report.at_risk_count), (Some(1200), 1));
    assert!(
        report.zones[0].removed && report.rto_ms.is_some(),
        "the steps are rehearsed all the same"
    );
}

#[tokio::test]
async fn a_record_that_a_drill_left_is_taken_over_and_any_other_is_left_alone() {
    let stage = Stage::ready().await;
    stage.zone.names.put(&host(DRILL), entry("127.0.0.2", 5, "b"));
    let report = stage.drill().await;
    assert!(report.ok, "{report:?}");
    assert_eq!(stage.zone.names.read(&host(DRILL)).await.unwrap(), Entry::default());

    let foreign = Entry {
        texts: Vec::new(),
        ..entry("10.0.0.9", 0, "x")
    };
    stage.zone.names.put(&host(DRILL), foreign.clone());
    let report = stage.drill().await;
    assert!(!report.ok);
    assert_eq!(report.reasons[0].code, "DNS_RECORD_CHANGED");
    assert_eq!(stage.zone.names.read(&host(DRILL)).await.unwrap(), foreign);
}
