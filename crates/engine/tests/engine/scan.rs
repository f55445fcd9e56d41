//! Uploads: objects may be uploaded in any order; each image is imported once, when it is complete.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use transship_copy::TimeBudget;
use transship_engine::operations::Redrive;
use transship_engine::{Envelope, Next, TaskReceiver as _, Uploaded};
use transship_layout::ObjectStore as _;
use transship_oci::Digest;
use transship_testkit::images::{self, Sample};
use transship_testkit::layouts::{Tar, gzip};

use crate::bucket::{Bucket, Objects, layout, tree};
use crate::fixture::{assert_parts, name, settle, tag, work};

/// Two images that share nothing, one of them an index, and a referrer.
fn samples() -> [Sample; 2] {
    [images::with_referrer(1), images::multi_platform(2)]
}

fn app() -> (Objects, [Sample; 2]) {
    let samples = samples();
    let objects = layout("to-b/team/app", &[("v1", &samples[0]), ("v2", &samples[1])]);
    (objects, samples)
}

fn assert_arrived(bucket: &Bucket, samples: &[Sample; 2]) {
    for (sample, version) in samples.iter().zip(["v1", "v2"]) {
        let repository = name("core/team/app");
        assert_eq!(
            bucket.fixture.b.digest(&repository, &tag(version)),
            Some(sample.root.clone())
        );
        assert_parts(&bucket.fixture.b, &repository, sample);
    }
}

/// `objects` in an order that follows from `seed`.
fn shuffled(objects: &Objects, seed: u64) -> Vec<(&String, &Bytes)> {
    let mut order: Vec<_> = objects.iter().collect();
    order.sort_by_key(|(key, _)| Digest::sha256(format!("{seed} {key}").as_bytes()).to_string());
    order
}

#[tokio::test]
async fn a_layout_becomes_tasks_when_the_last_of_it_is_there_and_not_before() {
    let (objects, samples) = app();
    for seed in 0..12 {
        let bucket = Bucket::new().await;
        let order = shuffled(&objects, seed);
        for (at, (key, bytes)) in order.iter().enumerate() {
            assert_eq!(
                bucket.told().await,
                [""; 0],
                "seed {seed}, before object {at} of {}",
                order.len()
            );
            bucket.upload(key, (*bytes).clone()).await;
            bucket.fixture.drain().await;
        }
        assert_eq!(
            bucket.told().await,
            [
                "s3://layouts/to-b/team/app:v1 -> b/core/team/app:v1 succeeded",
                "s3://layouts/to-b/team/app:v2 -> b/core/team/app:v2 succeeded",
            ],
            "seed {seed}"
        );
        assert_arrived(&bucket, &samples);
        assert_eq!(bucket.waiting().await, 0, "seed {seed}");
    }
}

