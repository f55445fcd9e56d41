//! Which addresses may be connected to. Names are resolved, every address is checked, and the connection uses a checked
//! address.
//!
//! An endpoint that is a literal loopback or private address is the permission for that host and port; this includes
//! `localhost`. A *name* that resolves to a private address needs `network: private`. Link-local and reserved addresses, the
//! metadata services of clouds, the prefixes that carry an IPv4 address through IPv6 networks, and the Lambda Runtime API are
//! always denied. Other tools check only literal addresses, but attacks use names.
//!
//! A proxy of the environment resolves names, so behind one only literal addresses are checked, and names without a public suffix
//! are denied unless the operator wrote them.
//!
//! Sources: IANA IPv4 and IPv6 special-purpose address registries; the metadata pages of AWS, Azure, Google Cloud, Oracle and
//! Alibaba Cloud.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use transship_oci::Result;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use transship_oci::{Network, RegistryHost};
use url::{Host, Url};

use crate::SiteTarget;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Class of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Public,
    Private,
    Loopback,
    Never,
}

/// Decides which hosts a registry's client may connect to.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    network: Network,
    /// Host and port of an endpoint that is a literal loopback or private address.
    literal: Option<(String, u16)>,
    /// `host:port` of the Lambda Runtime API, which is always denied.
    runtime_api: Option<String>,
    /// Proxies from the environment variables, which the operator set explicitly.
    proxies: HashSet<String>,
    /// The names of the registry, which the operator wrote.
    names: HashSet<String>,
    /// Addresses that the operator wrote for the registry, and its port.
    addresses: (HashSet<IpAddr>, Option<u16>),
    /// A name that is not resolved, because it is reached at one site.
    pinned: Option<(String, SiteTarget)>,
}

/// Why a connection was denied. It is found in the causes of an HTTP error.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Denied(pub(crate) String);

impl Guard {
    /// `names` are the other hosts of the registry.
    pub(crate) fn new(endpoint: &Url, names: &[RegistryHost], network: Network) -> Self {
        let literal = endpoint
            .host()
            .filter(is_literal)
            .and_then(|host| Some((host.to_string(), endpoint.port_or_known_default()?)));
        let proxies = [
            "HTTPS_PROXY",
            "https_proxy",
            "HTTP_PROXY",
            "http_proxy",
            "ALL_PROXY",
            "all_proxy",
        ]
        .iter()
        .filter_map(|name| std::env::var(name).ok())
        .filter_map(|value| {
            Url::parse(&value)
                .or_else(|_| Url::parse(&format!("http://{value}")))
                .ok()
        })
        .filter_map(|url| url.host_str().map(str::to_ascii_lowercase))
        .collect();
        Self {
            network,
            literal,
            runtime_api: std::env::var("AWS_LAMBDA_RUNTIME_API").ok(),
            proxies,
            names: names
                .iter()
                .map(|name| name.hostname().to_owned())
                .chain(endpoint.host_str().map(str::to_owned))
                .collect(),
            addresses: (HashSet::new(), endpoint.port_or_known_default()),
            pinned: None,
        }
    }

    /// The same guard, for connections to the endpoint's name at `target`. The name is not resolved.
    pub(crate) fn pinned_to(mut self, endpoint: &Url, target: SiteTarget) -> Self {
        self.pinned = endpoint.host_str().map(|name| (name.to_owned(), target));
        self
    }

    /// True if the endpoint's name is reached at one site.
    pub(crate) const fn is_pinned(&self) -> bool {
        self.pinned.is_some()
    }

