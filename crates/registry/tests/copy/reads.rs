//! Reading from a source that breaks, lies or stalls.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use transship_copy::{BlobSource, Options, Referrers, State};
use transship_embedded_registry::faults::{Action, Ending};
use transship_oci::media_type::{OCI_CONFIG, OCI_MANIFEST};
use transship_oci::{Algorithm, Digest};
use transship_testkit::faults::{Fault, Script};
use transship_testkit::images::{self, Sample};

use crate::graphs::{put, tag_as};
use crate::stage::Stage;
use crate::world::{World, always, answer, asked, name, options_of, script, watch};

const SIZE: usize = 1 << 20;
const HALF: u64 = 1 << 19;

/// An image with one layer of [`SIZE`] bytes, and that layer.
fn large(seed: u64) -> (Sample, Digest) {
    let sample = images::image(seed, &[SIZE]);
    let layer = sample
        .blobs
        .iter()
        .find(|(_, bytes)| bytes.len() == SIZE)
        .unwrap()
        .0
        .clone();
    (sample, layer)
}

/// Cuts the first read of `layer`, and writes down the ranges that are asked for.
fn cut_first_read(world: &World, layer: &Digest, ending: Ending) -> Arc<Mutex<Vec<Option<String>>>> {
    let ranges: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
    let (log, path) = (Arc::clone(&ranges), format!("/v2/core/app/blobs/{layer}"));
    watch(&world.source, move |request| {
        if request.path != path {
            return None;
        }
        let range = request
            .headers
            .get("range")
            .map(|range| range.to_str().unwrap().to_owned());
        let mut log = log.lock().unwrap();
        log.push(range);
        (log.len() == 1).then_some(Action::CutBody {
            after_bytes: HALF,
            ending,
        })
    });
    ranges
}

fn served(world: &World, layer: &Digest) -> u64 {
    let reads = asked(&world.source, "GET", &layer.to_string());
    reads.iter().map(|read| read.bytes_out).sum()
}

#[tokio::test]
async fn a_read_that_ends_early_goes_on_where_it_ended() {
    for ending in [Ending::Close, Ending::Unnoticed] {
        let (sample, layer) = large(1);
        let world = World::with(&sample).await;
        let ranges = cut_first_read(&world, &layer, ending);
        world.copy().await.unwrap();
        world.assert_equal(&sample);
        assert_eq!(
            *ranges.lock().unwrap(),
            [None, Some(format!("bytes={HALF}-{}", SIZE - 1))],
            "{ending:?}"
        );
        assert_eq!(
            served(&world, &layer),
            SIZE as u64,
            "{ending:?}: no byte was read twice"
        );
        assert_eq!(
            asked(&world.destination, "POST", "").len(),
            2,
            "{ending:?}: the upload did not begin again"
        );
    }
}

#[tokio::test]
async fn a_read_that_is_reset_goes_on_where_it_broke() {
    let (sample, layer) = large(2);
    let world = World::with(&sample).await;
    let ranges = cut_first_read(&world, &layer, Ending::Reset);
    world.copy().await.unwrap();
    world.assert_equal(&sample);
    let ranges = ranges.lock().unwrap();
    let range = ranges[1].as_deref().unwrap();
    let from: u64 = range["bytes=".len()..].split('-').next().unwrap().parse().unwrap();
    assert!(0 < from && from <= HALF, "what arrived before the reset stays: {from}");
    assert_eq!(served(&world, &layer), HALF + SIZE as u64 - from);
    assert_eq!(asked(&world.destination, "POST", "").len(), 2);
}