#[tokio::test]
async fn an_upload_that_nobody_waits_for_reads_nothing() {
    let (objects, _) = app();
    let bucket = Bucket::new().await;
    for (key, bytes) in objects.iter().filter(|(key, _)| key.contains("/blobs/")) {
        assert_eq!(bucket.upload(key, bytes.clone()).await, 0, "{key}");
    }
    for key in ["to-b/notes.txt", "elsewhere/index.json", "to-b/team/app/"] {
        assert_eq!(bucket.upload(key, Bytes::new()).await, 0, "{key}");
    }
    assert_eq!(bucket.store.reads.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_blob_that_arrives_while_the_look_decides_is_not_missed() {
    let (mut objects, samples) = app();
    let bucket = Bucket::new().await;
    let late = objects.keys().find(|key| key.contains("/blobs/")).unwrap().clone();
    let bytes = objects.remove(&late).unwrap();
    // One look and no other, which would find the blob by itself.
    bucket.put_all(&objects).await;
    let index = "to-b/team/app/index.json";
    bucket.upload(index, objects[index].clone()).await;
    let store = Arc::clone(&bucket.store);
    // Its upload is reported before the waiting scan is recorded.
    bucket.once_before("missing_put", move || {
        let (store, late, bytes) = (Arc::clone(&store), late.clone(), bytes.clone());
        async move { store.put(&late, bytes).await }
    });
    bucket.fixture.drain().await;
    assert_arrived(&bucket, &samples);
}

#[tokio::test]
async fn a_blob_that_arrives_at_any_moment_of_a_scan_leaves_no_task_that_waits() {
    // The calls of a scan to the ledger until the source waits.
    for moment in ["record", "wait", "missing_put", "scan_put", "lead_put"] {
        let (mut objects, samples) = app();
        let bucket = Bucket::new().await;
        let late = objects.keys().find(|key| key.contains("/blobs/")).unwrap().clone();
        let bytes = objects.remove(&late).unwrap();
        bucket.put_all(&objects).await;
        let index = "to-b/team/app/index.json";
        bucket.upload(index, objects[index].clone()).await;
        let told = Uploaded {
            bucket: "layouts".into(),
            key: late.clone(),
            version: "late".into(),
        };
        let intake = Arc::clone(&bucket.intake);
        let (store, queue) = (Arc::clone(&bucket.store), Arc::clone(&bucket.fixture.queue));
        let other = Arc::new(bucket.fixture.other_worker());
        // The blob comes now, and another worker is quicker with what that calls for.
        let has_happened = bucket.once_before(moment, move || {
            let (store, late, bytes) = (Arc::clone(&store), late.clone(), bytes.clone());
            let (intake, told) = (Arc::clone(&intake), told.clone());
            let (other, queue) = (Arc::clone(&other), Arc::clone(&queue));
            async move {
                store.put(&late, bytes).await;
                intake.uploaded(&[told]).await.unwrap();
                for message in queue.inner.receive(100, Duration::from_mins(1)).await.unwrap() {
                    let next = work(&other, &queue, &message.body, None).await;
                    settle(&queue, &message, &next).await;
                }
            }
        });
        bucket.fixture.drain().await;
        assert!(has_happened.load(Ordering::Relaxed), "{moment}");
        assert_arrived(&bucket, &samples);
        let mut open = bucket.fixture.tasks().await;
        open.retain(|task| !task.state.is_terminal());
        assert!(open.is_empty(), "{moment}: {open:?}");
        assert_eq!(bucket.waiting().await, 0, "{moment}");
    }
}

#[tokio::test]
async fn an_index_that_is_replaced_while_its_look_decides_leaves_nothing_waiting() {
    let (lost, new) = (images::image(1, &[100]), images::image(2, &[100]));
    let mut first = layout("to-b/app", &[("v1", &lost)]);
    first.retain(|key, _| !key.contains("/blobs/"));
    let bucket = Bucket::new().await;
    // One look and no other: nothing else would see what the newer index names.
    bucket.put_all(&first).await;
    let index = "to-b/app/index.json";
    bucket.upload(index, first[index].clone()).await;
    let (store, newer) = (Arc::clone(&bucket.store), layout("to-b/app", &[("v1", &new)]));
    // The look at the newer one was quicker, and is over.
    bucket.once_before("missing_put", move || {
        let (store, newer) = (Arc::clone(&store), newer.clone());
        async move {
            for (key, bytes) in &newer {
                store.put(key, bytes.clone()).await;
            }
        }
    });
    bucket.fixture.drain().await;
    assert_eq!(
        bucket.told().await,
        ["s3://layouts/to-b/app:v1 -> b/core/app:v1 succeeded"]
    );
    assert_eq!(bucket.waiting().await, 0);
}

#[tokio::test]
async fn what_is_told_again_is_done_once_and_what_is_uploaded_again_moves_nothing() {
    let (objects, samples) = app();
    let bucket = Bucket::new().await;
    let mut told: Vec<Uploaded> = Vec::new();
    for (key, bytes) in &objects {
        told.push(bucket.write(key, bytes.clone()).await);
    }
    for _ in 0..3 {
        bucket.intake.uploaded(&told).await.unwrap();
        bucket.fixture.drain().await;
    }
    assert_eq!(bucket.told().await.len(), 2);
    assert_arrived(&bucket, &samples);

    let writes = bucket.writes();
    tokio::time::sleep(Duration::from_millis(2)).await;
    bucket.upload_all(&objects).await;
    bucket.fixture.drain().await;
    assert_eq!(bucket.writes(), writes);
    let told = bucket.told().await;
    assert_eq!(
        told.iter().filter(|line| line.ends_with("unchanged")).count(),
        2,
        "{told:?}"
    );
}

#[tokio::test]
async fn one_bad_image_is_recorded_with_its_code_and_the_others_arrive() {
    let bucket = Bucket::new().await;
    let (good, one, other) = (
        images::image(1, &[100]),
        images::image(2, &[100]),
        images::image(3, &[100]),
    );
    let mut objects = layout(
        "to-b/app",
        &[("v1", &good), ("v2", &one), ("quay.io/x:v2", &other), ("a/b", &one)],
    );
    objects.insert("to-b/Upper/Case.tar".into(), Bytes::from_static(b"no tar at all"));
    objects.insert("to-b/broken.tar".into(), Bytes::from_static(b"no tar at all"));
    bucket.upload_all(&objects).await;
    bucket.fixture.drain().await;
    let told = bucket.told().await;
    let refused = one.root.to_string();
    let mut expected = [
        "s3://layouts/to-b/app:v1 -> b/core/app:v1 succeeded".to_owned(),
        "s3://layouts/to-b/app:v2 -> b/core/app:v2 failed LAYOUT_NAME_CONFLICT".to_owned(),
        format!("s3://layouts/to-b/app@{refused} -> b/core/app@{refused} failed LAYOUT_NAME_UNMAPPABLE"),
        "s3://layouts/to-b/Upper/Case.tar -> b/core/Upper/Case failed INVALID_REFERENCE".to_owned(),
        "s3://layouts/to-b/broken.tar -> b/core/broken failed ARCHIVE_TRUNCATED".to_owned(),
    ];
    expected.sort();
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_look_that_failed_is_redriven_as_a_look() {
    let (objects, samples) = app();
    let bucket = Bucket::new().await;
    bucket.store.is_forbidden.store(true, Ordering::Relaxed);
    bucket.upload_all(&objects).await;
    bucket.fixture.drain().await;
    let told = bucket.told().await;
    assert!(
        told.iter().all(|line| line.ends_with("failed OBJECT_REFUSED")),
        "{told:?}"
    );

    bucket.store.is_forbidden.store(false, Ordering::Relaxed);
    let redrive = Redrive {
        history: Arc::clone(&bucket.fixture.ledger) as _,
        cancels: bucket.fixture.jobs.ledger.cancels.clone(),
        grants: transship_engine::ledger::DeleteGrants::new(Arc::clone(&bucket.fixture.ledger) as _),
        queue: Arc::clone(&bucket.fixture.queue) as _,
        clock: Arc::new(bucket.fixture.clock.clone()),
    };
    redrive.run(None, 0).await.unwrap();
    bucket.fixture.drain().await;
    assert_arrived(&bucket, &samples);
}

#[tokio::test]
async fn an_index_that_is_replaced_brings_what_it_names_now() {
    let bucket = Bucket::new().await;
    let (old, new) = (images::image(1, &[100]), images::image(2, &[100]));
    bucket.upload_all(&layout("to-b/app", &[("v1", &old)])).await;
    bucket.fixture.drain().await;
    bucket.upload_all(&layout("to-b/app", &[("v1", &new)])).await;
    bucket.fixture.drain().await;
    assert_eq!(
        bucket.fixture.b.digest(&name("core/app"), &tag("v1")),
        Some(new.root.clone())
    );
    assert_parts(&bucket.fixture.b, &name("core/app"), &new);
}

#[tokio::test]
async fn a_layout_waits_for_what_its_newest_index_names_and_for_nothing_else() {
    let bucket = Bucket::new().await;
    let (lost, new) = (images::image(1, &[100]), images::image(2, &[100]));
    let first = layout("to-b/app", &[("v1", &lost)]);
    for (key, bytes) in first.iter().filter(|(key, _)| !key.contains("/blobs/")) {
        bucket.upload(key, bytes.clone()).await;
        bucket.fixture.drain().await;
    }
    assert_eq!(bucket.waiting().await, 1);
    for (key, bytes) in shuffled(&layout("to-b/app", &[("v1", &new)]), 3) {
        bucket.upload(key, bytes.clone()).await;
        bucket.fixture.drain().await;
    }
    let mut told = bucket.told().await;
    told.retain(|line| !line.ends_with("skipped SOURCE_REPLACED"));
    assert_eq!(told, ["s3://layouts/to-b/app:v1 -> b/core/app:v1 succeeded"]);
    let sources = bucket.sources().await;
    assert!(!sources.iter().any(|line| line.contains("waiting")), "{sources:?}");
    assert_eq!(bucket.waiting().await, 0);
    assert!(bucket.store.head("to-b/app/index.json").await.unwrap().is_some());
}

#[tokio::test]
async fn a_registrys_storage_is_imported_image_by_image_with_its_referrers() {
    let (signed, index) = (images::with_referrer(1), images::multi_platform(2));
    let mut objects = tree("to-b/", "team/app", "v1", &signed);
    objects.extend(tree("to-b/", "team/other", "v2", &index));
    for seed in 0..8 {
        let bucket = Bucket::new().await;
        for (key, bytes) in shuffled(&objects, seed) {
            bucket.upload(key, bytes.clone()).await;
            bucket.fixture.drain().await;
        }
        for (repository, version, sample) in [("core/team/app", "v1", &signed), ("core/team/other", "v2", &index)] {
            let repository = name(repository);
            assert_eq!(
                bucket.fixture.b.digest(&repository, &tag(version)).as_ref(),
                Some(&sample.root),
                "seed {seed}: {:?}",
                bucket.told().await
            );
            assert_parts(&bucket.fixture.b, &repository, sample);
        }
        assert_eq!(bucket.waiting().await, 0, "seed {seed}");
        let told = bucket.told().await;
        assert!(told.iter().all(|line| line.ends_with("succeeded")), "{told:?}");
    }
}

#[tokio::test]
async fn the_images_of_an_archive_are_tasks_that_open_it_once() {
    let samples = [
        images::image(1, &[5000]),
        images::image(2, &[6000]),
        images::image(3, &[7000]),
    ];
    let named: Vec<(String, &Sample)> = (1..)
        .zip(&samples)
        .map(|(at, sample)| (format!("v{at}"), sample))
        .collect();
    let named: Vec<(&str, &Sample)> = named.iter().map(|(name, sample)| (name.as_str(), *sample)).collect();
    let mut archive = tar::Builder::new(Vec::new());
    for (key, bytes) in layout("app", &named) {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        let name = key.strip_prefix("app/").unwrap();
        archive.append_data(&mut header, name, bytes.as_ref()).unwrap();
    }
    let bucket = Bucket::new().await;
    bucket
        .upload("to-b/app.tar", archive.into_inner().unwrap().into())
        .await;
    bucket.fixture.drain().await;
    let reads = bucket.store.reads.load(Ordering::Relaxed);
    for (name_of, sample) in &named {
        assert_eq!(
            bucket.fixture.b.digest(&name("core/app"), &tag(name_of)),
            Some(sample.root.clone())
        );
        assert_parts(&bucket.fixture.b, &name("core/app"), sample);
    }
    // Per image a manifest, a config and a layer; twice the archive's own beginning and its small files.
    assert!(reads < 3 * 3 + 2 * 12, "{reads} reads");
}

#[tokio::test]
async fn a_source_that_no_slot_is_long_enough_for_ends_with_what_to_do() {
    let bucket = Bucket::new().await;
    bucket.store.is_silent.store(true, Ordering::Relaxed);
    let index = Uploaded {
        bucket: "layouts".into(),
        key: "to-b/team/app/index.json".into(),
        version: "1".into(),
    };
    bucket.intake.uploaded(&[index]).await.unwrap();
    let queue = &bucket.fixture.queue.inner;
    let received = queue.receive(1, Duration::from_mins(1)).await.unwrap().remove(0);
    let mut scan = Envelope::parse(&received.body).unwrap();
    let slot = || Some(TimeBudget::until(Instant::now(), Duration::from_secs(10)));
    for slots in 1..=5 {
        assert_eq!(bucket.told().await, [""; 0], "slot {slots}");
        let next = bucket.fixture.work(&scan.to_json().unwrap(), slot()).await;
        assert_eq!(matches!(next, Next::Again(_)), slots < 5, "slot {slots}");
        scan = scan.again(Duration::ZERO).envelope;
    }
    let task = bucket.fixture.task().await;
    assert_eq!(
        (task.state.as_str(), task.code.as_deref()),
        ("failed", Some("SLOT_OVER"))
    );
    assert!(task.message.unwrap().contains("WorkerTimeout"));
}

/// A tar of objects, as `tar --format=gnu` writes it.
fn packed(objects: &Objects) -> Bytes {
    let tar = objects
        .iter()
        .fold(Tar::new(), |tar, (key, bytes)| tar.file(key, bytes));
    gzip(&tar.end()).into()
}

#[tokio::test]
async fn a_storage_tree_in_an_archive_becomes_a_task_for_each_image_of_each_repository() {
    let samples = samples();
    let bucket = Bucket::new().await;
    let mut objects = tree("", "team/app", "v1", &samples[0]);
    objects.extend(tree("", "other", "v2", &samples[1]));
    let hex = "0".repeat(64);
    for name in ["other", "Upper"] {
        let key = format!("docker/registry/v2/repositories/{name}/_manifests/tags/bad/current/link");
        objects.insert(key, format!("sha256:{hex}").into());
    }
    bucket.upload("to-b/backup.tgz", packed(&objects)).await;
    bucket.fixture.drain().await;
    let told = bucket.told().await;
    for expected in [
        "s3://layouts/to-b/backup.tgz:team/app:v1 -> b/core/backup/team/app:v1 succeeded",
        "s3://layouts/to-b/backup.tgz:other:v2 -> b/core/backup/other:v2 succeeded",
        "s3://layouts/to-b/backup.tgz:other:bad -> b/core/backup/other:bad failed STORAGE_LINK_DANGLING",
        "s3://layouts/to-b/backup.tgz:Upper -> b/core/backup/Upper failed INVALID_REFERENCE",
    ] {
        assert!(told.iter().any(|line| line == expected), "{expected}: {told:#?}");
    }
    assert!(
        told.iter()
            .all(|line| line.ends_with(" succeeded") || line.contains(" failed ")),
        "{told:#?}"
    );
    assert_parts(&bucket.fixture.b, &name("core/backup/team/app"), &samples[0]);
    assert_parts(&bucket.fixture.b, &name("core/backup/other"), &samples[1]);
}

#[tokio::test]
async fn an_archive_that_is_no_image_is_recorded_as_skipped() {
    let bucket = Bucket::new().await;
    let chart = Objects::from([("app/Chart.yaml".to_owned(), Bytes::from_static(b"name: app"))]);
    bucket.upload("to-b/app-1.0.tgz", packed(&chart)).await;
    bucket.fixture.drain().await;
    let expected = "s3://layouts/to-b/app-1.0.tgz -> b/core/app-1.0 skipped ARCHIVE_WITHOUT_IMAGES";
    assert_eq!(bucket.told().await, [expected]);
}
