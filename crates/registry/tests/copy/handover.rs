//! Uploads that outlive their worker: handed over at the end of its time, taken up after its death.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use transship_copy::{Continuation, Options};
use transship_embedded_registry::EmbeddedRegistry;
use transship_embedded_registry::faults::Action;
use transship_oci::Hasher;
use transship_testkit::faults::Seeded;
use transship_testkit::images;

use crate::kept::{Chunked, MEBIBYTE, long_slot, slot_of, worker};
use crate::stage::{Stage, reply};
use crate::world::{Job, asked, name, watch};

const SIZE: u64 = 5 * MEBIBYTE + 7;

/// A change of the stored state of an upload.
type Change = Box<dyn Fn(&mut Continuation)>;

impl Chunked {
    /// A worker that dies when the `nth` chunk is about to be accepted, without reporting it.
    async fn die_at_chunk(&self, nth: u64) {
        let (seen, reached) = (AtomicU64::new(0), Arc::new(Notify::new()));
        let dying = Arc::clone(&reached);
        watch(&self.world.destination, move |request| {
            if request.method != "PATCH" || seen.fetch_add(1, Ordering::Relaxed) + 1 != nth {
                return None;
            }
            dying.notify_one();
            Some(Action::Delay { delay_ms: 600_000 })
        });
        tokio::select! {
            result = self.copy() => panic!("the copy ended: {:?}", result.map(|report| report.state)),
            () = reached.notified() => {}
        }
        self.world.destination.set_faults(None);
    }
}

#[tokio::test]
async fn an_upload_goes_on_in_another_worker() {
    for forgets in [true, false] {
        let destination = EmbeddedRegistry::builder().forgets_cut_uploads(forgets);
        let mut chunked = Chunked::of(destination, 1, SIZE).await;
        chunked.die_at_chunk(4).await;
        assert_eq!(
            (chunked.kept.only().offset, chunked.kept.only().hops),
            (3 * MEBIBYTE, 0)
        );
        chunked.next_worker();
        chunked.copy().await.unwrap();
        assert!(chunked.sent_again() <= MEBIBYTE, "{:?}", chunked.chunks());
        assert_eq!(chunked.kept.saved().last().unwrap().hops, 1);
        let read = asked(&chunked.world.source, "GET", "/blobs/");
        assert_eq!(read.len(), 3, "config, layer, and the rest of the layer");
        chunked.assert_done();
    }
}

#[tokio::test]
async fn the_last_request_alone_is_made_by_another_worker() {
    let mut chunked = Chunked::new(2, SIZE).await;
    let reached = Arc::new(Notify::new());
    let dying = Arc::clone(&reached);
    watch(&chunked.world.destination, move |request| {
        let is_end = request.method == "PUT"
            && request
                .query
                .is_some_and(|query| query.contains(&format!("_state={SIZE}")));
        is_end.then(|| {
            dying.notify_one();
            Action::Delay { delay_ms: 600_000 }
        })
    });
    tokio::select! {
        _ = chunked.copy() => panic!("the copy ended"),
        () = reached.notified() => {}
    }
    chunked.world.destination.set_faults(None);
    chunked.next_worker();
    chunked.copy().await.unwrap();
    assert_eq!(chunked.sent_again(), 0);
    chunked.assert_done();
}

#[tokio::test]
async fn a_session_the_registry_forgot_meanwhile_begins_anew() {
    let mut chunked = Chunked::new(3, SIZE).await;
    chunked.die_at_chunk(4).await;
    let path = chunked.kept.only().location;
    chunked.kept.tamper(|known| {
        known.location = known.location.replace("/uploads/", "/uploads/0");
    });
    assert_ne!(chunked.kept.only().location, path);
    chunked.next_worker();
    chunked.copy().await.unwrap();
    assert!(chunked.sent_again() >= 3 * MEBIBYTE);
    chunked.assert_done();
}

