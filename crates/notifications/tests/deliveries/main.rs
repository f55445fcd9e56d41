//! Deliveries from the outside: the samples in `events/`, shapes that senders vary in, and the recorded payloads where
//! they are at hand.

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::needless_pass_by_value,
    reason = "the linter knows tests by their functions, and these are what the functions are made of"
)]

mod distribution;
mod ecr;
mod harbor;

use http::HeaderMap;
use serde_json::{Value, json};
use transship_notifications::{Delivery, Event, Format, Origin, parse};
use transship_oci::Error;

/// The format of this name.
pub fn named(name: &str) -> Format {
    name.parse().unwrap()
}

/// The events of a body.
pub fn read_from(format: Format, body: &str, origin: &Origin<'_>) -> Result<Vec<Event>, Error> {
    let delivery = Delivery {
        headers: &HeaderMap::new(),
        body: body.as_bytes(),
        token: None,
    };
    parse(format, &delivery, origin)
}

/// The events of a good body, as JSON.
pub fn read(format: Format, body: &Value) -> Vec<Value> {
    let events = read_from(format, &body.to_string(), &Origin::default()).unwrap();
    events
        .iter()
        .map(|event| serde_json::to_value(event).unwrap())
        .collect()
}

/// A digest of one repeated digit.
pub fn digest(digit: char) -> String {
    format!("sha256:{}", digit.to_string().repeat(64))
}

#[test]
fn the_samples_are_read() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../events/");
    let mut told = Vec::new();
    for (file, format) in [
        ("distribution-push.json", named("distribution")),
        ("distribution-push-index.json", named("distribution")),
        ("ecr-push.json", named("ecr")),
        ("harbor-push.json", named("harbor")),
        ("harbor-cloudevents-push.json", named("harbor")),
    ] {
        let body = std::fs::read_to_string(format!("{folder}{file}")).unwrap();
        told.push((file, read_from(format, &body, &Origin::default()).unwrap()));
    }
    insta::assert_json_snapshot!(told);
}

#[test]
fn a_body_that_is_no_delivery_is_refused() {
    for format in [named("distribution"), named("ecr"), named("harbor")] {
        for body in [
            "",
            "{",
            "[]",
            "null",
            "5",
            "<html>",
            "{}",
            "{\"events\":{}}",
            "{\"events\":null}",
            "{\"type\":5}",
            "[[]]",
            "\u{feff}{}",
        ] {
            let error = read_from(format, body, &Origin::default()).unwrap_err();
            assert_eq!(error.code(), "DELIVERY_INVALID", "{format} {body}");
            assert!(!error.to_string().contains('\n'));
        }
    }
    let deep = format!("{{\"events\":{}", "[".repeat(1 << 20));
    assert!(read_from(named("distribution"), &deep, &Origin::default()).is_err());
    assert!(
        read_from(named("distribution"), "{\"events\":[]}", &Origin::default())
            .unwrap()
            .is_empty()
    );
}

#[test]
fn five_formats_are_read() {
    let read: Vec<&str> = Format::all()
        .filter(|format| format.is_read())
        .map(Format::as_str)
        .collect();
    assert_eq!(read, ["distribution", "gitlab", "harbor", "ecr", "generic"]);
}

#[test]
fn formats_that_are_not_read_say_so() {
    for format in Format::all() {
        match read_from(format, "{}", &Origin::default()) {
            Err(error) if format.is_read() => assert_eq!(error.code(), "DELIVERY_INVALID"),
            Err(error) => assert_eq!(error.code(), "FORMAT_NOT_YET_SUPPORTED"),
            Ok(events) => unreachable!("{format}: {events:?}"),
        }
    }
}

proptest::proptest! {
    #[test]
    fn no_body_panics_and_what_is_read_is_valid(cut in 0_usize..2000, at in 0_usize..2000, byte in 0_u8..128) {
        for (format, body) in [
            (named("distribution"), distribution::envelope(&[distribution::push(json!({})), distribution::push(json!({ "tag": "v2" }))])),
            (named("ecr"), ecr::event(json!({}))),
            (named("harbor"), harbor::body("PUSH_ARTIFACT", json!([harbor::resource(json!("v1"), json!("h.example/core/app:v1"))]))),
        ] {
            let mut body = body.to_string().into_bytes();
            let at = at % body.len();
            body[at] = byte;
            body.truncate(if cut < 1000 { cut } else { body.len() });
            let Ok(body) = String::from_utf8(body) else { continue };
            for event in read_from(format, &body, &Origin::default()).unwrap_or_default() {
                proptest::prop_assert!(event.tag.is_some() || event.digest.is_some());
            }
        }
    }
}

/// Recorded and published payloads, kept outside this repository because most of them are not ours.
#[test]
fn the_recorded_payloads_are_read_as_expected() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/payloads/");
    let Ok(text) = std::fs::read_to_string(format!("{folder}EXPECTED.json")) else {
        println!("skipped: there is no {folder}");
        return;
    };
    let expected: Value = serde_json::from_str(&text).unwrap();
    let mut tried = 0;
    for case in expected["cases"].as_array().unwrap() {
        let format: Format = case["provider"].as_str().unwrap().parse().unwrap();
        if !format.is_read() {
            continue;
        }
        tried += 1;
        let file = case["file"].as_str().unwrap();
        let body = std::fs::read_to_string(format!("{folder}{file}")).unwrap();
        let mut events: Vec<Value> = read_from(
            format,
            &body,
            &Origin {
                registry_host: case["source_config"]["registry_host"].as_str(),
                aliases: &[],
            },
        )
        .unwrap()
        .iter()
        .map(|event| serde_json::to_value(event).unwrap())
        .collect();
        let mut wanted = case["expected"].as_array().unwrap().clone();
        for event in events.iter_mut().chain(&mut wanted) {
            // Moments are compared as moments; what the expectations add in notes is not.
            let time = event["time"]
                .as_str()
                .map(|time| time.parse::<jiff::Timestamp>().unwrap());
            event["time"] = json!(time.map(|time| time.to_string()));
            event.as_object_mut().unwrap().retain(|name, _| {
                [
                    "action",
                    "registry_host",
                    "repository",
                    "tag",
                    "digest",
                    "kind",
                    "media_type",
                    "time",
                    "actor",
                    "event_id",
                ]
                .contains(&name.as_str())
            });
        }
        assert_eq!(events, wanted, "{file}");
    }
    assert!(tried > 10, "the expectations hold only {tried} cases of these formats");
}
