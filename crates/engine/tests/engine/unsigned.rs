//! `referrers: require`: an image waits for its signature, for a bounded time, and the push of the signature ends the wait.

use std::time::Duration;

use transship_embedded_registry::EmbeddedRegistry;
use transship_engine::{Next, TaskState};
use transship_testkit::images::{self, Sample, SampleManifest};

use crate::fixture::{Fixture, RULE, tag};
use crate::sweep::sweep;

async fn fixture() -> Fixture {
    let rule = RULE.replace("} }\n", "}, referrers: require }\n");
    Fixture::of(EmbeddedRegistry::builder(), EmbeddedRegistry::builder(), &rule).await
}

/// The image alone, and its signature: by subject, and by cosign's tag.
fn signed() -> [(Sample, Sample, SampleManifest); 2] {
    [images::with_referrer(1), images::with_cosign_signature(2)].map(|signed| {
        let (image, later) = signed.manifests.split_at(1);
        let bare = Sample {
            manifests: image.to_vec(),
            ..signed.clone()
        };
        let signature = later[0].clone();
        (signed, bare, signature)
    })
}

/// Pushes the signature, and says so.
async fn sign(fixture: &Fixture, signature: &SampleManifest) {
    let (repository, media_type) = (fixture.from(), &signature.media_type);
    let digest = fixture
        .a
        .seed_manifest(&repository, media_type, signature.bytes.clone());
    let reference = match &signature.tag {
        Some(tag) => {
            fixture.a.tag(&repository, tag, &digest);
            tag.to_string()
        }
        None => digest.to_string(),
    };
    fixture.tell(&fixture.event(&reference, &digest)).await;
}

#[tokio::test]
async fn the_push_of_the_signature_copies_the_image_at_once() {
    for (signed, bare, signature) in signed() {
        let fixture = fixture().await;
        fixture.push_and_tell(&bare).await;
        // Its next attempts are minutes apart.
        for _ in 0..8 {
            let Next::Again(delay) = fixture.attempt().await else {
                panic!()
            };
            fixture.clock.advance(delay);
        }
        assert!(matches!(fixture.attempt().await, Next::Again(delay) if delay > Duration::from_mins(2)));
        let task = fixture.task().await;
        assert_eq!(
            (task.state, task.code.as_deref()),
            (TaskState::Waiting, Some("REFERRERS_MISSING"))
        );
        assert_eq!(fixture.b.repositories(), [], "nothing is written");
        sign(&fixture, &signature).await;
        // No time passes.
        fixture.attempt().await;
        fixture.attempt().await;
        assert_eq!(fixture.tasks().await[0].state, TaskState::Succeeded);
        fixture.assert_equal(&signed);
        fixture.drain().await;
        assert!(fixture.tasks().await.iter().all(|task| task.state.is_success()));
        fixture.assert_equal(&signed);
    }
}

#[tokio::test]
async fn the_wait_ends_after_an_hour_and_the_signature_may_still_come() {
    for (signed, bare, signature) in signed() {
        let fixture = fixture().await;
        fixture.push_and_tell(&bare).await;
        fixture.drain().await;
        let task = fixture.task().await;
        assert_eq!(
            (task.state, task.code.as_deref()),
            (TaskState::Failed, Some("REFERRERS_MISSING"))
        );
        let waited = Duration::try_from(task.finished.unwrap().duration_since(task.created)).unwrap();
        let hour = Duration::from_hours(1);
        assert!((hour..hour + Duration::from_mins(10)).contains(&waited), "{waited:?}");
        assert_eq!(fixture.b.repositories(), [], "nothing was written");
        sweep(&fixture).await;
        assert_eq!(fixture.tasks().await.len(), 1, "the sweep does not begin it again");
        assert_eq!(fixture.b.repositories(), []);
        sign(&fixture, &signature).await;
        fixture.drain().await;
        fixture.assert_equal(&signed);
        let first = fixture.tasks().await.remove(0);
        assert!(
            first.redriven_by.is_some(),
            "it is linked to the task that copied the image"
        );
    }
}

#[tokio::test]
async fn a_sweep_copies_what_was_signed_while_nobody_told() {
    for (signed, bare, signature) in signed() {
        let fixture = fixture().await;
        fixture.push(&bare);
        sweep(&fixture).await;
        assert_eq!(fixture.tasks().await.len(), 0);
        let digest = fixture
            .a
            .seed_manifest(&fixture.from(), &signature.media_type, signature.bytes.clone());
        if let Some(tag) = &signature.tag {
            fixture.a.tag(&fixture.from(), tag, &digest);
        }
        sweep(&fixture).await;
        assert_eq!(fixture.states().await, ["succeeded"]);
        fixture.assert_equal(&signed);
    }
}

#[tokio::test]
async fn the_signature_of_another_image_copies_nothing() {
    let [(_, bare, _), (other, _, signature)] = signed();
    let fixture = fixture().await;
    fixture.push_and_tell(&bare).await;
    assert!(matches!(fixture.attempt().await, Next::Again(_)));
    other.seed_into(&fixture.a, &fixture.from(), &tag("other"));
    sign(&fixture, &signature).await;
    fixture.drain().await;
    let first = fixture.tasks().await.remove(0);
    assert_eq!(
        (first.state, first.code.as_deref()),
        (TaskState::Failed, Some("REFERRERS_MISSING"))
    );
    assert_eq!(fixture.arrived(), None);
}
