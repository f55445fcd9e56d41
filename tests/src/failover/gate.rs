//! A gate in front of a name server: it passes DNS messages over TCP, and can hold updates up until their sender is gone.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

use super::stage::PATIENCE;
use crate::wait;

/// What happens to updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Updates {
    /// They pass.
    Pass = 0,
    /// They never reach the server.
    HoldRequests = 1,
    /// They reach the server, and its answer never arrives.
    HoldAnswers = 2,
}

#[derive(Debug, Default)]
struct State {
    updates: AtomicU8,
    held: AtomicUsize,
    stopped: AtomicBool,
}

/// A running gate; it accepts nothing more when dropped.
#[derive(Debug)]
pub struct Gate {
    port: u16,
    state: Arc<State>,
}

impl Gate {
    /// Starts it in front of the server at `port`.
    pub fn start(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port can be bound");
        let own = listener.local_addr().expect("it is bound").port();
        let state = Arc::new(State::default());
        let accepting = Arc::clone(&state);
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if accepting.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let state = Arc::clone(&accepting);
                // A connection ends as its client ends it.
                std::thread::spawn(move || pass(near, port, &state).err());
            }
        });
        Self { port: own, state }
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What happens to updates from now on.
    pub fn set(&self, updates: Updates) {
        self.state.held.store(0, Ordering::SeqCst);
        self.state.updates.store(updates as u8, Ordering::SeqCst);
    }

    /// Waits until an update is held up.
    ///
    /// # Panics
    /// If there is none in time.
    pub fn await_held(&self) {
        let is_held = || self.state.held.load(Ordering::SeqCst) > 0;
        wait::until_true(PATIENCE, "no update is held up", is_held).unwrap_or_else(|reason| panic!("{reason}"));
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::SeqCst);
        // The accepting thread sees it with its next connection.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn pass(mut near: TcpStream, port: u16, state: &State) -> std::io::Result<()> {
    let mut far = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    loop {
        let request = message(&mut near)?;
        // The operation is in the third byte after the length; 5 is UPDATE. The number of updates is in the ninth and tenth: a
        // message without any changes nothing, and passes. Source: RFC 2136, section 2.2.
        let is_update = request.get(4).is_some_and(|byte| byte >> 3 & 15 == 5);
        let is_update = is_update && request.get(10..12).is_some_and(|count| count != [0, 0]);
        let updates = if is_update {
            state.updates.load(Ordering::SeqCst)
        } else {
            0
        };
        if updates == Updates::HoldRequests as u8 {
            return hold(&mut near, state);
        }
        far.write_all(&request)?;
        let answer = message(&mut far)?;
        if updates == Updates::HoldAnswers as u8 {
            return hold(&mut near, state);
        }
        near.write_all(&answer)?;
    }
}

/// Returns when the client is gone.
fn hold(near: &mut TcpStream, state: &State) -> std::io::Result<()> {
    state.held.fetch_add(1, Ordering::SeqCst);
    std::io::copy(near, &mut std::io::sink()).map(drop)
}

/// A message with its length in front. Source: RFC 1035, section 4.2.2.
fn message(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut whole = vec![0; 2 + usize::from(u16::from_be_bytes(length))];
    whole[..2].copy_from_slice(&length);
    stream.read_exact(&mut whole[2..])?;
    Ok(whole)
}
