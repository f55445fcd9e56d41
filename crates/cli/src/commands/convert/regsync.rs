//! regsync.yml of regclient (regclient/regclient `cmd/regsync/config.go`).

use serde::Deserialize;
use serde_json::{Value, json};
use transship_oci::{Platform, Result};

use super::draft::{Draft, Rule, schedule};
use super::image::{Image, add, credentials, name_of, registry_at};
use super::read;
use crate::failure::Failure;

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    creds: Vec<Host>,
    #[serde(default)]
    defaults: Option<Settings>,
    #[serde(default)]
    sync: Vec<Sync>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Host {
    registry: String,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    cred_helper: Option<String>,
    #[serde(default)]
    tls: Option<String>,
    #[serde(default)]
    req_per_sec: Option<f64>,
    #[serde(default)]
    regcert: Option<String>,
}

/// What each entry may have, and `defaults` for all.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Settings {
    #[serde(default)]
    interval: Option<Value>,
    #[serde(default)]
    schedule: Option<String>,
    #[serde(default)]
    backup: Option<String>,
    #[serde(default)]
    platform: Option<String>,
    #[serde(default)]
    platforms: Option<Vec<String>>,
    #[serde(default)]
    media_types: Option<Vec<String>>,
    #[serde(default)]
    referrers: Option<bool>,
    #[serde(default)]
    referrer_filters: Option<Value>,
    #[serde(default)]
    digest_tags: Option<bool>,
    #[serde(default)]
    ratelimit: Option<Value>,
    #[serde(default)]
    parallel: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sync {
    source: String,
    target: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    tags: Option<Filter>,
    #[serde(default)]
    tag_sets: Option<Value>,
    #[serde(default)]
    repos: Option<Filter>,
    #[serde(flatten)]
    settings: Settings,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    #[serde(default)]
    allow: Vec<String>,
    #[serde(default)]
    deny: Vec<String>,
    #[serde(default)]
    semver_range: Vec<String>,
}

pub(super) fn draft(text: &str) -> Result<Draft, Failure> {
    let config: Config = read(text)?;
    let mut draft = Draft::default();
    for host in &config.creds {
        add_host(host, &mut draft);
    }
    let defaults = config.defaults.unwrap_or_default();
    if defaults.ratelimit.is_some() {
        draft.lose("ratelimit: Transship waits when a registry says so (Retry-After)");
    }
    if defaults.parallel.is_some() {
        draft.lose("parallel: see serve --concurrency");
    }
    for sync in &config.sync {
        convert(sync, &defaults, &mut draft)?;
    }
    Ok(draft)
}

fn add_host(host: &Host, draft: &mut Draft) {
    let name = &host.registry;
    let mut registry = registry_at(name, host.tls.as_deref() == Some("disabled"));
    registry.requests_per_second = host.req_per_sec.filter(|rate| *rate > 0.0);
    if host.user.is_some() {
        let reference = credentials(name);
        draft.lose(format!(
            "the password of {name} is not repeated here: set {} to user:password",
            reference.trim_start_matches("env:")
        ));
        registry.credentials = Some(reference);
    } else if host.cred_helper.is_some() {
        registry.credentials = Some("docker".to_owned());
        draft.lose(format!(
            "the credential helper of {name}: name it in Docker's configuration (credHelpers)"
        ));
    }
    if host.tls.as_deref() == Some("insecure") {
        draft.lose(format!(
            "certificates of {name} are not verified there. Transship always verifies them: add its authority under tls"
        ));
    }
    if host.regcert.is_some() {
        draft.lose(format!(
            "the certificate of {name}: write it into a file and refer to it under tls.authorities"
        ));
    }
    draft.registry(&name_of(name), registry);
}

