//! Proxies in front of a host: one that executes faults and counts requests, one that adds latency, one that adds TLS.

mod delay;
mod fault;
mod tls;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use transship_oci::RegistryHost;

use crate::{Error, ErrorKind, Result};

pub use delay::DelayProxy;
pub use fault::FaultProxy;
pub use tls::{Authority, Certificate, TlsProxy};
pub use transship_embedded_registry::records::{Class, Count, RequestRecord, Traffic};

/// A free loopback port and its host name.
async fn listen() -> Result<(TcpListener, RegistryHost)> {
    listen_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await
}

async fn listen_at(address: SocketAddr) -> Result<(TcpListener, RegistryHost)> {
    let failed = |error: io::Error| Error::new(ErrorKind::BindFailed, "proxy").with_source(error);
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let host = host(listener.local_addr().map_err(failed)?)?;
    Ok((listener, host))
}

fn host(address: SocketAddr) -> Result<RegistryHost> {
    address
        .to_string()
        .parse()
        .map_err(|error: transship_oci::Error| Error::new(ErrorKind::BindFailed, "proxy").with_source(error))
}

/// Relays every connection. It owns them, so that they end when it is dropped.
async fn accept<F>(listener: TcpListener, relay: impl Fn(TcpStream) -> F)
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((near, _)) => {
                connections.spawn(relay(near));
            }
            // Out of file descriptors, or the client closed the connection. Other clients must still be served.
            Err(_) => tokio::task::yield_now().await,
        }
    }
}
