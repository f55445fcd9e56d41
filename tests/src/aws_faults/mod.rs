//! A proxy in front of the emulator that is as unkind as AWS can be, by a seed: it throttles, takes parts of batches, loses
//! answers, and counts what was asked.
//!
//! `AWS_ENDPOINT_URL` of the functions points here. What must hold: what it refuses was not done, what it forwards is
//! unchanged, and a lost answer is of a request that was carried out.

mod request;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::http;
use crate::process::free_port;
use crate::random::Random;
use request::{Request, bytes_of, throttle};

/// How often something befalls a request, in percent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rates {
    /// Answered as a throttle, not carried out.
    pub throttled: usize,
    /// Carried out, and the connection ends without an answer.
    pub lost: usize,
    /// Of the batches of more than one message: only a part is sent.
    pub partial: usize,
}

/// What was asked, by `service Operation`: `dynamodb UpdateItem`, `s3 GET`. Retries and what was refused count.
pub type Calls = BTreeMap<String, usize>;

#[derive(Debug)]
struct State {
    random: Random,
    rates: Rates,
    calls: Calls,
    struck: BTreeMap<&'static str, usize>,
}

/// The proxy; takes no new connections once dropped.
#[derive(Debug)]
pub struct AwsFaults {
    host: String,
    state: Arc<Mutex<State>>,
    stopped: Arc<AtomicBool>,
}

/// What befalls one request.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Pass,
    Throttle,
    Lose,
    /// Only so many of the entries are sent.
    Part(usize),
}

impl AwsFaults {
    /// In front of `upstream`, `127.0.0.1:port`; kind until [`AwsFaults::set_rates`].
    pub fn start(upstream: &str, seed: u64) -> Self {
        let host = format!("127.0.0.1:{}", free_port());
        let listener = TcpListener::bind(&host).expect("a free port can be bound");
        let state = Arc::new(Mutex::new(State {
            random: Random::new(seed),
            rates: Rates::default(),
            calls: Calls::new(),
            struck: BTreeMap::new(),
        }));
        let stopped = Arc::new(AtomicBool::new(false));
        let (inner, is_over, upstream) = (Arc::clone(&state), Arc::clone(&stopped), upstream.to_owned());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                let (state, upstream) = (Arc::clone(&inner), upstream.clone());
                // A connection that breaks is the client's end, or a fault: both are meant.
                std::thread::spawn(move || drop(serve(stream, &upstream, &state)));
            }
        });
        Self { host, state, stopped }
    }

    /// What `AWS_ENDPOINT_URL` is to be.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.host)
    }

    /// From now on.
    pub fn set_rates(&self, rates: Rates) {
        self.state().rates = rates;
    }

    /// What was asked since the start or the last call of this.
    pub fn take_calls(&self) -> Calls {
        std::mem::take(&mut self.state().calls)
    }

    /// How many requests suffered what: `throttled`, `lost`, `partial`. A test that expects faults asserts this.
    pub fn struck(&self) -> BTreeMap<&'static str, usize> {
        self.state().struck.clone()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no thread of the proxy panics")
    }
}

impl Drop for AwsFaults {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // The accepting thread sees it with its next connection.
        let _ = TcpStream::connect(&self.host);
    }
}

impl State {
    fn fate(&mut self, request: &Request) -> Fate {
        *self.calls.entry(request.operation()).or_default() += 1;
        let drawn = self.random.below(100);
        let (fate, word) = if drawn < self.rates.throttled {
            (Fate::Throttle, "throttled")
        } else if drawn < self.rates.throttled + self.rates.lost {
            (Fate::Lose, "lost")
        } else {
            match request.batch_size() {
                Some(size) if size > 1 && self.random.below(100) < self.rates.partial => {
                    (Fate::Part(1 + self.random.below(size - 1)), "partial")
                }
                _ => return Fate::Pass,
            }
        };
        *self.struck.entry(word).or_default() += 1;
        fate
    }
}