#[tokio::test]
async fn a_source_that_ignores_ranges_is_read_from_its_beginning_and_still_right() {
    let (sample, layer) = large(3);
    let world = World::with(&sample).await;
    let path = format!("/blobs/{layer}");
    let cut = Action::CutBody {
        after_bytes: HALF,
        ending: Ending::Close,
    };
    let whole = answer(200, &[], sample.blobs[&layer].clone());
    let faults = Arc::new(Script::new([
        Fault::new("GET", &path, cut).unwrap(),
        Fault::new("GET", &path, whole).unwrap(),
    ]));
    world.source.set_faults(Some(Arc::clone(&faults) as _));
    world.copy().await.unwrap();
    assert_eq!(faults.struck(), 2);
    world.assert_equal(&sample);
}

#[tokio::test]
async fn another_range_than_the_one_asked_for_is_refused() {
    let (sample, layer) = large(4);
    let world = World::with(&sample).await;
    let path = format!("/blobs/{layer}");
    let cut = Action::CutBody {
        after_bytes: HALF,
        ending: Ending::Close,
    };
    let other = answer(206, &[("content-range", "bytes 0-9/1048576")], "0123456789");
    world.source.set_faults(Some(Arc::new(Script::new([
        Fault::new("GET", &path, cut).unwrap(),
        Fault::new("GET", &path, other).unwrap().always(),
    ]))));
    assert_eq!(world.fails().await.code(), "RESPONSE_INVALID");
    world.assert_nothing_visible();
}

/// A world whose source cuts the first `cuts` reads of `layer` and answers every range with `refusal`.
async fn refusing_ranges(sample: &Sample, layer: &Digest, cuts: usize, ending: Ending, refusal: Action) -> World {
    let world = World::with(sample).await;
    let (path, reads) = (format!("/blobs/{layer}"), Mutex::new(0));
    watch(&world.source, move |request| {
        if !request.path.ends_with(&path) {
            return None;
        }
        if request.headers.contains_key("range") {
            return Some(refusal.clone());
        }
        let mut reads = reads.lock().unwrap();
        *reads += 1;
        (*reads <= cuts).then_some(Action::CutBody {
            after_bytes: HALF,
            ending,
        })
    });
    world
}

#[tokio::test]
async fn a_refused_range_is_read_from_the_first_byte() {
    for refusal in [
        answer(416, &[], ""),
        // The blob has bytes there, so this is not its end.
        answer(416, &[("content-range", "bytes */1048576")], ""),
        answer(416, &[("content-range", "bytes */*")], ""),
        answer(400, &[], ""),
        answer(403, &[], ""),
        answer(501, &[], ""),
        answer(206, &[], "0123456789"),
    ] {
        for (cuts, ending) in [(1, Ending::Close), (2, Ending::Reset), (2, Ending::Unnoticed)] {
            let (sample, layer) = large(20);
            let world = refusing_ranges(&sample, &layer, cuts, ending, refusal.clone()).await;
            world
                .copy()
                .await
                .unwrap_or_else(|error| panic!("{refusal:?}, {cuts}, {ending:?}: {error}"));
            world.assert_equal(&sample);
        }
    }
}

#[tokio::test]
async fn an_unconfirmed_end_is_a_broken_connection() {
    let (sample, layer) = large(21);
    let refusal = answer(416, &[], "");
    let world = refusing_ranges(&sample, &layer, usize::MAX, Ending::Unnoticed, refusal).await;
    let error = world.fails().await;
    assert_eq!(error.code(), "CONNECTION_BROKEN");
    assert!(error.persistence().is_temporary());
    world.assert_nothing_visible();
}

#[tokio::test]
async fn a_confirmed_end_is_a_wrong_size() {
    let (sample, layer) = large(22);
    for total in [HALF, HALF - 1] {
        let range = format!("bytes */{total}");
        let refusal = answer(416, &[("content-range", &range)], "");
        let world = refusing_ranges(&sample, &layer, usize::MAX, Ending::Unnoticed, refusal).await;
        let error = world.fails().await;
        assert_eq!(error.code(), "BLOB_SIZE_MISMATCH");
        assert!(error.to_string().contains(&layer.to_string()), "{error}");
    }
}

