//! The resolver of the clients: a proxy that connects to the address that the authoritative servers answer with at this moment.
//!
//! Clients of a machine resolve names by its resolver, which needs port 53. A proxy resolves for them, without root.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Resolves a name; [`None`]: there is no answer.
pub type Resolve = Arc<dyn Fn(&str) -> Option<IpAddr> + Send + Sync>;

/// A running proxy for `CONNECT`; it accepts nothing more when dropped.
#[derive(Debug)]
pub struct Front {
    host: String,
    stopped: Arc<AtomicBool>,
}

impl Front {
    /// Starts it. Every connection resolves the name again: no answer is kept.
    pub fn start(resolve: Resolve) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port can be bound");
        let host = listener.local_addr().expect("it is bound").to_string();
        let stopped = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stopped);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopping.load(Ordering::Relaxed) {
                    return;
                }
                let resolve = Arc::clone(&resolve);
                // A connection that breaks is the client's to notice.
                std::thread::spawn(move || {
                    let _ = relay(&stream, &resolve);
                });
            }
        });
        Self { host, stopped }
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

fn relay(near: &TcpStream, resolve: &Resolve) -> std::io::Result<()> {
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
        let address = resolve(name)?;
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
    let _ = std::io::copy(&mut reader, &mut to_far);
    let _ = to_far.shutdown(Shutdown::Both);
    let _ = back.join();
    Ok(())
}
