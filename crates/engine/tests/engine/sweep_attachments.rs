//! The sweep and what is attached to an image: a lost signature is a lost push, and what hangs there in order costs no task.

use std::time::Duration;

use transship_embedded_registry::EmbeddedRegistry;
use transship_oci::media_type::{OCI_INDEX, OCI_MANIFEST};
use transship_oci::referrers::{cosign_tags, fallback_index};
use transship_oci::{Descriptor, Digest, Target};
use transship_testkit::images::{self, Sample};

use crate::fixture::{Fixture, RULE, tag};
use crate::referrers::{bare, fixture, refer};
use crate::sweep::sweep;

/// Brings the image of `whole` by its event, then puts the rest of `whole` to the source without a word.
async fn attach_unheard(fixture: &Fixture, whole: &Sample) {
    fixture.push_and_tell(&bare(whole)).await;
    fixture.drain().await;
    fixture.push(whole);
}

/// Sweeps, and sweeps again: nothing more comes.
async fn sweep_twice(fixture: &Fixture, tasks: usize) {
    for _ in 0..2 {
        sweep(fixture).await;
        assert_eq!(fixture.states().await, vec!["succeeded"; tasks]);
        fixture.clock.advance(Duration::from_hours(1));
    }
}

/// Lists any `referrers` in the fallback tag of `subject` at the source.
fn list(fixture: &Fixture, subject: &Digest, referrers: &[Digest]) {
    let listed = referrers
        .iter()
        .cloned()
        .map(|digest| Descriptor::new(OCI_MANIFEST.into(), digest, 2));
    let index = fallback_index(&listed.collect::<Vec<_>>());
    let index = fixture.a.seed_manifest(&fixture.from(), &OCI_INDEX.into(), index);
    fixture.a.tag(&fixture.from(), &tag(&subject.fallback_tag()), &index);
}

#[tokio::test]
async fn a_referrer_or_signature_whose_event_was_lost_is_found_by_api_and_by_tag() {
    for whole in [images::with_referrer(1), images::with_cosign_signature(2)] {
        for (a_lists, b_lists) in [(true, true), (true, false), (false, true), (false, false)] {
            let fixture = fixture(a_lists, b_lists).await;
            attach_unheard(&fixture, &whole).await;
            sweep_twice(&fixture, 2).await;
            fixture.assert_equal(&whole);
        }
    }
}

#[tokio::test]
async fn what_is_attached_to_one_platform_of_an_index_is_found_by_its_tag() {
    let fixture = fixture(false, true).await;
    let index = images::multi_platform(9);
    fixture.push_and_tell(&index).await;
    fixture.drain().await;
    let platform = &index.manifests[0].digest;
    let signature = tag(&cosign_tags(platform).next().unwrap());
    let signed = images::image(10, &[10]);
    signed.seed_into(&fixture.a, &fixture.from(), &signature);
    sweep_twice(&fixture, 2).await;
    assert_eq!(fixture.b.digest(&fixture.to(), &signature).as_ref(), Some(&signed.root));

    let note = refer(&fixture, platform, "about one platform");
    list(&fixture, platform, std::slice::from_ref(&note));
    sweep_twice(&fixture, 3).await;
    assert!(fixture.b.manifest(&fixture.to(), &Target::Digest(note)).is_some());
}

#[tokio::test]
async fn a_referrer_of_one_platform_that_only_the_api_lists_is_found() {
    for b_lists in [true, false] {
        let fixture = fixture(true, b_lists).await;
        let index = images::multi_platform(11);
        fixture.push_and_tell(&index).await;
        fixture.drain().await;
        let platform = &index.manifests[0].digest;
        let note = refer(&fixture, platform, "about one platform");
        sweep_twice(&fixture, 2).await;
        assert!(
            fixture.b.manifest(&fixture.to(), &Target::Digest(note)).is_some(),
            "{b_lists}"
        );
    }
}

#[tokio::test]
async fn a_referrer_of_a_referrer_is_found_by_api_and_by_tag() {
    for (a_lists, b_lists) in [(true, true), (true, false), (false, true), (false, false)] {
        let fixture = fixture(a_lists, b_lists).await;
        let whole = images::with_referrer(12);
        fixture.push_and_tell(&whole).await;
        fixture.drain().await;
        fixture.assert_equal(&whole);
        let note = refer(&fixture, &whole.manifests[1].digest, "about the SBOM");
        let of_note = refer(&fixture, &note, "about the note");
        if !a_lists {
            list(&fixture, &whole.manifests[1].digest, std::slice::from_ref(&note));
            list(&fixture, &note, std::slice::from_ref(&of_note));
        }
        sweep_twice(&fixture, 2).await;
        for referrer in [note, of_note] {
            let found = fixture.b.manifest(&fixture.to(), &Target::Digest(referrer));
            assert!(found.is_some(), "{a_lists} {b_lists}");
        }
        fixture.assert_equal(&whole);
    }
}

