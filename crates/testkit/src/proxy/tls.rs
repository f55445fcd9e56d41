//! TLS in front of a host without TLS, with a private certificate authority and valid or invalid certificates.
//!
//! Everything in production uses TLS, and nothing on loopback does.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use transship_oci::RegistryHost;

use super::{accept, listen_at};
use crate::{Error, ErrorKind, Result};

/// A certificate authority. Clients that load [`Authority::roots`] trust it.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: TempDir,
}

/// The certificate of a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    /// Valid, for `127.0.0.1`, signed by the authority.
    Right,
    /// For `127.0.0.1`, signed by the authority, expired in 2001.
    Expired,
    /// For `elsewhere.example`, signed by the authority.
    OfAnotherHost,
    /// For this host name and the addresses `127.0.0.1` to `127.0.0.3`, signed by the authority.
    Of(&'static str),
    /// Self-signed.
    SelfSigned,
    /// The right one; clients must show one of the same authority.
    Mutual,
}

impl Authority {
    /// Creates an authority.
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // OpenSSL takes a certificate for self-signed if its subject is that of its issuer.
        params
            .distinguished_name
            .push(DnType::CommonName, "The authority of the tests");
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.self_signed(&key).map_err(failed)?;
        let folder = tempfile::tempdir().map_err(failed)?;
        std::fs::write(roots_in(folder.path()), certificate.pem()).map_err(failed)?;
        Ok(Self {
            issuer: Issuer::new(params, key),
            folder,
        })
    }

    /// Path of its certificate as a PEM file, for `SSL_CERT_FILE`.
    pub fn roots(&self) -> PathBuf {
        roots_in(self.folder.path())
    }

    /// A client certificate and its private key, as PEM.
    pub fn client(&self) -> Result<(String, String)> {
        let params = CertificateParams::new(["client.example".to_owned()]).map_err(failed)?;
        let key = KeyPair::generate().map_err(failed)?;
        let signed = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok((signed.pem(), key.serialize_pem()))
    }

    /// Accepts only clients with a certificate of this authority.
    fn client_verifier(&self) -> Result<Arc<dyn ClientCertVerifier>> {
        let mut roots = RootCertStore::empty();
        let pem = std::fs::read(self.roots()).map_err(failed)?;
        for authority in CertificateDer::pem_slice_iter(&pem) {
            roots.add(authority.map_err(failed)?).map_err(failed)?;
        }
        let provider = Arc::new(ring::default_provider());
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(failed)
    }

    fn certify(&self, certificate: Certificate) -> Result<Arc<ServerConfig>> {
        let names = match certificate {
            Certificate::OfAnotherHost => vec!["elsewhere.example"],
            Certificate::Of(name) => vec![name, "127.0.0.1", "127.0.0.2", "127.0.0.3"],
            _ => vec!["127.0.0.1"],
        };
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        let mut params = CertificateParams::new(names).map_err(failed)?;
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
            .map_err(failed)?;
        let config = match certificate {
            Certificate::Mutual => config.with_client_cert_verifier(self.client_verifier()?),
            _ => config.with_no_client_auth(),
        };
        let config = config.with_single_cert(chain, key).map_err(failed)?;
        Ok(Arc::new(config))
    }
}

fn roots_in(folder: &Path) -> PathBuf {
    folder.join("roots.pem")
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::CertificateFailed, "tls proxy").with_source(error)
}

/// A running proxy on a loopback port. Dropping it closes every connection.
pub struct TlsProxy {
    host: RegistryHost,
    shown: Arc<Mutex<Arc<ServerConfig>>>,
    connections: Arc<AtomicU64>,
    relay: JoinHandle<()>,
}

impl TlsProxy {
    /// Starts a proxy with `certificate` that relays to `upstream`.
    pub async fn start(upstream: &RegistryHost, authority: &Authority, certificate: Certificate) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self::start_at(address, upstream, authority, certificate).await
    }

    /// The same at a loopback address and port of the caller's choice, so that several proxies can share a port.
    pub async fn start_at(
        address: SocketAddr,
        upstream: &RegistryHost,
        authority: &Authority,
        certificate: Certificate,
    ) -> Result<Self> {
        let (listener, host) = listen_at(address).await?;
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

    /// Sets the certificate for new connections.
    pub fn show(&self, authority: &Authority, certificate: Certificate) -> Result<()> {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = authority.certify(certificate)?;
        Ok(())
    }

    /// Number of connections, including those that the client rejected.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Address and port, such as `127.0.0.1:<port>`.
    pub const fn host(&self) -> &RegistryHost {
        &self.host
    }

    /// `https://<address>:<port>`.
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
