//! TLS in front of a host that speaks without it: an authority that nobody knows, and certificates that are right or wrong.
//!
//! Here because everything in production speaks TLS and nothing on loopback does.

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use transship_oci::RegistryHost;

use super::{accept, listen};
use crate::{Error, ErrorKind, Result};

/// Who signs certificates; known to whoever is told [`Authority::roots`].
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: TempDir,
}

/// What a proxy shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    /// Of `127.0.0.1`, by the authority, in force.
    Right,
    /// The same, until 2001.
    Expired,
    /// Of `elsewhere.example`.
    OfAnotherHost,
    /// By itself.
    SelfSigned,
}

impl Authority {
    /// A new one.
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.self_signed(&key).map_err(failed)?;
        let folder = tempfile::tempdir().map_err(failed)?;
        std::fs::write(roots_in(folder.path()), certificate.pem()).map_err(failed)?;
        Ok(Self {
            issuer: Issuer::new(params, key),
            folder,
        })
    }

    /// The file that makes it known, as `SSL_CERT_FILE`: PEM.
    pub fn roots(&self) -> PathBuf {
        roots_in(self.folder.path())
    }

    fn certify(&self, certificate: Certificate) -> Result<Arc<ServerConfig>> {
        let name = match certificate {
            Certificate::OfAnotherHost => "elsewhere.example".to_owned(),
            _ => Ipv4Addr::LOCALHOST.to_string(),
        };
        let mut params = CertificateParams::new([name]).map_err(failed)?;
        if certificate == Certificate::Expired {
            params.not_before = date_time_ymd(2000, 1, 1);
            params.not_after = date_time_ymd(2001, 1, 1);
        }
        let key = KeyPair::generate().map_err(failed)?;
        let signed = match certificate {
            Certificate::SelfSigned => params.self_signed(&key),
            _ => params.signed_by(&key, &self.issuer),
        };
        let chain = vec![signed.map_err(failed)?.der().clone()];
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(failed)?;
        Ok(Arc::new(config))
    }
}

fn roots_in(folder: &Path) -> PathBuf {
    folder.join("roots.pem")
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::CertificateFailed, "tls proxy").with_source(error)
}

/// A running proxy on a loopback port. Dropping it cuts every connection.
pub struct TlsProxy {
    host: RegistryHost,
    shown: Arc<Mutex<Arc<ServerConfig>>>,
    connections: Arc<AtomicU64>,
    relay: JoinHandle<()>,
}

impl TlsProxy {
    /// Shows `certificate` and passes what comes to `upstream`.
    pub async fn start(upstream: &RegistryHost, authority: &Authority, certificate: Certificate) -> Result<Self> {
        let (listener, host) = listen().await?;
        let shown = Arc::new(Mutex::new(authority.certify(certificate)?));
        let (upstream, showing) = (upstream.to_string(), Arc::clone(&shown));
        let connections = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&connections);
        let relay = tokio::spawn(accept(listener, move |near| {
            counted.fetch_add(1, Ordering::Relaxed);
            let config = Arc::clone(&showing.lock().unwrap_or_else(PoisonError::into_inner));
            relay(near, TlsAcceptor::from(config), upstream.clone())
        }));
        Ok(Self {
            host,
            shown,
            connections,
            relay,
        })
    }

    /// Shows another certificate to whoever comes from now on.
    pub fn show(&self, authority: &Authority, certificate: Certificate) -> Result<()> {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = authority.certify(certificate)?;
        Ok(())
    }

    /// How many connections came, whether they were to the client's liking or not.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// `127.0.0.1:<port>`.
    pub const fn host(&self) -> &RegistryHost {
        &self.host
    }

    /// `https://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("https://{}", self.host)
    }
}

impl Drop for TlsProxy {
    fn drop(&mut self) {
        self.relay.abort();
    }
}

async fn relay(near: TcpStream, acceptor: TlsAcceptor, upstream: String) -> io::Result<()> {
    let mut near = acceptor.accept(near).await?;
    let mut far = TcpStream::connect(upstream).await?;
    tokio::io::copy_bidirectional(&mut near, &mut far).await?;
    Ok(())
}