    /// The addresses of `name`, which may be connected to.
    async fn resolve(&self, name: &str) -> Result<Vec<SocketAddr>, BoxError> {
        let pinned = self
            .pinned
            .as_ref()
            .filter(|(pinned, _)| pinned.eq_ignore_ascii_case(name));
        let found = match pinned {
            Some((_, SiteTarget::Addresses(addresses))) => {
                addresses.iter().map(|address| SocketAddr::new(*address, 0)).collect()
            }
            Some((_, SiteTarget::Alias(alias))) => tokio::net::lookup_host((alias.as_str(), 0)).await?.collect(),
            None => tokio::net::lookup_host((name, 0)).await?.collect(),
        };
        Ok(self.resolved(name, found)?)
    }

    /// The same guard, which also allows `addresses`: literally with the port of the endpoint, and as addresses of the names of
    /// the registry.
    pub(crate) fn allowing(mut self, addresses: &[IpAddr]) -> Self {
        self.addresses.0.extend(addresses);
        self
    }

    /// True if the endpoint is reached without a proxy: a literal loopback or private address, or one site of a name.
    pub(crate) const fn is_direct(&self) -> bool {
        self.literal.is_some() || self.pinned.is_some()
    }

    /// Rejects a URL whose host is a denied address. Names are checked when they are resolved.
    pub(crate) fn check(&self, url: &Url) -> Result<(), Denied> {
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(Denied("the URL has no host".into()));
        };
        let name = host.to_string();
        let address = match &host {
            Host::Ipv4(address) => Some(IpAddr::V4(*address)),
            Host::Ipv6(address) => Some(IpAddr::V6(*address)),
            Host::Domain(name) if is_localhost(name) => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            Host::Domain(_) => None,
        };
        if self.is_runtime_api(&name, address, port) {
            return Err(Denied(format!("{name}:{port} is the Lambda Runtime API")));
        }
        let Some(address) = address else {
            return self.check_name(&name);
        };
        let permitted = self
            .literal
            .as_ref()
            .is_some_and(|(host, number)| *host == name && *number == port)
            || self.addresses.0.contains(&address) && self.addresses.1 == Some(port);
        self.permit(address, permitted)
            .map_err(|why| Denied(format!("{name}:{port} is {why}")))
    }

    /// A proxy resolves names, so their addresses cannot be checked. A name of the inside, which a registry may redirect to, has
    /// no public suffix.
    fn check_name(&self, name: &str) -> Result<(), Denied> {
        let is_public = || psl::suffix(name.as_bytes()).is_some_and(|suffix| suffix.is_known());
        if self.proxies.is_empty() || self.network == Network::Private || self.names.contains(name) || is_public() {
            return Ok(());
        }
        Err(Denied(format!(
            "{name} is not a public name, and a proxy would resolve it: add it to `hosts` of the registry, or set `network: private`"
        )))
    }

    /// True for the address of the Lambda Runtime API, under any of its names.
    fn is_runtime_api(&self, name: &str, address: Option<IpAddr>, port: u16) -> bool {
        let Some((api, api_port)) = self.runtime_api.as_deref().and_then(|api| api.rsplit_once(':')) else {
            return false;
        };
        let is_loopback = |address| reach(address) == Reach::Loopback;
        let is_same = api == name
            || address.is_some_and(is_loopback) && (is_localhost(api) || api.parse().is_ok_and(is_loopback));
        is_same && api_port.parse() == Ok(port)
    }

    /// `permitted` means that the endpoint itself is this address.
    fn permit(&self, address: IpAddr, permitted: bool) -> Result<(), &'static str> {
        match reach(address) {
            Reach::Public => Ok(()),
            Reach::Never => Err("a link-local, multicast, reserved or metadata address, which is always denied"),
            Reach::Private if permitted || self.network == Network::Private => Ok(()),
            Reach::Loopback if permitted => Ok(()),
            Reach::Private => Err("a private address: set `network: private` on the registry to allow it"),
            Reach::Loopback => Err("a loopback address: write it as the endpoint to allow it"),
        }
    }

    fn resolved(&self, name: &str, addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Denied> {
        if self.proxies.contains(&name.to_ascii_lowercase()) {
            return Ok(addresses);
        }
        let permitted = is_localhost(name) && self.literal.as_ref().is_some_and(|(host, _)| host == name);
        let is_named = self.names.contains(&name.to_ascii_lowercase());
        let is_written = |address: &IpAddr| is_named && self.addresses.0.contains(address);
        let mut refused = None;
        let good: Vec<SocketAddr> = addresses
            .into_iter()
            .filter(
                |address| match self.permit(address.ip(), permitted || is_written(&address.ip())) {
                    Ok(()) => true,
                    Err(why) => {
                        refused = Some(format!("{name} resolves to {}, {why}", address.ip()));
                        false
                    }
                },
            )
            .collect();
        match refused {
            Some(why) if good.is_empty() => Err(Denied(why)),
            _ => Ok(good),
        }
    }
}

