//! The stage: sites `a` and `b` at 127.0.0.2 and 127.0.0.3, the name that leads to `a`, and `transship` with its document.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use transship_testkit::name_server::Product;
use transship_testkit::proxy::{Authority, Certificate, FaultProxy, TlsProxy};

use super::front::{Front, caching};
use super::names::TTL_SECONDS;
use super::{Client, HostedZones, NameServers, Names};
use crate::docker_registry::{Locations, Options, PASSWORD, USER};
use crate::process::{free_port, skip_without};
use crate::transship::Run;
use crate::{DockerRegistry, Document, Image, Serve, check, transship, wait};

/// The name that clients use.
pub const CLIENTS: &str = "images.example.com";
/// How long an image, or a step of a command, may take on a machine under load.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A site: a registry, a proxy that holds requests up, and TLS at its own address.
pub struct Site {
    /// The address of its record.
    pub address: SocketAddr,
    /// The registry, which asks for a login.
    pub registry: DockerRegistry,
    /// Every request passes through it.
    pub faults: FaultProxy,
    /// Closed while the site is down.
    pub door: Option<TlsProxy>,
}

/// Everything.
pub struct Stage {
    /// Runs the proxies.
    pub runtime: tokio::runtime::Runtime,
    /// Signs the certificates of both sites.
    pub authority: Authority,
    /// The site that rules start from.
    pub a: Site,
    /// Its standby.
    pub b: Site,
    /// Where the name is.
    pub names: Names,
    /// Replicates between the sites, once it is started.
    pub serve: Serve,
    /// Resolves for the clients.
    pub front: Front,
    /// The time to live of the records that `transship` writes.
    pub ttl_seconds: u32,
    rpo: String,
}

impl Stage {
    /// True if the scenario must be left out, see [`skip_without`].
    pub fn skipped() -> bool {
        skip_without(&["docker-registry", "skopeo", "curl", "dig", "nsupdate"])
    }

