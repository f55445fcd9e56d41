//! The name servers of a stage, read with `dig` and changed by hand with `nsupdate`.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use transship_testkit::name_server::{NameServer, Product, TSIG_KEY};

use crate::wait;

use super::Gate;
use super::front::{Answer, Resolve};
use super::names::ZONE;

/// Time limit for the transfer of a change to the secondary server.
const TRANSFER: Duration = Duration::from_secs(30);

/// A primary server and a secondary, as processes.
#[derive(Debug)]
pub struct NameServers {
    /// It receives the updates.
    pub primary: NameServer,
    /// It is notified by the primary.
    pub secondary: NameServer,
    /// What `transship` knows as the primary.
    pub gate: Gate,
}

impl NameServers {
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

    /// The secret in it.
    pub(super) fn variables() -> Vec<(&'static str, String)> {
        vec![("TSIG", TSIG_KEY.to_owned())]
    }

    /// What each authoritative server answers for the name, without its ending dot.
    pub fn answers(&self, kind: &str, name: &str) -> Vec<String> {
        let ports = [self.primary.port(), self.secondary.port()];
        ports.iter().map(|port| dig(*port, &["+short"], kind, name)).collect()
    }

    /// The address that the primary server answers with.
    pub(super) fn resolve(&self) -> Resolve {
        let port = self.primary.port();
        Arc::new(move |name| answer(&dig(port, &["+noall", "+answer"], "A", name)))
    }

    /// Changes the zone as another program would, with lines for `nsupdate`, and waits until a secondary server that answers has it.
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
        let is_equal = || {
            let [primary, secondary] = [&self.primary, &self.secondary].map(|server| serial(server.port()));
            secondary.is_none() || secondary == primary
        };
        wait::until_true(TRANSFER, "the secondary server has the change", is_equal).expect("zones are transferred");
    }
}

/// The serial number of the zone at the server; [`None`] if it does not answer.
fn serial(port: u16) -> Option<u32> {
    let soa = dig(port, &["+short"], "SOA", ZONE);
    soa.split(' ').nth(2)?.parse().ok()
}

/// The answer of the server at `port`.
fn dig(port: u16, form: &[&str], kind: &str, name: &str) -> String {
    let output = Command::new("dig")
        .args(form)
        .args(["+time=2", "+tries=2", "-p", &port.to_string(), "@127.0.0.1", name, kind])
        .output()
        .expect("dig can be started");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Reads `images.example.com. 60 IN A 127.0.0.2`.
fn answer(line: &str) -> Option<Answer> {
    let mut words = line.split_whitespace().skip(1);
    let ttl = Duration::from_secs(words.next()?.parse().ok()?);
    let address = words.nth(2)?.parse().ok()?;
    Some(Answer { address, ttl })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_dig_has_an_address_and_a_time_to_live() {
        let found = answer("images.example.com.\t60\tIN\tA\t127.0.0.2").expect("it is an answer");
        assert_eq!(
            (found.address.to_string().as_str(), found.ttl.as_secs()),
            ("127.0.0.2", 60)
        );
        assert_eq!(answer(";; communications error"), None);
        assert_eq!(answer(""), None);
    }
}
