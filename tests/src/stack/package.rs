//! What `sam package` does, for the emulator: function code and nested templates as artifacts, and the template with their
//! places in it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The templates that `template.yaml` nests.
const NESTED: [&str; 2] = ["access", "observability"];
const FUNCTIONS: [&str; 3] = ["webhook", "worker", "bulk-import"];

/// `template.yaml` with the places of its artifacts, and with what the emulator needs: its own address for the functions;
/// a number where it would keep the text of a parameter (`MaximumConcurrency`, MiniStack 1.5); and buckets that may be
/// asked over plain HTTP, for it speaks nothing else.
pub(super) fn template(endpoint: &str, bucket: &str) -> String {
    let mut text = read(&root().join("template.yaml"));
    let mut replace_all = |from: &str, to: &str, times: usize| {
        assert_eq!(text.matches(from).count(), times, "how often the template has {from:?}");
        text = text.replace(from, to);
    };
    let plain_http = (
        "Bool: { \"aws:SecureTransport\": \"false\" }",
        "StringEquals: { \"aws:UserAgent\": nobody }",
    );
    replace_all(plain_http.0, plain_http.1, 2);
    let mut replace = |from: &str, to: &str| replace_all(from, to, 1);
    for name in FUNCTIONS {
        let place = format!("CodeUri: {{ Bucket: {bucket}, Key: {name}.zip }}");
        replace(&format!("CodeUri: functions/{name}"), &place);
    }
    for name in NESTED {
        let place = format!("Location: {endpoint}/{bucket}/{name}.yaml");
        replace(&format!("Location: infra/{name}.yaml"), &place);
    }
    let level = "        RUST_LOG: !Ref LogLevel\n";
    replace(level, &format!("{level}        AWS_ENDPOINT_URL: {endpoint}\n"));
    replace("MaximumConcurrency: !Ref WorkerConcurrency", "MaximumConcurrency: 10");
    text
}

/// The artifacts by name. Made once for all stacks of a test program.
pub(super) fn artifacts() -> &'static [(&'static str, Vec<u8>)] {
    static ARTIFACTS: OnceLock<Vec<(&str, Vec<u8>)>> = OnceLock::new();
    ARTIFACTS.get_or_init(|| {
        let nested = |name| read(&root().join(format!("infra/{name}.yaml"))).into_bytes();
        vec![
            ("webhook.zip", zipped(&executable("transship-webhook"))),
            ("worker.zip", zipped(&executable("transship-worker"))),
            ("bulk-import.zip", zipped(&executable("transship-bulk-import"))),
            ("access.yaml", access(&read(&root().join("infra/access.yaml")))),
            ("observability.yaml", nested("observability")),
        ]
    })
}

/// The roles. AWS knows one action for sending messages, and the emulator (MiniStack 1.5) another one for batches of them.
fn access(text: &str) -> Vec<u8> {
    let (known, asked) = ("sqs:SendMessage\n", "[sqs:SendMessage, sqs:SendMessageBatch]\n");
    assert!(text.contains(known), "the roles may send messages");
    text.replace(known, asked).into_bytes()
}

/// The top of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_owned)
        .unwrap_or_default()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A built function without its debug information, which is most of it.
fn executable(name: &str) -> Vec<u8> {
    let built = crate::transship::built(name);
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let stripped = folder.path().join(name);
    let done = Command::new("strip").arg("-o").arg(&stripped).arg(&built).status();
    let path = if done.is_ok_and(|status| status.success()) {
        stripped
    } else {
        built
    };
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A zip archive with these bytes as the executable `bootstrap`, not compressed (APPNOTE.TXT 4.3).
fn zipped(bytes: &[u8]) -> Vec<u8> {
    const NAME: &[u8] = b"bootstrap";
    const EXECUTABLE: u32 = 0o100_755 << 16;
    let size = u32::try_from(bytes.len()).expect("a function is smaller than 4 GiB");
    let name_size = u16::try_from(NAME.len()).expect("the name is short");
    // Version, flags, method "stored", 1980-01-01 00:00, then what both headers say of the content.
    let mut facts = Vec::new();
    for word in [20_u16, 0, 0, 0, 0x21] {
        facts.extend(word.to_le_bytes());
    }
    for double in [crc32(bytes), size, size] {
        facts.extend(double.to_le_bytes());
    }
    facts.extend(name_size.to_le_bytes());
    facts.extend(0_u16.to_le_bytes());

    let mut archive = b"PK\x03\x04".to_vec();
    archive.extend(&facts);
    archive.extend(NAME);
    archive.extend(bytes);
    let directory_start = u32::try_from(archive.len()).expect("a function is smaller than 4 GiB");
    archive.extend(b"PK\x01\x02");
    // Made on Unix (3), by version 2.0.
    archive.extend([20, 3]);
    archive.extend(&facts);
    // No comment, disk 0, no text.
    archive.extend([0; 6]);
    archive.extend(EXECUTABLE.to_le_bytes());
    archive.extend(0_u32.to_le_bytes());
    archive.extend(NAME);
    let directory_size = u32::try_from(archive.len()).expect("small") - directory_start;
    archive.extend(b"PK\x05\x06");
    archive.extend([0, 0, 0, 0, 1, 0, 1, 0]);
    archive.extend(directory_size.to_le_bytes());
    archive.extend(directory_start.to_le_bytes());
    archive.extend([0; 2]);
    archive
}

/// The checksum of zip (IEEE 802.3, reflected).
fn crc32(bytes: &[u8]) -> u32 {
    let table: Vec<u32> = (0..256_u32)
        .map(|byte| {
            (0..8).fold(byte, |value, _| {
                if value & 1 == 1 {
                    0xEDB8_8320 ^ (value >> 1)
                } else {
                    value >> 1
                }
            })
        })
        .collect();
    !bytes.iter().fold(u32::MAX, |value, byte| {
        table[usize::from(value.to_le_bytes()[0] ^ byte)] ^ (value >> 8)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_zip() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn everything_the_template_names_is_replaced() {
        let text = template("http://127.0.0.1:1", "artifacts");
        assert!(!text.contains("functions/") && !text.contains("Location: infra/"));
    }
}