/// Resolves names with the system's resolver and checks the addresses with the guard.
pub(crate) struct GuardedResolver(pub(crate) Arc<Guard>);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = Arc::clone(&self.0);
        Box::pin(async move {
            let addresses = guard.resolve(name.as_str()).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost")
}

fn is_literal<S: AsRef<str>>(host: &Host<S>) -> bool {
    match host {
        Host::Ipv4(address) => reach(IpAddr::V4(*address)) != Reach::Public,
        Host::Ipv6(address) => reach(IpAddr::V6(*address)) != Reach::Public,
        Host::Domain(name) => is_localhost(name.as_ref()),
    }
}

/// Addresses of metadata services outside the link-local ranges: Azure's wire server, Alibaba Cloud.
const METADATA_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(100, 100, 100, 200)];
/// Addresses of metadata services in IPv6: AWS's for instances and for pods, Google Cloud.
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            if v4.is_loopback() {
                Reach::Loopback
            } else if a == 0
                || v4.is_link_local()
                || v4.is_multicast()
                // Reserved, and the broadcast address.
                || a >= 240
                // IETF protocol assignments; Oracle Cloud's metadata service is in it.
                || [a, b, c] == [192, 0, 0]
                || METADATA_V4.contains(&v4)
            {
                Reach::Never
            } else if v4.is_private() || (a == 100 && b & 0xc0 == 64) || (a == 198 && b & 0xfe == 18) {
                Reach::Private
            } else {
                Reach::Public
            }
        }
        IpAddr::V6(v6) => {
            if let Some(v4) = v6.to_ipv4_mapped() {
                return reach(IpAddr::V4(v4));
            }
            // The NAT64 prefix 64:ff9b::/96 contains an IPv4 address as well.
            if let [0x64, 0xff9b, 0, 0, 0, 0, high, low] = v6.segments() {
                let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
                return reach(IpAddr::V4(Ipv4Addr::new(a, b, c, d)));
            }
            if v6.is_loopback() {
                Reach::Loopback
            } else if v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_unicast_link_local()
                || METADATA_V6.contains(&v6)
                || carries_v4(v6)
            {
                Reach::Never
            } else if v6.is_unique_local() {
                Reach::Private
            } else {
                Reach::Public
            }
        }
    }
}