#[tokio::test]
async fn an_index_without_attachments_costs_one_request_for_each_manifest_with_the_api_and_none_without() {
    let index = images::multi_platform(13);
    // Whether there is an API is asked once; with it, each manifest is asked about; the index is read if need be.
    let all = index.manifests.len() + 2;
    for (a_lists, is_other_signed, requests) in [(true, false, all), (false, false, 1), (false, true, 2)] {
        let fixture = fixture(a_lists, true).await;
        index.seed_into(&fixture.a, &fixture.from(), &tag("v1"));
        index.seed_into(&fixture.b, &fixture.to(), &tag("v1"));
        if is_other_signed {
            // Then something may be attached to a platform as well, and the index is read.
            let other = tag(&cosign_tags(&Digest::sha256(b"another image")).next().unwrap());
            images::image(14, &[10]).seed_into(&fixture.a, &fixture.from(), &other);
        }
        sweep(&fixture).await;
        let about_digests = |registry: &EmbeddedRegistry| {
            let requests = registry.requests();
            let about: Vec<String> = requests.into_iter().map(|request| request.path).collect();
            about
                .into_iter()
                .filter(|path| path.contains("sha256:"))
                .collect::<Vec<_>>()
        };
        let asked = about_digests(&fixture.a);
        assert_eq!(asked.len(), requests, "{a_lists} {is_other_signed}: {asked:?}");
        assert_eq!(about_digests(&fixture.b), Vec::<String>::new());
        assert_eq!(fixture.tasks().await, []);
    }
}

#[tokio::test]
async fn a_signature_that_was_made_anew_follows_and_a_foreign_one_is_kept_without_a_task() {
    let fixture = fixture(true, true).await;
    let whole = images::with_cosign_signature(3);
    fixture.push_and_tell(&whole).await;
    fixture.drain().await;
    let signature = whole.manifests[1].tag.clone().unwrap();
    let [again, foreign] = [4, 5].map(|seed| images::image(seed, &[10]));
    again.seed_into(&fixture.a, &fixture.from(), &signature);
    sweep_twice(&fixture, 2).await;
    assert_eq!(fixture.b.digest(&fixture.to(), &signature).as_ref(), Some(&again.root));

    foreign.seed_into(&fixture.b, &fixture.to(), &signature);
    sweep_twice(&fixture, 2).await;
    assert_eq!(
        fixture.b.digest(&fixture.to(), &signature).as_ref(),
        Some(&foreign.root)
    );
}

#[tokio::test]
async fn what_a_list_says_and_no_manifest_bears_out_makes_no_task() {
    for a_lists in [true, false] {
        let fixture = fixture(a_lists, true).await;
        let image = images::image(6, &[10]);
        fixture.push_and_tell(&image).await;
        fixture.drain().await;
        // Listed and gone; and listed, but about something else.
        let elsewhere = refer(&fixture, &Digest::sha256(b"another image"), "not this one");
        list(&fixture, &image.root, &[Digest::sha256(b"gone"), elsewhere]);
        sweep_twice(&fixture, 1).await;
    }
}

#[tokio::test]
async fn an_image_without_attachments_costs_one_request_with_the_api_and_none_without() {
    // Whether there is an API is asked once.
    for (a_lists, requests) in [(true, 21), (false, 1)] {
        let fixture = fixture(a_lists, true).await;
        let image = images::image(7, &[10]);
        for number in 0..20 {
            image.seed_into(&fixture.a, &fixture.from(), &tag(&format!("v{number}")));
            image.seed_into(&fixture.b, &fixture.to(), &tag(&format!("v{number}")));
        }
        sweep(&fixture).await;
        let about_digests = |registry: &EmbeddedRegistry| {
            let requests = registry.requests();
            requests
                .iter()
                .filter(|request| request.path.contains("sha256"))
                .count()
        };
        assert_eq!(about_digests(&fixture.a), requests);
        assert_eq!(about_digests(&fixture.b), 0);
        assert_eq!(fixture.tasks().await, []);
    }
}

#[tokio::test]
async fn a_rule_without_referrers_is_swept_without_them() {
    let rule = RULE.replace("name: core-images", "name: core-images, referrers: exclude");
    for whole in [images::with_referrer(8), images::with_cosign_signature(8)] {
        let fixture = Fixture::of(EmbeddedRegistry::builder(), EmbeddedRegistry::builder(), &rule).await;
        attach_unheard(&fixture, &whole).await;
        fixture.a.reset_requests();
        sweep_twice(&fixture, 1).await;
        let requests = fixture.a.requests();
        assert!(requests.iter().all(|request| !request.path.contains("sha256")));
    }
}
