//! A check of a failover group: every refusal, and the same report whether the writer is up or down.

use std::time::Duration;

use transship_engine::failover::{FACTS_AGE_MAX, GroupState, Phase, Role, Seen};
use transship_engine::names::{Entry, Names as _};
use transship_oci::Code;
use transship_rules::{RecordKind, SiteRecord};
use transship_testkit::images;
use transship_testkit::memory::MemoryNames;
use transship_testkit::proxy::Certificate;

use crate::failover_stage::{CLIENTS, Stage, entry, host};
use crate::fixture::tag;

const MINUTE: Duration = Duration::from_mins(1);

#[tokio::test]
async fn a_group_with_everything_is_ready_and_nothing_is_written() {
    let stage = Stage::ready().await;
    let before = stage.zone.names.clone();
    let report = stage.check().await;
    assert!(report.ready, "{report:?}");
    assert_eq!(report.from, "here");
    let standby = &report.sites[1];
    assert_eq!((standby.site.as_str(), standby.role), ("b", Role::Standby));
    let facts = standby.facts.as_ref().unwrap();
    assert_eq!((facts.images, facts.replicated, facts.verified), (1, 1, 1));
    let probe = &standby.probe;
    assert_eq!(
        (probe.reachable, probe.certificate, probe.login, probe.pull),
        (Seen::Yes, Seen::Yes, Seen::Yes, Seen::Yes)
    );
    assert!(probe.certificate_end.is_some() && probe.addresses == [stage.b.address]);
    assert_eq!(report.zones[0].servers[0].state, "current");
    let name = host(CLIENTS);
    assert_eq!(
        before.read(&name).await.unwrap(),
        stage.zone.names.read(&name).await.unwrap()
    );
    let is_read = |request: &transship_embedded_registry::records::RequestRecord| {
        request.method == "GET" || request.method == "HEAD"
    };
    for site in [&stage.a, &stage.b] {
        assert!(site.registry.requests().iter().all(is_read));
    }
}

#[tokio::test]
async fn the_report_has_the_same_form_while_the_writer_is_down() {
    let mut stage = Stage::ready().await;
    let keys = |report: &transship_engine::failover::CheckReport| {
        fn walk(value: &serde_json::Value, path: &str, into: &mut std::collections::BTreeSet<String>) {
            if let serde_json::Value::Object(fields) = value {
                for (key, value) in fields {
                    into.insert(format!("{path}.{key}"));
                    walk(value, &format!("{path}.{key}"), into);
                }
            }
            if let serde_json::Value::Array(values) = value {
                for value in values {
                    walk(value, path, into);
                }
            }
        }
        let mut all = std::collections::BTreeSet::new();
        let mut report = serde_json::to_value(report).unwrap();
        for list in ["reasons", "warnings", "differences", "at_risk"] {
            for site in report["sites"].as_array_mut().unwrap() {
                site.as_object_mut().unwrap().remove(list);
            }
        }
        walk(&report, "", &mut all);
        all.retain(|path| !path.contains(".failure."));
        all
    };
    let up = stage.check().await;
    stage.a.proxy = None;
    let down = stage.check().await;
    assert_eq!(keys(&up), keys(&down));
    assert!(down.ready, "only the writer is down: {down:?}");
    assert_eq!(down.sites[0].probe.reachable, Seen::No);
    assert_eq!(down.sites[0].reasons[0].code, "SITE_UNREACHABLE");
    // The comparison finds it down as well, and the facts stay known.
    stage.clock.advance(10 * MINUTE);
    stage.compare().await;
    stage.clock.advance(FACTS_AGE_MAX);
    stage.compare().await;
    let down = stage.check().await;
    assert!(down.ready, "{down:?}");
    assert_eq!(down.sites[1].facts.as_ref().unwrap().lag, Some(10 * MINUTE));
}

#[tokio::test]
async fn lag_and_unknown_facts_are_refused() {
    let stage = Stage::new().await;
    stage.a.put("core/app", "v1", &images::image(1, &[100]));
    assert_eq!(stage.refusals().await, ["FAILOVER_FACTS_UNKNOWN"]);
    stage.compare().await;
    assert_eq!(
        stage.refusals().await,
        [""; 0],
        "the image is not older than the comparison"
    );
    stage.clock.advance(20 * MINUTE);
    assert_eq!(stage.refusals().await, ["FAILOVER_LAG"]);
    let report = stage.check().await;
    assert_eq!(report.sites[1].at_risk[0].tag, tag("v1"));
    assert_eq!(
        (report.sites[1].at_risk_total, report.sites[1].differences_total),
        (1, 1)
    );
    stage.clock.advance(FACTS_AGE_MAX);
    assert_eq!(stage.refusals().await, ["FAILOVER_FACTS_UNKNOWN"]);
}

