//! A TCP relay that adds latency: each direction is delayed by half the round trip, and a new connection by one whole round
//! trip, like TCP's handshake. Bandwidth is not limited, and bytes are not changed.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use transship_oci::RegistryHost;

use super::{accept, listen};
use crate::Result;

/// Bytes per read.
const CHUNK: usize = 64 * 1024;
/// Maximum number of chunks in transit in one direction: 64 MiB, enough for more than 2 GB/s at 50 ms.
const UNDER_WAY: usize = 1024;

/// A running relay on a loopback port. Dropping it closes every connection.
pub struct DelayProxy {
    host: RegistryHost,
    relay: JoinHandle<()>,
    sent: Arc<AtomicU64>,
}

impl DelayProxy {
    /// A relay to `upstream`, `round_trip` away. A [`RegistryHost`] with its port.
    pub async fn start(upstream: &RegistryHost, round_trip: Duration) -> Result<Self> {
        let (listener, host) = listen().await?;
        let upstream = upstream.to_string();
        let sent = Arc::<AtomicU64>::default();
        let counter = Arc::clone(&sent);
        let relay = tokio::spawn(accept(listener, move |near| {
            relay(near, upstream.clone(), round_trip, Arc::clone(&counter))
        }));
        Ok(Self { host, relay, sent })
    }

    /// Bytes that clients have sent to the upstream, with their headers.
    pub fn sent_bytes(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// `127.0.0.1:<port>`.
    pub const fn host(&self) -> &RegistryHost {
        &self.host
    }

    /// `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("http://{}", self.host)
    }
}

impl Drop for DelayProxy {
    fn drop(&mut self) {
        self.relay.abort();
    }
}

async fn relay(near: TcpStream, upstream: String, round_trip: Duration, sent: Arc<AtomicU64>) -> io::Result<()> {
    let opened = Instant::now();
    let far = TcpStream::connect(upstream).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    let received = AtomicU64::new(0);
    let out = direction(near_read, far_write, round_trip / 2, opened + round_trip, &sent);
    let back = direction(far_read, near_write, round_trip / 2, opened, &received);
    tokio::try_join!(out, back)?;
    Ok(())
}

/// Moves bytes, each `delay` after it was read. Bytes that are read before `open` count as read at that time.
async fn direction(
    from: impl AsyncRead + Unpin,
    to: impl AsyncWrite + Unpin,
    delay: Duration,
    open: Instant,
    moved: &AtomicU64,
) -> io::Result<()> {
    let (sender, receiver) = mpsc::channel(UNDER_WAY);
    tokio::try_join!(take_in(from, sender, delay, open, moved), give_out(to, receiver))?;
    Ok(())
}

async fn take_in(
    mut from: impl AsyncRead + Unpin,
    sender: mpsc::Sender<(Instant, Bytes)>,
    delay: Duration,
    open: Instant,
    moved: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK);
        let length = from.read_buf(&mut buffer).await?;
        moved.fetch_add(length as u64, Ordering::Relaxed);
        let due = Instant::now().max(open) + delay;
        // An empty chunk is the end of the stream, which is delayed like everything else.
        if sender.send((due, buffer.split().freeze())).await.is_err() || length == 0 {
            return Ok(());
        }
    }
}

async fn give_out(mut to: impl AsyncWrite + Unpin, mut receiver: mpsc::Receiver<(Instant, Bytes)>) -> io::Result<()> {
    while let Some((due, chunk)) = receiver.recv().await {
        tokio::time::sleep_until(due).await;
        if chunk.is_empty() {
            break;
        }
        to.write_all(&chunk).await?;
    }
    to.shutdown().await
}
