//! Copies of some platforms of an image.

use bytes::Bytes;
use serde_json::{Value, json};
use transship_copy::{
    Action, CompareRequest, Comparison, Existing, Extent, Options, Platforms, Presence, Report, State, compare,
};
use transship_embedded_registry::EmbeddedRegistry;
use transship_oci::manifest::SOURCE_DIGEST;
use transship_oci::media_type::{DOCKER_LIST, OCI_INDEX, OCI_MANIFEST};
use transship_oci::{Algorithm, Digest, Manifest, Result, Target};
use transship_testkit::images::{self, Sample};

use crate::graphs::{digest, index, put, tag_as};
use crate::world::{Job, World, asked, children, name, tag};

fn only(platforms: &[&str]) -> Options {
    let all = platforms.iter().map(|text| text.parse().unwrap());
    Options {
        platforms: Platforms::new(all, false),
        ..Options::default()
    }
}

fn sparse(platforms: &[&str]) -> Options {
    let mut options = only(platforms);
    options.platforms.sparse = true;
    options
}

/// A destination that accepts an index whose manifests are missing.
async fn lenient(sample: &Sample) -> World {
    let world = World::of(
        EmbeddedRegistry::builder(),
        EmbeddedRegistry::builder().sparse_indexes(true),
    )
    .await;
    world.seed(sample);
    world
}

/// The entries of the sample's index, in its order.
fn entries(sample: &Sample) -> Vec<Digest> {
    children(sample.root_manifest().unwrap().bytes.clone())
}

fn arrived(world: &World) -> Manifest {
    let (media_type, bytes) = world
        .destination
        .manifest(&name("copy/app"), &Target::Tag(tag("v1")))
        .unwrap();
    Manifest::parse(bytes, Some(media_type.as_str())).unwrap()
}

fn manifests(world: &World) -> Vec<Digest> {
    let mut manifests = world.destination.manifests(&name("copy/app"));
    manifests.sort();
    manifests
}

fn sorted(mut digests: Vec<Digest>) -> Vec<Digest> {
    digests.sort();
    digests
}

/// Both a comparison and a copy find nothing to do.
async fn assert_settled(world: &World, options: &Options) {
    for extent in [Extent::FirstDifference, Extent::Everything] {
        let compared = comparison(world, extent, options.clone()).await.unwrap();
        assert_eq!(compared.action, Action::Unchanged, "{extent:?}");
    }
    world.reset_requests();
    let again = world.copy_with(options.clone()).await.unwrap();
    assert_eq!((again.state, again.manifests), (State::Unchanged, 0));
    assert_eq!((again.bytes.copied, again.blobs.copied), (0, 0));
    assert_eq!(asked(&world.destination, "PUT", "/").len(), 0);
}

async fn comparison(world: &World, extent: Extent, options: Options) -> Result<Comparison> {
    compare(&CompareRequest {
        source: &world.from.repository(name("core/app")),
        from: Target::Tag(tag("v1")),
        destination: &world.to.repository(name("copy/app")).for_writing(),
        to: Target::Tag(tag("v1")),
        options,
        locations: &world.locations,
        replicas: &world.ours,
        digest_tags: None,
        extent,
        presence: Presence::Unknown,
    })
    .await
}

async fn copied(world: &World, options: &Options) -> Report {
    let report = world.copy_with(options.clone()).await.unwrap();
    assert_eq!(report.state, State::Copied);
    assert_settled(world, options).await;
    report
}

const THREE: [&str; 3] = ["linux/amd64", "linux/arm64/v8", "linux/s390x"];

