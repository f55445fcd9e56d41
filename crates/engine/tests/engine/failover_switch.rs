//! A switch with real sites: what is confirmed, and what is known afterwards.

use std::sync::Arc;
use std::time::Duration;

use transship_engine::failover::{Phase, Writes, WritesOf};
use transship_engine::ledger::Ledger;
use transship_oci::Code;
use transship_testkit::images;
use transship_testkit::memory::MemoryLedger;

use crate::failover_stage::{Stage, entry};

/// Half of the secondary servers are down.
#[tokio::test]
async fn a_switch_names_the_servers_that_do_not_answer_and_waits_for_those_that_do() {
    let stage = Stage::ready().await;
    // ns2 serves the old record, ns3 is down.
    *stage.zone.others.lock().unwrap() = vec![Some(entry("127.0.0.1", 0, "a")), None];
    let error = stage.lead(Some("b")).await.unwrap_err();
    assert_eq!(error.code(), "DNS_NOT_SETTLED", "{error}");
    assert!(error.to_string().contains("ns2 answers"), "{error}");

    *stage.zone.others.lock().unwrap() = vec![Some(entry("127.0.0.2", 1, "b")), None];
    let switched = stage.lead(Some("b")).await.unwrap();
    assert_eq!(
        (switched.state.phase, switched.state.writer.as_str()),
        (Phase::Reversed, "b")
    );
    let operation = switched.state.operation.unwrap();
    let silent = &operation.zones["public"].silent;
    assert_eq!(silent.len(), 1, "{silent:?}");
    assert!(silent[0].starts_with("ns3: "), "{silent:?}");
}

/// Why the standby is not ready.
async fn codes(stage: &Stage, site: &str) -> Vec<String> {
    let report = stage.check().await;
    let found = report.sites.into_iter().find(|found| found.site == site).unwrap();
    found.reasons.into_iter().map(|reason| reason.code).collect()
}

/// What was compared before a switch says nothing about the rules that are in force since.
#[tokio::test]
async fn facts_from_before_a_switch_are_unknown() {
    let stage = Stage::ready().await;
    assert_eq!(codes(&stage, "b").await, Vec::<String>::new());
    stage.lead(Some("b")).await.unwrap();
    assert_eq!(codes(&stage, "a").await, ["FAILOVER_FACTS_UNKNOWN"]);
    assert!(stage.is_comparison_due().await);
    stage.clock.advance(Duration::from_secs(1));
    stage.compare().await;
    assert_eq!(codes(&stage, "a").await, Vec::<String>::new());
    assert!(!stage.is_comparison_due().await);

    // The comparison of the first direction is a few seconds old, and from before two switches.
    stage.clock.advance(Duration::from_secs(1));
    stage.lead(None).await.unwrap();
    assert_eq!(codes(&stage, "b").await, ["FAILOVER_FACTS_UNKNOWN"]);
    assert!(stage.is_comparison_due().await);
}

/// Both sites moved, or the old site was pushed to after clients had left it.
#[tokio::test]
async fn what_was_pushed_to_the_old_site_is_a_conflict_and_is_kept_by_name() {
    let stage = Stage::ready().await;
    let [old, new, other] = [1, 2, 3].map(|seed| images::image(seed, &[100]));
    for (tag, site) in [("v2", &stage.a), ("v2", &stage.b), ("v3", &stage.a), ("v3", &stage.b)] {
        site.put("core/app", tag, &old);
        stage.note_copy(tag, &old.root).await;
    }
    stage.lead(Some("b")).await.unwrap();
    stage.b.put("core/app", "v2", &new);
    stage.b.put("core/app", "v3", &new);
    stage.a.put("core/app", "v3", &other);
    stage.a.put("core/app", "late", &other);
    stage.clock.advance(Duration::from_secs(1));
    stage.compare().await;

    let report = stage.check().await;
    let a = report.sites.into_iter().find(|site| site.site == "a").unwrap();
    let conflicts = a.differences.iter().filter(|one| one.is_conflict);
    let names: Vec<&str> = conflicts.map(|one| one.tag.as_str()).collect();
    assert_eq!(
        names,
        ["v3", "late"],
        "v2 has what was replicated last: {:?}",
        a.differences
    );
    let facts = a.facts.unwrap();
    assert_eq!((facts.conflicts, facts.different, facts.extra), (2, 2, 1));
    let notes: Vec<&str> = a.warnings.iter().map(|note| note.code.as_str()).collect();
    assert!(notes.contains(&"FAILOVER_CONFLICTS"), "{notes:?}");
}

/// Workers of a stack may not read the zones: what an operator's check finds in DNS is what they go by.
#[tokio::test]
async fn a_check_after_the_table_was_lost_writes_the_state_that_workers_need() {
    let mut stage = Stage::ready().await;
    stage.lead(Some("b")).await.unwrap();
    stage.ledger = Ledger::new(&Arc::new(MemoryLedger::default()));
    let snapshot = stage.configuration.current();
    let writes = |rule: &'static str, ends: (&'static str, &'static str)| {
        let of = WritesOf {
            failovers: &stage.ledger.failovers,
            clock: &stage.clock,
            document: snapshot.written(),
            rule,
            ends,
            zones: None,
            budget: None,
        };
        Writes::new(of, rule)
    };
    let admitted = async |rule, ends| writes(rule, ends).admit().await.map(drop).map_err(|error| error.code());
    assert_eq!(
        admitted("core.reverse", ("b", "a")).await,
        Err("FAILOVER_EPOCH_UNKNOWN")
    );
    let report = stage.check().await;
    assert_eq!((report.epoch, report.writer.as_str()), (1, "b"));
    assert_eq!(admitted("core.reverse", ("b", "a")).await, Ok(()));
    assert_eq!(admitted("core", ("a", "b")).await, Err("FAILOVER_FENCED"));
}

/// Whether a service allows a change is asked beside everything else that is asked of it before a switch.
#[tokio::test]
async fn a_service_that_is_throttled_does_not_refuse_a_switch_and_one_that_refuses_does() {
    let stage = Stage::ready().await;
    *stage.zone.refusal.lock().unwrap() = Some(Code::DnsRefused);
    assert!(!stage.check().await.ready);
    let error = stage.lead(Some("b")).await.unwrap_err();
    assert!(error.is(Code::DnsRefused), "{error}");
    *stage.zone.refusal.lock().unwrap() = Some(Code::DnsUnavailable);
    let report = stage.check().await;
    assert!(report.ready, "{report:?}");
    let switched = stage.lead(Some("b")).await.unwrap();
    assert_eq!(switched.state.writer, "b");
}
