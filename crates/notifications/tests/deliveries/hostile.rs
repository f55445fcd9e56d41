//! What a broken or hostile sender could send in each format. Every test is a change to every sample, so a new format is covered
//! by its sample.

use http::HeaderValue;
use serde_json::{Map, Value, json};
use transship_notifications::{Delivery, Event, Format, Origin, parse};
use transship_testkit::mutation::fuzz;

use crate::samples::{SECRET, Sample, is_authentic};
use crate::{distribution, harbor, named, read_from};

/// Values that no sender means, for every field.
fn hostile_values() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(1e300),
        json!(""),
        json!(" "),
        json!("\u{0}"),
        json!("a\u{1b}[2Jb"),
        json!("../../etc/passwd"),
        json!("a//b"),
        json!("%2f%2e%2e"),
        json!("\u{0430}pp"),
        json!("\u{212a}"),
        json!("\u{feff}v1"),
        json!("-x"),
        json!("x".repeat(300)),
        json!("sha256:short"),
        json!(format!("sha256:{}", "A".repeat(64))),
        json!("https://user:password@169.254.169.254/latest"),
        json!([]),
        json!(["x", null, 1]),
        json!({}),
        json!({ "x": [1] }),
    ]
}

/// The paths of every value, from the outside in.
fn pointers(value: &Value) -> Vec<String> {
    fn visit(value: &Value, path: &str, found: &mut Vec<String>) {
        let mut child = |name: &str, value: &Value| {
            let path = format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
            found.push(path.clone());
            visit(value, &path, found);
        };
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, value)| child(name, value)),
            Value::Array(items) => items
                .iter()
                .enumerate()
                .for_each(|(position, value)| child(&position.to_string(), value)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    visit(value, "", &mut found);
    found
}

/// The events of `body` in the format and with the headers of `sample`, each checked.
fn read(sample: &Sample, body: &[u8]) -> Option<Vec<Event>> {
    let headers = sample.headers();
    let delivery = Delivery {
        headers: &headers,
        body,
        token: None,
    };
    let events = match parse(sample.format(), &delivery, &Origin::default()) {
        Ok(events) => events,
        Err(error) => {
            assert_eq!(error.code(), "DELIVERY_INVALID", "{}", sample.file);
            return None;
        }
    };
    for event in &events {
        check(event, &sample.file);
    }
    Some(events)
}

/// What holds of every event. The types of names, tags and digests check the rest.
pub fn check(event: &Event, context: &str) {
    assert!(event.tag.is_some() || event.digest.is_some(), "{context}: {event:?}");
    let words = [&event.actor, &event.event_id, &event.media_type];
    for word in words.into_iter().flatten() {
        assert!(word.len() <= 256, "{context}: {event:?}");
        assert!(!word.chars().any(char::is_control), "{context}: {event:?}");
    }
    let name = event.repository.as_str();
    assert!(
        name.is_ascii() && !name.contains("..") && name.len() <= 255,
        "{context}: {event:?}"
    );
}

#[test]
fn every_cut_of_every_sample_is_refused() {
    for sample in Sample::all() {
        let end = sample.body.trim_ascii_end().len();
        for cut in 0..end {
            let events = read(&sample, &sample.body[..cut]);
            assert_eq!(events, None, "{} cut after {cut} bytes", sample.file);
        }
    }
}

#[test]
fn a_wrong_value_in_any_field_costs_at_most_its_event() {
    for sample in Sample::all() {
        let body: Value = serde_json::from_slice(&sample.body).unwrap();
        let whole = sample.read();
        for pointer in pointers(&body) {
            for value in hostile_values() {
                let mut changed = body.clone();
                *changed.pointer_mut(&pointer).unwrap() = value;
                let events = read(&sample, changed.to_string().as_bytes()).unwrap_or_default();
                assert!(events.len() <= whole.len(), "{} {pointer}", sample.file);
            }
        }
    }
}

