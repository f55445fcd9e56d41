//! The replication configuration of Amazon ECR, as `aws ecr describe-registry` prints it.

use serde::Deserialize;
use serde_json::json;
use transship_oci::{Provider, Result};

use super::draft::{Draft, Registry, Rule};
use super::{invalid, read};
use crate::failure::Failure;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    registry_id: Option<String>,
    replication_configuration: Option<Configuration>,
}

#[derive(Deserialize)]
struct Configuration {
    #[serde(default)]
    rules: Vec<Replication>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Replication {
    #[serde(default)]
    destinations: Vec<Place>,
    #[serde(default)]
    repository_filters: Vec<Filter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    region: String,
    registry_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    filter: String,
    filter_type: String,
}

pub(super) fn draft(text: &str) -> Result<Draft, Failure> {
    let described: Described = read(text)?;
    let (Some(account), Some(configuration)) = (described.registry_id, described.replication_configuration) else {
        return Err(invalid(
            "the file has no registryId and replicationConfiguration: print it with aws ecr describe-registry",
        ));
    };
    let mut draft = Draft::default();
    draft.lose("the region of the source is not in the file: registries.source has us-east-1, write your own in endpoint and region");
    let source = draft.registry("source", registry(&account, "us-east-1"));
    for (number, replication) in configuration.rules.iter().enumerate() {
        for place in &replication.destinations {
            let to = draft.registry(
                &format!("ecr-{}-{}", place.registry_id, place.region),
                registry(&place.registry_id, &place.region),
            );
            let mut rule = Rule::new(format!("rule-{}-{}", number + 1, to));
            rule.on_event = true;
            rule.source = vec![("registry", json!(source)), ("namespace", json!(""))];
            let globs = globs(&replication.repository_filters, &rule.name, &mut draft);
            rule.source
                .extend((!globs.is_empty()).then(|| ("repository", json!({ "glob": globs }))));
            rule.destination = vec![("registry", json!(to))];
            rule.more = vec![("existing", json!("overwrite"))];
            draft.rule(rule);
        }
    }
    Ok(draft)
}

/// A prefix of characters, not of path components.
fn globs(filters: &[Filter], rule: &str, draft: &mut Draft) -> Vec<String> {
    let mut globs = Vec::new();
    for filter in filters {
        if filter.filter_type == "PREFIX_MATCH" {
            globs.extend([format!("{}*", filter.filter), format!("{}*/**", filter.filter)]);
        } else {
            draft.lose(format!(
                "rule {rule}: the filter {} of the type {}",
                filter.filter, filter.filter_type
            ));
        }
    }
    globs
}

fn registry(account: &str, region: &str) -> Registry {
    let domain = if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else {
        "amazonaws.com"
    };
    let endpoint = format!("https://{account}.dkr.ecr.{region}.{domain}");
    Registry {
        region: Some(region.to_owned()),
        ..Registry::new(Provider::Ecr, endpoint)
    }
}
