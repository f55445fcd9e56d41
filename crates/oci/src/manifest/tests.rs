use std::collections::BTreeMap;

use super::*;
use crate::media_type::{
    DOCKER_CONFIG, DOCKER_LIST, DOCKER_MANIFEST, HELM_CONFIG, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST,
};

fn parse(text: &str) -> Result<Manifest, Error> {
    Manifest::parse(Bytes::copy_from_slice(text.as_bytes()), None)
}

fn blob(kind: &str) -> String {
    format!(
        r#"{{"mediaType":"{kind}","digest":"{}","size":3}}"#,
        Digest::sha256(b"abc")
    )
}

#[test]
fn the_bytes_are_kept_and_the_edges_found() {
    let text = format!(
        "{{ \"schemaVersion\":2, \"x-unknown\":[1], \"config\":{}, \"layers\":[{},{}], \"annotations\":null }}\n",
        blob(OCI_CONFIG),
        blob("a/b"),
        blob("application/vnd.oci.image.layer.nondistributable.v1.tar")
    );
    let manifest = parse(&text).unwrap();
    assert_eq!(manifest.bytes(), text.as_bytes());
    assert_eq!(manifest.media_type().as_str(), OCI_MANIFEST);
    assert_eq!(manifest.blobs().count(), 3);
    assert!(manifest.blobs().last().unwrap().media_type.is_non_distributable());
    assert_eq!(manifest.kind(), Kind::Image);
}

#[test]
fn kinds_are_told_by_the_config() {
    let with = |config: &str| {
        parse(&format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[]}}"#,
            blob(config)
        ))
        .unwrap()
        .kind()
    };
    assert_eq!(with(HELM_CONFIG), Kind::Chart);
    assert_eq!(with(DOCKER_CONFIG), Kind::Image);
    assert_eq!(with("application/vnd.oci.empty.v1+json"), Kind::Artifact);
    assert_eq!(
        parse(r#"{"schemaVersion":2,"manifests":[]}"#).unwrap().kind(),
        Kind::Image
    );
}

#[test]
fn what_misleads_is_refused_with_its_code() {
    let both = format!(
        r#"{{"schemaVersion":2,"config":{},"layers":[],"manifests":[]}}"#,
        blob("a/b")
    );
    for (text, code) in [
        (both.as_str(), "MANIFEST_AMBIGUOUS"),
        (
            r#"{"schemaVersion":1,"name":"x","fsLayers":[]}"#,
            "MANIFEST_SCHEMA1_UNSUPPORTED",
        ),
        (r#"{"schemaVersion":2,"fsLayers":[]}"#, "MANIFEST_SCHEMA1_UNSUPPORTED"),
        (r#"{"schemaVersion":2,"layers":[]}"#, "MANIFEST_INVALID"),
        (
            r#"{"schemaVersion":2,"mediaType":"application/x","config":null}"#,
            "MANIFEST_UNSUPPORTED",
        ),
        ("[]", "MANIFEST_INVALID"),
        ("{", "MANIFEST_INVALID"),
        ("\u{feff}{}", "MANIFEST_INVALID"),
        ("<html>", "MANIFEST_INVALID"),
        (
            r#"{"schemaVersion":2,"config":{"mediaType":"a/b","digest":"sha256:../..","size":1}}"#,
            "MANIFEST_INVALID",
        ),
        (
            r#"{"schemaVersion":2,"manifests":[{"mediaType":"a/b","digest":"sha256:00","size":-1}]}"#,
            "MANIFEST_INVALID",
        ),
    ] {
        assert_eq!(parse(text).unwrap_err().code(), code, "{text}");
    }
    let index = Bytes::from_static(
        br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#,
    );
    assert_eq!(
        Manifest::parse(index.clone(), Some(OCI_MANIFEST)).unwrap_err().code(),
        "MEDIA_TYPE_MISMATCH"
    );
    assert!(Manifest::parse(index, Some("application/vnd.oci.image.index.v1+json; charset=utf-8")).is_ok());
    assert_eq!(
        Manifest::parse(Bytes::from(vec![b' '; MAX_BYTES + 1]), None)
            .unwrap_err()
            .code(),
        "MANIFEST_TOO_LARGE"
    );
}

#[test]
fn deep_nesting_is_an_error_not_a_crash() {
    let text = format!(
        "{{\"schemaVersion\":2,\"x\":{}{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert_eq!(parse(&text).unwrap_err().code(), "MANIFEST_INVALID");
}

#[test]
fn null_is_an_empty_list_or_map() {
    let config = blob(OCI_CONFIG);
    let all_null = "\"artifactType\":null,\"subject\":null,\"annotations\":null,\"mediaType\":null";
    let image = parse(&format!(
        r#"{{"schemaVersion":2,"config":{config},"layers":null,"manifests":null,{all_null}}}"#
    ))
    .unwrap();
    assert_eq!((image.is_index(), image.blobs().count()), (false, 1));
    assert_eq!(image.media_type().as_str(), OCI_MANIFEST);
    for own in ["null", &format!("\"{OCI_INDEX}\""), &format!("\"{DOCKER_LIST}\"")] {
        let text = format!(r#"{{"schemaVersion":2,"mediaType":{own},"manifests":null,"layers":null,"config":null}}"#);
        let index = parse(&text).unwrap();
        assert!(index.is_index() && index.children().is_empty(), "{text}");
    }
    let digest = Digest::sha256(b"abc");
    let index = parse(&format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{OCI_MANIFEST}","digest":"{digest}","size":3,"urls":null,"data":null,
        "artifactType":null,"annotations":null,"platform":null}}]}}"#
    ))
    .unwrap();
    let plain = Descriptor::new(OCI_MANIFEST.into(), digest, 3);
    assert_eq!(index.children(), [plain]);
}