/// True for an address that a router may turn into any IPv4 address: IPv4-compatible, 6to4, Teredo, and the NAT64 prefix for
/// local use.
const fn carries_v4(address: Ipv6Addr) -> bool {
    matches!(
        address.segments(),
        [0, 0, 0, 0, 0, 0, _, _] | [0x2002, ..] | [0x2001, 0, ..] | [0x64, 0xff9b, 1, ..]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(endpoint: &str, network: Network) -> Guard {
        Guard {
            runtime_api: Some("127.0.0.1:9001".into()),
            proxies: HashSet::new(),
            ..Guard::new(&Url::parse(endpoint).unwrap(), &[], network)
        }
    }

    fn ok(guard: &Guard, url: &str) -> bool {
        guard.check(&Url::parse(url).unwrap()).is_ok()
    }

    #[test]
    fn a_literal_address_is_permission_for_itself_only() {
        let local = guard("http://127.0.0.1:5000", Network::Public);
        assert!(ok(&local, "http://127.0.0.1:5000/v2/"));
        for url in [
            "http://127.0.0.1:5001/",
            "http://127.0.0.1:9001/",
            "http://10.0.0.1/",
            "http://169.254.169.254/",
            "http://localhost:5000/",
            "http://[::1]:5000/",
        ] {
            assert!(!ok(&local, url), "{url}");
        }
        assert!(ok(&local, "https://storage.example.com/"));
        assert!(ok(
            &guard("http://localhost:5000", Network::Public),
            "http://localhost:5000/v2/"
        ));
    }

    #[test]
    fn the_lambda_runtime_api_is_no_registry_whatever_it_is_called() {
        for name in [
            "127.0.0.1",
            "localhost",
            "127.1",
            "[::ffff:127.0.0.1]",
            "[::1]",
            "a.localhost",
        ] {
            let (api, other) = (format!("http://{name}:9001/v2/"), format!("http://{name}:9002/v2/"));
            assert!(!ok(&guard(&api, Network::Private), &api), "{api}");
            assert!(ok(&guard(&other, Network::Private), &other), "{other}");
        }
    }

    #[test]
    fn whatever_way_an_address_is_written_it_is_the_same_address() {
        let public = guard("https://r.example.com", Network::Public);
        for url in [
            "http://2130706433/",
            "http://0x7f.1/",
            "http://[::ffff:127.0.0.1]/",
            "http://0/",
            "http://[::ffff:a9fe:a9fe]/",
            "http://[fd00:ec2::254]/",
            "http://[64:ff9b::a9fe:a9fe]/",
            "http://100.64.0.1/",
        ] {
            assert!(!ok(&public, url), "{url}");
        }
    }

    #[test]
    fn a_name_that_resolves_to_a_private_address_needs_the_word_private() {
        let address = |text: &str| vec![SocketAddr::new(text.parse().unwrap(), 0)];
        let public = guard("https://r.example.com", Network::Public);
        let private = guard("https://r.example.com", Network::Private);
        assert!(public.resolved("r.example.com", address("10.1.2.3")).is_err());
        assert!(private.resolved("r.example.com", address("10.1.2.3")).is_ok());
        for guard in [&public, &private] {
            assert!(guard.resolved("r.example.com", address("127.0.0.1")).is_err());
            assert!(guard.resolved("r.example.com", address("169.254.169.254")).is_err());
            assert!(guard.resolved("r.example.com", address("93.184.216.34")).is_ok());
        }
        // Only the allowed ones of several addresses are used.
        let mixed = vec![
            SocketAddr::new("10.0.0.1".parse().unwrap(), 0),
            SocketAddr::new("93.184.216.34".parse().unwrap(), 0),
        ];
        assert_eq!(public.resolved("r.example.com", mixed).unwrap().len(), 1);
    }

    #[test]
    fn every_special_address_has_its_class() {
        for (class, addresses) in [
            (
                Reach::Never,
                &[
                    "0.0.0.0",
                    "0.1.2.3",
                    "169.254.169.254",
                    "169.254.170.2",
                    "168.63.129.16",
                    "100.100.100.200",
                    "192.0.0.1",
                    "192.0.0.192",
                    "224.0.0.1",
                    "240.0.0.1",
                    "255.255.255.255",
                    "::",
                    "::10.0.0.1",
                    "::ffff:169.254.169.254",
                    "::ffff:100.100.100.200",
                    "64:ff9b::a9fe:a9fe",
                    "64:ff9b:1::a00:1",
                    "2002:a9fe:a9fe::1",
                    "2002:5db8:d822::",
                    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
                    "fe80::1",
                    "fe80::a9fe:a9fe",
                    "ff02::1",
                    "fd00:ec2::254",
                    "fd00:ec2::23",
                    "fd20:ce::254",
                ][..],
            ),
            (
                Reach::Loopback,
                &["127.0.0.1", "127.255.0.1", "::1", "::ffff:127.0.0.1"],
            ),
            (
                Reach::Private,
                &[
                    "10.0.0.1",
                    "172.31.255.255",
                    "192.168.1.1",
                    "100.64.0.1",
                    "100.127.255.255",
                    "198.18.0.1",
                    "fc00::1",
                    "fd12:3456::1",
                    "64:ff9b::a00:1",
                ],
            ),
            (
                Reach::Public,
                &[
                    "93.184.216.34",
                    "100.128.0.1",
                    "172.32.0.1",
                    "192.0.1.1",
                    "223.255.255.255",
                    "64:ff9b::5db8:d822",
                    "2606:2800:220:1::1",
                    "2001:db8::1",
                ],
            ),
        ] {
            for address in addresses {
                assert_eq!(reach(address.parse().unwrap()), class, "{address}");
            }
        }
    }

    #[test]
    fn an_address_that_is_always_denied_is_denied_as_endpoint_too() {
        for address in [
            "169.254.169.254",
            "168.63.129.16",
            "100.100.100.200",
            "[fd00:ec2::23]",
            "[2002:a00:1::]",
        ] {
            let url = format!("http://{address}/");
            assert!(!ok(&guard(&url, Network::Private), &url), "{address}");
        }
    }

    #[test]
    fn an_address_of_a_record_is_permission_for_the_names_of_its_registry() {
        let site = guard("https://site.example.com", Network::Public);
        let addresses = ["10.0.8.4", "127.0.0.2", "169.254.169.254"].map(|text| text.parse().unwrap());
        let resolves = |guard: &Guard, name: &str, address: &str| {
            let address = SocketAddr::new(address.parse().unwrap(), 0);
            guard.resolved(name, vec![address]).is_ok()
        };
        assert!(!resolves(&site, "site.example.com", "10.0.8.4"));
        let site = site.allowing(&addresses);
        for address in ["10.0.8.4", "127.0.0.2", "93.184.216.34"] {
            assert!(resolves(&site, "site.example.com", address), "{address}");
        }
        for (name, address) in [
            ("site.example.com", "10.0.8.5"),
            ("site.example.com", "127.0.0.1"),
            ("cdn.example.com", "10.0.8.4"),
            // The metadata service is always denied.
            ("site.example.com", "169.254.169.254"),
        ] {
            assert!(!resolves(&site, name, address), "{name} {address}");
        }
        assert!(ok(&site, "https://10.0.8.4/v2/"));
        for url in [
            "https://10.0.8.4:8443/v2/",
            "https://10.0.8.5/v2/",
            "https://169.254.169.254/",
        ] {
            assert!(!ok(&site, url), "{url}");
        }
    }

    #[test]
    fn behind_a_proxy_a_name_of_the_inside_is_denied() {
        let proxied = |network| Guard {
            proxies: HashSet::from(["proxy.corp".to_owned()]),
            ..Guard::new(
                &Url::parse("https://r.corp").unwrap(),
                &["images.corp".parse().unwrap()],
                network,
            )
        };
        let public = proxied(Network::Public);
        for url in [
            "https://r.corp/v2/",
            "https://images.corp/",
            "https://cdn.example.com/",
            "https://b.s3.amazonaws.com/",
        ] {
            assert!(ok(&public, url), "{url}");
        }
        for url in [
            "http://metadata.internal/",
            "http://metadata.internal.test/",
            "http://intranet/",
            "http://other.corp/",
        ] {
            assert!(!ok(&public, url), "{url}");
            assert!(ok(&proxied(Network::Private), url), "{url}");
            assert!(
                ok(&guard("https://r.corp", Network::Public), url),
                "without a proxy it is checked when it is resolved: {url}"
            );
        }
    }
}
