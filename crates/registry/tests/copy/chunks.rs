//! Blobs in chunks: when they go so, how a registry may answer, and what happens when it breaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use transship_copy::Options;
use transship_embedded_registry::faults::Action;
use transship_embedded_registry::{EmbeddedRegistry, UploadRanges, VirtualBlob};
use transship_oci::{Algorithm, Provider, Target};
use transship_registry::Profile;
use transship_testkit::faults::{Fault, Script, Seeded};
use transship_testkit::images;

use crate::kept::{Chunked, MEBIBYTE, long_slot, worker, worker_at};
use crate::world::{Job, World, always, answer, asked, name, script, tag};

const SIZE: u64 = 5 * MEBIBYTE + 7;

#[tokio::test]
async fn every_acknowledged_chunk_is_remembered_until_the_blob_is_there() {
    let chunked = Chunked::new(1, SIZE).await;
    let report = chunked.copy().await.unwrap();
    assert_eq!(report.bytes.copied, chunked.sample.blobs_size());
    let mut whole = vec![MEBIBYTE; 5];
    whole.push(7);
    assert_eq!(chunked.chunks(), whole);
    let puts = asked(&chunked.world.destination, "PUT", "/blobs/uploads/");
    let of_the_layer = puts
        .iter()
        .filter(|put| put.query.as_deref().unwrap().contains(&format!("_state={SIZE}")));
    assert_eq!(of_the_layer.map(|put| put.bytes_in).collect::<Vec<_>>(), [0]);
    let offsets: Vec<_> = chunked
        .kept
        .saved()
        .iter()
        .map(|saved| (saved.offset, saved.hops))
        .collect();
    let expected: Vec<_> = (1..=5).map(|chunk| (chunk * MEBIBYTE, 0)).chain([(SIZE, 0)]).collect();
    assert_eq!(offsets, expected);
    chunked.assert_done();
}

#[tokio::test]
async fn what_ends_in_time_goes_in_one_request() {
    let usual = Chunked::new(2, SIZE).await;
    let first_attempt = Job {
        options: Options::default(),
        ..usual.job(Some(long_slot()))
    };
    usual.world.run(first_attempt).await.unwrap();
    let forgetful = Chunked::new(2, SIZE).await;
    let nowhere_to_remember = Job {
        continuations: None,
        ..forgetful.job(Some(long_slot()))
    };
    forgetful.world.run(nowhere_to_remember).await.unwrap();
    let endless = Chunked::new(2, SIZE).await;
    endless.world.run(endless.job(None)).await.unwrap();
    let mut lossy = Chunked::new(2, SIZE).await;
    lossy.world.to = worker_at(&lossy.world.destination, Profile::of(Provider::Ecr), MEBIBYTE);
    lossy.copy().await.unwrap();
    for chunked in [usual, forgetful, endless, lossy] {
        assert_eq!(chunked.chunks(), [0_u64; 0]);
        chunked.assert_done();
    }
}

#[tokio::test]
async fn chunks_are_as_large_as_the_registry_wants() {
    let destination = EmbeddedRegistry::builder().chunk_min(2 * MEBIBYTE);
    let chunked = Chunked::of(destination, 3, SIZE).await;
    chunked.copy().await.unwrap();
    assert_eq!(chunked.chunks(), [2 * MEBIBYTE, 2 * MEBIBYTE, MEBIBYTE + 7]);
    chunked.assert_done();
}

#[tokio::test]
async fn every_way_of_saying_how_much_is_there_is_understood() {
    for (form, status) in [
        (UploadRanges::Plain, 0),
        (UploadRanges::WithUnit, 0),
        (UploadRanges::OnlyInStatus, 6),
    ] {
        let destination = EmbeddedRegistry::builder().upload_ranges(form);
        let chunked = Chunked::of(destination, 4, SIZE).await;
        chunked.copy().await.unwrap();
        assert_eq!((chunked.chunks().len(), chunked.sent_again()), (6, 0), "{form:?}");
        assert_eq!(asked(&chunked.world.destination, "GET", "/uploads/").len(), status);
        chunked.assert_done();
    }
}

