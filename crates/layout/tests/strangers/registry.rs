//! A storage tree that `docker-registry` wrote.

use std::collections::BTreeMap;

use futures_util::TryStreamExt;
use transship_layout::{SourceKind, discover, open};
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