#[tokio::test]
async fn a_short_blob_is_known_by_its_length_where_ranges_are_refused() {
    let (world, layer) = of_declared_size(1001).await;
    let path = format!("/blobs/{layer}");
    watch(&world.source, move |request| {
        let is_range = request.path.ends_with(&path) && request.headers.contains_key("range");
        is_range.then(|| Action::status(416))
    });
    assert_eq!(world.fails().await.code(), "BLOB_SIZE_MISMATCH");
}

#[tokio::test]
async fn a_blob_that_is_lost_while_it_is_read_is_said_to_be_lost() {
    let (sample, layer) = large(5);
    let world = World::with(&sample).await;
    let path = format!("/blobs/{layer}");
    let cut = Action::CutBody {
        after_bytes: HALF,
        ending: Ending::Close,
    };
    world.source.set_faults(Some(Arc::new(Script::new([
        Fault::new("GET", &path, cut).unwrap(),
        Fault::new("GET", &path, Action::status(404)).unwrap().always(),
    ]))));
    assert_eq!(world.fails().await.code(), "BLOB_NOT_FOUND");
}

#[tokio::test]
async fn one_wrong_bit_is_read_again_and_then_right() {
    let (sample, layer) = large(6);
    let world = World::with(&sample).await;
    let flip = script("GET", &format!("/blobs/{layer}"), Action::FlipBit { at_byte: HALF });
    world.source.set_faults(Some(Arc::clone(&flip) as _));
    assert_eq!(world.copy().await.unwrap().state, State::Copied);
    assert_eq!(flip.struck(), 1);
    world.assert_equal(&sample);
}

#[tokio::test]
async fn a_blob_that_is_wrong_twice_is_wrong() {
    let (sample, layer) = large(7);
    let world = World::with(&sample).await;
    let flips = always("GET", &format!("/blobs/{layer}"), Action::FlipBit { at_byte: HALF });
    world.source.set_faults(Some(Arc::clone(&flips) as _));
    let error = world.fails().await;
    assert_eq!((error.code(), flips.struck()), ("BLOB_DIGEST_MISMATCH", 2));
    assert!(error.to_string().contains(&layer.to_string()), "{error}");
    assert!(error.persistence().is_permanent());
    world.assert_nothing_visible();
    assert_eq!(world.destination.blob_size(&name("copy/app"), &layer), None);
    assert_eq!(world.destination.open_uploads(), 0, "what was begun is cancelled");
}

/// An image whose only layer is declared `declared` bytes long and is 1000.
async fn of_declared_size(declared: u64) -> (World, Digest) {
    let world = World::new().await;
    let seed = |bytes: &[u8]| {
        world
            .source
            .seed_blob(&name("core/app"), Algorithm::Sha256, Bytes::copy_from_slice(bytes))
    };
    let (config, layer) = (seed(b"{}"), seed(&[7; 1000]));
    let root = put(
        &world,
        OCI_MANIFEST,
        &json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": { "mediaType": OCI_CONFIG, "digest": config, "size": 2 },
            "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": declared }],
        }),
    );
    tag_as(&world, &root);
    (world, layer)
}

#[tokio::test]
async fn a_blob_of_another_size_than_declared_is_refused() {
    for declared in [0, 1, 999, 1001, 5_000_000_000_000] {
        let (world, layer) = of_declared_size(declared).await;
        let error = world.fails().await;
        assert_eq!(error.code(), "BLOB_SIZE_MISMATCH", "{declared}: {error}");
        assert!(error.persistence().is_permanent());
        world.assert_nothing_visible();
        assert_eq!(world.destination.blob_size(&name("copy/app"), &layer), None);
    }
}

