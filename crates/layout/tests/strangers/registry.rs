//! A storage tree that `docker-registry` wrote.

use std::collections::BTreeMap;

use std::path::Path;
use std::process::Command;

use futures_util::TryStreamExt;
use transship_layout::{OpenSource, SourceKind, SourceRef, discover, open};
use transship_oci::{Digest, Repository, Target};
use transship_testkit::images;
use transship_testkit::processes::DockerRegistry;

use super::files::{read, store_of};

#[tokio::test]
async fn a_tree_holds_every_repository_tag_and_referrer_of_its_registry() {
    let Some(registry) = DockerRegistry::start(None).await.unwrap() else {
        println!("skipped: docker-registry is not installed (apt-get install docker-registry)");
        return;
    };
    let samples = images::all(11);
    for (name, sample) in &samples {
        let repository: Repository = format!("samples/{name}").parse().unwrap();
        for tag in ["v1", "latest"] {
            sample
                .push_over_http(&registry.url(), &repository, &tag.parse().unwrap())
                .await
                .unwrap();
        }
    }
    let store = store_of(&registry.data());
    let found: Vec<_> = discover(store.clone(), "").try_collect().await.unwrap();
    assert!(found.iter().all(|found| found.kind == SourceKind::Repository));
    let mut paths: Vec<String> = found.iter().map(|found| found.path.clone()).collect();
    paths.sort();
    let mut expected: Vec<String> = samples.iter().map(|(name, _)| format!("samples/{name}")).collect();
    expected.sort();
    assert_eq!(paths, expected);
    for found in &found {
        let (name, sample) = samples
            .iter()
            .find(|(name, _)| found.path.ends_with(&format!("/{name}")))
            .unwrap();
        let source = open(store.clone(), found).await.unwrap();
        let listing = source.images().await.unwrap();
        assert!(listing.refused.is_empty(), "{name}: {:?}", listing.refused);
        let tagged: BTreeMap<String, Digest> = listing
            .images
            .iter()
            .filter_map(|image| Some((image.target.tag()?.to_string(), image.descriptor.digest.clone())))
            .collect();
        let mut tags = BTreeMap::from([
            ("v1".to_owned(), sample.root.clone()),
            ("latest".to_owned(), sample.root.clone()),
        ]);
        let own = sample
            .manifests
            .iter()
            .filter_map(|one| Some((one.tag.as_ref()?.to_string(), one.digest.clone())));
        tags.extend(own);
        tags.extend(
            sample
                .fallbacks()
                .iter()
                .map(|one| (one.tag.as_ref().unwrap().to_string(), one.digest.clone())),
        );
        assert_eq!(tagged, tags, "{name}");
        assert_eq!(
            listing.images.len(),
            tags.len(),
            "{name}: nothing is listed by digest that comes along"
        );
        for image in &listing.images {
            assert_eq!(
                read(source.as_ref(), image.target.clone()).await.0,
                image.descriptor.digest
            );
        }
        if *name == "with-referrer" {
            let referrers = source.referrers(&sample.root).await.unwrap();
            assert_eq!(referrers.len(), 1);
            read(source.as_ref(), Target::Digest(referrers[0].digest.clone())).await;
        }
    }
}

/// Runs a program in `folder`; false, and a word about it, if it is not installed.
fn packed(folder: &Path, program: &str, arguments: &[&str]) -> bool {
    match Command::new(program).args(arguments).current_dir(folder).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: {program} is not installed");
            false
        }
        output => {
            let output = output.unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{program} {arguments:?}: {said}");
            true
        }
    }
}

#[tokio::test]
async fn a_tree_is_read_from_an_archive_of_every_tar() {
    let Some(registry) = DockerRegistry::start(None).await.unwrap() else {
        println!("skipped: docker-registry is not installed (apt-get install docker-registry)");
        return;
    };
    // The paths of sha512 blobs are too long for the formats without long names.
    let samples: Vec<_> = images::all(12)
        .into_iter()
        .filter(|(name, _)| *name != "sha512-blob")
        .collect();
    for (name, sample) in &samples {
        let repository: Repository = format!("samples/{name}").parse().unwrap();
        sample
            .push_over_http(&registry.url(), &repository, &"v1".parse().unwrap())
            .await
            .unwrap();
    }
    let data = registry.data();
    // A second name of every file: tar writes the name it meets later as a hard link.
    let folder = tempfile::tempdir().unwrap();
    let linked = folder.path().join("linked");
    std::fs::create_dir(&linked).unwrap();
    for name in ["kept", "docker"] {
        let from = data.join("docker").display().to_string();
        let to = linked.join(name).display().to_string();
        assert!(packed(&linked, "cp", &["-a", "--link", &from, &to]));
    }
    let archives = folder.path().join("archives");
    std::fs::create_dir(&archives).unwrap();
    let at = |name: &str| archives.join(name).display().to_string();
    for (file, program, arguments) in [
        ("gnu.tar", "tar", &["--format=gnu", "-cf"][..]),
        ("oldgnu.tar", "tar", &["--format=oldgnu", "-cf"]),
        ("posix.tar", "tar", &["--format=posix", "-cf"]),
        ("ustar.tar", "tar", &["--format=ustar", "-cf"]),
        ("gnu.tar.gz", "tar", &["-czf"]),
        ("gnu.tar.zst", "tar", &["--zstd", "-cf"]),
        ("bsd.tar", "bsdtar", &["-cf"]),
        ("bsd-pax.tgz", "bsdtar", &["--format=pax", "-czf"]),
        ("bsd-gnu.tar", "bsdtar", &["--format=gnutar", "-cf"]),
        ("busybox.tar", "busybox", &["tar", "-cf"]),
        ("pax.tar", "pax", &["-w", "-x", "ustar", "-f"]),
    ] {
        let archive = at(file);
        packed(&data, program, &[arguments, &[archive.as_str(), "docker"]].concat());
    }
    let links = at("links.tar.gz");
    packed(&linked, "tar", &["-czf", &links, "kept", "docker"]);
    let store = store_of(&archives);
    let found: Vec<SourceRef> = discover(store.clone(), "").try_collect().await.unwrap();
    println!("{} archives", found.len());
    assert!(found.len() >= 7, "{found:?}");
    for found in &found {
        let source = OpenSource::open(store.clone(), found).await.unwrap();
        let parts = source.parts();
        assert_eq!(parts.len(), samples.len(), "{}", found.key);
        for part in parts {
            let name = part.tree_repository.as_deref().unwrap();
            let (_, sample) = samples
                .iter()
                .find(|(sample, _)| name == format!("samples/{sample}"))
                .unwrap();
            let images = source.images(&part).unwrap();
            let listing = images.images().await.unwrap();
            assert!(listing.refused.is_empty(), "{part}: {:?}", listing.refused);
            let (root, _) = read(images.as_ref(), Target::Tag("v1".parse().unwrap())).await;
            assert_eq!(root, sample.root, "{part}");
        }
    }
}