#[tokio::test]
async fn one_platform_becomes_the_tag() {
    let sample = images::of_platforms(1, &THREE);
    let entries = entries(&sample);
    for (wanted, position) in [
        ("linux/amd64", 0),
        ("linux/arm64", 2),
        ("linux/arm64/v8", 2),
        ("linux/s390x", 4),
    ] {
        let world = World::with(&sample).await;
        let report = copied(&world, &only(&[wanted])).await;
        assert_eq!(report.digest, entries[position], "{wanted}");
        assert_eq!(world.arrived().as_ref(), Some(&entries[position]), "{wanted}");
        assert_eq!(
            manifests(&world),
            [entries[position].clone()],
            "{wanted}: nothing else is there"
        );
        assert_eq!(report.selection.unwrap().selected.source, sample.root);
    }
}

#[tokio::test]
async fn several_platforms_become_an_index_of_only_these() {
    let sample = images::of_platforms(2, &THREE);
    let entries = entries(&sample);
    let options = only(&["linux/amd64", "linux/s390x"]);
    let world = World::with(&sample).await;
    let report = copied(&world, &options).await;
    let index = arrived(&world);
    assert_eq!(report.digest, *index.digest());
    // With the attestation of each, as they were listed.
    let kept: Vec<Digest> = [0, 1, 4, 5].map(|position: usize| entries[position].clone()).to_vec();
    assert_eq!(children(index.bytes().clone()), kept);
    assert_eq!(index.media_type().as_str(), OCI_INDEX);
    assert_eq!(index.annotations()[SOURCE_DIGEST], sample.root.to_string());
    assert_eq!(manifests(&world), sorted([kept, vec![index.digest().clone()]].concat()));
    // The digest is the same wherever and whenever it is derived.
    let other = World::with(&sample).await;
    let turned = only(&["linux/s390x", "linux/amd64/v1"]);
    assert_eq!(copied(&other, &turned).await.digest, report.digest);
}

#[tokio::test]
async fn all_platforms_of_an_image_are_the_image() {
    let sample = images::of_platforms(3, &THREE);
    let world = World::with(&sample).await;
    let report = copied(&world, &only(&THREE)).await;
    assert_eq!(report.digest, sample.root);
    world.assert_equal(&sample);
}

#[tokio::test]
async fn a_manifest_list_keeps_its_type() {
    let world = World::new().await;
    let sample = images::docker_list(4);
    let mut list: Value = serde_json::from_slice(&sample.root_manifest().unwrap().bytes).unwrap();
    sample.seed_into(&world.source, &name("core/app"), &tag("v1"));
    let third = images::docker_image(5);
    third.seed_into(&world.source, &name("core/app"), &tag("third"));
    let root = third.root_manifest().unwrap();
    let entry = json!({ "mediaType": root.media_type.as_str(), "digest": root.digest, "size": root.bytes.len(), "platform": { "os": "linux", "architecture": "riscv64" } });
    list["manifests"].as_array_mut().unwrap().push(entry);
    tag_as(&world, &put(&world, DOCKER_LIST, &list));
    copied(&world, &only(&["linux/amd64", "linux/riscv64"])).await;
    let derived = arrived(&world);
    assert_eq!(derived.media_type().as_str(), DOCKER_LIST);
    assert_eq!(derived.children().len(), 2);
}

#[tokio::test]
async fn versions_of_an_operating_system_are_an_index_unless_one_is_named() {
    let sample = images::of_platforms(
        5,
        &[
            "windows(10.0.17763.1)/amd64",
            "windows(10.0.20348.2)/amd64",
            "linux/amd64",
        ],
    );
    let entries = entries(&sample);
    let world = World::with(&sample).await;
    copied(&world, &only(&["windows/amd64"])).await;
    assert_eq!(children(arrived(&world).bytes().clone()), entries[..4]);
    let world = World::with(&sample).await;
    let report = copied(&world, &only(&["windows(10.0.20348)/amd64"])).await;
    assert_eq!(report.digest, entries[2]);
}

