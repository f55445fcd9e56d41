//! A hostile postman between a registry and `serve`: it accepts every notification, then delivers each three times, out
//! of order, until it is accepted.
//!
//! The order is drawn from a seed. Nothing is ever dropped: a delivery that fails goes back into the bag, as a
//! registry would send it again.

use std::io::{BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::http;
use crate::process::free_port;
use crate::random::Random;
use crate::wait;

/// How often each notification is delivered.
pub const COPIES: usize = 3;

/// How many deliveries wait before one is drawn, so that there is an order to break.
const BAG: usize = 30;

/// One notification as the registry sent it.
#[derive(Debug, Clone)]
struct Delivery {
    content_type: String,
    authorization: String,
    body: Vec<u8>,
}

#[derive(Debug)]
struct State {
    bag: Vec<Delivery>,
    random: Random,
    received: Vec<Delivery>,
    draining: bool,
    stopped: bool,
}

/// The postman; stops when dropped.
#[derive(Debug)]
pub struct Relay {
    host: String,
    state: Arc<Mutex<State>>,
}

impl Relay {
    /// Starts to accept, and to deliver to `path` on `target` (`127.0.0.1:port`).
    pub fn start(target: &str, path: &str, seed: u64) -> Self {
        let host = format!("127.0.0.1:{}", free_port());
        let listener = TcpListener::bind(&host).expect("a free port can be bound");
        let state = Arc::new(Mutex::new(State {
            bag: Vec::new(),
            random: Random::new(seed),
            received: Vec::new(),
            draining: false,
            stopped: false,
        }));
        let accepting = Arc::clone(&state);
        std::thread::spawn(move || accept(&listener, &accepting));
        let delivering = Arc::clone(&state);
        let (target, path) = (target.to_owned(), path.to_owned());
        std::thread::spawn(move || deliver(&delivering, &target, &path));
        Self { host, state }
    }

    /// Where the registry sends its notifications.
    pub fn url(&self) -> String {
        format!("http://{}/", self.host)
    }

    /// How many notifications came in.
    pub fn received(&self) -> usize {
        self.state.lock().expect("no thread of the relay panics").received.len()
    }

    /// Puts every notification that ever came in back into the bag, once.
    pub fn deliver_all_again(&self) {
        let mut state = self.state.lock().expect("no thread of the relay panics");
        let again = state.received.clone();
        state.bag.extend(again);
    }

    /// Delivers what is left, however little, and waits until the bag is empty.
    ///
    /// # Panics
    /// If `serve` does not accept everything in time.
    pub fn drain(&self, timeout: Duration) {
        self.state.lock().expect("no thread of the relay panics").draining = true;
        let empty = wait::until(timeout, || {
            let left = self.state.lock().expect("no thread of the relay panics").bag.len();
            if left == 0 {
                Ok(())
            } else {
                Err(format!("{left} deliveries are not accepted"))
            }
        });
        empty.unwrap_or_else(|reason| panic!("{reason}"));
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.state.lock().expect("no thread of the relay panics").stopped = true;
        // The accepting thread sees it with its next connection.
        let _ = TcpStream::connect(&self.host);
    }
}

fn accept(listener: &TcpListener, state: &Arc<Mutex<State>>) {
    for stream in listener.incoming().flatten() {
        if state.lock().expect("no thread of the relay panics").stopped {
            return;
        }
        let state = Arc::clone(state);
        // A connection ends as the registry ends it; an error here is a notification the registry sends again.
        std::thread::spawn(move || {
            let _ = receive(stream, &state);
        });
    }
}

/// Reads notifications from one connection, which the registry keeps open.
fn receive(stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    loop {
        http::read_line(&mut reader)?;
        let headers = http::read_headers(&mut reader)?;
        let body = http::read_body(&mut reader, &headers, true)?;
        let header = |wanted: &str| {
            headers
                .iter()
                .find(|(name, _)| name == wanted)
                .map(|(_, value)| value.clone())
                .unwrap_or_default()
        };
        let delivery = Delivery {
            content_type: header("content-type"),
            authorization: header("authorization"),
            body,
        };
        {
            let mut state = state.lock().expect("no thread of the relay panics");
            state.received.push(delivery.clone());
            state.bag.extend(std::iter::repeat_n(delivery, COPIES));
        }
        writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
    }
}

fn deliver(state: &Mutex<State>, target: &str, path: &str) {
    loop {
        let drawn = {
            let mut state = state.lock().expect("no thread of the relay panics");
            if state.stopped {
                return;
            }
            draw(&mut state)
        };
        // The bag must not look empty while a delivery is under way: it is taken out only after it was accepted.
        let Some((delivery, index)) = drawn else {
            wait::pause();
            continue;
        };
        if post(&delivery, target, path) {
            state
                .lock()
                .expect("no thread of the relay panics")
                .bag
                .swap_remove(index);
        } else {
            wait::pause();
        }
    }
}

/// Only this thread removes, and receiving only appends: the index stays true until it is used.
fn draw(state: &mut State) -> Option<(Delivery, usize)> {
    let waiting = state.bag.len();
    if waiting == 0 || (waiting < BAG && !state.draining) {
        return None;
    }
    let index = state.random.below(waiting);
    Some((state.bag[index].clone(), index))
}

fn post(delivery: &Delivery, target: &str, path: &str) -> bool {
    let headers = [
        ("Content-Type", delivery.content_type.as_str()),
        ("Authorization", delivery.authorization.as_str()),
    ];
    http::request("POST", target, path, &headers, &delivery.body)
        .is_ok_and(|response| (200..300).contains(&response.status))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Answers 503 to the first `refusals` posts and remembers the bodies of the rest, in order.
    fn sink(refusals: usize) -> (String, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hearing = Arc::clone(&heard);
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().flatten().enumerate() {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                http::read_line(&mut reader).unwrap();
                let headers = http::read_headers(&mut reader).unwrap();
                let body = http::read_body(&mut reader, &headers, true).unwrap();
                let status = if number < refusals {
                    "503 Service Unavailable"
                } else {
                    "202 Accepted"
                };
                if number >= refusals {
                    hearing.lock().unwrap().push(String::from_utf8(body).unwrap());
                }
                write!(
                    &stream,
                    "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )
                .unwrap();
            }
        });
        (host, heard)
    }

    #[test]
    fn every_notification_is_accepted_three_times_and_out_of_order() {
        let (target, heard) = sink(5);
        let relay = Relay::start(&target, "/hooks/a", 1);
        let host = relay.url().replace("http://", "").replace('/', "");
        for number in 0..40 {
            let sent = http::request("POST", &host, "/", &[], format!("{number:02}").as_bytes()).unwrap();
            assert_eq!(sent.status, 200);
        }
        relay.drain(Duration::from_secs(20));
        assert_eq!(relay.received(), 40);
        let heard = heard.lock().unwrap().clone();
        let mut counts = BTreeMap::new();
        for body in &heard {
            *counts.entry(body.clone()).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 40);
        assert!(counts.values().all(|count| *count == COPIES), "{counts:?}");
        assert!(!heard.is_sorted(), "in order: {heard:?}");
    }
}
