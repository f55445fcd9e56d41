//! `serve` propagates deletes up to the limit of the rule, and `redrive --code` releases the rest.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use transship_embedded_registry::EmbeddedRegistry;
use transship_oci::{Repository, Tag};
use transship_testkit::images;

use crate::redrive::{blocking, document};
use crate::run::run;
use crate::serve::Serve;

const TAGS: usize = 5;
/// Time limit for a state of the ledger.
const STATE_TIMEOUT: Duration = Duration::from_mins(2);

fn tag(number: usize) -> Tag {
    format!("v{number}").parse().unwrap()
}

/// The tasks, as soon as `wanted` holds for the states and codes of the deletes, or of the copies.
fn until(data: &str, action: &str, wanted: impl Fn(&[(String, Value)]) -> bool) {
    let begin = Instant::now();
    loop {
        let Value::Array(found) = run(&["tasks", "--data", data, "--json"]).json() else {
            panic!("not a list")
        };
        let found: Vec<_> = found
            .into_iter()
            .filter(|task| task["action"] == action)
            .map(|task| (task["state"].as_str().unwrap().to_owned(), task["code"].clone()))
            .collect();
        if wanted(&found) {
            return;
        }
        assert!(begin.elapsed() < STATE_TIMEOUT, "{found:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Posts the delete of a tag as the source does.
fn tell(address: &str, host: &str, tag: &Tag) {
    let event = json!({
        "id": format!("delete-{tag}"), "timestamp": "2026-01-01T00:00:00Z", "action": "delete",
        "target": { "repository": "core/app", "tag": tag, "digest": "" }, "request": { "host": host },
    });
    let body = json!({ "events": [event] }).to_string();
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST /hooks/a HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_deletes_waits_for_the_operator() {
    let a = EmbeddedRegistry::builder().start().await.unwrap();
    let b = EmbeddedRegistry::builder().start().await.unwrap();
    let (from, to): (Repository, Repository) = ("core/app".parse().unwrap(), "copy/app".parse().unwrap());
    for number in 0..TAGS {
        images::image(number as u64, &[100]).seed_into(&a, &from, &tag(number));
    }
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let data = folder.path().join("data").to_str().unwrap().to_owned();
    let rules = "namespace: copy }, deletes: { propagate: true, at_most: 2 per day }";
    let text = document(&a, &b).replace("namespace: copy }", rules);

    let path = data.clone();
    let (serve, address) = blocking(move || {
        let mut serve = Serve::start_in(&folder, &text, &["--sweep", "1h"]);
        let address = serve.until_serving();
        until(&path, "copy", |copies| {
            copies.len() == TAGS && copies.iter().all(|(state, _)| state == "succeeded")
        });
        (serve, address)
    })
    .await;
    for number in 0..TAGS {
        assert!(a.untag(&from, &tag(number)));
    }
    let (host, path) = (a.host().to_string(), data.clone());
    blocking(move || {
        for number in 0..TAGS {
            tell(&address, &host, &tag(number));
        }
        until(&path, "delete", |deletes| {
            let count = |state: &str, code: &Value| {
                let is = |end: &&(String, Value)| end.0 == state && end.1 == *code;
                deletes.iter().filter(is).count()
            };
            count("succeeded", &Value::Null) == 2 && count("waiting", &"DELETE_LIMIT".into()) == TAGS - 2
        });
    })
    .await;
    assert_eq!(b.tags(&to).len(), TAGS - 2);
    blocking(move || {
        let redriven = run(&["redrive", "--data", &data, "--json"]).json();
        assert_eq!(redriven["redriven"], 0, "{redriven}");
        let redriven = run(&["redrive", "--code", "DELETE_LIMIT", "--data", &data, "--json"]).json();
        assert_eq!(redriven["redriven"], TAGS - 2, "{redriven}");
        until(&data, "delete", |deletes| {
            deletes.len() == TAGS && deletes.iter().all(|(state, _)| state == "succeeded")
        });
        serve.stop();
    })
    .await;
    assert_eq!(b.tags(&to).len(), 0);
}
