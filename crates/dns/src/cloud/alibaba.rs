//! Alibaba Cloud `PrivateZone`, API version 2018-01-01, signed with ACS3-HMAC-SHA256.
//!
//! Sources: Alibaba Cloud, "Request structure and signature V3" (with the test vector below); `PrivateZone` API reference,
//! `DescribeZoneInfo`, `DescribeZoneRecords`, `AddZoneRecord`, `UpdateZoneRecord`, `DeleteZoneRecord`.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use secrecy::ExposeSecret;
use serde_json::Value;
use transship_copy::Clock;
use transship_engine::Secrets;
use transship_engine::names::Names;
use transship_oci::{Code, Error, Network, Operation, Result};
use transship_rules::{CloudZone, SecretReference};
use url::Url;

use super::access_key::AccessKey;
use super::request::{Codes, Endpoint, hex, hmac_sha256, number, seconds, sha256, text, timestamp};
use super::{Draft, RecordByRecord, RecordService, Stored};

const VERSION: &str = "2018-01-01";
const ALGORITHM: &str = "ACS3-HMAC-SHA256";
/// The number of records of a page; the largest is 100.
const PAGE: usize = 100;

/// Source: Alibaba Cloud, "Common error codes"; `PrivateZone`, "Error codes".
const CODES: Codes = Codes {
    clock: &["InvalidTimeStamp.Expired", "InvalidTimeStamp.Format"],
    zone: &["Zone.NotExists", "Zone.Invalid.Id", "Zone.Invalid.UserId"],
    unavailable: &["Throttling", "ServiceUnavailable", "InternalError", "System"],
};

/// The zone `zone` of `PrivateZone`. Its access key is read for every request.
pub fn private_zone(zone: &CloudZone, secrets: Arc<dyn Secrets>, clock: Arc<dyn Clock>) -> Result<Arc<dyn Names>> {
    let (url, network) = match &zone.endpoint {
        Some(url) => (Ok(url.clone()), Network::Private),
        None => (Url::parse("https://pvtz.aliyuncs.com"), Network::Public),
    };
    let url = url.map_err(|error| Error::refused(Code::DnsZoneInvalid, error))?;
    Ok(Arc::new(RecordByRecord(PrivateZone {
        endpoint: Endpoint { url, network },
        zone: zone.zone.clone(),
        credentials: zone.credentials.clone(),
        secrets,
        clock,
    })))
}

struct PrivateZone {
    endpoint: Endpoint,
    zone: String,
    credentials: SecretReference,
    secrets: Arc<dyn Secrets>,
    clock: Arc<dyn Clock>,
}

/// The headers that are signed, apart from the parameters.
struct Head<'a> {
    host: &'a str,
    action: &'a str,
    version: &'a str,
    date: &'a str,
    nonce: &'a str,
}

impl PrivateZone {
    async fn call(&self, action: &str, parameters: &[(&str, String)], operation: &Operation) -> Result<Value> {
        let key = AccessKey::parse(&self.secrets.secret(&self.credentials).await?)?;
        let query = query(parameters);
        let date = timestamp(seconds(self.clock.now()));
        let nonce = hex(&fastrand::u128(..).to_be_bytes());
        let head = Head {
            host: self.endpoint.authority(),
            action,
            version: VERSION,
            date: &date,
            nonce: &nonce,
        };
        let mut headers = sign(&head, &query, &key);
        // The HTTP client writes the host.
        headers.retain(|(name, _)| *name != "host");
        let mut url = self.endpoint.url.clone();
        url.set_query(Some(&query));
        let (status, json) = self.endpoint.post(&url, headers, String::new(), operation).await?;
        if status == 200 {
            return Ok(json);
        }
        let code = match text(&json, "Code") {
            code if status >= 500 || code.is_empty() => format!("ServiceUnavailable {status} {code}"),
            code => code,
        };
        Err(CODES.error((self.title(), &code, &text(&json, "Message")), operation))
    }

