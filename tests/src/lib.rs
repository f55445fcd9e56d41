//! What the black-box scenarios stand on: real registries, the built `transship`, a stranger's client, and a checker
//! that shares no code with the product.
//!
//! `cargo build --bin transship` comes first; `TRANSSHIP_BIN` names another binary. The stack takes the functions as well,
//! and MiniStack from `PyPI` (`tests/run` builds and installs all of it). The registries and skopeo are Debian's
//! (`apt-get install docker-registry skopeo curl`); a scenario that lacks them fails unless `TRANSSHIP_TESTS_SKIP_REAL=1`.
//!
//! Nothing here calls the product's crates. A scenario sees what a user sees: processes, HTTP, files, exit codes. Every
//! wait is bounded, every process ends with the value that started it, and every failure shows its log.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a black-box test ends by panicking, and everything here runs inside one"
)]

pub mod aws;
pub mod aws_faults;
pub mod check;
pub mod delivery;
pub mod docker_registry;
pub mod document;
pub mod failover;
pub mod fleet;
pub mod http;
pub mod images;
pub mod layouts;
pub mod process;
pub mod push;
pub mod random;
pub mod relay;
pub mod scenario;
pub mod serve;
pub mod skopeo;
pub mod stack;
pub mod template;
pub mod transship;
pub mod wait;
pub mod watch;

pub use check::{assert_consistent, assert_equal};
pub use docker_registry::DockerRegistry;
pub use document::Document;
pub use fleet::Fleet;
pub use images::Image;
pub use relay::Relay;
pub use scenario::Scenario;
pub use serve::Serve;
pub use stack::Stack;
pub use wait::until;
pub use watch::Watch;

/// The header value the registries of these tests send with their notifications, and the secret `serve` expects.
pub const HOOK_SECRET: &str = "Bearer a-secret-of-the-tests";
