//! Samples, seeded and pushed.

use transship_embedded_registry::EmbeddedRegistry;
use transship_oci::{Repository, Tag, Target};
use transship_testkit::images::{self, Sample};

fn tag() -> Tag {
    "v1".parse().unwrap()
}

fn assert_holds(registry: &EmbeddedRegistry, repository: &Repository, sample: &Sample, name: &str) {
    assert_eq!(
        registry.digest(repository, &tag()).as_ref(),
        Some(&sample.root),
        "{name}"
    );
    for (digest, bytes) in &sample.blobs {
        assert_eq!(registry.blob(repository, digest).as_ref(), Some(bytes), "{name}");
    }
    for manifest in &sample.manifests {
        let target = Target::Digest(manifest.digest.clone());
        let held = registry.manifest(repository, &target);
        assert_eq!(
            held,
            Some((manifest.media_type.clone(), manifest.bytes.clone())),
            "{name}"
        );
        if let Some(own) = &manifest.tag {
            assert_eq!(
                registry.digest(repository, own).as_ref(),
                Some(&manifest.digest),
                "{name}"
            );
        }
    }
}

#[tokio::test]
async fn every_sample_is_the_same_whether_seeded_or_pushed() {
    let seeded = EmbeddedRegistry::builder().start().await.unwrap();
    let pushed = EmbeddedRegistry::builder().start().await.unwrap();
    for (name, sample) in images::all(5) {
        let repository: Repository = format!("samples/{name}").parse().unwrap();
        sample.seed_into(&seeded, &repository, &tag());
        sample.push_over_http(&pushed.url(), &repository, &tag()).await.unwrap();
        assert_holds(&seeded, &repository, &sample, name);
        assert_holds(&pushed, &repository, &sample, name);
        assert_eq!(seeded.tags(&repository), pushed.tags(&repository), "{name}");
    }
    assert_eq!(pushed.open_uploads(), 0);
}

#[tokio::test]
async fn a_referrer_gets_a_fallback_tag_where_there_is_no_api() {
    let sample = images::with_referrer(1);
    let (repository, fallback): (Repository, Tag) = ("a".parse().unwrap(), sample.root.fallback_tag().parse().unwrap());
    for (has_api, expected) in [(true, None), (false, Some(sample.fallbacks()[0].digest.clone()))] {
        let seeded = EmbeddedRegistry::builder()
            .referrers_api(has_api)
            .start()
            .await
            .unwrap();
        let pushed = EmbeddedRegistry::builder()
            .referrers_api(has_api)
            .start()
            .await
            .unwrap();
        sample.seed_into(&seeded, &repository, &tag());
        sample.push_over_http(&pushed.url(), &repository, &tag()).await.unwrap();
        assert_eq!(seeded.digest(&repository, &fallback), expected);
        assert_eq!(pushed.digest(&repository, &fallback), expected);
    }
}

#[tokio::test]
async fn schema_1_can_be_seeded_and_not_pushed() {
    let registry = EmbeddedRegistry::builder().start().await.unwrap();
    let (sample, repository) = (images::schema1(1), "a".parse().unwrap());
    let error = sample
        .push_over_http(&registry.url(), &repository, &tag())
        .await
        .unwrap_err();
    assert_eq!(error.code(), "REQUEST_REFUSED");
    assert!(registry.tags(&repository).is_empty());
    sample.seed_into(&registry, &repository, &tag());
    assert_holds(&registry, &repository, &sample, "schema1");
}

#[tokio::test]
async fn a_push_to_nobody_fails() {
    let sample = images::image(1, &[1]);
    let port = transship_testkit::runtime_free_port().unwrap();
    let url = format!("http://127.0.0.1:{port}");
    let error = sample
        .push_over_http(&url, &"a".parse().unwrap(), &tag())
        .await
        .unwrap_err();
    assert_eq!(error.code(), "REQUEST_FAILED");
}
