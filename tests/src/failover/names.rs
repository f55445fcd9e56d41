//! The name servers of a stage, read with `dig` and changed by hand with `nsupdate`.

use std::net::IpAddr;
use std::process::{Command, Stdio};

use std::io::Write as _;
use transship_testkit::name_server::{NameServer, Product, TSIG_KEY};

use super::Gate;

/// A primary server and a secondary, as processes.
#[derive(Debug)]
pub struct Names {
    /// It receives the updates.
    pub primary: NameServer,
    /// It is notified by the primary.
    pub secondary: NameServer,
    /// What `transship` knows as the primary.
    pub gate: Gate,
}

/// The zone.
pub const ZONE: &str = "example.com";

impl Names {
    /// Starts both.
    pub async fn start(product: Product) -> Self {
        let (primary, secondary) = NameServer::pair(product, &[ZONE]).await.expect("name servers start");
        let gate = Gate::start(primary.port());
        Self {
            primary,
            secondary,
            gate,
        }
    }

    /// The value of `dns` of a zone.
    pub fn dns(&self) -> String {
        format!(
            "{{ rfc2136: {{ servers: [\"{}\", \"{}\"], zone: {ZONE}, key: \"env:TSIG\" }} }}",
            self.gate.address(),
            self.secondary.address()
        )
    }

    /// What each authoritative server answers for the name, without its ending dot.
    pub fn answers(&self, kind: &str, name: &str) -> Vec<String> {
        let ports = [self.primary.port(), self.secondary.port()];
        ports.iter().map(|port| dig(*port, kind, name)).collect()
    }

    /// Changes the zone as another program would, with lines for `nsupdate`.
    pub fn change(&self, lines: &[&str]) {
        let key = TSIG_KEY.splitn(3, ':').collect::<Vec<_>>();
        let mut child = Command::new("nsupdate")
            .args(["-y", &format!("{}:{}:{}", key[1], key[0], key[2])])
            .stdin(Stdio::piped())
            .spawn()
            .expect("nsupdate can be started");
        let mut input = child.stdin.take().expect("its input is a pipe");
        writeln!(input, "server 127.0.0.1 {}", self.primary.port()).expect("nsupdate reads");
        for line in lines.iter().chain(&["send"]) {
            writeln!(input, "{line}").expect("nsupdate reads");
        }
        drop(input);
        let status = child.wait().expect("nsupdate ends");
        assert!(status.success(), "nsupdate fails: {lines:?}");
    }
}

/// The answer of the server at `port`.
fn dig(port: u16, kind: &str, name: &str) -> String {
    let output = Command::new("dig")
        .args([
            "+short",
            "+time=2",
            "+tries=2",
            "-p",
            &port.to_string(),
            "@127.0.0.1",
            name,
            kind,
        ])
        .output()
        .expect("dig can be started");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The address that the server at `port` answers with.
pub fn resolve(port: u16, name: &str) -> Option<IpAddr> {
    dig(port, "A", name).parse().ok()
}