#[tokio::test]
async fn what_is_remembered_wrongly_costs_the_blob_and_no_more() {
    let stranger = Stage::start(|_| reply(204, &[("range", "0-3145727")], "")).await;
    let away = format!("http://127.0.0.1:{}/v2/x/blobs/uploads/1", stranger.port());
    let other = Hasher::new(transship_oci::Algorithm::Sha256).save();
    let changes: [(&str, Change); 8] = [
        ("another host", Box::new(move |known| known.location.clone_from(&away))),
        ("no url", Box::new(|known| known.location = "uploads".into())),
        (
            "a link-local host",
            Box::new(|known| known.location = "https://169.254.169.254/x".into()),
        ),
        ("a hash that is none", Box::new(|known| known.hash.truncate(5))),
        (
            "a hash of other bytes",
            Box::new(move |known| known.hash.clone_from(&other)),
        ),
        ("beyond the blob", Box::new(|known| known.offset = u64::MAX)),
        ("all of the blob", Box::new(|known| known.offset = SIZE)),
        ("less than is there", Box::new(|known| known.offset -= 1)),
    ];
    for (what, change) in changes {
        let mut chunked = Chunked::new(4, SIZE).await;
        chunked.die_at_chunk(4).await;
        chunked.kept.tamper(&change);
        chunked.next_worker();
        chunked.copy().await.unwrap_or_else(|error| panic!("{what}: {error}"));
        chunked.assert_done();
    }
    assert!(stranger.heard().is_empty(), "nothing goes where the registry is not");
}

#[tokio::test]
async fn a_worker_whose_time_is_over_hands_over_after_an_acknowledged_chunk() {
    let mut chunked = Chunked::new(5, 12 * MEBIBYTE).await;
    let small = images::image(5, &[usize::try_from(12 * MEBIBYTE).unwrap()]);
    watch(&chunked.world.destination, |request| {
        (request.method == "PATCH").then_some(Action::Delay { delay_ms: 250 })
    });
    let mut hops = 0;
    loop {
        match chunked
            .world
            .run(chunked.job(Some(slot_of(Duration::from_millis(2500)))))
            .await
        {
            Ok(_) => break,
            Err(error) => assert_eq!(error.code(), "SLOT_OVER"),
        }
        assert!(chunked.sent_again() <= hops * MEBIBYTE, "{:?}", chunked.chunks());
        assert_eq!(chunked.kept.only().hops, u32::try_from(hops).unwrap());
        let config = small
            .blobs
            .keys()
            .find(|digest| small.blobs[*digest].len() < 10_000)
            .unwrap();
        assert_eq!(
            chunked.world.locations.of(config),
            [name("copy/app")],
            "what arrived is remembered"
        );
        hops += 1;
        assert!(hops < 12);
        chunked.next_worker();
    }
    assert!(hops >= 1);
    assert!(chunked.sent_again() <= hops * MEBIBYTE);
    assert_eq!(
        asked(&chunked.world.destination, "POST", "").len(),
        2,
        "one session for each blob"
    );
    chunked.assert_done();
}

#[tokio::test]
async fn without_time_for_a_chunk_no_upload_is_begun() {
    let chunked = Chunked::new(6, SIZE).await;
    let error = chunked
        .world
        .run(chunked.job(Some(slot_of(Duration::from_millis(900)))))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "SLOT_OVER");
    assert_eq!(chunked.world.destination.open_uploads(), 0);
    assert_eq!(chunked.chunks(), [0_u64; 0]);
}

#[tokio::test]
async fn what_is_not_remembered_is_not_handed_over() {
    let chunked = Chunked::new(7, 12 * MEBIBYTE).await;
    chunked.kept.fail(true);
    watch(&chunked.world.destination, |request| {
        (request.method == "PATCH").then_some(Action::Delay { delay_ms: 250 })
    });
    let slot = slot_of(Duration::from_secs(2));
    let error = chunked.world.run(chunked.job(Some(slot))).await.unwrap_err();
    assert_eq!(error.code(), "LEDGER_UNAVAILABLE");

    let chunked = Chunked::new(8, SIZE).await;
    chunked.kept.fail(true);
    chunked.copy().await.unwrap();
    assert_eq!(chunked.chunks().len(), 6, "that nothing is remembered stops no upload");
    chunked.assert_done();
}

