//! Deliveries from the outside: the samples in `events/`, the shapes in which senders vary them, hostile ones, and recorded
//! payloads where they are available.

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::needless_pass_by_value,
    reason = "the linter knows tests by their functions, and these are what the functions are made of"
)]

mod alibaba;
mod azure;
mod distribution;
mod ecr;
mod eventbridge;
mod gitea;
mod github;
mod google;
mod harbor;
mod hostile;
mod identity;
mod jfrog;
mod names_only;
mod nexus;
mod samples;
mod zot;

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName};
use serde_json::{Value, json};
use transship_notifications::{Delivery, Event, Format, Origin, parse};
use transship_oci::Error;

/// The format of this name.
pub fn named(name: &str) -> Format {
    name.parse().unwrap()
}

/// The events of a body.
pub fn read_from(format: Format, body: &str, origin: &Origin<'_>) -> Result<Vec<Event>, Error> {
    read_with(format, &[], body.as_bytes(), origin)
}

/// The events of a body with these headers.
pub fn read_with(
    format: Format,
    headers: &[(&str, &str)],
    body: &[u8],
    origin: &Origin<'_>,
) -> Result<Vec<Event>, Error> {
    let delivery = Delivery {
        headers: &headers_of(headers),
        body,
        token: None,
    };
    parse(format, &delivery, origin)
}

/// These headers.
pub fn headers_of(headers: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name: HeaderName = name.parse().unwrap();
        map.append(name, value.parse().unwrap());
    }
    map
}

/// The events of a good body with these headers, as JSON.
pub fn read_json(format: &str, headers: &[(&str, &str)], body: &Value) -> Vec<Value> {
    let body = body.to_string();
    let events = read_with(named(format), headers, body.as_bytes(), &Origin::default()).unwrap();
    let json = |event: &Event| serde_json::to_value(event).unwrap();
    events.iter().map(json).collect()
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

/// `value` with what `changes` has at these places of it: objects are merged, and everything else is replaced.
pub fn with(mut value: Value, changes: Value) -> Value {
    merge(&mut value, changes);
    value
}

fn merge(into: &mut Value, changes: Value) {
    match (into, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            for (name, change) in changes {
                merge(into.entry(name).or_insert(Value::Null), change);
            }
        }
        (into, change) => *into = change,
    }
}

#[test]
fn a_body_that_is_no_delivery_is_refused() {
    for format in Format::all() {
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

/// Recorded and published payloads that are not part of this repository. `TRANSSHIP_PAYLOADS` is their folder.
#[test]
fn recorded_payloads_are_read_as_expected() {
    let Some(folder) = std::env::var_os("TRANSSHIP_PAYLOADS").map(std::path::PathBuf::from) else {
        println!("skipped: TRANSSHIP_PAYLOADS is not set");
        return;
    };
    let expected: Value = serde_json::from_slice(&std::fs::read(folder.join("EXPECTED.json")).unwrap()).unwrap();
    for case in expected["cases"].as_array().unwrap() {
        let file = case["file"].as_str().unwrap();
        let body = std::fs::read(folder.join(file)).unwrap();
        let headers: Vec<(&str, &str)> = case["request"]["headers"]
            .as_object()
            .unwrap()
            .iter()
            .filter(|(name, _)| !name.contains('<'))
            .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
            .collect();
        let aliases: Vec<(String, String)> =
            serde_json::from_value::<BTreeMap<String, String>>(case["source_config"]["repo_key_alias"].clone())
                .unwrap_or_default()
                .into_iter()
                .collect();
        let origin = Origin {
            registry_host: case["source_config"]["registry_host"].as_str(),
            aliases: &aliases,
            ..Origin::default()
        };
        let read = read_with(named(case["provider"].as_str().unwrap()), &headers, &body, &origin).unwrap();
        let mut events: Vec<Value> = read.iter().map(|event| serde_json::to_value(event).unwrap()).collect();
        let mut wanted = case["expected"].as_array().unwrap().clone();
        for event in events.iter_mut().chain(&mut wanted) {
            // Times are compared as instants. The expectations have further keys that explain them.
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
}
