//! Two hundred images in twenty sources, uploaded in any order, some of it twice, some of it told late: all arrive; and
//! everything uploaded again moves nothing.

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::Value;
use transship_tests::layouts::{Corpus, Layout, Objects, events_of};
use transship_tests::{DockerRegistry, Image, check};

use crate::stage::{Stage, alone, failed};

const PREFIX: &str = "to-destination/";
/// A prefix may be called as no repository is.
const ODD_PREFIX: &str = "grün + a%2Bb/";
/// No repository can be called so.
const BAD_PATH: &str = "Größer+x";
const SEED: u64 = 20_261_122;

#[test]
fn two_hundred_images_arrive_in_any_order_and_a_second_time_nothing_moves() {
    if DockerRegistry::skipped() {
        return;
    }
    let (_alone, begun) = (alone(), Instant::now());
    let corpus = Corpus::two_hundred(SEED);
    let odd = Layout::of("v1", Image::single(1, &[100, 200]));
    let bad = Layout::of("v1", Image::single(2, &[300]));
    let stage = Stage::set(|document, bucket| {
        document
            .import("seed", bucket, PREFIX, "core")
            .import("odd", bucket, ODD_PREFIX, "odd")
    });
    let mut objects = corpus.objects(PREFIX);
    for (path, bytes) in odd.files() {
        objects.insert(format!("{ODD_PREFIX}app/{path}"), bytes);
    }
    for (path, bytes) in bad.files() {
        objects.insert(format!("{PREFIX}{BAD_PATH}/{path}"), bytes);
    }
    // Beside everything, of no interest to anybody.
    objects.insert("to-destinations/app/index.json".to_owned(), b"{}".to_vec());
    objects.insert(format!("{PREFIX}README.md"), b"images of some years".to_vec());
    let mut expected = corpus.expected("core");
    expected.insert("odd/app".to_owned(), odd.expected());

    stage.upload(&Objects::shuffled(objects.clone(), SEED));
    eprintln!("uploaded after {:?}", begun.elapsed());
    let tasks = stage.at_rest(corpus.tasks());
    eprintln!("at rest after {:?}", begun.elapsed());
    stage.assert_holds(&expected);
    for [repository, subject, referrer] in corpus.referrers("core") {
        let listed = check::referrers(&stage.destination.host(), &repository, &subject).unwrap();
        assert!(listed.contains(&referrer), "{repository} does not list {referrer}");
    }
    assert_only_the_bad_one_failed(&tasks);
    stage.assert_clean();

    eprintln!("compared after {:?}", begun.elapsed());
    let before = stage.writes();
    assert!(before.len() > corpus.images(), "the registry's log is not read");
    for metric in ["Uploads", "Looks"] {
        assert!(!stage.stack.metric("bulk-import", metric).is_empty(), "no {metric}");
    }
    tell_late(&stage, &objects.keys().cloned().collect::<Vec<_>>());
    stage.upload(&Objects::shuffled(objects, SEED + 1));
    let again = stage.at_rest(2 * corpus.tasks());
    assert_eq!(
        stage.writes()[before.len()..],
        [] as [String; 0],
        "a second time something was written"
    );
    assert_only_the_bad_one_failed(&again);
    eprintln!("again at rest after {:?}", begun.elapsed());
    let known: BTreeSet<_> = tasks.iter().map(|task| task["sk"].to_string()).collect();
    let new: Vec<_> = again
        .iter()
        .filter(|task| !known.contains(&task["sk"].to_string()))
        // A source that waited for the rest of its upload is a task without a digest.
        .filter(|task| task.get("digest").is_some())
        .collect();
    assert!(new.len() >= corpus.tasks(), "{} new tasks", new.len());
    assert!(new.iter().all(|task| task["state"] != "succeeded"), "{new:?}");
    stage.assert_clean();
}

/// Events that S3 sends twice, or after a day; both forms of them.
fn tell_late(stage: &Stage, keys: &[String]) {
    let late = keys.iter().step_by(7).map(String::as_str);
    let answer = stage.stack.invoke_bulk_import(&events_of(stage.bucket(), late));
    assert!(answer["looks"].is_u64(), "{answer}");
}

fn assert_only_the_bad_one_failed(tasks: &[Value]) {
    let mut failed = failed(tasks);
    // A source that waited for the rest of its upload gives way to its newer version.
    failed.retain(|task| task["code"] != "SOURCE_REPLACED");
    let codes: BTreeSet<_> = failed.iter().map(|task| task["code"].as_str().unwrap()).collect();
    assert_eq!(codes, BTreeSet::from(["INVALID_REFERENCE"]), "{failed:?}");
    let of_the_bad = |task: &&Value| task["body"].as_str().is_some_and(|body| body.contains(BAD_PATH));
    assert!(failed.iter().all(of_the_bad), "{failed:?}");
}
