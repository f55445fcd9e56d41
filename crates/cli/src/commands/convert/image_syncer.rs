//! The configuration of image-syncer: the file of `--images`, of `--auth`, or both in one, JSON or YAML
//! (AliyunContainerService/image-syncer README.md).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};
use transship_oci::Result;

use super::draft::{Draft, Rule};
use super::image::{Image, add, credentials, name_of, registry_at};
use super::{invalid, read};
use crate::failure::Failure;

#[derive(Deserialize)]
struct Login {
    username: Option<String>,
    #[serde(default)]
    insecure: bool,
}

pub(super) fn draft(text: &str) -> Result<Draft, Failure> {
    let whole: BTreeMap<String, Value> = read(text)?;
    let map = |value: &Value| -> Result<BTreeMap<String, Value>, Failure> {
        serde_json::from_value(value.clone())
            .map_err(|error| invalid(&format!("the file is not a configuration of image-syncer: {error}")))
    };
    let (auth, images) = match (whole.get("auth"), whole.get("images")) {
        (None, None) => whole.into_iter().partition(|(_, value)| value.is_object()),
        (auth, images) => {
            let part = |part: Option<&Value>| part.map_or_else(|| Ok(BTreeMap::new()), map);
            (part(auth)?, part(images)?)
        }
    };
    let mut draft = Draft::default();
    for (place, login) in &auth {
        let login: Login = serde_json::from_value(login.clone())
            .map_err(|error| invalid(&format!("the login of {place:?} cannot be read: {error}")))?;
        add_login(place, &login, &mut draft);
    }
    for (from, to) in &images {
        let to: Vec<&str> = match to {
            Value::String(to) => vec![to],
            Value::Array(to) => to.iter().filter_map(Value::as_str).collect(),
            _ => {
                return Err(invalid(&format!(
                    "the destination of {from:?} is neither a text nor a list"
                )));
            }
        };
        for to in to {
            convert(from, to, &mut draft)?;
        }
    }
    if !images.is_empty() {
        draft.lose("image-syncer copies when it is run; the rules are started by hand. Write trigger: [event] where the source sends notifications");
    }
    Ok(draft)
}

fn add_login(place: &str, login: &Login, draft: &mut Draft) {
    let (host, namespace) = place.split_once('/').unwrap_or((place, ""));
    if !namespace.is_empty() {
        draft.lose(format!(
            "the login of {place} is for one namespace; here it is used for the whole registry"
        ));
    }
    let mut registry = registry_at(host, login.insecure);
    if login.username.as_deref().is_some_and(|user| !user.is_empty()) {
        let reference = credentials(host);
        draft.lose(format!(
            "the password of {place} is not repeated here: set {} to user:password",
            reference.trim_start_matches("env:")
        ));
        registry.credentials = Some(reference);
    }
    draft.registry(&name_of(host), registry);
}

fn convert(from: &str, to: &str, draft: &mut Draft) -> Result<(), Failure> {
    if to.trim().is_empty() {
        draft.lose(format!(
            "{from}: without a destination, image-syncer uses a default registry"
        ));
        return Ok(());
    }
    let (source, destination) = (Image::parse(from)?, Image::parse(to)?);
    if source.digest.is_some() {
        draft.lose(format!("{from}: an image by its digest. Copy it with transship copy"));
        return Ok(());
    }
    let (from_name, to_name) = (registry_of(&source.host, draft), registry_of(&destination.host, draft));
    let mut rule = Rule::new(source.repository.replace('/', "-"));
    rule.source = source.source(&from_name);
    rule.destination = destination.destination(&to_name);
    let tags = tags(source.tag.as_deref());
    let new_tags: Vec<&str> = destination.tag.iter().flat_map(|tags| tags.split(',')).collect();
    match (&tags, new_tags.as_slice()) {
        (Some(Value::Array(tags)), [new]) if tags.len() == 1 => rule.destination.push(("tag", json!(new))),
        (Some(Value::Array(tags)), new)
            if tags.len() == new.len() && tags.iter().zip(new).all(|(tag, new)| tag == new) => {}
        (_, []) => {}
        (_, new) => draft.lose(format!(
            "{from}: the new tags {}, because a rule gives one tag to one image",
            new.join(",")
        )),
    }
    rule.source.extend(tags.map(|tags| ("tag", tags)));
    rule.more = vec![("existing", json!("overwrite"))];
    draft.rule(rule);
    Ok(())
}

/// `v1,v2` or `/regex/`.
fn tags(written: Option<&str>) -> Option<Value> {
    let written = written?;
    let regex = written.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
    Some(match regex {
        Some(regex) => json!({ "regex": regex }),
        None => json!(written.split(',').map(str::trim).collect::<Vec<_>>()),
    })
}

fn registry_of(host: &str, draft: &mut Draft) -> String {
    add(draft, host)
}
