//! What others did to the name or to the ledger: a flip is refused, or takes it from DNS.

use crate::Image;
use crate::transship::Run;

use super::{CLIENTS, Stage};

const FLIP: [&str; 5] = ["dr", "flip", "main", "--to", "b"];

/// The command is refused with this code, and names all of `reasons`.
///
/// # Panics
/// If it is not.
pub fn assert_refused(run: &Run, code: &str, reasons: &[&str]) {
    assert_eq!((run.code, run.error_code()), (1, Some(code)), "{run:?}");
    for reason in reasons {
        assert!(run.stderr.contains(reason), "{reason} is missing: {run:?}");
    }
}

/// Clients are led to `a`, and no switch was ever made.
///
/// # Panics
/// If one was.
pub fn assert_untouched(stage: &Stage) {
    let address = stage.a.address.ip().to_string();
    assert!(stage.names.answers("A", CLIENTS).iter().all(|found| *found == address));
    assert_eq!(stage.names.answers("TXT", &format!("_transship.{CLIENTS}"))[0], "");
    let status = stage.json(&["dr", "status", "main"]);
    assert_eq!(
        (&status["phase"], &status["epoch"]),
        (&"ready".into(), &0.into()),
        "{status}"
    );
}

/// The record is not what the ledger expects, or another ledger switched the name.
///
/// # Panics
/// If a flip is not refused.
pub fn records_of_others(stage: &Stage) {
    let zone = stage.names.zones()[0].0;
    stage.names.set("A", CLIENTS, "127.0.0.9");
    for more in [&[][..], &["--accept-data-loss"]] {
        let refused = stage.run(&[&FLIP, more].concat());
        assert_refused(&refused, "DNS_RECORD_CHANGED", &["127.0.0.9", zone]);
    }
    assert_eq!(stage.names.answers("A", CLIENTS)[0], "127.0.0.9");
    stage.names.set("A", CLIENTS, &stage.a.address.ip().to_string());

    let text = format!("_transship.{CLIENTS}");
    stage.names.set("TXT", &text, "\"epoch=7; site=a; by=other@elsewhere\"");
    let refused = stage.run(&FLIP);
    assert_refused(&refused, "DNS_EPOCH_OLD", &["epoch=7", "other@elsewhere", "--rebuild"]);
    let refused = stage.run(&["dr", "failback", "main"]);
    assert_refused(&refused, "DNS_EPOCH_OLD", &["epoch=7"]);
    stage.names.remove("TXT", &text);
    assert_untouched(stage);
}

/// A ledger that was lost after a flip to `b` takes the epoch and the writer from DNS. `core/app:v1` is `old` at both sites, and
/// becomes `new`.
///
/// # Panics
/// If it does not.
pub fn lost_ledger(stage: &Stage, old: &Image, new: &Image) {
    let lose = || std::fs::remove_dir_all(stage.serve.data()).expect("the data can be removed");
    let epoch = stage.json(&["dr", "status", "main"])["epoch"]
        .as_u64()
        .expect("it is a number");
    let client = stage.client();
    client.push(new, "core/app", "v1").expect("the image is pushed");
    lose();
    // The rule of the document would copy the old image over the new one.
    let run = stage.run(&["run", "core", "--wait"]);
    let digest_at = |site: &str| stage.digest_at(site, "core/app", "v1");
    assert_eq!(digest_at("b"), Some(new.root().digest.clone()), "{run:?}");
    lose();
    let unchanged = stage.json(&FLIP);
    assert_eq!(
        (&unchanged["changed"], &unchanged["epoch"], &unchanged["writer"]),
        (&false.into(), &epoch.into(), &"b".into()),
        "{unchanged}"
    );
    let status = stage.json(&["dr", "status", "main"]);
    assert_eq!(
        (&status["writer"], &status["epoch"]),
        (&"b".into(), &epoch.into()),
        "{status}"
    );
    stage.assert_leads_to("b", epoch);

    // Without the ledger it is not known that `a` still has what was replicated last: the image is a conflict, and kept.
    let conflict = stage.run(&["dr", "failback", "main"]);
    assert_refused(&conflict, "FAILOVER_CONFLICTS", &["a/core/app:v1"]);
    assert_eq!(digest_at("a"), Some(old.root().digest.clone()));
    let returned = stage.json(&["dr", "failback", "main", "--conflicts", "overwrite"]);
    assert_eq!(
        (&returned["epoch"], &returned["writer"]),
        (&(epoch + 1).into(), &"a".into()),
        "{returned}"
    );
    stage.assert_leads_to("a", epoch + 1);
}
