//! skopeo, a stranger's client: pushes as users push.

use std::path::Path;
use std::process::Command;

/// Copies `reference` of an OCI layout folder to a registry, with all platforms of an index.
pub fn push_layout(layout: &Path, reference: &str, destination: &str) {
    copy(
        &["--all"],
        &format!("oci:{}:{reference}", layout.display()),
        &format!("docker://{destination}"),
    );
}

/// `skopeo copy` with further options, over plain HTTP.
///
/// # Panics
/// If skopeo fails, with what it said.
pub fn copy(options: &[&str], source: &str, destination: &str) {
    let done = Command::new("skopeo")
        .args(["copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false"])
        .args(options)
        .args([source, destination])
        .output()
        .expect("skopeo can be started");
    assert!(
        done.status.success(),
        "skopeo copy {source} {destination} fails: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}
