//! The parts of `.ci/release` that need no optimised build: the list of components, the zip of a function, and what it replaces in
//! the template.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;
use transship_tests::stack::root;
use transship_tests::template::Template;

fn printed(command: &mut Command) -> Vec<u8> {
    let output = command.current_dir(root()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    output.stdout
}

fn names(list: &Value, field: &str) -> BTreeSet<String> {
    let items = list.as_array().unwrap().iter();
    items.map(|item| item[field].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_list_of_components_is_complete_and_the_same_each_time() {
    let bytes = printed(&mut Command::new(root().join(".ci/sbom")));
    assert_eq!(bytes, printed(&mut Command::new(root().join(".ci/sbom"))));
    let bom: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(
        (&bom["bomFormat"], &bom["specVersion"]),
        (&"CycloneDX".into(), &"1.5".into())
    );
    let components = &bom["components"];
    let found = names(components, "name");
    for used in [
        "transship-webhook",
        "transship-worker",
        "transship-bulk-import",
        "transship-engine",
        "aws-sdk-sqs",
        "rustls",
        "tokio",
    ] {
        assert!(found.contains(used), "{used} is missing");
    }
    // Of tests, of the command, and of build scripts.
    for unused in [
        "insta",
        "proptest",
        "transship-testkit",
        "transship-local",
        "rusqlite",
        "cc",
    ] {
        assert!(!found.contains(unused), "{unused} must not be part of the functions");
    }
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    for component in components.as_array().unwrap() {
        let text = |field: &str| component[field].as_str().unwrap_or_default();
        let entry = format!("name = \"{}\"\nversion = \"{}\"\n", text("name"), text("version"));
        assert!(lock.contains(&entry), "{component}");
        assert_eq!(
            text("purl"),
            format!("pkg:cargo/{}@{}", text("name"), text("version")),
            "{component}"
        );
        assert!(component["licenses"][0]["expression"].is_string(), "{component}");
        let hash = component["hashes"][0]["content"].as_str();
        let is_ours = text("name").starts_with("transship");
        assert_eq!(hash.is_none(), is_ours, "{component}");
        assert!(hash.is_none_or(|hash| lock.contains(hash)), "{component}");
    }
    let references = names(components, "bom-ref");
    assert_eq!(names(&bom["dependencies"], "ref"), references);
    for dependency in bom["dependencies"].as_array().unwrap() {
        for on in dependency["dependsOn"].as_array().unwrap() {
            assert!(references.contains(on.as_str().unwrap()), "{on} is not described");
        }
    }
}

#[test]
fn a_function_is_one_executable_in_a_zip_that_is_the_same_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("transship-webhook");
    std::fs::write(&binary, b"the function").unwrap();
    let zipped = |name: &str| {
        let zip = folder.path().join(name);
        printed(Command::new(root().join(".ci/zip-function")).args([&binary, &zip]));
        std::fs::read(zip).unwrap()
    };
    let first = zipped("a.zip");
    assert_eq!(first, zipped("b.zip"));
    let list = "import sys, zipfile\nfor one in zipfile.ZipFile(sys.argv[1]).infolist(): print(one.filename, oct(one.external_attr >> 16), one.file_size)";
    let listed = printed(
        Command::new("python3")
            .args(["-c", list])
            .arg(folder.path().join("a.zip")),
    );
    assert_eq!(String::from_utf8(listed).unwrap(), "bootstrap 0o100755 12\n");
}

#[test]
fn the_template_has_what_the_release_replaces() {
    let template = Template::read("template.yaml");
    let script = std::fs::read_to_string(root().join(".ci/release")).unwrap();
    for function in ["webhook", "worker", "bulk-import"] {
        let line = format!("CodeUri: functions/{function}\n");
        assert_eq!(template.text().matches(&line).count(), 1, "{line}");
        assert!(script.contains(function));
    }
    assert_eq!(template.text().matches("BuildMethod: rust-cargolambda\n").count(), 3);
    assert_eq!(template.default_of("Architecture"), "x86_64");
}