#[test]
fn annotations_and_platforms_refuse_nothing() {
    let config = blob(OCI_CONFIG);
    for odd in [
        r#"{"a":null}"#,
        r#"{"a":1,"b":{"c":[]}}"#,
        "[]",
        r#""text""#,
        "7",
        r#"{"os":null,"architecture":null,"variant":null}"#,
        r#"{"os":1,"architecture":[],"variant":{}}"#,
        r#"{"a":"\ud800"}"#,
        &format!("{}{}", "[".repeat(1000), "]".repeat(1000)),
    ] {
        let entry = format!(
            r#"{{"mediaType":"a/b","digest":"{}","size":3,"annotations":{odd},"platform":{odd},"urls":{odd},"data":{odd},"artifactType":{odd}}}"#,
            Digest::sha256(b"abc")
        );
        let child = entry.replace("a/b", OCI_MANIFEST);
        for text in [
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{entry}],"annotations":{odd}}}"#),
            format!(r#"{{"schemaVersion":2,"manifests":[{child}],"annotations":{odd}}}"#),
        ] {
            parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        }
    }
    let kept = parse(&format!(
        r#"{{"schemaVersion":2,"config":{config},"layers":[],"annotations":{{"null":null,"text":"x","number":1}}}}"#
    ))
    .unwrap();
    let annotations = kept.referrer_descriptor().annotations;
    assert_eq!(
        annotations,
        BTreeMap::from([("null".into(), String::new()), ("text".into(), "x".into())])
    );
}

