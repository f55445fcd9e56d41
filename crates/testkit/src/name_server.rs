//! Name servers as processes: BIND and Knot DNS with dynamic updates, on a loopback port, without root.
//!
//! Every zone is new and empty, except for the text that a suite expects. A server answers for each of its zones before it is
//! returned, and ends when it is dropped.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::server::runtime_free_port;
use crate::suites::{EXTERNAL_DNS, OWNED};
use crate::{Error, ErrorKind, Result};

/// Time limit for the start, on a machine under load.
const PATIENCE: Duration = Duration::from_mins(1);
/// Interval between queries to a server that does not answer yet.
const POLL: Duration = Duration::from_millis(20);
/// Number of ports to try. Another process may take a free one first.
const PORTS: u32 = 3;

/// The TSIG key that may change the zones, as a document refers to it.
pub const TSIG_KEY: &str = "transship:hmac-sha256:c2VjcmV0IG9mIHRoZSB0ZXN0cyBvZiB0cmFuc3NoaXA=";

/// An implementation of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// ISC BIND (Debian `bind9`).
    Bind,
    /// Knot DNS (Debian `knot`).
    Knot,
}

/// What a server is for its zones.
#[derive(Debug, Clone, Copy)]
enum Role {
    /// It accepts updates with [`TSIG_KEY`], and notifies the secondary at the port.
    Primary { notified: Option<u16> },
    /// It accepts updates with [`TSIG_KEY`]; the zone names this many servers, and each is notified at its address.
    Named { servers: u8 },
    /// It accepts no updates.
    ReadOnly,
    /// It transfers the zones from the port.
    Secondary { primary: u16 },
}

/// A running server. Killed when dropped.
#[derive(Debug)]
pub struct NameServer {
    child: Child,
    host: String,
    port: u16,
    folder: TempDir,
}

impl NameServer {
    /// A primary server of `zones`.
    pub async fn primary(product: Product, zones: &[&str]) -> Result<Self> {
        Self::start(product, zones, Role::Primary { notified: None }).await
    }

    /// A server of `zones` that accept no changes.
    pub async fn read_only(product: Product, zones: &[&str]) -> Result<Self> {
        Self::start(product, zones, Role::ReadOnly).await
    }

    /// The same at an address.
    pub async fn read_only_at(product: Product, zones: &[&str], at: (&str, u16)) -> Result<Self> {
        Self::start_on(product, zones, Role::ReadOnly, at).await
    }

