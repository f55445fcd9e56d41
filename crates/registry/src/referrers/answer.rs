//! Judges what a referrers endpoint returned: a list, no list, or a list that was damaged on its way.
//!
//! The content decides. Registries send the list as `application/json` (Harbor 2.8 to 2.10, harbor#19690), as `text/plain`
//! (go-containerregistry#1760) and in capitals (regclient#417). Only HTML, which is a login page or an application, is not
//! looked at.

use serde::Deserialize;
use serde_json::{Map, Value};
use transship_oci::{Code, Descriptor, Error, MediaType};

/// What a body is.
#[derive(Debug)]
pub(super) enum Answer {
    /// A page of the list.
    List(Vec<Descriptor>),
    /// Not a list: the registry has no such API.
    Other,
    /// A list that cannot be read.
    Damaged(Error),
}

/// True for a page that is made for people.
pub(super) fn is_html(content_type: Option<&str>) -> bool {
    let essence = essence(content_type);
    essence == "text/html" || essence == "application/xhtml+xml"
}

/// Judges a body that is not HTML by its type.
pub(super) fn judge(content_type: Option<&str>, body: &[u8]) -> Answer {
    let value: Value = match serde_json::from_slice(body) {
        Ok(value) => value,
        Err(error) if essence(content_type).ends_with("json") || looks_like_an_object(body) => {
            return Answer::Damaged(Error::refused(Code::ManifestInvalid, error));
        }
        Err(_) => return Answer::Other,
    };
    let Value::Object(mut index) = value else {
        return Answer::Other;
    };
    if !is_index(&index) {
        return Answer::Other;
    }
    match index.remove("manifests") {
        None | Some(Value::Null) => Answer::List(Vec::new()),
        Some(manifests) => match Vec::<Descriptor>::deserialize(manifests) {
            Ok(listed) => Answer::List(listed),
            Err(error) => Answer::Damaged(Error::refused(Code::ManifestInvalid, error)),
        },
    }
}

/// An index has `manifests`. Where that is absent, as an empty list may be, it says what it is.
fn is_index(object: &Map<String, Value>) -> bool {
    let is_version_2 = object.get("schemaVersion").is_none_or(|version| *version == 2);
    let media_type = object.get("mediaType").and_then(Value::as_str);
    let says_index = media_type.is_some_and(|text| MediaType::new(text).is_index());
    is_version_2 && (object.contains_key("manifests") || says_index)
}

fn looks_like_an_object(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"{")
}

fn essence(content_type: Option<&str>) -> String {
    MediaType::new(content_type.unwrap_or_default())
        .as_str()
        .to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use transship_oci::media_type::OCI_INDEX;

    use super::*;

    const ONE: &str = r#"{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":7}]}"#;

    fn listed(content_type: Option<&str>, body: &str) -> Option<usize> {
        match judge(content_type, body.as_bytes()) {
            Answer::List(listed) => Some(listed.len()),
            Answer::Other => None,
            Answer::Damaged(error) => panic!("{body}: {error}"),
        }
    }

    #[test]
    fn the_body_is_the_list_whatever_its_type() {
        for content_type in [
            Some(OCI_INDEX),
            Some("application/json"),
            Some("text/plain; charset=utf-8"),
            Some("Application/Vnd.OCI.Image.Index.V1+JSON"),
            Some("application/octet-stream"),
            None,
        ] {
            assert_eq!(listed(content_type, ONE), Some(1), "{content_type:?}");
        }
    }

    #[test]
    fn null_is_empty_and_anything_else_is_no_list() {
        for empty in [
            r#"{"schemaVersion":2,"manifests":null}"#,
            r#"{"schemaVersion":2,"manifests":[]}"#,
            r#"{"manifests":[]}"#,
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json"}"#,
        ] {
            assert_eq!(listed(Some("application/json"), empty), Some(0), "{empty}");
        }
        for other in [
            "{}",
            "[]",
            "7",
            r#"{"errors":[]}"#,
            r#"{"schemaVersion":1,"manifests":[]}"#,
        ] {
            assert_eq!(listed(Some("application/json"), other), None, "{other}");
        }
        assert_eq!(listed(Some("text/plain"), "404 page not found"), None);
        assert_eq!(listed(None, ""), None);
    }

    #[test]
    fn a_damaged_list_is_not_an_absent_one() {
        for (content_type, body) in [
            (Some(OCI_INDEX), "x"),
            (Some("Application/JSON"), &ONE[..90]),
            (Some("text/plain"), &ONE[..90]),
            (None, &ONE[..90]),
            (Some("application/json"), r#"{"manifests":[7]}"#),
            (Some("application/json"), r#"{"manifests":{}}"#),
        ] {
            assert!(
                matches!(judge(content_type, body.as_bytes()), Answer::Damaged(_)),
                "{body}"
            );
        }
    }

    #[test]
    fn a_page_for_people_is_known_by_its_type() {
        assert!(is_html(Some("text/html; charset=utf-8")) && is_html(Some("Text/HTML")));
        assert!(!is_html(Some("text/plain")) && !is_html(None));
    }
}