#[test]
fn what_is_read_of_a_manifest_is_bounded() {
    let config = blob(OCI_CONFIG);
    let notes: Vec<String> = (0..50_000).map(|number| format!(r#""{number:05}":"""#)).collect();
    let notes = notes.join(",");
    let noted = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"annotations":{{{notes}}}}}"#);
    let listed = parse(&noted).unwrap().referrer_descriptor().annotations;
    assert_eq!(listed.len(), 1_000);
    assert!(listed.contains_key("00000"));
    let entry = config.replacen('{', r#"{"annotations":{"a":"b"},"#, 1);
    let image = parse(&format!(r#"{{"schemaVersion":2,"config":{entry},"layers":[{entry}]}}"#)).unwrap();
    assert!(image.blobs().all(|blob| blob.annotations.is_empty()));
    let alone: Descriptor = serde_json::from_str(&entry).unwrap();
    assert_eq!(alone.annotations.len(), 1);
    let layers = format!(
        r#"{{"schemaVersion":2,"config":{config},"layers":[0{}]}}"#,
        ",0".repeat(100_000)
    );
    let refusal = parse(&layers).unwrap_err();
    assert_eq!(refusal.code(), "MANIFEST_INVALID");
    assert!(refusal.to_string().contains("100001 descriptors"), "{refusal}");
}

#[test]
fn an_error_names_the_descriptor() {
    let digest = Digest::sha256(b"abc");
    let good = blob("a/b");
    let child = |fields: &str| format!(r#"{{"schemaVersion":2,"manifests":[{{{fields}}}]}}"#);
    let blake3 = format!("blake3:{}", "0".repeat(64));
    for (text, code, words) in [
        (
            format!(r#"{{"schemaVersion":2,"config":{{"mediaType":"a/b","digest":"{digest}"}},"layers":[]}}"#),
            "MANIFEST_INVALID",
            "config has no size",
        ),
        (
            format!(r#"{{"schemaVersion":2,"config":{good},"layers":[{good},{{"mediaType":"a/b","size":1}}]}}"#),
            "MANIFEST_INVALID",
            "layers[1] has no digest",
        ),
        (
            format!(r#"{{"schemaVersion":2,"config":{good},"layers":[null]}}"#),
            "MANIFEST_INVALID",
            "layers[0] is not a descriptor",
        ),
        (
            format!(r#"{{"schemaVersion":2,"config":{good},"layers":{{}}}}"#),
            "MANIFEST_INVALID",
            "layers is not a list",
        ),
        (
            format!(r#"{{"schemaVersion":2,"config":{good},"layers":[],"subject":{{"digest":7}}}}"#),
            "MANIFEST_INVALID",
            "subject has no digest",
        ),
        (
            child(&format!(r#""digest":"{digest}","size":1"#)),
            "MANIFEST_INVALID",
            "manifests[0] has no mediaType",
        ),
        (
            child(&format!(r#""mediaType":"a/b","digest":"{digest}","size":-1"#)),
            "MANIFEST_INVALID",
            "manifests[0] has the size \"-1\"",
        ),
        (
            child(r#""mediaType":"a/b","digest":"sha256:0","size":1"#),
            "MANIFEST_INVALID",
            "manifests[0]: the digest is not valid",
        ),
        (
            child(&format!(r#""mediaType":"a/b","digest":"{blake3}","size":1"#)),
            "DIGEST_UNSUPPORTED",
            "\"blake3\": manifests[0]",
        ),
    ] {
        let error = parse(&text).unwrap_err();
        assert_eq!(error.code(), code, "{text}");
        assert!(error.to_string().contains(words), "{error}");
        assert!(!error.to_string().contains("column"), "{error}");
    }
}

#[test]
fn a_blob_needs_no_media_type_and_a_subject_only_a_digest() {
    let digest = Digest::sha256(b"abc");
    let layer = format!(r#"{{"digest":"{digest}","size":3}}"#);
    let manifest = parse(&format!(
        r#"{{"schemaVersion":2,"config":{layer},"layers":[{layer}],"subject":{{"digest":"{digest}"}}}}"#
    ))
    .unwrap();
    assert_eq!(manifest.blobs().count(), 2);
    assert_eq!(manifest.subject().unwrap().digest, digest);
}

#[test]
fn the_body_outranks_its_sender() {
    let as_sent = |text: &str, sent| Manifest::parse(Bytes::from(text.to_owned()), Some(sent));
    let image =
        |own: &str, config: &str| format!(r#"{{"schemaVersion":2,{own}"config":{},"layers":[]}}"#, blob(config));
    let index = |own: &str, child: &str| format!(r#"{{"schemaVersion":2,{own}"manifests":[{}]}}"#, blob(child));
    let own = |kind: &str| format!(r#""mediaType":"{kind}","#);
    for (text, sent, is) in [
        (image("", OCI_CONFIG), DOCKER_MANIFEST, OCI_MANIFEST),
        (image("", HELM_CONFIG), DOCKER_MANIFEST, OCI_MANIFEST),
        (image("", DOCKER_CONFIG), DOCKER_MANIFEST, DOCKER_MANIFEST),
        (image("", DOCKER_CONFIG), OCI_MANIFEST, OCI_MANIFEST),
        (image(&own(OCI_MANIFEST), OCI_CONFIG), DOCKER_MANIFEST, OCI_MANIFEST),
        (
            image(&own(DOCKER_MANIFEST), DOCKER_CONFIG),
            OCI_MANIFEST,
            DOCKER_MANIFEST,
        ),
        (index("", OCI_MANIFEST), DOCKER_LIST, OCI_INDEX),
        (index("", DOCKER_MANIFEST), DOCKER_LIST, DOCKER_LIST),
        (index(&own(OCI_INDEX), OCI_MANIFEST), DOCKER_LIST, OCI_INDEX),
        (index(&own(DOCKER_LIST), DOCKER_MANIFEST), OCI_INDEX, DOCKER_LIST),
    ] {
        let manifest = as_sent(&text, sent).unwrap();
        assert_eq!(manifest.media_type().as_str(), is, "{sent} {text}");
        assert_eq!(
            manifest.sent_as().map(MediaType::as_str),
            Some(sent).filter(|sent| *sent != is)
        );
    }
    for (text, sent, code) in [
        (image(&own(OCI_MANIFEST), OCI_CONFIG), OCI_INDEX, "MEDIA_TYPE_MISMATCH"),
        (
            index(&own(OCI_INDEX), OCI_MANIFEST),
            DOCKER_MANIFEST,
            "MEDIA_TYPE_MISMATCH",
        ),
        (index("", OCI_MANIFEST), OCI_MANIFEST, "MANIFEST_AMBIGUOUS"),
        (image("", OCI_CONFIG), OCI_INDEX, "MANIFEST_INVALID"),
    ] {
        assert_eq!(as_sent(&text, sent).unwrap_err().code(), code, "{sent} {text}");
    }
}

#[test]
fn a_retired_artifact_manifest_is_refused_by_its_name() {
    for kind in [media_type::OCI_ARTIFACT, media_type::ORAS_ARTIFACT] {
        let text = format!(r#"{{"mediaType":"{kind}","artifactType":"a/b","blobs":[]}}"#);
        let untyped = Bytes::from_static(br#"{"artifactType":"a/b","blobs":[]}"#);
        for error in [
            parse(&text).unwrap_err(),
            Manifest::parse(untyped, Some(kind)).unwrap_err(),
        ] {
            assert_eq!(error.code(), "MANIFEST_UNSUPPORTED");
            assert!(error.to_string().contains(kind), "{error}");
        }
        assert!(
            MediaType::new(kind).is_manifest(),
            "a registry stores it with the manifests"
        );
    }
}