#[tokio::test]
async fn a_registry_that_refuses_chunks_gets_one_request_and_is_not_asked_again() {
    for code in [400, 404, 405, 411, 413, 415, 416, 501] {
        let mut chunked = Chunked::new(5, SIZE).await;
        // Small enough to have left when the answer comes: else the connection just breaks.
        chunked.world.to = worker(&chunked.world.destination, 4096);
        let refused = always("PATCH", "", Action::status(code));
        chunked.world.destination.set_faults(Some(Arc::clone(&refused) as _));
        chunked.copy().await.unwrap_or_else(|error| panic!("{code}: {error}"));
        chunked.assert_done();
        assert_eq!(
            chunked.world.destination.open_uploads(),
            0,
            "{code}: the session is cancelled"
        );

        let other = images::image(6, &[usize::try_from(SIZE).unwrap()]);
        other.seed_into(&chunked.world.source, &name("core/app"), &tag("v2"));
        let second = Job {
            from: (name("core/app"), Target::Tag(tag("v2"))),
            ..chunked.job(Some(long_slot()))
        };
        chunked.world.run(second).await.unwrap();
        assert_eq!(refused.struck(), 1, "{code}: it was learned");
    }
}

#[tokio::test]
async fn a_registry_that_breaks_the_connection_over_every_first_chunk_gets_one_request() {
    let chunked = Chunked::new(5, SIZE).await;
    let broken = always("PATCH", "", Action::Reset);
    chunked.world.destination.set_faults(Some(Arc::clone(&broken) as _));
    chunked.copy().await.unwrap();
    assert_eq!(broken.struck(), 2);
    chunked.assert_done();
}

#[tokio::test]
async fn a_registry_that_throws_later_chunks_away_is_found_out() {
    let chunked = Chunked::new(7, SIZE).await;
    // As ECR does: 201, and the range stays where it was.
    let discarded = answer(201, &[("range", "0-1048575")], "");
    let faults = Arc::new(Script::new([Fault::new("PATCH", "", discarded)
        .unwrap()
        .nth(2)
        .always()]));
    chunked.world.destination.set_faults(Some(Arc::clone(&faults) as _));
    chunked.copy().await.unwrap();
    assert_eq!(faults.struck(), 1);
    chunked.assert_done();
}

#[tokio::test]
async fn a_registry_that_never_says_how_much_it_has_gets_no_chunks() {
    let destination = EmbeddedRegistry::builder().upload_ranges(UploadRanges::Never);
    let chunked = Chunked::of(destination, 8, SIZE).await;
    chunked.copy().await.unwrap();
    assert_eq!(chunked.chunks(), [MEBIBYTE]);
    chunked.assert_done();
}

#[tokio::test]
async fn an_answer_that_says_not_now_costs_at_most_the_chunk() {
    for action in [
        Action::status(500),
        Action::status(503),
        Action::too_many_requests(0),
        Action::Reset,
        Action::LoseResponse,
    ] {
        let chunked = Chunked::new(9, SIZE).await;
        let faults = Arc::new(Script::new([Fault::new("PATCH", "", action.clone()).unwrap().nth(3)]));
        chunked.world.destination.set_faults(Some(Arc::clone(&faults) as _));
        chunked.copy().await.unwrap();
        assert_eq!(faults.struck(), 1);
        assert!(chunked.sent_again() <= MEBIBYTE, "{action:?}: {:?}", chunked.chunks());
        assert_eq!(
            asked(&chunked.world.destination, "POST", "").len(),
            2,
            "the session went on"
        );
        chunked.assert_done();
    }
}