#[tokio::test]
async fn whatever_passes_by_itself_is_asked_again() {
    for code in [408, 429, 500, 502, 503, 504] {
        for path in ["/manifests/v1", "/blobs/", "/referrers/"] {
            let sample = images::image(8, &[1000]);
            let world = World::with(&sample).await;
            let faults = Arc::new(Script::new([Fault::new("*", path, Action::status(code))
                .unwrap()
                .times(2)]));
            world.source.set_faults(Some(Arc::clone(&faults) as _));
            world
                .copy()
                .await
                .unwrap_or_else(|error| panic!("{code} {path}: {error}"));
            assert_eq!(faults.struck(), 2);
            world.assert_equal(&sample);
        }
    }
}

#[tokio::test]
async fn a_source_that_never_recovers_is_asked_so_often_and_no_more() {
    for action in [Action::status(503), Action::Reset] {
        for path in ["/manifests/v1", "/blobs/"] {
            let sample = images::image(9, &[1000]);
            let world = World::with(&sample).await;
            // The configuration and the layer would fail side by side; one of them is enough.
            let target = if path == "/blobs/" {
                format!("/blobs/{}", sample.blobs.keys().next().unwrap())
            } else {
                path.to_owned()
            };
            let faults = always("GET", &target, action.clone());
            world.source.set_faults(Some(Arc::clone(&faults) as _));
            let error = world.fails().await;
            let expected = if action == Action::Reset {
                "CONNECTION_BROKEN"
            } else {
                "REGISTRY_UNAVAILABLE"
            };
            assert_eq!(error.code(), expected);
            assert!(!error.persistence().is_permanent());
            assert_eq!(
                faults.struck(),
                6,
                "{path}: one owner of retries, five times after the first"
            );
            world.assert_nothing_visible();
        }
    }
}

#[tokio::test]
async fn a_wait_longer_than_ours_is_handed_on_instead_of_slept() {
    for path in ["/manifests/v1", "/blobs/"] {
        let world = World::with(&images::image(10, &[])).await;
        world
            .source
            .set_faults(Some(always("GET", path, Action::too_many_requests(3600))));
        let options = Options {
            referrers: Referrers::Exclude,
            ..Options::default()
        };
        let begin = Instant::now();
        let error = world.copy_with(options.clone()).await.unwrap_err();
        assert!(
            begin.elapsed() < Duration::from_secs(5),
            "nobody slept an hour, or our own limit of it"
        );
        assert_eq!(error.code(), "RATE_LIMITED");
        let wait = error.persistence().retry_after().unwrap();
        assert!(
            wait > Duration::from_secs(3590) && wait <= Duration::from_hours(1),
            "{wait:?}"
        );
        let before = world.source.requests().len();
        assert_eq!(world.copy_with(options).await.unwrap_err().code(), "RATE_LIMITED");
        assert_eq!(
            world.source.requests().len(),
            before,
            "nothing is sent to who asked us to wait"
        );
    }
}

#[tokio::test]
async fn a_manifest_without_end_is_not_read_to_its_end() {
    let world = World::with(&images::image(11, &[10])).await;
    let endless = answer(200, &[("content-type", OCI_MANIFEST)], vec![b' '; 16 << 20]);
    world.source.set_faults(Some(always("GET", "/manifests/", endless)));
    let error = world.fails().await;
    assert_eq!(error.code(), "MANIFEST_TOO_LARGE");
    assert!(error.persistence().is_permanent());
}

#[tokio::test]
async fn an_error_body_without_end_stays_a_short_error() {
    let world = World::with(&images::image(12, &[10])).await;
    let endless = answer(418, &[], vec![b'x'; 16 << 20]);
    world.source.set_faults(Some(always("GET", "/manifests/", endless)));
    let error = world.fails().await;
    assert_eq!(error.code(), "REGISTRY_REFUSED");
    assert!(error.to_string().len() < 1000);
}

#[tokio::test]
async fn html_is_no_manifest() {
    let world = World::with(&images::image(13, &[10])).await;
    let page = answer(200, &[("content-type", "text/html")], "<html>log in</html>");
    world.source.set_faults(Some(always("*", "/manifests/", page)));
    assert_eq!(world.fails().await.code(), "MANIFEST_INVALID");
}