#[test]
fn a_field_that_is_there_twice_never_yields_another_event() {
    for sample in Sample::all() {
        let body: Value = serde_json::from_slice(&sample.body).unwrap();
        let whole = sample.read();
        for pointer in pointers(&body) {
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            let Some(fields) = body.pointer(parent).and_then(Value::as_object) else {
                continue;
            };
            // The second value would win in a parser that takes the last one.
            let marker = "5ee3b0d2-marker";
            let twice = doubled(fields, name, &json!("hostile"));
            let mut changed = body.clone();
            *changed.pointer_mut(parent).unwrap() = json!(marker);
            let text = changed.to_string().replace(&format!("\"{marker}\""), &twice);
            for event in read(&sample, text.as_bytes()).unwrap_or_default() {
                let text = serde_json::to_string(&event).unwrap();
                assert!(!text.contains("hostile"), "{} {pointer}: {text}", sample.file);
                let names = |event: &Event| (event.repository.clone(), event.action);
                let is_of_sample = whole.iter().any(|original| names(original) == names(&event));
                assert!(is_of_sample, "{} {pointer}: {text}", sample.file);
            }
        }
    }
}

/// The object with the field `name` a second time.
fn doubled(fields: &Map<String, Value>, name: &str, second: &Value) -> String {
    let mut text = serde_json::to_string(fields).unwrap();
    text.pop();
    let name = name.replace("~1", "/").replace("~0", "~");
    format!("{text},{}:{second}}}", json!(name))
}

#[test]
fn a_compressed_body_is_refused_and_no_content_type_makes_another_event() {
    let compressed = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..], &[0xab, 0x56, 0x4a, 0x2d]].concat();
    for sample in Sample::all() {
        let whole = sample.read();
        let with = |name: &'static str, value: &'static str, body: &[u8]| {
            let mut headers = sample.headers();
            headers.insert(name, HeaderValue::from_static(value));
            let delivery = Delivery {
                headers: &headers,
                body,
                token: None,
            };
            parse(sample.format(), &delivery, &Origin::default())
        };
        let error = with("content-encoding", "gzip", &compressed).unwrap_err();
        assert_eq!(error.code(), "DELIVERY_INVALID", "{}", sample.file);
        for content_type in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/json; charset=utf-16",
            "x",
        ] {
            match with("content-type", content_type, &sample.body) {
                Ok(events) => assert_eq!(events, whole, "{} {content_type}", sample.file),
                Err(error) => assert_eq!(error.code(), "DELIVERY_INVALID", "{} {content_type}", sample.file),
            }
        }
    }
}

#[test]
fn bytes_that_are_not_utf8_are_refused_wherever_they_are() {
    for sample in Sample::all() {
        for at in 0..sample.body.len() {
            let mut body = sample.body.clone();
            body[at] = 0xff;
            // A value that is not read may be anything.
            for event in read(&sample, &body).unwrap_or_default() {
                check(&event, &sample.file);
            }
            body.insert(at, 0xc0);
            read(&sample, &body);
        }
    }
}

#[test]
fn no_body_has_more_events_than_the_limit() {
    let distribution = |count| distribution::envelope(&vec![distribution::push(json!({})); count]);
    let harbor = |count| {
        let resource = harbor::resource(json!("v1"), json!("h.example/core/app:v1"));
        harbor::body("PUSH_ARTIFACT", json!(vec![resource; count]))
    };
    let quay = |count| json!({ "repository": "core/app", "updated_tags": vec!["v1"; count] });
    let grid = |count| {
        let event = json!({ "eventType": "ImagePushed", "data": { "action": "push", "target": { "repository": "a", "tag": "b" } } });
        json!(vec![event; count])
    };
    let bodies: [(&str, &dyn Fn(usize) -> Value); 4] = [
        ("distribution", &distribution),
        ("harbor", &harbor),
        ("quay", &quay),
        ("azure-eventgrid", &grid),
    ];
    for (format, body) in bodies {
        let count = |count| read_from(named(format), &body(count).to_string(), &Origin::default());
        assert_eq!(count(10_000).unwrap().len(), 10_000, "{format}");
        assert_eq!(count(10_001).unwrap_err().code(), "DELIVERY_INVALID", "{format}");
    }
}

/// Random changes to samples, read in every format: see [`fuzz`].
#[test]
fn no_change_to_a_sample_panics_or_yields_an_invalid_event() {
    let samples = Sample::all();
    let bodies: Vec<Vec<u8>> = samples.iter().map(|sample| sample.body.clone()).collect();
    fuzz("notifications", &bodies, |index, body| {
        let headers = samples[index].headers();
        for format in Format::all() {
            let delivery = Delivery {
                headers: &headers,
                body,
                token: None,
            };
            let _ = is_authentic(format, &delivery, SECRET);
            for event in parse(format, &delivery, &Origin::default()).unwrap_or_default() {
                check(&event, format.as_str());
            }
        }
    });
}