#[tokio::test]
async fn a_session_that_is_cut_in_the_middle_of_a_chunk_begins_anew() {
    for forgets in [true, false] {
        let destination = EmbeddedRegistry::builder().forgets_cut_uploads(forgets);
        let chunked = Chunked::of(destination, 10, SIZE).await;
        let cut = Action::CutRequest { after_bytes: 300_000 };
        let faults = Arc::new(Script::new([Fault::new("PATCH", "", cut).unwrap().nth(3)]));
        chunked.world.destination.set_faults(Some(Arc::clone(&faults) as _));
        let report = chunked.copy().await.unwrap();
        assert_eq!(faults.struck(), 1);
        assert_eq!(report.bytes.copied, chunked.sample.blobs_size());
        assert_eq!(chunked.chunks().len(), 3 + 6, "everything once more");
        assert_eq!(asked(&chunked.world.destination, "POST", "").len(), 3);
        assert_eq!(chunked.world.destination.open_uploads(), 0);
        chunked.assert_done();
    }
}

#[tokio::test]
async fn sessions_that_are_lost_in_between_again_and_again_are_done_without() {
    let chunked = Chunked::new(11, SIZE).await;
    let gone = answer(404, &[], r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}"#);
    // The first of every session passes, the second does not.
    let lost = Fault::new("PATCH", "_state=1048576", gone.clone()).unwrap().always();
    let unknown = Fault::new("GET", "/uploads/", gone).unwrap().always();
    let faults = Arc::new(Script::new([lost, unknown]));
    chunked.world.destination.set_faults(Some(faults));
    chunked.copy().await.unwrap();
    assert_eq!(asked(&chunked.world.destination, "PATCH", "").len(), 4);
    chunked.assert_done();
}

#[tokio::test]
async fn a_lost_answer_to_the_end_of_an_upload_is_looked_for() {
    let chunked = Chunked::new(12, SIZE).await;
    let lost = script("PUT", &format!("_state={SIZE}"), Action::LoseResponse);
    chunked.world.destination.set_faults(Some(Arc::clone(&lost) as _));
    chunked.copy().await.unwrap();
    assert_eq!((lost.struck(), chunked.sent_again()), (1, 0));
    chunked.world.assert_equal(&chunked.sample);
}

#[tokio::test]
async fn an_end_that_is_refused_for_now_is_said_again() {
    let chunked = Chunked::new(13, SIZE).await;
    let busy = script("PUT", &format!("_state={SIZE}"), Action::status(503));
    chunked.world.destination.set_faults(Some(Arc::clone(&busy) as _));
    chunked.copy().await.unwrap();
    assert_eq!((busy.struck(), chunked.sent_again()), (1, 0));
    chunked.assert_done();
}

#[tokio::test]
async fn wrong_bytes_never_complete_and_are_read_once_more() {
    for times in [1, 2] {
        let chunked = Chunked::new(14, SIZE).await;
        let flip = Action::FlipBit { at_byte: 2 * MEBIBYTE };
        let layer = chunked.layer().to_string();
        let faults = Arc::new(Script::new([Fault::new("GET", &layer, flip).unwrap().times(times)]));
        chunked.world.source.set_faults(Some(Arc::clone(&faults) as _));
        let result = chunked.copy().await;
        assert_eq!(faults.struck(), times);
        let ends = asked(&chunked.world.destination, "PUT", &format!("_state={SIZE}")).len();
        if times == 1 {
            result.unwrap();
            assert_eq!(ends, 1);
            chunked.assert_done();
        } else {
            assert_eq!(result.unwrap_err().code(), "BLOB_DIGEST_MISMATCH");
            assert_eq!(ends, 0, "nothing wrong was ended");
            chunked.world.assert_nothing_visible();
        }
    }
}