#[tokio::test]
async fn a_certificate_of_another_name_is_refused() {
    let stage = Stage::ready().await;
    stage
        .b
        .proxy
        .as_ref()
        .unwrap()
        .show(&stage.authority, Certificate::OfAnotherHost)
        .unwrap();
    assert_eq!(stage.refusals().await, ["SITE_CERTIFICATE"]);
    let report = stage.check().await;
    let probe = &report.sites[1].probe;
    assert_eq!(
        (probe.certificate, probe.login, probe.pull),
        (Seen::No, Seen::Unknown, Seen::Unknown)
    );
}

#[tokio::test]
async fn a_login_of_the_clients_that_is_not_accepted_is_refused() {
    let stage = Stage::ready().await;
    "wrong".clone_into(&mut stage.clients.lock().unwrap());
    assert_eq!(stage.refusals().await, ["SITE_LOGIN_REFUSED"]);
}

#[tokio::test]
async fn a_site_that_is_down_or_lost_an_image_is_refused() {
    let mut stage = Stage::ready().await;
    stage.b.registry.untag(&"core/app".parse().unwrap(), &tag("v1"));
    assert_eq!(stage.refusals().await, ["SITE_PULL_FAILED"]);
    stage.b.proxy = None;
    assert_eq!(stage.refusals().await, ["SITE_UNREACHABLE"]);
}

#[tokio::test]
async fn a_record_that_somebody_changed_is_refused() {
    let stage = Stage::ready().await;
    let name = host(CLIENTS);
    stage.zone.names.put(&name, entry("10.0.0.9", 0, "a"));
    assert_eq!(stage.refusals().await, ["DNS_RECORD_CHANGED"]);
    let report = stage.check().await;
    assert!(
        report.zones[0].reasons[0].text.contains("10.0.0.9"),
        "{:?}",
        report.zones[0]
    );
    let owned = Entry {
        owner: Some("external-dns (owner x)".to_owned()),
        ..entry("127.0.0.1", 0, "a")
    };
    stage.zone.names.put(&name, owned);
    assert_eq!(stage.refusals().await, ["DNS_RECORD_OWNED"]);
    stage.zone.names.put(&name, Entry::default());
    assert_eq!(stage.refusals().await, ["DNS_RECORD_CHANGED"]);
}

#[tokio::test]
async fn an_epoch_that_this_ledger_does_not_know_is_refused() {
    let stage = Stage::ready().await;
    let group = stage.group();
    let state = GroupState::new(&group);
    stage.ledger.failovers.put(&group.name, None, &state).await.unwrap();
    stage.zone.names.put(&host(CLIENTS), entry("127.0.0.2", 7, "b"));
    assert_eq!(stage.refusals().await, ["DNS_EPOCH_OLD"]);
}

#[tokio::test]
async fn servers_that_are_down_or_stale_are_named() {
    let stage = Stage::ready().await;
    let current = Entry {
        texts: Vec::new(),
        ..entry("127.0.0.1", 0, "a")
    };
    *stage.zone.others.lock().unwrap() = vec![Some(current), Some(entry("127.0.0.2", 0, "b")), None];
    assert_eq!(stage.refusals().await, ["DNS_NOT_SETTLED"]);
    let report = stage.check().await;
    let states: Vec<&str> = report.zones[0].servers.iter().map(|server| server.state).collect();
    assert_eq!(states, ["current", "current", "stale", "down"]);
    assert!(
        report.zones[0].reasons[0]
            .text
            .contains("2 of 4 servers are current; ns3 is stale")
    );

    // A server that is down leads no client anywhere, so it is a note.
    stage.zone.others.lock().unwrap().remove(1);
    assert_eq!(stage.refusals().await, Vec::<String>::new());
    let report = stage.check().await;
    let note = &report.zones[0].warnings[0];
    assert_eq!(note.code, "DNS_SERVER_SILENT", "{note:?}");
    assert!(
        note.text.contains("2 of 3 servers are current; ns3 is down"),
        "{note:?}"
    );
}

/// The epoch is not known then, and everything else is reported all the same.
#[tokio::test]
async fn a_zone_that_cannot_be_read_is_a_reason_in_the_same_report() {
    let stage = Stage::ready().await;
    stage.zone.is_down.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(stage.refusals().await, ["FAILOVER_EPOCH_UNKNOWN", "DNS_UNAVAILABLE"]);
    let report = stage.check().await;
    assert!(report.sites[1].ready && report.zones[0].records.is_none());
}

#[tokio::test]
async fn what_would_surprise_is_listed_and_is_no_refusal() {
    let stage = Stage::ready().await;
    stage.b.put("core/app", "only-here", &images::image(5, &[1]));
    let mut old = Entry {
        texts: Vec::new(),
        ..entry("127.0.0.1", 0, "a")
    };
    old.records[0].ttl_seconds = 3600;
    stage.zone.names.put(&host(CLIENTS), old);
    stage.compare().await;
    let report = stage.check().await;
    assert!(report.ready);
    let codes = |reasons: &[transship_engine::failover::Reason]| -> Vec<String> {
        reasons.iter().map(|reason| reason.code.clone()).collect()
    };
    assert_eq!(codes(&report.zones[0].warnings), ["DNS_TTL_DIFFERS"]);
    assert_eq!(codes(&report.sites[1].warnings), ["EXTRA_TAG"]);
    assert_eq!(codes(&report.warnings), ["DRILL_OVERDUE"]);
    assert_eq!(
        (report.sites[1].immutability, report.sites[1].retention),
        ("unknown", "unknown")
    );
}