fn convert(sync: &Sync, defaults: &Settings, draft: &mut Draft) -> Result<(), Failure> {
    let is_directory = |text: &str| text.starts_with("ocidir://");
    if is_directory(&sync.source) || is_directory(&sync.target) {
        draft.lose(format!(
            "{} to {}: a directory. Use transship import or copy",
            sync.source, sync.target
        ));
        return Ok(());
    }
    let mut rule = match sync.kind.as_str() {
        "registry" => whole_registry(sync, draft),
        "repository" => repository(sync, draft)?,
        "image" => {
            let Some(rule) = image(sync, draft)? else { return Ok(()) };
            rule
        }
        kind => {
            draft.lose(format!("{} to {}: the type {kind}", sync.source, sync.target));
            return Ok(());
        }
    };
    settings(&sync.settings, defaults, &mut rule, draft);
    draft.rule(rule);
    Ok(())
}

fn image(sync: &Sync, draft: &mut Draft) -> Result<Option<Rule>, Failure> {
    let (from, to) = (Image::parse(&sync.source)?, Image::parse(&sync.target)?);
    if from.digest.is_some() {
        draft.lose(format!(
            "{}: an image by its digest. Copy it with transship copy",
            sync.source
        ));
        return Ok(None);
    }
    let (source, destination) = (add(draft, &from.host), add(draft, &to.host));
    let tag = from.tag.clone().unwrap_or_else(|| "latest".to_owned());
    let mut rule = Rule::new(format!("{}-{tag}", from.repository.replace('/', "-")));
    rule.source = from.source(&source);
    rule.destination = to.destination(&destination);
    let new = to.tag.clone().unwrap_or_else(|| "latest".to_owned());
    if new != tag {
        rule.destination.push(("tag", json!(new)));
    }
    rule.source.push(("tag", json!(tag)));
    Ok(Some(rule))
}

fn repository(sync: &Sync, draft: &mut Draft) -> Result<Rule, Failure> {
    let (from, to) = (Image::parse(&sync.source)?, Image::parse(&sync.target)?);
    let (source, destination) = (add(draft, &from.host), add(draft, &to.host));
    let mut rule = Rule::new(from.repository.replace('/', "-"));
    rule.source = from.source(&source);
    rule.destination = to.destination(&destination);
    rule.source.extend(tags(sync, draft).map(|tags| ("tag", tags)));
    Ok(rule)
}

fn whole_registry(sync: &Sync, draft: &mut Draft) -> Rule {
    let place = |text: &str| {
        let (host, path) = text.split_once('/').unwrap_or((text, ""));
        (host.to_owned(), path.trim_matches('/').to_owned())
    };
    let ((from, below), (to, into)) = (place(&sync.source), place(&sync.target));
    let (source, destination) = (add(draft, &from), add(draft, &to));
    let mut rule = Rule::new(format!("{source}-to-{destination}"));
    rule.source = vec![("registry", json!(source)), ("namespace", json!(below))];
    if let Some(repos) = &sync.repos {
        rule.source.extend(filter(repos).map(|filter| ("repository", filter)));
    }
    rule.source.extend(tags(sync, draft).map(|tags| ("tag", tags)));
    rule.destination = vec![("registry", json!(destination))];
    if !into.is_empty() {
        rule.destination
            .extend([("namespace", json!(into)), ("flatten", json!(0))]);
    }
    rule
}

fn tags(sync: &Sync, draft: &mut Draft) -> Option<Value> {
    if sync.tag_sets.is_some() {
        draft.lose(format!("{}: tagSets. Write a rule for each set", sync.source));
    }
    filter(sync.tags.as_ref()?)
}

