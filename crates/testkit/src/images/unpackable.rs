//! An image with valid layers: gzip-compressed tar archives with the digests of its configuration.

use std::io::Write as _;

use serde_json::{Value, json};
use transship_oci::Digest;
use transship_oci::media_type::{OCI_CONFIG, OCI_MANIFEST};

use super::Sample;
use super::draft::{Draft, LAYER, platform};

/// An image for programs that unpack it. Each layer contains one file with this number of random bytes.
pub fn unpackable(seed: u64, file_sizes: &[usize]) -> Sample {
    let mut draft = Draft::new(seed);
    let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
    for (part, size) in (1..).zip(file_sizes) {
        let tar = tar(&format!("file-{part}"), &draft.random(part, *size));
        diff_ids.push(Digest::sha256(&tar));
        layers.push(draft.blob(LAYER, gzip(&tar).into()));
    }
    let platform: Value = platform("amd64");
    let config = draft.json_blob(
        OCI_CONFIG,
        &json!({
            "architecture": platform["architecture"],
            "os": platform["os"],
            "created": "2026-01-01T00:00:00Z",
            "config": { "Cmd": ["/file-1"] },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        }),
    );
    draft.manifest(&json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers }));
    draft.finish()
}

/// A tar of one file.
fn tar(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    let mut tar = tar::Builder::new(Vec::new());
    // Neither step can fail, because the name is short and the destination is memory.
    let _ = tar.append_data(&mut header, name, bytes);
    tar.into_inner().unwrap_or_default()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    // Writing to memory cannot fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}