/// Another site is the writer: what is compared, and what counts as lag, is that of the derived rules.
#[tokio::test]
async fn after_the_writer_changed_the_facts_are_those_of_the_new_direction() {
    let stage = Stage::ready().await;
    let state = GroupState {
        epoch: 1,
        writer: "b".to_owned(),
        phase: Phase::Reversed,
        ..GroupState::new(&stage.group())
    };
    stage.ledger.failovers.put("main", None, &state).await.unwrap();
    assert_eq!(stage.refusals().await[0], "FAILOVER_FACTS_UNKNOWN");

    stage.b.put("core/app", "v2", &images::image(2, &[10]));
    stage.compare().await;
    let report = stage.check().await;
    assert_eq!(
        (report.writer.as_str(), report.sites[0].role, report.sites[1].role),
        ("b", Role::Standby, Role::Writer)
    );
    let facts = report.sites[0].facts.as_ref().unwrap();
    assert_eq!((facts.images, facts.replicated, facts.missing), (2, 1, 1));
    assert_eq!((report.sites[0].at_risk[0].tag.clone(), facts.waiting), (tag("v2"), 0));

    let waiting = |rule: &str, from: &str, to: &str, reference: &str| {
        let mut task = transship_testkit::suites::task(1);
        let image = |registry: &str| format!("{registry}/core/app:{reference}");
        task.id = rule.to_owned();
        task.execution.rule = rule.to_owned();
        task.created = stage.now();
        (task.origin, task.source) = (from.to_owned(), image(from));
        (task.destination_registry, task.destination) = (to.to_owned(), image(to));
        task
    };
    let tasks = [waiting("core.reverse", "b", "a", "v3"), waiting("core", "a", "b", "v4")];
    stage.ledger.history.record(&tasks).await.unwrap();
    stage.clock.advance(16 * MINUTE);
    let report = stage.check().await;
    let facts = report.sites[0].facts.as_ref().unwrap();
    let at_risk: Vec<&str> = report.sites[0].at_risk.iter().map(|image| image.tag.as_str()).collect();
    assert_eq!((facts.waiting, at_risk), (1, vec!["v2", "v3"]));
    assert!(facts.lag.unwrap() >= 16 * MINUTE, "{facts:?}");
    assert!(
        report.sites[0]
            .reasons
            .iter()
            .any(|reason| reason.code == "FAILOVER_LAG")
    );
}

/// The document does not say what the zone of a service is called, so the check finds it, and a switch before it fences.
#[tokio::test]
async fn an_alias_at_the_apex_of_a_zone_is_reported_before_anything_is_changed() {
    let mut stage = Stage::ready().await;
    stage.zone.names = MemoryNames::new(host(CLIENTS));
    let first = Entry {
        texts: Vec::new(),
        ..entry("127.0.0.1", 0, "a")
    };
    stage.zone.names.put(&host(CLIENTS), first.clone());
    let mut group = stage.group();
    group.sites[1].record = SiteRecord {
        kind: RecordKind::Cname,
        values: vec!["b.example.net".to_owned()],
    };
    let report = stage.checker().run(&group).await.unwrap();
    let codes: Vec<&str> = report.zones[0]
        .reasons
        .iter()
        .map(|reason| reason.code.as_str())
        .collect();
    assert_eq!((codes, report.ready), (vec!["DNS_APEX_CNAME"], false));
    let error = stage.lead_in(&group, Some("b")).await.unwrap_err();
    assert!(error.is(Code::DnsApexCname), "{error}");
    let known = stage.ledger.failovers.get("main").await.unwrap().unwrap();
    assert_eq!((known.state.epoch, known.state.phase), (0, Phase::Ready));
    assert_eq!(stage.zone.names.read(&host(CLIENTS)).await.unwrap(), first);
}

/// No request asks for the retention of a registry; what it removed says that there is one.
#[tokio::test]
async fn a_standby_that_lost_an_image_is_known_to_remove_them() {
    let stage = Stage::ready().await;
    let image = images::image(7, &[10]);
    stage.a.put("core/app", "old", &image);
    stage.note_copy("old", &image.root).await;
    stage.compare().await;
    let report = stage.check().await;
    let b = &report.sites[1];
    assert_eq!((b.immutability, b.retention), ("unknown", "observed"));
    let notes: Vec<&str> = b.warnings.iter().map(|note| note.code.as_str()).collect();
    assert_eq!(notes, ["DESTINATION_DELETED"]);
}