/// Serves one connection, which the client keeps open.
fn serve(stream: TcpStream, upstream: &str, state: &Mutex<State>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    while !reader.fill_buf()?.is_empty() {
        let line = http::read_line(&mut reader)?;
        let mut words = line.split(' ').map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let headers = http::read_headers(&mut reader)?;
        if headers.iter().any(|(name, _)| name == "expect") {
            writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let body = http::read_body(&mut reader, &headers, true)?;
        let request = Request {
            method,
            path,
            headers,
            body,
        };
        let fate = state.lock().expect("no thread of the proxy panics").fate(&request);
        let answer = match fate {
            Fate::Pass => request.forward(upstream)?,
            Fate::Throttle => throttle(&request),
            Fate::Part(count) => request.forward_part(upstream, count)?,
            Fate::Lose => {
                request.forward(upstream)?;
                return Ok(());
            }
        };
        writer.write_all(&bytes_of(&answer, request.method == "HEAD"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::http::Response;

    /// Answers every request with the ids it was sent, as SQS does; remembers how many that were.
    fn queue() -> (String, Arc<Mutex<Vec<usize>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&taken);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                http::read_line(&mut reader).unwrap();
                let headers = http::read_headers(&mut reader).unwrap();
                let body: Value =
                    serde_json::from_slice(&http::read_body(&mut reader, &headers, true).unwrap()).unwrap();
                let ids: Vec<_> = body["Entries"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|entry| json!({ "Id": entry["Id"] }))
                    .collect();
                heard.lock().unwrap().push(ids.len());
                let answer = json!({ "Successful": ids }).to_string();
                write!(
                    &stream,
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}",
                    answer.len()
                )
                .unwrap();
            }
        });
        (host, taken)
    }

    fn send(proxy: &AwsFaults, entries: usize) -> std::io::Result<Response> {
        let entries: Vec<_> = (0..entries).map(|id| json!({ "Id": id.to_string() })).collect();
        let host = proxy.endpoint().replace("http://", "");
        let headers = [("X-Amz-Target", "AmazonSQS.SendMessageBatch")];
        http::request(
            "POST",
            &host,
            "/",
            &headers,
            json!({ "Entries": entries }).to_string().as_bytes(),
        )
    }

    #[test]
    fn a_part_of_a_batch_is_taken_and_the_rest_is_said_to_have_failed() {
        let (upstream, taken) = queue();
        let proxy = AwsFaults::start(&upstream, 1);
        let rates = Rates {
            partial: 100,
            ..Rates::default()
        };
        proxy.set_rates(rates);
        let answer = send(&proxy, 5).unwrap().json();
        let count = |list: &str| answer[list].as_array().unwrap().len();
        assert!(count("Failed") > 0 && count("Successful") > 0, "{answer}");
        assert_eq!(count("Failed") + count("Successful"), 5);
        assert_eq!(*taken.lock().unwrap(), [count("Successful")]);
        // One message is never a part.
        assert!(send(&proxy, 1).unwrap().json().get("Failed").is_none());
        assert_eq!(proxy.struck()["partial"], 1);
    }

    #[test]
    fn what_is_throttled_is_not_carried_out_and_what_is_lost_is() {
        let (upstream, taken) = queue();
        let proxy = AwsFaults::start(&upstream, 1);
        proxy.set_rates(Rates {
            throttled: 100,
            ..Rates::default()
        });
        let refused = send(&proxy, 2).unwrap();
        assert_eq!(refused.status, 400);
        assert!(refused.text().contains("RequestThrottled"), "{}", refused.text());
        assert!(taken.lock().unwrap().is_empty());
        proxy.set_rates(Rates {
            lost: 100,
            ..Rates::default()
        });
        assert!(send(&proxy, 2).is_err());
        assert_eq!(*taken.lock().unwrap(), [2]);
        proxy.set_rates(Rates::default());
        assert_eq!(
            send(&proxy, 3).unwrap().json()["Successful"].as_array().unwrap().len(),
            3
        );
        assert_eq!(
            proxy.take_calls(),
            Calls::from([("sqs SendMessageBatch".to_owned(), 3)])
        );
        assert!(proxy.take_calls().is_empty());
    }
}