#[tokio::test]
async fn indexes_within_the_index_are_read_as_well() {
    let sample = images::nested_index(6);
    let find = |bytes: &Bytes, position: usize| children(bytes.clone())[position].clone();
    let root = sample.root_manifest().unwrap();
    let inner = find(&root.bytes, 0);
    let inner = sample
        .manifests
        .iter()
        .find(|manifest| manifest.digest == inner)
        .unwrap();
    // One platform, of the inner index.
    let world = World::with(&sample).await;
    let report = copied(&world, &only(&["linux/arm64"])).await;
    assert_eq!(report.digest, find(&inner.bytes, 1));
    // Several: the inner index is derived as well.
    let world = World::with(&sample).await;
    copied(&world, &only(&["linux/arm64", "linux/s390x"])).await;
    let [derived, beside] = &*children(arrived(&world).bytes().clone()) else {
        panic!()
    };
    assert_eq!(*beside, find(&root.bytes, 1));
    let (_, derived) = world
        .destination
        .manifest(&name("copy/app"), &Target::Digest(derived.clone()))
        .unwrap();
    assert_eq!(children(derived.clone()), [find(&inner.bytes, 1)]);
    let derived = Manifest::parse(derived, None).unwrap();
    assert_eq!(derived.annotations()[SOURCE_DIGEST], inner.digest.to_string());
}

#[tokio::test]
async fn an_image_without_an_index_has_the_platform_of_its_configuration() {
    for sample in [images::image(7, &[300, 40]), images::docker_image(7)] {
        let world = World::with(&sample).await;
        let report = copied(&world, &only(&["linux/arm64", "linux/amd64"])).await;
        assert_eq!(report.digest, sample.root);
        world.assert_equal(&sample);
        let world = World::with(&sample).await;
        let error = world.copy_with(only(&["linux/arm64"])).await.map(|report| report.state);
        let error = error.unwrap_err();
        assert_eq!(error.code(), "PLATFORM_MISSING");
        assert!(
            error
                .to_string()
                .contains("it has linux/amd64; selected are linux/arm64"),
            "{error}"
        );
        world.assert_nothing_visible();
        let compared = comparison(&world, Extent::FirstDifference, only(&["linux/arm64"])).await;
        assert!(matches!(compared.unwrap().action, Action::Skip(_)));
    }
}

#[tokio::test]
async fn what_runs_on_no_platform_is_copied_unchanged() {
    for sample in [images::helm_chart(8), images::artifact(8)] {
        let world = World::with(&sample).await;
        copied(&world, &only(&["linux/arm64"])).await;
        world.assert_equal(&sample);
    }
    // An index of artifacts has no platforms either.
    let world = World::new().await;
    let (one, other) = (images::artifact(1), images::artifact(2));
    let entries = [&one, &other].map(|sample| {
        sample.seed_into(&world.source, &name("core/app"), &tag("part"));
        let root = sample.root_manifest().unwrap();
        json!({ "mediaType": OCI_MANIFEST, "artifactType": "a/b", "digest": root.digest, "size": root.bytes.len() })
    });
    let index = index(&world, &entries);
    tag_as(&world, &index);
    assert_eq!(
        copied(&world, &only(&["linux/arm64", "linux/amd64"])).await.digest,
        digest(&index)
    );
}

#[tokio::test]
async fn an_entry_without_a_platform_is_read() {
    let world = World::new().await;
    let silent = images::image(9, &[100]);
    silent.seed_into(&world.source, &name("core/app"), &tag("silent"));
    let root = silent.root_manifest().unwrap();
    let silent_entry = json!({ "mediaType": OCI_MANIFEST, "digest": root.digest, "size": root.bytes.len() });
    let other = json!({ "mediaType": OCI_MANIFEST, "digest": Digest::sha256(b"x"), "size": 1, "platform": { "os": "linux", "architecture": "mips" } });
    tag_as(&world, &index(&world, &[other, silent_entry]));
    let report = copied(&world, &only(&["linux/amd64"])).await;
    assert_eq!(report.digest, silent.root, "and what is not selected is never read");
}

