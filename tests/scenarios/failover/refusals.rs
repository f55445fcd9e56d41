//! What `transship dr flip` refuses, on one stage in sequence: nothing is changed then, and the reason is named.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests, and what they share")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use transship_embedded_registry::faults::{Action, Faults, RequestHead};
use transship_testkit::name_server::Product;
use transship_testkit::proxy::Certificate;
use transship_tests::failover::stage::PATIENCE;
use transship_tests::failover::{
    CLIENTS, Pulled, Stage, age_comparisons, assert_refused, assert_untouched, lost_ledger, records_of_others,
};
use transship_tests::process::Process;
use transship_tests::{Image, wait};

use crate::held::HoldTag;

/// Longer than facts count, and longer than the `rpo` of the stage.
const LONG_AGO: Duration = Duration::from_hours(2);
const FLIP: [&str; 5] = ["dr", "flip", "main", "--to", "b"];

fn image(number: u64) -> Image {
    Image::single(number, &[1200, 100])
}

/// A registry that refuses every login.
#[derive(Debug)]
struct Forbidden;

impl Faults for Forbidden {
    fn action(&self, _: &RequestHead<'_>) -> Option<Action> {
        Some(Action::Status {
            code: 403,
            headers: Vec::new(),
            body: Bytes::new(),
        })
    }
}

/// The flip is refused also if the loss of images is accepted; nothing is changed.
fn assert_not_ready(stage: &Stage, variables: &[(&str, &str)], reason: &str) {
    for more in [&[][..], &["--accept-data-loss"]] {
        let refused = stage.run_with(&[&FLIP, more].concat(), variables);
        assert_refused(&refused, "FAILOVER_NOT_READY", &[reason]);
    }
    let checked = stage.run_with(&["dr", "check", "main"], variables);
    assert_eq!((checked.code, checked.error_code()), (1, Some(reason)), "{checked:?}");
    assert_untouched(stage);
}

#[test]
fn what_cannot_take_over_is_refused_and_named() {
    if Stage::skipped() {
        return;
    }
    let mut stage = Stage::start(Product::Knot, "15m");
    let client = stage.client();
    client.push(&image(1), "core/app", "v1").unwrap();
    stage.write_document();
    // Nothing is known of the standby yet.
    stage.a.faults.set_faults(Some(Arc::new(Forbidden)));
    assert_not_ready(&stage, &[], "FAILOVER_FACTS_UNKNOWN");
    stage.a.faults.set_faults(None);
    assert_eq!(stage.run(&["run", "core", "--wait"]).code, 0);
    // A comparison was just tried. It is repeated at once if it is old.
    age_comparisons(&stage.serve.data(), LONG_AGO);
    stage.json(&["dr", "check", "main"]);

    assert_not_ready(&stage, &[("CLIENTS", "a-user:wrong")], "SITE_LOGIN_REFUSED");
    stage.open("b", Certificate::Of("elsewhere.example.com"));
    assert_not_ready(&stage, &[], "SITE_CERTIFICATE");
    stage.open("b", Certificate::Of(CLIENTS));

    // The writer answers, but cannot be compared any more.
    age_comparisons(&stage.serve.data(), LONG_AGO);
    stage.a.faults.set_faults(Some(Arc::new(Forbidden)));
    assert_not_ready(&stage, &[], "FAILOVER_FACTS_UNKNOWN");
    stage.a.faults.set_faults(None);
    age_comparisons(&stage.serve.data(), LONG_AGO);
    stage.json(&["dr", "check", "main"]);

    records_of_others(&stage);
    lag(&stage);
    lost_ledger(&stage, &image(1), &image(11));
    for (tag, number) in [("v1", 11), ("v2", 2), ("v3", 3)] {
        assert_eq!(
            client.pull("core/app", tag),
            Pulled::Whole(image(number).root().digest.clone()),
            "{tag}"
        );
    }
    second_operator(&mut stage);
}

/// Images that only the writer has are listed, and lost only by a decision.
fn lag(stage: &Stage) {
    age_comparisons(&stage.serve.data(), LONG_AGO);
    stage.push_at("a", &image(2), "core/app", "v2");
    stage.push_at("a", &image(3), "core/app", "v3");
    let refused = stage.run(&FLIP);
    let listed = [("v2", 2), ("v3", 3)]
        .map(|(tag, number)| format!("core/app:{tag} ({} here, none there)", image(number).root().digest));
    assert_refused(&refused, "FAILOVER_LAG", &[&listed[0], &listed[1]]);
    assert!(!refused.stderr.contains("core/app:v1"), "{refused:?}");
    assert_eq!(refused.stderr.matches("FAILOVER_LAG").count(), 1, "{refused:?}");
    assert_untouched(stage);

    let flipped = stage.json(&[&FLIP[..], &["--accept-data-loss"]].concat());
    assert_eq!(flipped["operation"]["accepted"]["images"], 2, "{flipped}");
    assert_eq!(
        flipped["operation"]["accepted"]["reasons"][0], "FAILOVER_LAG",
        "{flipped}"
    );
    stage.assert_leads_to("b", 1);
    assert_eq!(stage.digest_at("b", "core/app", "v2"), None);
}

/// Of two operators one wins, and the other learns who is at work.
fn second_operator(stage: &mut Stage) {
    assert_eq!(stage.run(&["run", "core", "--wait"]).code, 0);
    stage.json(&["dr", "check", "main"]);
    stage.serve.start_again();
    let held = Arc::new(HoldTag::default());
    stage.b.faults.set_faults(Some(held.clone()));
    let client = stage.client();
    client.push(&image(21), "core/app", "v1").unwrap();
    held.await_held();

    // The first one waits until the write has ended.
    let mut first = Process::start(&mut stage.command(&FLIP), &stage.serve.data().join("first.log"));
    let is_draining = || {
        let status = stage.json(&["dr", "status", "main"]);
        status["operation"]["steps"][1]["phase"] == "drained" && status["operation"]["ended"].is_null()
    };
    wait::until_true(PATIENCE, "the flip does not drain", is_draining).unwrap();
    for order in [
        &FLIP[..],
        &["dr", "flip", "main", "--to", "a"],
        &["dr", "failback", "main"],
    ] {
        let refused = stage.run_with(order, &[("USER", "second")]);
        assert_refused(
            &refused,
            "FAILOVER_BUSY",
            &["flip to b by ops@", "is under way", "since 2"],
        );
    }
    stage.assert_leads_to("a", 2);

    // The connection of the write breaks.
    stage.b.faults.set_faults(None);
    stage.b.close();
    stage.open("b", Certificate::Of(CLIENTS));
    wait::until_true(PATIENCE, "the flip does not end", || !first.is_running())
        .unwrap_or_else(|reason| panic!("{reason}\n{}", first.log_tail()));
    stage.assert_leads_to("b", 3);
    let late = stage.run_with(&[&FLIP[..], &["--json"]].concat(), &[("USER", "second")]);
    assert_eq!(
        (&late.json()["changed"], &late.json()["epoch"]),
        (&false.into(), &3.into()),
        "{late:?}"
    );
}