    /// A primary server of `zones`, and a secondary server that it notifies.
    pub async fn pair(product: Product, zones: &[&str]) -> Result<(Self, Self)> {
        // The primary notifies a port, so the secondary's is chosen first. If another process takes it, both start again.
        let mut last = Error::new(ErrorKind::BindFailed, "a pair of name servers");
        for _ in 0..PORTS {
            let notified = runtime_free_port()?;
            let primary = Self::start(
                product,
                zones,
                Role::Primary {
                    notified: Some(notified),
                },
            )
            .await?;
            let role = Role::Secondary { primary: primary.port };
            match Self::start_at(product, zones, role, notified).await {
                Ok(secondary) => return Ok((primary, secondary)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The servers of a zone that names `named` of them: `ns1.<zone>` at 127.0.0.1, which is the primary server, `ns2.<zone>` at
    /// 127.0.0.2, and so on, all at one port. The first `running` of them run. All but the first are Knot DNS, because BIND
    /// listens only at addresses that an interface has.
    pub async fn named(primary: Product, zone: &str, running: u8, named: u8) -> Result<Vec<Self>> {
        let mut last = Error::new(ErrorKind::BindFailed, "the servers of a zone");
        'ports: for _ in 0..PORTS {
            let port = runtime_free_port()?;
            let mut servers = Vec::new();
            for number in 1..=running {
                let (product, role) = match number {
                    1 => (primary, Role::Named { servers: named }),
                    _ => (Product::Knot, Role::Secondary { primary: port }),
                };
                match Self::start_on(product, &[zone], role, (&host(number), port)).await {
                    Ok(server) => servers.push(server),
                    Err(error) => {
                        last = error;
                        continue 'ports;
                    }
                }
            }
            return Ok(servers);
        }
        Err(last)
    }

    /// `<host>:<port>`.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Its log.
    pub fn log(&self) -> String {
        let log = fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    async fn start(product: Product, zones: &[&str], role: Role) -> Result<Self> {
        let mut last = Error::new(ErrorKind::BindFailed, "a name server");
        for _ in 0..PORTS {
            match Self::start_at(product, zones, role, runtime_free_port()?).await {
                Ok(server) => return Ok(server),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn start_at(product: Product, zones: &[&str], role: Role, port: u16) -> Result<Self> {
        Self::start_on(product, zones, role, (&host(1), port)).await
    }

    async fn start_on(product: Product, zones: &[&str], role: Role, at: (&str, u16)) -> Result<Self> {
        let failed = |error| Error::new(ErrorKind::FileFailed, "a name server").with_source(error);
        let folder = TempDir::new().map_err(failed)?;
        let path = folder.path().to_owned();
        for zone in zones {
            if !matches!(role, Role::Secondary { .. }) {
                fs::write(path.join(zone), zone_file(zone, role)).map_err(failed)?;
            }
        }
        let (program, configuration) = match product {
            Product::Bind => ("/usr/sbin/named", bind(&path, at, zones, role)),
            Product::Knot => ("/usr/sbin/knotd", knot(&path, at, zones, role)),
        };
        let file = path.join("configuration");
        fs::write(&file, configuration).map_err(failed)?;
        let log = File::create(path.join("log")).map_err(failed)?;
        let errors = log.try_clone().map_err(failed)?;
        let mut command = Command::new(program);
        if product == Product::Bind {
            command.arg("-g");
        }
        let child = command
            .arg("-c")
            .arg(&file)
            .current_dir(&path)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(|error| {
                let log = "install it: apt-get install bind9 knot".to_owned();
                Error::new(ErrorKind::ProcessFailed { log }, program).with_source(error)
            })?;
        let (host, port) = (at.0.to_owned(), at.1);
        let mut server = Self {
            child,
            host,
            port,
            folder,
        };
        let end = Instant::now() + PATIENCE;
        for zone in zones {
            while !serves(at, zone).await {
                if !matches!(server.child.try_wait(), Ok(None)) || Instant::now() >= end {
                    return Err(Error::new(ErrorKind::ProcessFailed { log: server.log() }, program));
                }
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(server)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address of a server by its number, from 1.
fn host(number: u8) -> String {
    format!("127.0.0.{number}")
}

fn zone_file(zone: &str, role: Role) -> String {
    let mut text = format!("$TTL 300\n@ IN SOA ns1.{zone}. ops.{zone}. 1 3600 600 86400 60\n");
    let servers = if let Role::Named { servers } = role { servers } else { 1 };
    for number in 1..=servers {
        let host = host(number);
        let _ = writeln!(text, "@ IN NS ns{number}.{zone}.\nns{number} IN A {host}");
    }
    let _ = writeln!(text, "a-{OWNED} IN TXT \"{EXTERNAL_DNS}\"");
    text
}

/// The base64 of [`TSIG_KEY`].
fn secret() -> &'static str {
    TSIG_KEY.rsplit(':').next().unwrap_or_default()
}

fn bind(folder: &Path, (host, port): (&str, u16), zones: &[&str], role: Role) -> String {
    let folder = folder.display();
    let mut text = format!(
        "options {{ directory \"{folder}\"; listen-on port {port} {{ {host}; }}; listen-on-v6 {{ none; }}; pid-file \"{folder}/pid\"; session-keyfile \"{folder}/session\"; managed-keys-directory \"{folder}\"; recursion no; dnssec-validation no; notify explicit; notify-delay 0; allow-transfer {{ 127.0.0.1; }}; }};\ncontrols {{ }};\nkey transship {{ algorithm hmac-sha256; secret \"{}\"; }};\n",
        secret()
    );
    for zone in zones {
        let _ = match role {
            Role::Primary { notified } => {
                let notify = notified.map_or(String::new(), |port| {
                    format!(" also-notify {{ 127.0.0.1 port {port}; }};")
                });
                writeln!(
                    text,
                    "zone \"{zone}\" {{ type primary; file \"{zone}\"; allow-update {{ key transship; }};{notify} }};"
                )
            }
            Role::Named { servers } => {
                let others: Vec<String> = (2..=servers).map(|number| notified(number, port)).collect();
                let others = others.concat();
                writeln!(
                    text,
                    "zone \"{zone}\" {{ type primary; file \"{zone}\"; allow-update {{ key transship; }}; also-notify {{ {others} }}; }};"
                )
            }
            Role::ReadOnly => writeln!(text, "zone \"{zone}\" {{ type primary; file \"{zone}\"; }};"),
            Role::Secondary { primary } => writeln!(
                text,
                "zone \"{zone}\" {{ type secondary; file \"{zone}\"; primaries {{ 127.0.0.1 port {primary}; }}; allow-notify {{ 127.0.0.1; }}; }};"
            ),
        };
    }
    text
}

/// A server that BIND notifies.
fn notified(number: u8, port: u16) -> String {
    format!("{} port {port}; ", host(number))
}

fn knot(folder: &Path, (host, port): (&str, u16), zones: &[&str], role: Role) -> String {
    let folder = folder.display();
    let mut text = format!(
        "server:\n  rundir: {folder}\n  listen: {host}@{port}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\nlog:\n  - target: stderr\n    any: info\ndatabase:\n  storage: {folder}\n  journal-db-max-size: 64M\n  kasp-db-max-size: 16M\n  timer-db-max-size: 16M\n  catalog-db-max-size: 16M\nkey:\n  - id: transship\n    algorithm: hmac-sha256\n    secret: {}\n",
        secret()
    );
    let others = match role {
        Role::Named { servers } => servers,
        _ => 1,
    };
    let (remote, acl) = match role {
        Role::Primary { .. } | Role::Named { .. } => (
            if let Role::Primary { notified } = role {
                notified
            } else {
                None
            },
            "  - id: change\n    key: transship\n    action: update\n  - id: read\n    address: 127.0.0.1\n    action: transfer\n",
        ),
        Role::ReadOnly => (None, "  - id: read\n    address: 127.0.0.1\n    action: transfer\n"),
        Role::Secondary { primary } => (
            Some(primary),
            "  - id: read\n    address: 127.0.0.1\n    action: notify\n",
        ),
    };
    if let Some(remote) = remote {
        let _ = write!(text, "remote:\n  - id: other\n    address: 127.0.0.1@{remote}\n");
    }
    if others > 1 {
        text.push_str("remote:\n");
    }
    for number in 2..=others {
        let other = self::host(number);
        let _ = write!(text, "  - id: ns{number}\n    address: {other}@{port}\n");
    }
    let _ = write!(text, "acl:\n{acl}zone:\n");
    for zone in zones {
        let _ = write!(
            text,
            "  - domain: {zone}\n    storage: {folder}\n    file: {zone}\n    zonefile-sync: -1\n"
        );
        let _ = match role {
            Role::Primary { notified } => {
                let notify = notified.map_or("", |_| "    notify: other\n");
                write!(text, "    acl: [change, read]\n{notify}")
            }
            Role::Named { servers } => {
                let others: Vec<String> = (2..=servers).map(|number| format!("ns{number}")).collect();
                write!(text, "    acl: [change, read]\n    notify: [{}]\n", others.join(", "))
            }
            Role::ReadOnly => writeln!(text, "    acl: [read]"),
            Role::Secondary { .. } => write!(text, "    acl: [read]\n    master: other\n"),
        };
    }
    text
}

/// True if the server answers for `zone` with authority.
async fn serves(at: (&str, u16), zone: &str) -> bool {
    let mut query = vec![0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in zone.split('.') {
        query.push(u8::try_from(label.len()).unwrap_or_default());
        query.extend_from_slice(label.as_bytes());
    }
    // The root, type SOA, class IN.
    query.extend_from_slice(&[0, 0, 6, 0, 1]);
    matches!(header(at, &query).await, Ok(header) if header[2] & 0x84 == 0x84 && header[3].trailing_zeros() >= 4 && header[7] > 0)
}

/// The header of the answer to `query`.
async fn header(at: (&str, u16), query: &[u8]) -> std::io::Result<[u8; 12]> {
    let exchange = async {
        let mut stream = TcpStream::connect(at).await?;
        let length = u16::try_from(query.len()).map_err(std::io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes(), query].concat()).await?;
        stream.read_u16().await?;
        let mut header = [0; 12];
        stream.read_exact(&mut header).await?;
        Ok(header)
    };
    tokio::time::timeout(Duration::from_secs(5), exchange)
        .await
        .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}