#[tokio::test]
async fn a_wait_longer_than_ours_leaves_the_upload_to_be_taken_up() {
    let mut chunked = Chunked::new(15, SIZE).await;
    let busy = Arc::new(Script::new([Fault::new("PATCH", "", Action::too_many_requests(3600))
        .unwrap()
        .nth(3)]));
    chunked.world.destination.set_faults(Some(busy));
    assert_eq!(chunked.copy().await.unwrap_err().code(), "RATE_LIMITED");
    assert_eq!(chunked.kept.only().offset, 2 * MEBIBYTE);
    chunked.next_worker();
    chunked.copy().await.unwrap();
    assert!(chunked.sent_again() <= MEBIBYTE);
    chunked.assert_done();
}

#[tokio::test]
async fn a_body_that_is_too_large_passes_in_chunks() {
    let destination = EmbeddedRegistry::builder().upload_body_max(10 * MEBIBYTE);
    let chunked = Chunked::of(destination, 16, 17 * MEBIBYTE).await;
    chunked.world.copy().await.unwrap();
    assert_eq!(chunked.chunks().len(), 17);
    chunked.assert_done();
}

/// 260 MiB, hashed at every station: what an endless worker sends in chunks.
#[tokio::test]
async fn where_workers_have_no_end_only_what_is_huge_goes_in_chunks() {
    let destination = EmbeddedRegistry::builder().discard_blobs_above(MEBIBYTE);
    let world = World::of(EmbeddedRegistry::builder(), destination).await;
    let repository = name("core/app");
    let layer = world
        .source
        .seed_virtual_blob(&repository, &VirtualBlob::new(17, 260 * MEBIBYTE));
    let config = world.source.seed_blob(&repository, Algorithm::Sha256, "{}".into());
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{0}","config":{{"mediaType":"a/b","digest":"{config}","size":2}},"layers":[{{"mediaType":"a/b","digest":"{1}","size":{2}}}]}}"#,
        transship_oci::media_type::OCI_MANIFEST,
        layer.digest,
        layer.size
    );
    let image = transship_oci::media_type::OCI_MANIFEST.into();
    let root = world.source.seed_manifest(&repository, &image, manifest.into());
    world.source.tag(&repository, &tag("v1"), &root);
    let kept: Arc<crate::kept::Kept> = Arc::default();
    let job = Job {
        continuations: Some(Arc::clone(&kept)),
        ..Job::default()
    };
    world.run(job).await.unwrap();
    let chunks = asked(&world.destination, "PATCH", "");
    let sizes: Vec<_> = chunks.iter().map(|chunk| chunk.bytes_in / MEBIBYTE).collect();
    assert_eq!(sizes, [64, 64, 64, 64, 4]);
    assert_eq!(world.arrived(), Some(root));
    assert!(kept.is_empty());
}

#[tokio::test]
async fn under_any_faults_a_blob_in_chunks_arrives_equal_or_not_at_all() {
    let mut struck = 0;
    for seed in 0..12 {
        let destination = EmbeddedRegistry::builder().forgets_cut_uploads(seed % 2 == 0);
        let mut chunked = Chunked::of(destination, seed, SIZE + seed).await;
        let faults = Arc::new(Seeded::new(seed, 25));
        chunked.world.destination.set_faults(Some(Arc::clone(&faults) as _));
        chunked
            .world
            .source
            .set_faults(Some(Arc::new(Seeded::new(seed + 100, 10))));
        let tries = AtomicU64::new(0);
        loop {
            let chunk_max = 100_000 + seed * 200_000;
            chunked.world.to = worker(&chunked.world.destination, chunk_max);
            match chunked.copy().await {
                Ok(_) => break,
                Err(error) => {
                    assert!(!error.persistence().is_permanent(), "seed {seed}: {error}");
                    let tries = tries.fetch_add(1, Ordering::Relaxed);
                    assert!(tries < 40, "seed {seed}: {error}");
                }
            }
        }
        struck += faults.struck();
        chunked.world.assert_equal(&chunked.sample);
    }
    assert!(struck > 30, "{struck}");
}