#[tokio::test]
async fn platforms_that_the_image_lacks_are_reported() {
    let sample = images::of_platforms(10, &THREE);
    let world = World::with(&sample).await;
    let report = copied(&world, &only(&["linux/amd64", "linux/riscv64", "linux/s390x"])).await;
    let missing: Vec<String> = report
        .selection
        .unwrap()
        .missing
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(missing, ["linux/riscv64"]);
    let world = World::with(&sample).await;
    let failed = world
        .copy_with(only(&["linux/riscv64", "linux/mips"]))
        .await
        .map(|report| report.state);
    let error = failed.unwrap_err();
    assert_eq!((error.code(), error.is_permanent()), ("PLATFORM_MISSING", true));
    assert!(
        error.to_string().contains("linux/amd64, linux/arm64/v8, linux/s390x"),
        "{error}"
    );
    world.assert_nothing_visible();
}

#[tokio::test]
async fn a_sparse_index_stays_as_it_is() {
    let sample = images::of_platforms(11, &THREE);
    let entries = entries(&sample);
    let world = lenient(&sample).await;
    let report = copied(&world, &sparse(&["linux/arm64"])).await;
    assert_eq!(report.digest, sample.root);
    assert_eq!(world.arrived().as_ref(), Some(&sample.root));
    let mut there = vec![sample.root.clone(), entries[2].clone(), entries[3].clone()];
    assert_eq!(manifests(&world), sorted(there.clone()));
    // A platform that is selected later is copied, although the index is equal.
    let wider = sparse(&["linux/arm64", "linux/s390x"]);
    let compared = comparison(&world, Extent::FirstDifference, wider.clone())
        .await
        .unwrap();
    assert_eq!(compared.action, Action::Copy);
    copied(&world, &wider).await;
    there.extend([entries[4].clone(), entries[5].clone()]);
    assert_eq!(manifests(&world), sorted(there));
}

#[tokio::test]
async fn a_registry_that_refuses_sparse_indexes_is_not_filled_instead() {
    let sample = images::of_platforms(12, &THREE);
    let world = World::with(&sample).await;
    let failed = world
        .copy_with(sparse(&["linux/arm64"]))
        .await
        .map(|report| report.state);
    let error = failed.unwrap_err();
    assert_eq!(
        (error.code(), error.is_permanent()),
        ("SPARSE_UNSUPPORTED", true),
        "{error}"
    );
    assert_eq!(world.destination.tags(&name("copy/app")), []);
    let entries = entries(&sample);
    assert_eq!(
        manifests(&world),
        sorted(vec![entries[2].clone(), entries[3].clone()]),
        "only what is selected"
    );
    // With every platform it is not sparse.
    copied(&world, &sparse(&THREE)).await;
    world.assert_equal(&sample);
}

