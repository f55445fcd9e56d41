//! The resolver of the clients: a proxy that connects to the address that the authoritative servers answer with at this moment.
//!
//! Clients of a machine resolve names by its resolver, which needs port 53. A proxy resolves for them, without root.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::stage::PATIENCE;
use crate::wait;

/// How often a name is asked for that gets no answer, as on a machine that is busy.
const RESOLVE_TRIES: usize = 3;

/// What a name leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The address.
    pub address: IpAddr,
    /// How long a client may keep it.
    pub ttl: Duration,
}

/// Resolves a name; [`None`]: there is no answer.
pub type Resolve = Arc<dyn Fn(&str) -> Option<Answer> + Send + Sync>;

/// Keeps each answer for its time to live, as the resolvers of clients do.
pub fn caching(resolve: Resolve) -> Resolve {
    let kept: Mutex<HashMap<String, (Answer, Instant)>> = Mutex::default();
    Arc::new(move |name| {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.get(name) {
            Some((answer, asked)) if asked.elapsed() < answer.ttl => Some(*answer),
            _ => {
                let (answer, asked) = (resolve(name)?, Instant::now());
                kept.insert(name.to_owned(), (answer, asked));
                Some(answer)
            }
        }
    })
}

/// A running proxy for `CONNECT`; it accepts nothing more when dropped.
#[derive(Debug)]
pub struct Front {
    host: String,
    stopped: Arc<AtomicBool>,
    brake: Arc<Brake>,
}

impl Front {
    /// Starts it. Every connection asks `resolve` again.
    pub fn start(resolve: Resolve) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port can be bound");
        let host = listener.local_addr().expect("it is bound").to_string();
        let stopped = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stopped);
        let brake = Arc::new(Brake::default());
        let braking = Arc::clone(&brake);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopping.load(Ordering::Relaxed) {
                    return;
                }
                let (resolve, brake) = (Arc::clone(&resolve), Arc::clone(&braking));
                // A connection that breaks is the client's to notice.
                std::thread::spawn(move || {
                    let _ = relay(&stream, &resolve, &brake);
                });
            }
        });
        Self { host, stopped, brake }
    }

    /// Holds all clients up once they have sent so many bytes more.
    pub fn hold_after(&self, bytes: usize) {
        self.brake.set(Some(bytes));
    }

    /// Waits until clients are held up.
    ///
    /// # Panics
    /// If they send less in time.
    pub fn await_held(&self) {
        let held = wait::until_true(PATIENCE, "no client is held up", || self.brake.is_holding());
        held.unwrap_or_else(|reason| panic!("{reason}"));
    }

    /// Lets clients send again.
    pub fn release(&self) {
        self.brake.set(None);
    }

    /// The value for `HTTPS_PROXY`.
    pub fn url(&self) -> String {
        format!("http://{}", self.host)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // The accepting thread sees it with its next connection.
        let _ = TcpStream::connect(&self.host);
    }
}

/// Copies what the client sends, as long as the brake allows.
fn forward(from: &mut impl Read, to: &mut TcpStream, brake: &Brake) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..count])?;
        brake.take(count);
    }
}

/// Holds clients up that have sent a number of bytes, until it is released.
#[derive(Debug, Default)]
struct Brake {
    left: Mutex<Option<usize>>,
    changed: Condvar,
}

impl Brake {
    fn set(&self, left: Option<usize>) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = left;
        self.changed.notify_all();
    }

    fn take(&self, count: usize) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(left) = left.as_mut() {
            *left = left.saturating_sub(count);
        }
        while *left == Some(0) {
            left = self.changed.wait(left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn is_holding(&self) -> bool {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) == Some(0)
    }
}

fn relay(near: &TcpStream, resolve: &Resolve, brake: &Brake) -> std::io::Result<()> {
    let mut reader = BufReader::new(near.try_clone()?);
    let mut head = String::new();
    reader.read_line(&mut head)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let mut writer = near.try_clone()?;
    let asked = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next());
    let target = asked.and_then(|asked| asked.rsplit_once(':'));
    let far = target.and_then(|(name, port)| {
        // Resolvers ask several times.
        let address = (0..RESOLVE_TRIES).find_map(|_| resolve(name))?.address;
        TcpStream::connect((address, port.parse().ok()?)).ok()
    });
    let Some(far) = far else {
        return writer.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
    };
    far.set_nodelay(true)?;
    writer.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let (mut to_far, mut from_far) = (far.try_clone()?, far);
    let back = std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_far, &mut writer);
        let _ = writer.shutdown(Shutdown::Both);
    });
    // The reader may hold what the client sent right behind its request.
    let _ = forward(&mut reader, &mut to_far, brake);
    let _ = to_far.shutdown(Shutdown::Both);
    let _ = back.join();
    Ok(())
}
