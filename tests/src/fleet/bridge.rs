//! Between a registry and the webhook's function URL: takes every notification, and delivers it as Lambda's HTTP event until
//! it is accepted, in any order.
//!
//! A registry sends one after another and waits a second for each answer, which a cold function on a busy machine does not
//! always give; so the waiting is done here. What a registry's own configuration would keep back (`ignore`: pulls, and
//! pushes of blobs) is not delivered.

use std::io::{BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use serde_json::{Value, json};
use tokio::runtime::Handle;
use transship_testkit::lambda_runtime::{Ended, Lambda, events};

use crate::process::free_port;
use crate::random::Random;
use crate::{HOOK_SECRET, http, wait};

/// Where registry `a` of the tests' documents notifies.
const PATH: &str = "/hooks/a";
/// Deliveries at the same time.
const POSTMEN: usize = 2;

/// One notification as the registry sent it.
#[derive(Debug, Clone)]
struct Delivery {
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

struct State {
    bag: Vec<Delivery>,
    received: Vec<Delivery>,
    random: Random,
    under_way: usize,
    refused: usize,
    to_drop: usize,
    is_open: bool,
    is_closed: bool,
}

/// The bridge; closed when the fleet goes.
pub struct Bridge {
    host: String,
    state: Arc<Mutex<State>>,
    postmen: Vec<JoinHandle<()>>,
}

impl Bridge {
    pub(super) fn start(webhook: &Arc<Lambda>, runtime: &Handle, seed: u64) -> Self {
        let host = format!("127.0.0.1:{}", free_port());
        let listener = TcpListener::bind(&host).expect("a free port can be bound");
        let state = Arc::new(Mutex::new(State {
            bag: Vec::new(),
            received: Vec::new(),
            random: Random::new(seed),
            under_way: 0,
            refused: 0,
            to_drop: 0,
            is_open: false,
            is_closed: false,
        }));
        let accepting = Arc::clone(&state);
        std::thread::spawn(move || accept(&listener, &accepting));
        let postmen = (0..POSTMEN).map(|_| {
            let (state, webhook, runtime) = (Arc::clone(&state), Arc::clone(webhook), runtime.clone());
            std::thread::spawn(move || deliver(&state, &webhook, &runtime))
        });
        Self {
            host,
            postmen: postmen.collect(),
            state,
        }
    }

    /// Where the registry sends its notifications.
    pub fn url(&self) -> String {
        format!("http://{}/", self.host)
    }

    /// Takes a notification that no registry sends, with the secret of the tests.
    pub fn take(&self, content_type: &str, body: &str) {
        let headers = [("content-type", content_type), ("authorization", HOOK_SECRET)];
        let delivery = Delivery {
            headers: headers
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
            body: body.as_bytes().to_vec(),
        };
        lock(&self.state).bag.push(delivery);
    }

    /// The next so many notifications are lost.
    pub fn drop_next(&self, count: usize) {
        lock(&self.state).to_drop = count;
    }

    /// How many of them are not lost yet.
    pub fn left_to_drop(&self) -> usize {
        lock(&self.state).to_drop
    }

    /// How many notifications came in, but for those that are kept back or lost.
    pub fn received(&self) -> usize {
        lock(&self.state).received.len()
    }

    /// How many answers said that a delivery must come again.
    pub fn refused(&self) -> usize {
        lock(&self.state).refused
    }

    /// Everything that ever came in, once more, as events of their own that happened now.
    pub fn deliver_all_again(&self) {
        let mut state = lock(&self.state);
        let again: Vec<_> = state
            .received
            .iter()
            .enumerate()
            .map(|(number, delivery)| as_new(number, delivery))
            .collect();
        state.bag.extend(again);
    }

    /// Notifications that are not accepted yet.
    pub fn left(&self) -> usize {
        let state = lock(&self.state);
        state.bag.len() + state.under_way
    }

    /// True if a thread that delivers has ended by a panic: its notification is never accepted.
    pub(super) fn is_broken(&self) -> bool {
        self.postmen.iter().any(JoinHandle::is_finished)
    }

    pub(super) fn open(&self) {
        lock(&self.state).is_open = true;
    }

    pub(super) fn close(&self) {
        lock(&self.state).is_closed = true;
        // The accepting thread sees it with its next connection.
        let _ = TcpStream::connect(&self.host);
        let _ = wait::until(std::time::Duration::from_secs(30), || {
            match lock(&self.state).under_way {
                0 => Ok(()),
                some => Err(format!("{some} deliveries are under way")),
            }
        });
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no thread of the bridge panics")
}

fn accept(listener: &TcpListener, state: &Arc<Mutex<State>>) {
    for stream in listener.incoming().flatten() {
        if lock(state).is_closed {
            return;
        }
        let state = Arc::clone(state);
        // A connection ends as the registry ends it; an error here is a notification the registry sends again.
        std::thread::spawn(move || drop(receive(stream, &state)));
    }
}

/// Reads notifications from one connection, which the registry keeps open.
fn receive(stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    loop {
        http::read_line(&mut reader)?;
        let mut headers = http::read_headers(&mut reader)?;
        let body = http::read_body(&mut reader, &headers, true)?;
        headers.retain(|(name, _)| name == "content-type" || name == "authorization");
        if is_of_interest(&body) {
            let mut state = lock(state);
            if state.to_drop > 0 {
                state.to_drop -= 1;
            } else {
                let delivery = Delivery { headers, body };
                state.received.push(delivery.clone());
                state.bag.push(delivery);
            }
        }
        writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
    }
}

/// The push of a manifest.
fn is_of_interest(body: &[u8]) -> bool {
    let envelope: Value = serde_json::from_slice(body).unwrap_or_default();
    let events = envelope["events"].as_array();
    events
        .into_iter()
        .flatten()
        .any(|event| event["action"] != "pull" && event["target"]["mediaType"] != "application/octet-stream")
}

/// The same news, told as if it had happened again.
fn as_new(number: usize, delivery: &Delivery) -> Delivery {
    let mut envelope: Value = serde_json::from_slice(&delivery.body).unwrap_or_default();
    for (at, event) in envelope["events"].as_array_mut().into_iter().flatten().enumerate() {
        event["id"] = json!(format!("00000000-0000-4000-9000-{number:08}{at:04}"));
    }
    Delivery {
        headers: delivery.headers.clone(),
        body: envelope.to_string().into_bytes(),
    }
}

fn deliver(state: &Mutex<State>, webhook: &Lambda, runtime: &Handle) {
    loop {
        let drawn = {
            let mut state = lock(state);
            if state.is_closed {
                return;
            }
            draw(&mut state)
        };
        let Some(delivery) = drawn else {
            wait::pause();
            continue;
        };
        let is_accepted = post(&delivery, webhook, runtime);
        let mut state = lock(state);
        state.under_way -= 1;
        if !is_accepted {
            state.refused += 1;
            state.bag.push(delivery);
        }
    }
}

fn draw(state: &mut State) -> Option<Delivery> {
    if !state.is_open || state.bag.is_empty() {
        return None;
    }
    let at = state.random.below(state.bag.len());
    state.under_way += 1;
    Some(state.bag.swap_remove(at))
}

/// True for an answer after which a registry does not send it again.
fn post(delivery: &Delivery, webhook: &Lambda, runtime: &Handle) -> bool {
    let headers: Vec<_> = delivery
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let body = String::from_utf8_lossy(&delivery.body);
    let event = events::function_url("POST", PATH, &headers, &body, false);
    match runtime.block_on(webhook.invoke(&event)) {
        Ok(Ended::Answered(answer)) => answer["statusCode"]
            .as_u64()
            .is_some_and(|status| (200..300).contains(&status)),
        Ok(_) => false,
        Err(error) => panic!("{error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(action: &str, media_type: &str) -> Vec<u8> {
        json!({ "events": [{ "id": "1", "action": action, "target": { "mediaType": media_type } }] })
            .to_string()
            .into_bytes()
    }

    #[test]
    fn only_pushes_of_manifests_are_delivered() {
        let manifest = "application/vnd.oci.image.manifest.v1+json";
        assert!(is_of_interest(&body("push", manifest)));
        assert!(!is_of_interest(&body("pull", manifest)));
        assert!(!is_of_interest(&body("push", "application/octet-stream")));
    }

    #[test]
    fn what_is_delivered_again_is_another_event() {
        let first = Delivery {
            headers: Vec::new(),
            body: body("push", "a"),
        };
        let again: Value = serde_json::from_slice(&as_new(7, &first).body).unwrap();
        assert_eq!(again["events"][0]["id"], "00000000-0000-4000-9000-000000070000");
        assert_eq!(again["events"][0]["action"], "push");
    }
}
