//! Failover with the name in two hosted zones of Route 53, a public and a private one: real registries, clients that connect to what
//! the zones say, and an operator whose key may change these zones and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use transship_embedded_registry::faults::{Action, Faults, RequestHead};
use transship_testkit::faults::{Fault, Script};
use transship_tests::aws::Aws;
use transship_tests::failover::{
    CLIENTS, Client, Front, Pulled, Stage, assert_refused, assert_untouched, hosted_zones, lost_ledger,
    records_of_others, there_and_back,
};
use transship_tests::{Image, transship};

const FLIP: [&str; 5] = ["dr", "flip", "main", "--to", "b"];

fn image(number: u64) -> Image {
    Image::single(number, &[900, 100])
}

/// The stage, or nothing if its programs are not installed.
fn stage() -> Option<Stage> {
    if Stage::skipped() {
        return None;
    }
    assert_eq!(transship::binary().to_str(), Some(env!("CARGO_BIN_EXE_transship")));
    Some(Stage::start_hosted("15m"))
}

#[test]
fn clients_of_hosted_zones_are_led_there_and_back() {
    if let Some(stage) = stage() {
        there_and_back(stage);
    }
}

#[test]
fn a_switch_of_hosted_zones_is_refused_continued_and_found_again() {
    let Some(stage) = stage() else { return };
    stage.client().push(&image(1), "core/app", "v1").unwrap();
    stage.write_document();
    let copied = stage.run(&["run", "core", "--wait"]);
    assert_eq!(copied.code, 0, "{copied:?}");
    let checked = stage.json(&["dr", "check", "main"]);
    for zone in checked["zones"].as_array().unwrap() {
        let told = (&zone["service"], &zone["atomic"], &zone["ready"]);
        assert_eq!(told, (&"route53".into(), &true.into(), &true.into()), "{checked}");
    }

    zones_of_others(&stage);
    records_of_others(&stage);
    a_record_changed_meanwhile(&stage);
    one_zone_after_the_other(&stage);
    stage.json(&FLIP);
    lost_ledger(&stage, &image(1), &image(2));
}

/// A zone that is not there, one that the operator has no right to, and one that may be read only: a check names it, and a flip
/// changes nothing, not even the state of the group.
fn zones_of_others(stage: &Stage) {
    let zones = stage.names.hosted();
    let own = zones.id("vpc");
    let forbidden = zones.forbidden();
    // MiniStack refuses in the form of S3, so its reason is not read here; crates/aws/tests/suites/names.rs has that of AWS.
    for (other, code) in [
        (hosted_zones::DELETED, "DNS_ZONE_INVALID"),
        (forbidden.as_str(), "DNS_REFUSED"),
        (zones.read_only(stage.a.address.ip()), "DNS_REFUSED"),
    ] {
        let document = stage.document().yaml().replace(own, other);
        std::fs::write(stage.serve.config(), document).unwrap();
        let checked = stage.run(&["dr", "check", "main", "--json"]);
        assert_refused(&checked, code, &["zone vpc", other]);
        let report = checked.json();
        let ready = |number: usize| report["zones"][number]["ready"] == true;
        assert_eq!((ready(0), ready(1)), (true, false), "{report}");
        assert_refused(&stage.run(&FLIP), code, &[other]);
        stage.write_document();
        assert_untouched(stage);
    }
}

/// Changes the record of a zone right before the change batch of a switch arrives. The batch before it asks whether a change is
/// allowed.
struct ChangeFirst {
    aws: Aws,
    zone: String,
    batches: AtomicUsize,
}

impl Faults for ChangeFirst {
    fn action(&self, request: &RequestHead<'_>) -> Option<Action> {
        let is_batch = request.method == "POST" && request.path.contains(&self.zone);
        if is_batch && self.batches.fetch_add(1, Ordering::SeqCst) == 1 {
            hosted_zones::set(&self.aws, &self.zone, "A", CLIENTS, "127.0.0.9");
        }
        None
    }
}