#[tokio::test]
async fn two_workers_at_the_same_upload_end_equal() {
    let mut chunked = Chunked::new(9, SIZE).await;
    chunked.die_at_chunk(3).await;
    chunked.next_worker();
    let (one, two) = tokio::join!(chunked.copy(), chunked.copy());
    one.unwrap();
    two.unwrap();
    chunked.world.assert_equal(&chunked.sample);
}

#[tokio::test]
async fn no_upload_location_is_in_an_error_of_a_chunk() {
    let chunked = Chunked::new(10, SIZE).await;
    let (seen, is_first) = (Arc::new(AtomicU64::new(0)), AtomicBool::new(true));
    let count = Arc::clone(&seen);
    watch(&chunked.world.destination, move |request| {
        if request.method != "PATCH" || is_first.swap(false, Ordering::Relaxed) {
            return None;
        }
        count.fetch_add(1, Ordering::Relaxed);
        Some(Action::Reset)
    });
    let error = chunked.copy().await.unwrap_err();
    assert!(seen.load(Ordering::Relaxed) > 1);
    let location = chunked.kept.only().location;
    let session = location.split("/uploads/").nth(1).unwrap().split('?').next().unwrap();
    let said = format!("{error} {error:?}");
    assert!(!said.contains(session) && !said.contains("_state"), "{said}");
}

#[tokio::test]
async fn workers_that_die_again_and_again_end_equal() {
    for seed in 0..10_u64 {
        let destination = EmbeddedRegistry::builder().forgets_cut_uploads(seed % 2 == 1);
        let mut chunked = Chunked::of(destination, 20 + seed, SIZE + 1000 * seed).await;
        let chunk_max = 300_000 + 123_457 * seed;
        for death in 0..3 {
            chunked.world.to = worker(&chunked.world.destination, chunk_max);
            chunked.die_at_chunk(2).await;
            assert!(chunked.sent_again() <= (death + 1) * chunk_max, "seed {seed}");
        }
        chunked.world.to = worker(&chunked.world.destination, chunk_max);
        chunked.copy().await.unwrap();
        assert!(
            chunked.sent_again() <= 3 * chunk_max,
            "seed {seed}: {:?}",
            chunked.chunks()
        );
        assert_eq!(asked(&chunked.world.destination, "POST", "").len(), 2, "seed {seed}");
        chunked.assert_done();
    }
}

#[tokio::test]
async fn workers_whose_time_ends_under_faults_end_equal() {
    for seed in 0..3 {
        let destination = EmbeddedRegistry::builder().forgets_cut_uploads(seed % 2 == 1);
        let mut chunked = Chunked::of(destination, 40 + seed, SIZE).await;
        chunked
            .world
            .destination
            .set_faults(Some(Arc::new(Seeded::new(seed, 15))));
        for worker_number in 0.. {
            assert!(worker_number < 30, "seed {seed}");
            chunked.world.to = worker(&chunked.world.destination, 500_000);
            let job = Job {
                options: Options {
                    is_repeated: worker_number > 0,
                    ..Options::default()
                },
                ..chunked.job(Some(slot_of(Duration::from_millis(1200 + 200 * seed))))
            };
            match chunked.world.run(job).await {
                Ok(_) => break,
                Err(error) => assert!(!error.persistence().is_permanent(), "seed {seed}: {error}"),
            }
        }
        chunked.world.assert_equal(&chunked.sample);
    }
    let last = Chunked::new(50, SIZE).await;
    last.world.run(last.job(Some(long_slot()))).await.unwrap();
    last.assert_done();
}
