//! `POST /hooks/{source}`: every status of the contract, and that no accepted delivery is lost.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use transship_tests::delivery::DISTRIBUTION_EVENTS;
use transship_tests::http::{self, Response};
use transship_tests::{Document, HOOK_SECRET, Serve, until};

use crate::{assert_keys, push_event};

#[test]
fn the_webhook_answers_by_the_contract() {
    let mut serve = Serve::prepare();
    serve.start(&Document::between("127.0.0.1:1", "127.0.0.1:2").rule("core", "core", "copy", ""));
    let post = |path: &str, secret: Option<&str>, body: &[u8]| -> Response {
        let mut headers = vec![("Content-Type", DISTRIBUTION_EVENTS)];
        headers.extend(secret.map(|secret| ("Authorization", secret)));
        http::request("POST", &serve.host(), path, &headers, body).unwrap()
    };
    let good = Some(HOOK_SECRET);
    let nothing = br#"{"events":[]}"#;
    for (path, secret, body, status) in [
        ("/hooks/a", None, &nothing[..], 401),
        ("/hooks/a", Some("Bearer wrong"), nothing, 401),
        // A registry without a webhook secret accepts nothing.
        ("/hooks/b", good, nothing, 401),
        ("/hooks/missing", good, nothing, 404),
        ("/hooks/a", good, br#"{"events":["#, 400),
        ("/hooks/a", good, b"", 400),
        // Nothing decompresses a body.
        ("/hooks/a", good, b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xabVJ-", 400),
        ("/hooks/a", good, &vec![b' '; (1 << 20) + 1], 413),
    ] {
        let answer = post(path, secret, body);
        assert_eq!(answer.status, status, "{path} {}", answer.text());
        assert_keys(&answer.json(), &["code", "message"]);
        assert!(!answer.text().contains(HOOK_SECRET));
    }
    assert_eq!(post("/hooks/a", good, nothing).status, 200);
    // A delivery of another host is accepted, so that the sender continues, and has no effect.
    let elsewhere = push_event("core/app", "v1", "elsewhere.example", 1);
    assert_eq!(post("/hooks/a", good, elsewhere.as_bytes()).status, 200);
    let accepted = post(
        "/hooks/a",
        good,
        push_event("core/app", "v1", "127.0.0.1:1", 2).as_bytes(),
    );
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    let body = accepted.json();
    assert_eq!(body["accepted"], 1, "{body}");
    let executions = body["executions"].as_array().unwrap();
    assert_eq!(executions.len(), 1, "{body}");
    assert_eq!(http::get(&serve.host(), "/healthz").unwrap().status, 200);
    assert!(
        serve
            .executions()
            .iter()
            .any(|execution| execution["id"] == executions[0])
    );
    let log = serve.log();
    assert!(
        !log.contains(HOOK_SECRET) && !log.contains("a-secret-of-the-tests"),
        "the secret is in the log"
    );
    assert!(
        log.contains("HOST_MISMATCH"),
        "a delivery of another host is said nowhere"
    );
}

#[test]
fn what_cannot_be_made_durable_is_answered_503_and_what_was_accepted_is_never_lost() {
    let mut serve = Serve::prepare();
    serve.limit_files(Some(600));
    serve.start(&Document::between("127.0.0.1:1", "127.0.0.1:2").rule("core", "core", "copy", ""));
    let host = serve.host();
    let post = |number: u32| -> Response {
        let event = push_event(&format!("core/app{number}"), "v1", "127.0.0.1:1", number);
        let headers = [("Content-Type", DISTRIBUTION_EVENTS), ("Authorization", HOOK_SECRET)];
        http::request("POST", &host, "/hooks/a", &headers, event.as_bytes()).unwrap()
    };
    let mut accepted = BTreeSet::new();
    let refused = (0..5000).find_map(|number| {
        let answer = post(number);
        if answer.status != 202 {
            return Some((number, answer));
        }
        accepted.extend(
            answer.json()["executions"]
                .as_array()
                .unwrap()
                .iter()
                .map(Value::to_string),
        );
        None
    });
    let (number, answer) = refused.expect("the disk is never full");
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_keys(&answer.json(), &["code", "message"]);
    assert!(!accepted.is_empty());

    serve.kill();
    serve.limit_files(None);
    serve.start_again();
    assert_eq!(post(number).status, 202, "it does not recover when there is room again");
    let found = until(Duration::from_secs(30), || {
        let ids = told_executions(&serve);
        let lost = accepted.iter().filter(|id| !ids.contains(*id)).count();
        if lost == 0 {
            Ok(())
        } else {
            Err(format!("{lost} of {} accepted executions are lost", accepted.len()))
        }
    });
    assert_eq!(found, Ok(()));
}

/// The ids of all executions, however many there are.
fn told_executions(serve: &Serve) -> BTreeSet<String> {
    serve
        .executions()
        .iter()
        .map(|execution| execution["id"].to_string())
        .collect()
}