    fn draft(draft: &Draft) -> [(&'static str, String); 4] {
        [
            ("Rr", draft.host.clone()),
            ("Type", draft.kind.to_owned()),
            ("Value", draft.value.clone()),
            ("Ttl", draft.ttl_seconds.to_string()),
        ]
    }
}

/// The parameters, sorted and encoded as RFC 3986 says.
fn query(parameters: &[(&str, String)]) -> String {
    let sorted: BTreeMap<&str, &String> = parameters.iter().map(|(name, value)| (*name, value)).collect();
    let parts = sorted
        .iter()
        .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
    parts.collect::<Vec<_>>().join("&")
}

fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// Every header of a request with an empty body, with its signature.
fn sign(head: &Head<'_>, query: &str, key: &AccessKey) -> Vec<(&'static str, String)> {
    let hash = sha256("");
    // In the order of their names.
    let mut headers = vec![
        ("host", head.host.to_owned()),
        ("x-acs-action", head.action.to_owned()),
        ("x-acs-content-sha256", hash.clone()),
        ("x-acs-date", head.date.to_owned()),
        ("x-acs-signature-nonce", head.nonce.to_owned()),
        ("x-acs-version", head.version.to_owned()),
    ];
    let lines: Vec<String> = headers.iter().map(|(name, value)| format!("{name}:{value}")).collect();
    let lines = lines.join("\n");
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let canonical = format!("POST\n/\n{query}\n{lines}\n\n{names}\n{hash}");
    let signed = format!("{ALGORITHM}\n{}", sha256(&canonical));
    let signature = hex(&hmac_sha256(key.secret.expose_secret().as_bytes(), &signed));
    let authorization = format!(
        "{ALGORITHM} Credential={},SignedHeaders={names},Signature={signature}",
        key.id
    );
    headers.push(("authorization", authorization));
    headers
}

#[async_trait]
impl RecordService for PrivateZone {
    fn title(&self) -> &'static str {
        "PrivateZone"
    }

    async fn zone_name(&self, operation: &Operation) -> Result<String> {
        let parameters = [("ZoneId", self.zone.clone())];
        let json = self.call("DescribeZoneInfo", &parameters, operation).await?;
        Ok(text(&json, "ZoneName"))
    }

    async fn page(&self, page: usize, operation: &Operation) -> Result<(Vec<Stored>, usize)> {
        let parameters = [
            ("ZoneId", self.zone.clone()),
            ("PageNumber", (page + 1).to_string()),
            ("PageSize", PAGE.to_string()),
        ];
        let json = self.call("DescribeZoneRecords", &parameters, operation).await?;
        let records = json.pointer("/Records/Record").and_then(Value::as_array);
        let records = records.into_iter().flatten().map(|record| Stored {
            id: text(record, "RecordId"),
            host: text(record, "Rr"),
            kind: text(record, "Type"),
            value: text(record, "Value"),
            ttl_seconds: u32::try_from(number(record, "Ttl")).unwrap_or(u32::MAX),
            is_enabled: text(record, "Status") != "DISABLE",
        });
        let total = usize::try_from(number(&json, "TotalItems")).unwrap_or(usize::MAX);
        Ok((records.collect(), total))
    }

    async fn create(&self, draft: &Draft, operation: &Operation) -> Result<()> {
        let parameters = [&Self::draft(draft)[..], &[("ZoneId", self.zone.clone())]].concat();
        self.call("AddZoneRecord", &parameters, operation).await.map(drop)
    }

    async fn update(&self, id: &str, draft: &Draft, operation: &Operation) -> Result<()> {
        let parameters = [&Self::draft(draft)[..], &[("RecordId", id.to_owned())]].concat();
        self.call("UpdateZoneRecord", &parameters, operation).await.map(drop)
    }

    async fn delete(&self, id: &str, operation: &Operation) -> Result<()> {
        let parameters = [("RecordId", id.to_owned())];
        self.call("DeleteZoneRecord", &parameters, operation).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of Alibaba Cloud's documentation.
    #[test]
    fn a_request_is_signed_as_the_documentation_shows() {
        let query = query(&[
            ("RegionId", "cn-shanghai".to_owned()),
            (
                "ImageId",
                "win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd".to_owned(),
            ),
        ]);
        let head = Head {
            host: "ecs.cn-shanghai.aliyuncs.com",
            action: "RunInstances",
            version: "2014-05-26",
            date: "2023-10-26T10:22:32Z",
            nonce: "3156853299f313e23d1673dc12e1703d",
        };
        let key = AccessKey {
            id: "YourAccessKeyId".to_owned(),
            secret: "YourAccessKeySecret".into(),
        };
        let (_, authorization) = sign(&head, &query, &key).pop().unwrap();
        assert_eq!(
            authorization,
            "ACS3-HMAC-SHA256 Credential=YourAccessKeyId,SignedHeaders=host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version,Signature=06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0"
        );
        assert_eq!(timestamp(1_698_315_752), "2023-10-26T10:22:32Z");
        assert_eq!(encoded("a b/c*~=;é"), "a%20b%2Fc%2A~%3D%3B%C3%A9");
    }
}