#[tokio::test]
async fn a_registry_that_tells_no_digest_by_head_is_read() {
    let sample = images::image(14, &[10]);
    let world = World::with(&sample).await;
    world.copy().await.unwrap();
    for code in [200, 405] {
        world
            .source
            .set_faults(Some(always("HEAD", "/manifests/v1", Action::status(code))));
        assert_eq!(world.copy().await.unwrap().state, State::Unchanged, "{code}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_after_its_last_byte_was_whole() {
    use futures_util::{StreamExt, TryStreamExt, stream};
    let bytes = Bytes::from_static(b"all of it");
    let blob = transship_oci::Descriptor::new("a/b".into(), Digest::sha256(&bytes), bytes.len() as u64);
    let stage = Stage::start(move |_| {
        let whole = bytes.clone();
        let broken = async {
            // The server sends what it has when it is made to wait.
            tokio::task::yield_now().await;
            Err(std::io::Error::other("cut"))
        };
        let pieces = stream::once(async { Ok(whole) }).chain(stream::once(broken));
        http::Response::new(axum::body::Body::from_stream(pieces))
    })
    .await;
    let world = World::new().await;
    let registry = transship_registry::Registry::new(transship_registry::Options {
        endpoint: format!("http://127.0.0.1:{}", stage.port()).parse().unwrap(),
        ..options_of(&world.source)
    })
    .unwrap();
    let stream = registry.repository(name("core/app")).blob_get(&blob, 0).await.unwrap();
    let read: Vec<Bytes> = stream.try_collect().await.unwrap();
    assert_eq!(read.concat(), b"all of it");
    assert_eq!(stage.heard().len(), 1, "there was nothing left to ask for");
}

#[tokio::test]
async fn a_manifest_with_one_wrong_bit_is_read_again_and_then_right() {
    for path in ["/manifests/v1", "/manifests/sha256:"] {
        let sample = images::multi_platform(15);
        let world = World::with(&sample).await;
        let flip = script("GET", path, Action::FlipBit { at_byte: 100 });
        world.source.set_faults(Some(Arc::clone(&flip) as _));
        world.copy().await.unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(flip.struck(), 1);
        world.assert_equal(&sample);
    }
}

#[tokio::test]
async fn a_head_that_is_behind_does_not_make_an_image_disappear() {
    let (old, new) = (images::image(16, &[10]), images::image(17, &[10]));
    let world = World::with(&old).await;
    world.copy().await.unwrap();
    world.seed(&new);
    let stale = script("HEAD", "/manifests/v1", Action::status(404));
    world.source.set_faults(Some(Arc::clone(&stale) as _));
    world.copy().await.unwrap();
    assert_eq!(stale.struck(), 1);
    world.assert_equal(&new);
}

#[tokio::test]
async fn an_image_that_is_gone_is_gone_whatever_stands_at_the_destination() {
    let sample = images::image(18, &[10]);
    let world = World::with(&sample).await;
    world.copy().await.unwrap();
    world.source.forget(&name("core/app"), &sample.root);
    assert_eq!(world.fails().await.code(), "SOURCE_NOT_FOUND");
    world.assert_equal(&sample);
}

#[tokio::test]
async fn a_garbled_list_of_referrers_is_read_again_and_then_right() {
    let sample = images::with_referrer(19);
    let world = World::with(&sample).await;
    let garble = script("GET", "/referrers/", Action::FlipBit { at_byte: 0 });
    world.source.set_faults(Some(Arc::clone(&garble) as _));
    world.copy().await.unwrap();
    assert_eq!(garble.struck(), 1);
    world.assert_equal(&sample);

    let world = World::with(&sample).await;
    let index = [("content-type", transship_oci::media_type::OCI_INDEX)];
    let garbled = always("GET", "/referrers/", answer(200, &index, "{"));
    world.source.set_faults(Some(garbled));
    assert_eq!(world.fails().await.code(), "MANIFEST_INVALID");
}
