//! Checks how the deliveries of a registry are read and authenticated.

use transship_notifications::{EntraCloud, Format, Identity, SignedUrl};
use transship_oci::{Code, Provider};
use url::Url;

use super::registry::reference;
use crate::error::{Diagnostics, fault, shown};
use crate::path::Path;
use crate::raw::{self, TextOr};
use crate::registry::Webhook;

/// The format that signs the URL of its target.
const SIGNING_BUS: &str = "aliyun-eventbridge";

/// The format of the deliveries, and how they are authenticated; [`None`] if none are accepted or what is written is not valid.
pub(super) fn webhook(
    raw: Option<TextOr<raw::Webhook>>,
    provider: Provider,
    region: Option<&str>,
    path: &Path,
    diagnostics: &mut Diagnostics,
) -> (Format, Option<Webhook>) {
    let format = Format::of(provider);
    let table = match raw {
        None => return (format, None),
        Some(TextOr::Text(word)) if word == "none" => return (format, Some(Webhook::Anyone)),
        Some(TextOr::Text(_)) => {
            let sentence = "expected none or a mapping such as { secret: \"env:NAME\" }".to_owned();
            diagnostics.error(path.clone(), fault(Code::ConfigInvalid, sentence));
            return (format, None);
        }
        Some(TextOr::Table(table)) => table,
    };
    let format = match &table.format {
        Some(name) => named(name, &path.key("format"), diagnostics).unwrap_or(format),
        None => format,
    };
    let signed_url = table
        .url
        .and_then(|url| signed_url(url, format, region, &path.key("url"), diagnostics));
    let proof = match (table.secret, table.identity) {
        (Some(secret), None) => reference(&secret, &path.key("secret"), diagnostics)
            .map(|reference| Webhook::Secret { reference, signed_url }),
        (None, Some(raw)) => identity(raw, &path.key("identity"), diagnostics),
        (Some(_), Some(_)) => {
            let sentence = "the sender shows either a secret or a token: remove secret or identity".to_owned();
            diagnostics.error(path.clone(), fault(Code::ConfigInvalid, sentence));
            None
        }
        (None, None) => {
            let sentence = "it has neither secret nor identity: write secret: \"env:NAME\"".to_owned();
            diagnostics.error(path.clone(), fault(Code::ConfigInvalid, sentence));
            None
        }
    };
    (format, proof)
}

fn named(name: &str, path: &Path, diagnostics: &mut Diagnostics) -> Option<Format> {
    let format = name.parse().map_err(|_| {
        let names: Vec<&str> = Format::all().map(Format::as_str).collect();
        let sentence = format!(
            "{} is not the name of a format: expected one of {}",
            shown(name),
            names.join(", ")
        );
        fault(Code::ConfigInvalid, sentence)
    });
    diagnostics.accept(path, format)
}

/// The URL is kept as it is written, because a signature covers its text.
fn signed_url(
    url: String,
    format: Format,
    region: Option<&str>,
    path: &Path,
    diagnostics: &mut Diagnostics,
) -> Option<SignedUrl> {
    let is_url = Url::parse(&url).is_ok_and(|url| matches!(url.scheme(), "https" | "http"));
    let is_region = |region: &&str| {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !region.is_empty() && region.bytes().all(is_plain)
    };
    let checked = match region.filter(is_region) {
        _ if format.as_str() != SIGNING_BUS => Err(format!(
            "only deliveries of the format {SIGNING_BUS} have a signature of their URL"
        )),
        _ if !is_url => Err("expected the public URL of this webhook, with http or https".to_owned()),
        None => Err("the certificates of the bus are those of a region: add region to the registry".to_owned()),
        Some(region) => Ok(SignedUrl {
            url,
            region: region.to_owned(),
        }),
    };
    diagnostics.accept(path, checked.map_err(|why| fault(Code::ConfigInvalid, why)))
}

fn identity(raw: raw::Identity, path: &Path, diagnostics: &mut Diagnostics) -> Option<Webhook> {
    let keys = match raw.keys {
        Some(text) => Some(reference(&text, &path.key("keys"), diagnostics)?),
        None => None,
    };
    let application = raw.application;
    let cloud = raw.cloud.as_deref().map_or(Some(EntraCloud::Public), EntraCloud::parse);
    let identity = match (raw.email, raw.tenant) {
        _ if raw.audience.is_empty() => Err("the audience is empty: write the one that is configured at the sender"),
        (Some(_), None) if application.is_some() || raw.cloud.is_some() => {
            Err("an application and a cloud belong to a tenant: remove them, or write tenant")
        }
        (Some(email), None) if email.contains('@') => Ok(Identity::Google {
            audience: raw.audience,
            email,
        }),
        (Some(_), None) => Err("the email is not that of a service account"),
        (None, Some(tenant)) if is_uuid(&tenant) && application.as_deref().is_none_or(is_uuid) => {
            entra(raw.audience, tenant, application, cloud)
        }
        (None, Some(_)) => Err("tenant and application are ids such as 00000000-0000-0000-0000-000000000000"),
        _ => Err("write either email, for Google, or tenant, for Microsoft Entra"),
    };
    let identity = identity.map_err(|why| fault(Code::ConfigInvalid, why.to_owned()));
    Some(Webhook::Identity {
        identity: diagnostics.accept(path, identity)?,
        keys,
    })
}

fn entra(
    audience: String,
    tenant: String,
    application: Option<String>,
    cloud: Option<EntraCloud>,
) -> Result<Identity, &'static str> {
    let cloud = cloud.ok_or("the cloud is not known: write public, us-government or china")?;
    let application = application.or_else(|| cloud.event_grid_application().map(str::to_owned));
    let application = application.ok_or("write application: the id of Event Grid in this cloud is not published")?;
    Ok(Identity::Entra {
        audience,
        tenant,
        application,
        cloud,
    })
}

/// In lower case, as tokens have it.
fn is_uuid(text: &str) -> bool {
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    let is_digit = |byte: u8| byte == b'-' || byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    groups == [8, 4, 4, 4, 12] && text.bytes().all(is_digit)
}
