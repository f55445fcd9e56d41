//! A flip and the way back, while clients pull by the name, wherever the name is.

use serde_json::Value;
use transship_testkit::proxy::Certificate;

use super::{CLIENTS, Client, Pulled, Stage};
use crate::Image;

/// The name of a drill.
const DRILL: &str = "drill-images.example.com";

/// Images that differ from each other, by number.
fn image(number: u64) -> Image {
    Image::single(number, &[2000, 300])
}

fn assert_pulls(client: &Client, tag: &str, image: &Image) {
    assert_eq!(
        client.pull("core/app", tag),
        Pulled::Whole(image.root().digest.clone()),
        "{tag}"
    );
}

/// The whole way, once. `serve` replicates between the sites, and two clients pull all the time: one resolves the name for each
/// connection, and one keeps an answer for its time to live.
///
/// # Panics
/// If something is not as an operator and clients expect it.
pub fn there_and_back(mut stage: Stage) {
    let client = stage.client();
    let first = image(1);
    let push = |number: u64, tag: &str| {
        let pushed = client.push(&image(number), "core/app", tag);
        assert_eq!(pushed, Ok(()), "{tag}");
    };
    push(1, "v1");
    push(2, "v2");
    stage.write_document();
    assert_eq!(stage.run(&["run", "core", "--wait"]).code, 0);
    let checked = stage.json(&["dr", "check", "main"]);
    assert_eq!(checked["sites"][1]["facts"]["verified"], 2, "{checked}");
    let document = stage.document();
    stage.serve.start(&document);

    // A push by the name is a push to `a`, and arrives at the standby.
    push(3, "v3");
    stage.assert_arrives("b", &image(3), "core/app", "v3");
    stage.json(&["dr", "check", "main"]);

    rehearse(&stage);

    // The switch, while clients pull all the time.
    let pulling = client.pull_continuously("core/app", "v1");
    let (keeper, _front) = stage.keeping_client();
    let kept = keeper.pull_continuously("core/app", "v1");
    pulling.await_pulls(2);
    kept.await_whole(1);
    let flipped = stage.json(&["dr", "flip", "main", "--to", "b"]);
    assert_eq!(
        (&flipped["epoch"], &flipped["writer"]),
        (&1.into(), &"b".into()),
        "{flipped}"
    );
    stage.assert_leads_to("b", 1);
    // From now on the primary is down.
    stage.a.close();
    pulling.await_pulls(3);
    let (whole, _) = pulling.assert_only(&first.root().digest);
    assert!(whole >= 4, "{whole}");
    let layout = tempfile::tempdir().expect("a temporary folder can be made");
    let pulled = client.pull_to("core/app", "v3", layout.path());
    assert_eq!(pulled, Ok(()));
    // The one that keeps answers goes on at the new site, without a restart. The first of these pulls may have ended before the
    // primary was down.
    kept.await_whole(2);
    kept.assert_only(&first.root().digest);

    // What is pushed now goes to the new site. It was pushed by others at the old one meanwhile: a conflict of `v2`.
    for (tag, number) in [("v1", 11), ("v2", 12), ("v4", 14)] {
        push(number, tag);
        assert_eq!(
            stage.digest_at("b", "core/app", tag),
            Some(image(number).root().digest.clone())
        );
    }
    stage.push_at("a", &image(22), "core/app", "v2");
    let status = stage.json(&["dr", "status", "main"]);
    assert_eq!(status["zones"][0]["leads_to"], "b", "{status}");
    assert_eq!(status["sites"][0]["state"], "drained", "{status}");

    // The primary is back. A tag that has what was replicated last follows, the conflict waits for a decision.
    stage.open("a", Certificate::Of(CLIENTS));
    let conflict = stage.run(&["dr", "failback", "main"]);
    assert_eq!(conflict.error_code(), Some("FAILOVER_CONFLICTS"), "{conflict:?}");
    assert!(conflict.stderr.contains("a/core/app:v2"), "{conflict:?}");
    assert!(!conflict.stderr.contains("core/app:v1"), "{conflict:?}");
    stage.assert_leads_to("b", 1);
    for (tag, number) in [("v1", 11), ("v2", 22), ("v4", 14)] {
        stage.assert_arrives("a", &image(number), "core/app", tag);
    }
    let returned = stage.json(&["dr", "failback", "main", "--overwrite", "core/app:v2"]);
    assert_eq!(
        (&returned["epoch"], &returned["writer"]),
        (&2.into(), &"a".into()),
        "{returned}"
    );
    assert_eq!(returned["details"][0]["decision"], "overwrite", "{returned}");
    stage.assert_leads_to("a", 2);
    stage.assert_arrives("a", &image(12), "core/app", "v2");
    for (tag, number) in [("v1", 11), ("v2", 12), ("v3", 3), ("v4", 14)] {
        assert_pulls(&client, tag, &image(number));
    }

    // The rules are as they were.
    push(5, "v5");
    assert_eq!(
        stage.digest_at("a", "core/app", "v5"),
        Some(image(5).root().digest.clone())
    );
    stage.assert_arrives("b", &image(5), "core/app", "v5");
    let status = stage.json(&["dr", "status", "main"]);
    assert_eq!(
        (&status["phase"], &status["epoch"]),
        (&"ready".into(), &2.into()),
        "{status}"
    );
}

/// A drill uses a name of its own, removes it, and leaves that of the clients alone.
fn rehearse(stage: &Stage) {
    let before = stage.names.answers("A", CLIENTS);
    let report: Value = stage.json(&["dr", "drill", "main"]);
    assert_eq!(
        (&report["ok"], &report["name"]),
        (&true.into(), &DRILL.into()),
        "{report}"
    );
    assert!(report["rto_ms"].is_u64() && report["rpo_seconds"].is_u64(), "{report}");
    let zones = report["zones"].as_array().into_iter().flatten();
    let wanted = [
        "create",
        "switch",
        "confirm",
        "pull",
        "switch back",
        "confirm back",
        "pull back",
        "remove",
    ];
    for zone in zones {
        let steps = zone["steps"].as_array().into_iter().flatten();
        let done: Vec<&str> = steps.filter_map(|step| step["step"].as_str()).collect();
        assert_eq!(done, wanted, "{zone}");
    }
    assert_eq!(stage.names.answers("A", CLIENTS), before);
    for name in [format!("_transship.{CLIENTS}"), format!("_transship.{DRILL}")] {
        assert_eq!(stage.names.answers("TXT", &name)[0], "", "{name}");
    }
    assert_eq!(stage.names.answers("A", DRILL)[0], "");
    let status = stage.json(&["dr", "status", "main"]);
    assert!(status["last_drills"]["last_good"].is_string(), "{status}");
}