/// The batch deletes the exact old record, so a change between reading and writing is not overwritten.
fn a_record_changed_meanwhile(stage: &Stage) {
    let zones = stage.names.hosted();
    let changing = Arc::new(ChangeFirst {
        aws: zones.aws().clone(),
        zone: zones.id("internet").to_owned(),
        batches: AtomicUsize::new(0),
    });
    zones.faults.set_faults(Some(changing.clone()));
    let refused = stage.run(&FLIP);
    zones.faults.set_faults(None);
    assert_eq!(changing.batches.load(Ordering::SeqCst), 2);
    assert_refused(&refused, "DNS_RECORD_CHANGED", &["zone internet", "127.0.0.9"]);
    let (a, b) = (stage.a.address.ip().to_string(), stage.b.address.ip().to_string());
    assert_eq!(stage.names.answers("A", CLIENTS), ["127.0.0.9", &b]);
    let texts = stage.names.answers("TXT", &format!("_transship.{CLIENTS}"));
    assert_eq!(texts[0], "", "the epoch is written with the record or not at all");
    assert!(texts[1].starts_with("\"epoch=1; site=b;"), "{texts:?}");

    // One zone is moved: this is a state, and the same command continues it once the record is right.
    let status = stage.json(&["dr", "status", "main"]);
    let done = |zone: &str| !status["operation"]["zones"][zone]["done"].is_null();
    assert_eq!((done("internet"), done("vpc")), (false, true), "{status}");
    hosted_zones::set(zones.aws(), zones.id("internet"), "A", CLIENTS, &a);
    let change_under_way = Fault::new("GET", "/change/", pending()).unwrap().times(2);
    let script = Arc::new(Script::new([change_under_way]));
    zones.faults.set_faults(Some(script.clone()));
    let continued = stage.json(&FLIP);
    zones.faults.set_faults(None);
    assert_eq!(
        script.struck(),
        2,
        "a switch waits until Route 53 reports the change as complete"
    );
    assert_eq!(
        (&continued["epoch"], &continued["writer"]),
        (&1.into(), &"b".into()),
        "{continued}"
    );
    stage.assert_leads_to("b", 1);
    let returned = stage.json(&["dr", "failback", "main"]);
    assert_eq!(returned["writer"], "a", "{returned}");
    stage.assert_leads_to("a", 2);
}

/// Source: Amazon Route 53 API reference, `GetChange`.
fn pending() -> Action {
    let body = "<?xml version=\"1.0\"?><GetChangeResponse xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><ChangeInfo><Id>/change/C1</Id><Status>PENDING</Status><SubmittedAt>2026-01-01T00:00:00Z</SubmittedAt></ChangeInfo></GetChangeResponse>";
    Action::Status {
        code: 200,
        headers: vec![("content-type".to_owned(), "text/xml".to_owned())],
        body: body.into(),
    }
}

/// Only the clients of the VPC are led elsewhere; the writer is the same.
fn one_zone_after_the_other(stage: &Stage) {
    let front = Front::start(stage.names.hosted().resolver("vpc"));
    let inside = Client {
        proxy: front.url(),
        ..stage.client()
    };
    let (a, b) = (stage.a.address.ip().to_string(), stage.b.address.ip().to_string());
    let moved = stage.json(&[&FLIP[..], &["--zone", "vpc"]].concat());
    assert_eq!(
        (&moved["phase"], &moved["writer"]),
        (&"flipped".into(), &"a".into()),
        "{moved}"
    );
    assert_eq!(stage.names.answers("A", CLIENTS), [a, b]);
    for client in [&inside, &stage.client()] {
        assert_eq!(
            client.pull("core/app", "v1"),
            Pulled::Whole(image(1).root().digest.clone())
        );
    }
    stage.json(&["dr", "failback", "main", "--zone", "vpc"]);
}