#[tokio::test]
async fn what_is_attached_to_a_selected_platform_is_copied() {
    let sample = images::of_platforms(13, &THREE);
    let world = World::with(&sample).await;
    let entries = entries(&sample);
    let size = |digest: &Digest| {
        let found = sample.manifests.iter().find(|manifest| manifest.digest == *digest);
        found.unwrap().bytes.len()
    };
    let empty = world
        .source
        .seed_blob(&name("core/app"), Algorithm::Sha256, Bytes::from_static(b"{}"));
    let empty = json!({ "mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2 });
    let refer = |subject: &Digest| {
        digest(&put(
            &world,
            OCI_MANIFEST,
            &json!({
                "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "application/vnd.example.note",
                "config": empty, "layers": [empty],
                "subject": { "mediaType": OCI_MANIFEST, "digest": subject, "size": size(subject) },
            }),
        ))
    };
    let [of_index, of_amd, of_arm] = [&sample.root, &entries[0], &entries[2]].map(refer);
    copied(&world, &only(&["linux/arm64"])).await;
    assert_eq!(manifests(&world), sorted(vec![entries[2].clone(), of_arm.clone()]));
    let several = only(&["linux/arm64", "linux/amd64"]);
    copied(
        &world,
        &Options {
            existing: Existing::Overwrite,
            ..several
        },
    )
    .await;
    let there = manifests(&world);
    assert!(
        there.contains(&of_amd) && !there.contains(&of_index),
        "the original index is not there"
    );
}

#[tokio::test]
async fn an_equal_image_costs_one_request_on_each_side_where_it_is_remembered() {
    for options in [
        only(&["linux/arm64"]),
        only(&["linux/arm64", "linux/amd64"]),
        sparse(&["linux/arm64"]),
    ] {
        let options = Options {
            referrers: transship_copy::Referrers::Exclude,
            ..options
        };
        let world = lenient(&images::of_platforms(14, &THREE)).await;
        let report = world.copy_with(options.clone()).await.unwrap();
        *world.ours.1.lock().unwrap() = Some(report.selection.unwrap().selected);
        world.reset_requests();
        let again = world.copy_with(options.clone()).await.unwrap();
        assert_eq!((again.state, &again.digest), (State::Unchanged, &report.digest));
        let methods = |registry: &EmbeddedRegistry| -> Vec<String> {
            registry
                .requests()
                .into_iter()
                .map(|request| request.method.to_string())
                .collect()
        };
        assert_eq!(
            (methods(&world.source), methods(&world.destination)),
            (vec!["HEAD".into()], vec!["HEAD".into()])
        );
        world.reset_requests();
        let compared = comparison(&world, Extent::FirstDifference, options).await.unwrap();
        assert_eq!((compared.action, world.requests()), (Action::Unchanged, 2));
        assert_eq!(compared.wanted.unwrap().digest, report.digest);
        assert_eq!(
            compared.source.unwrap().digest,
            again.selection.unwrap().selected.source
        );
    }
}

#[tokio::test]
async fn a_comparison_says_what_the_copy_of_platforms_does() {
    for options in [
        only(&["linux/arm64"]),
        only(&["linux/arm64", "linux/s390x"]),
        sparse(&["linux/arm64"]),
        only(&THREE),
    ] {
        for sample in [images::of_platforms(15, &THREE), images::nested_index(15)] {
            let world = lenient(&sample).await;
            let planned = comparison(&world, Extent::Everything, options.clone()).await.unwrap();
            world.assert_nothing_visible();
            let report = world.copy_with(options.clone()).await.unwrap();
            assert_eq!(planned.wanted.unwrap().digest, report.digest);
            assert_eq!(planned.source.unwrap().digest, sample.root);
            assert_eq!(planned.manifests_to_write, report.manifests);
            assert_eq!((planned.blobs, planned.bytes), (report.blobs, report.bytes));
        }
    }
}

#[tokio::test]
async fn an_image_that_moved_is_derived_again() {
    let (before, after) = (images::of_platforms(16, &THREE), images::of_platforms(17, &THREE));
    let world = World::with(&before).await;
    let options = only(&["linux/amd64", "linux/arm64"]);
    let first = copied(&world, &options).await;
    *world.ours.1.lock().unwrap() = Some(first.selection.unwrap().selected);
    world.seed(&after);
    let second = copied(&world, &options).await;
    assert_ne!(first.digest, second.digest);
    assert_eq!(second.selection.unwrap().selected.source, after.root);
}

#[tokio::test]
async fn a_digest_at_the_source_is_selected_as_a_tag_is() {
    let sample = images::of_platforms(18, &THREE);
    let world = World::with(&sample).await;
    let job = || Job {
        from: (name("core/app"), Target::Digest(sample.root.clone())),
        options: only(&["linux/s390x"]),
        ..Job::default()
    };
    assert_eq!(world.run(job()).await.unwrap().digest, entries(&sample)[4]);
    assert_eq!(world.run(job()).await.unwrap().state, State::Unchanged);
}