    /// Starts the sites and the name servers. The name leads to `a`. `serve` is not started.
    pub fn start(product: Product, rpo: &str) -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
        let names = Names::Servers(runtime.block_on(NameServers::start(product)));
        Self::start_with(runtime, names, rpo)
    }

    /// The same with hosted zones of Route 53. The built `transship` needs the feature `aws`.
    pub fn start_hosted(rpo: &str) -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
        let names = Names::Hosted(runtime.block_on(HostedZones::start()));
        Self::start_with(runtime, names, rpo)
    }

    fn start_with(runtime: tokio::runtime::Runtime, names: Names, rpo: &str) -> Self {
        let authority = Authority::new().expect("an authority can be made");
        let mut serve = Serve::prepare();
        let port = free_port();
        let site = |last: u8, name: &str| {
            let registry = DockerRegistry::start_with(&Options {
                locked: true,
                locations: Locations::Paths,
                notify: Some(serve.hook(name)),
                ..Options::default()
            });
            let upstream = registry.host().parse().expect("it is a host");
            let faults = runtime.block_on(FaultProxy::start(&upstream)).expect("a proxy starts");
            let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), port);
            Site {
                address,
                registry,
                faults,
                door: None,
            }
        };
        let (mut a, mut b) = (site(2, "a"), site(3, "b"));
        a.open(&runtime, &authority, Certificate::Of(CLIENTS));
        b.open(&runtime, &authority, Certificate::Of(CLIENTS));
        names.lead(a.address.ip());
        let front = Front::start(names.resolve());
        serve.trust(authority.roots());
        for (name, value) in logins().into_iter().chain(names.variables()) {
            serve.set(name, value);
        }
        Self {
            runtime,
            authority,
            a,
            b,
            names,
            serve,
            front,
            ttl_seconds: TTL_SECONDS,
            rpo: rpo.to_owned(),
        }
    }

    /// The document: one rule from `core` of `a` to `core` of `b`, and the group `main`.
    pub fn document(&self) -> Document {
        // What it is called by who pushes at one site, without TLS, is another name of it.
        let fields = |site: &Site| {
            let login = "credentials: \"env:TRANSSHIP_LOGIN\", webhook: { secret: \"env:HOOK\" }";
            format!("{login}, hosts: [\"{}\"]", site.registry.host())
        };
        let sites = [("a", &self.a), ("b", &self.b)].map(|(name, site)| {
            format!(
                "{{ registry: {name}, record: {{ type: A, value: {} }} }}",
                site.address.ip()
            )
        });
        let zones = self
            .names
            .zones()
            .into_iter()
            .map(|(name, dns)| format!("{{ name: {name}, home: a, dns: {dns} }}"));
        let zones: Vec<String> = zones.collect();
        let group = format!(
            "{{ name: main, endpoint: \"https://{}\", credentials: \"env:CLIENTS\", sites: [{}], writer: a, \
             zones: [{}], ttl: {}, rpo: {} }}",
            self.name(),
            sites.join(", "),
            zones.join(", "),
            self.ttl_seconds,
            self.rpo
        );
        Document::default()
            .registry("a", &self.a.url(), &fields(&self.a))
            .registry("b", &self.b.url(), &fields(&self.b))
            .rule_between("core", ("a", "core"), ("b", "core"), "")
            .failover(&group)
    }

    /// Writes the document, without starting `serve`.
    pub fn write_document(&self) {
        std::fs::write(self.serve.config(), self.document().yaml()).expect("the document can be written");
    }

    /// `host:port` of the clients.
    pub fn name(&self) -> String {
        format!("{CLIENTS}:{}", self.a.address.port())
    }

    /// A client.
    pub fn client(&self) -> Client {
        Client {
            name: self.name(),
            proxy: self.front.url(),
            roots: self.authority.roots(),
            login: format!("{USER}:{PASSWORD}"),
        }
    }

    /// Closes the site: see [`Site::close`].
    pub fn close(&mut self, name: &str) {
        let site = if name == "a" { &mut self.a } else { &mut self.b };
        site.close();
    }

    /// A client that keeps each answer for its time to live, and the front that resolves for it.
    pub fn keeping_client(&self) -> (Client, Front) {
        let front = Front::start(caching(self.names.resolve()));
        let client = Client {
            proxy: front.url(),
            ..self.client()
        };
        (client, front)
    }

    /// Lets the site accept connections, with this certificate from now on.
    pub fn open(&mut self, name: &str, certificate: Certificate) {
        let site = if name == "a" { &mut self.a } else { &mut self.b };
        site.open(&self.runtime, &self.authority, certificate);
    }

    /// The site named `name`.
    pub fn site(&self, name: &str) -> &Site {
        if name == "a" { &self.a } else { &self.b }
    }

    /// `transship` with the place of the stage; the arguments come first.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = transship::command();
        command
            .args(arguments)
            .arg("--config")
            .arg(self.serve.config())
            .arg("--data")
            .arg(self.serve.data())
            .env("SSL_CERT_FILE", self.authority.roots())
            .env("USER", "ops")
            .envs(logins())
            .envs(self.names.variables());
        command
    }

    /// Runs it as another operator, or with other secrets.
    pub fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Run {
        transship::run_command(self.command(arguments).envs(variables.iter().copied()))
    }

    /// Runs it to its end.
    pub fn run(&self, arguments: &[&str]) -> Run {
        transship::run_command(&mut self.command(arguments))
    }

    /// What a check finds, ready or not.
    pub fn check(&self) -> Value {
        self.run(&["dr", "check", "main", "--json"]).json()
    }

    /// Waits until a check names an image that only `site` has.
    ///
    /// # Panics
    /// If none does.
    pub fn assert_only_at(&self, site: &str, repository: &str, tag: &str) {
        let named = wait::until(PATIENCE, || {
            let report = self.check();
            let sites = report["sites"].as_array().into_iter().flatten();
            let mut named = sites
                .filter(|found| found["site"] == site)
                .flat_map(|found| found["differences"].as_array().into_iter().flatten());
            let is_named =
                |one: &Value| one["state"] == "extra" && one["repository"] == repository && one["tag"] == tag;
            if named.any(is_named) {
                Ok(())
            } else {
                Err(report.to_string())
            }
        });
        named.unwrap_or_else(|reason| panic!("{repository}:{tag} is not named at {site}: {reason}"));
    }

    /// Runs a command that must succeed, and returns its JSON.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let run = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(run.code, 0, "{arguments:?}: {run:?}");
        run.json()
    }

    /// What every authoritative server has: the address, and the text with the epoch.
    ///
    /// # Panics
    /// If they are others.
    pub fn assert_leads_to(&self, site: &str, epoch: u64) {
        let address = self.site(site).address.ip().to_string();
        assert_eq!(self.names.answers("A", CLIENTS), [address.as_str(), address.as_str()]);
        let text = format!("\"epoch={epoch}; site={site}; by=ops@");
        for found in self.names.answers("TXT", &format!("_transship.{CLIENTS}")) {
            assert!(found.starts_with(&text), "expected {text}, found {found}");
        }
    }

    /// Pushes at a site, not by the name.
    pub fn push_at(&self, site: &str, image: &Image, repository: &str, tag: &str) {
        image.push(&self.site(site).registry.unlocked_host(), repository, tag);
    }

    /// The digest of a tag at a site.
    pub fn digest_at(&self, site: &str, repository: &str, tag: &str) -> Option<String> {
        check::digest(&self.site(site).registry.unlocked_host(), repository, tag).expect("the registry answers")
    }

    /// Waits until the image is at the site, and whole there.
    ///
    /// # Panics
    /// If it does not arrive.
    pub fn assert_arrives(&self, site: &str, image: &Image, repository: &str, tag: &str) {
        let wanted = Some(image.root().digest.clone());
        let arrived = wait::until(PATIENCE, || match self.digest_at(site, repository, tag) {
            found if found == wanted => Ok(()),
            found => Err(format!("{repository}:{tag} at {site} is {found:?}, not {wanted:?}")),
        });
        arrived.unwrap_or_else(|reason| panic!("{reason}\n{:#?}", self.serve.tasks()));
        check::whole(&self.site(site).registry.unlocked_host(), repository, tag)
            .unwrap_or_else(|reason| panic!("{repository}:{tag} at {site} is not whole: {reason}"));
    }
}

impl Site {
    /// The endpoint in the document.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Accepts connections, with this certificate from now on.
    fn open(&mut self, runtime: &tokio::runtime::Runtime, authority: &Authority, certificate: Certificate) {
        if let Some(door) = &self.door {
            door.show(authority, certificate).expect("a certificate can be made");
            return;
        }
        let opened = runtime.block_on(TlsProxy::start_at(
            self.address,
            self.faults.host(),
            authority,
            certificate,
        ));
        self.door = Some(opened.expect("the port of a site is free"));
    }

    /// Refuses connections, and closes those that are open.
    ///
    /// # Panics
    /// If the port is not free again in time.
    pub fn close(&mut self) {
        self.door = None;
        let is_closed = || TcpStream::connect(self.address).is_err();
        wait::until_true(PATIENCE, "the port of a site stays open", is_closed)
            .unwrap_or_else(|reason| panic!("{reason}"));
    }
}

/// The logins that the document names.
fn logins() -> [(&'static str, String); 2] {
    ["TRANSSHIP_LOGIN", "CLIENTS"].map(|name| (name, format!("{USER}:{PASSWORD}")))
}
