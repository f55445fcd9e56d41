//! Registered commands keep the promises of the port: a small program over a file, and programs that fail.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use transship_dns::DnsCommand;
use transship_engine::names::{Entry, Names, Receipt};
use transship_oci::Code;
use transship_rules::Hostname;
use transship_testkit::suites::{self, EXTERNAL_DNS, NamesUnderTest, OWNED};

/// A zone in a JSON file beside the program, locked while it is used.
const PROGRAM: &str = r#"import fcntl, json, os, sys
folder = os.path.dirname(os.path.abspath(__file__))
request = json.load(sys.stdin)
assert request["version"] == 1
lock = open(os.path.join(folder, "lock"), "w")
fcntl.flock(lock, fcntl.LOCK_EX)
path = os.path.join(folder, "zone.json")
zone = json.load(open(path)) if os.path.exists(path) else {}
name = request.get("name")
found = zone.get(name, {})
same = lambda entry: [[(r["type"], r["values"]) for r in entry.get("records", [])], entry.get("texts", [])]
operation = request["operation"]
if operation == "zone":
    answer = {"zone": "example.com"}
elif operation == "read":
    answer = {"found": dict(found, owner="external-dns (owner default)") if name == "OWNED.example.com" else found}
elif operation == "swap":
    if same(found) == same(request["before"]):
        zone[name] = request["after"]
        json.dump(zone, open(path, "w"))
        answer = {"changed": "change-1"}
    else:
        answer = {"moved": found}
elif operation == "answers":
    answer = {"answers": [{"server": "balancer", "found": found}]}
json.dump(answer, sys.stdout)
"#;

/// A command that runs the shell text `body`. It is a link to a program that no process has open for writing.
fn command(folder: &Path, body: &str) -> PathBuf {
    std::fs::write(folder.join("body"), body).unwrap();
    let path = folder.join("command");
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/run-body");
    std::os::unix::fs::symlink(program, &path).unwrap();
    path
}

#[tokio::test]
async fn a_command_keeps_the_promises_of_the_port() {
    let folders = std::sync::Mutex::new(Vec::new());
    assert!(EXTERNAL_DNS.contains("owner=default"));
    let make = async || {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("zone.py"), PROGRAM.replace("OWNED", OWNED)).unwrap();
        let program = command(folder.path(), "exec python3 \"$(dirname \"$0\")/zone.py\"");
        folders.lock().unwrap().push(folder);
        NamesUnderTest {
            names: Arc::new(DnsCommand::new("balancer", program)),
            zone: "example.com".parse().unwrap(),
        }
    };
    suites::names(make).await;
}

#[tokio::test]
async fn a_command_that_does_not_answer_as_agreed_is_named() {
    let name: Hostname = "images.example.com".parse().unwrap();
    for (program, code, said) in [
        (
            "echo no such account >&2\nexit 3\n",
            Code::DnsCommandFailed,
            "no such account",
        ),
        ("cat >/dev/null\n", Code::DnsCommandFailed, "its output is not valid"),
        (
            "echo '{\"found\": {\"records\": [{\"type\": \"MX\", \"values\": [\"a\"], \"ttl\": 1}]}}'\n",
            Code::DnsCommandFailed,
            "CNAME, A and AAAA",
        ),
        (
            "echo '{\"found\": {\"records\": [{\"type\": \"A\", \"values\": [\"x\"], \"ttl\": 1}]}}'\n",
            Code::DnsCommandFailed,
            "not a value of A",
        ),
        (
            "echo '{\"zone\": \"example.com\"}'\n",
            Code::DnsCommandFailed,
            "another operation",
        ),
        ("echo '{\"refused\": \"no right\"}'\n", Code::DnsRefused, "no right"),
        (
            "echo '{\"unavailable\": \"no route\"}'\n",
            Code::DnsUnavailable,
            "no route",
        ),
        ("head -c 2000000 /dev/zero\n", Code::DnsCommandFailed, "larger than"),
    ] {
        let folder = TempDir::new().unwrap();
        let command = DnsCommand::new("balancer", command(folder.path(), program));
        let error = command.read(&name).await.unwrap_err();
        assert!(error.is(code) && error.to_string().contains(said), "{program}: {error}");
        assert!(error.to_string().contains("balancer"), "{error}");
    }
    let missing = DnsCommand::new("balancer", "/nowhere/command");
    let error = missing
        .swap(&name, &Entry::default(), &Entry::default())
        .await
        .unwrap_err();
    assert!(error.is(Code::DnsCommandFailed), "{error}");
    assert!(missing.answers(&name, &Receipt::default()).await.is_err());
}