/// regsync anchors its expressions.
fn filter(filter: &Filter) -> Option<Value> {
    let anchored = |regex: &String| format!("^(?:{regex})$");
    let mut fields = serde_json::Map::new();
    if !filter.allow.is_empty() {
        let allow: Vec<String> = filter.allow.iter().map(anchored).collect();
        fields.insert("regex".to_owned(), json!(allow));
    }
    if !filter.semver_range.is_empty() {
        fields.insert("semver".to_owned(), json!(filter.semver_range));
    }
    if !filter.deny.is_empty() {
        let deny: Vec<Value> = filter
            .deny
            .iter()
            .map(|regex| json!({ "regex": anchored(regex) }))
            .collect();
        fields.insert("exclude".to_owned(), json!(deny));
    }
    (!fields.is_empty()).then_some(Value::Object(fields))
}

/// The cron expression of an interval such as `60m` or `6h`, if the times of an hour or a day can have it.
fn every(interval: &str) -> Option<String> {
    let parsed: jiff::SignedDuration = interval.parse().ok()?;
    let minutes = parsed.as_mins();
    if minutes < 1 || jiff::SignedDuration::from_mins(minutes) != parsed {
        return None;
    }
    match minutes {
        60 => Some("0 * * * *".to_owned()),
        1440 => Some("0 0 * * *".to_owned()),
        ..60 if 60 % minutes == 0 => Some(format!("*/{minutes} * * * *")),
        61..1440 if minutes % 60 == 0 && 24 % (minutes / 60) == 0 => Some(format!("0 */{} * * *", minutes / 60)),
        _ => None,
    }
}

fn settings(own: &Settings, defaults: &Settings, rule: &mut Rule, draft: &mut Draft) {
    let name = rule.name.clone();
    let when = own.schedule.clone().or_else(|| defaults.schedule.clone());
    let interval = own.interval.clone().or_else(|| defaults.interval.clone());
    rule.schedule = match (&when, &interval) {
        (Some(when), _) => schedule(when),
        (None, Some(interval)) => interval.as_str().and_then(every),
        (None, None) => None,
    };
    if let (None, Some(when)) = (
        &rule.schedule,
        when.or_else(|| interval.map(|interval| interval.to_string())),
    ) {
        draft.lose(format!("rule {name}: the schedule {when}. The rule is started by hand"));
    }
    let backup = own.backup.as_ref().or(defaults.backup.as_ref());
    let existing = match backup {
        Some(template) => {
            draft.lose(format!(
                "rule {name}: the template {template:?} of backups. existing: backup has a name of its own"
            ));
            "backup"
        }
        None => "overwrite",
    };
    rule.more.push(("existing", json!(existing)));
    let is_set = |own: Option<bool>, default: Option<bool>| own.or(default).unwrap_or(false);
    let has_referrers = is_set(own.referrers, defaults.referrers) || is_set(own.digest_tags, defaults.digest_tags);
    if !has_referrers {
        rule.more.push(("referrers", json!("exclude")));
    }
    if own.referrer_filters.is_some() || defaults.referrer_filters.is_some() {
        draft.lose(format!("rule {name}: filters of referrers. All are copied"));
    }
    // One is copied as its manifest; of several the index is copied unchanged.
    if let Some(one) = own.platform.clone().or_else(|| defaults.platform.clone()) {
        add_platforms(&[one], false, rule, draft);
    } else if let Some(several) = own.platforms.clone().or_else(|| defaults.platforms.clone()) {
        add_platforms(&several, true, rule, draft);
    }
    if own.media_types.is_some() || defaults.media_types.is_some() {
        draft.lose(format!("rule {name}: mediaTypes. See kinds"));
    }
}

fn add_platforms(written: &[String], sparse: bool, rule: &mut Rule, draft: &mut Draft) {
    let (known, odd): (Vec<&String>, Vec<&String>) =
        (written.iter()).partition(|text| text.parse::<Platform>().is_ok());
    for text in odd {
        draft.lose(format!(
            "rule {}: the platform {text:?}, which is not os/architecture",
            rule.name
        ));
    }
    if !known.is_empty() {
        let platforms = if sparse {
            json!({ "only": known, "sparse": true })
        } else {
            json!(known)
        };
        rule.more.push(("platforms", platforms));
    }
}
