//! Tencent Cloud Private DNS, API version 2020-10-28, signed with TC3-HMAC-SHA256.
//!
//! Sources: Tencent Cloud, "Signature v3" (with the test vector below); Private DNS API reference, `DescribePrivateZone`,
//! `DescribePrivateZoneRecordList`, `CreatePrivateZoneRecord`, `ModifyPrivateZoneRecord`, `DeletePrivateZoneRecord`.

use std::sync::Arc;

use async_trait::async_trait;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use transship_copy::Clock;
use transship_engine::Secrets;
use transship_engine::names::Names;
use transship_oci::{Code, Error, Network, Operation, Result};
use transship_rules::{CloudZone, SecretReference};
use url::Url;

use super::access_key::AccessKey;
use super::request::{Codes, Endpoint, hex, hmac_sha256, number, seconds, sha256, text, timestamp};
use super::{Draft, RecordByRecord, RecordService, Stored};

const VERSION: &str = "2020-10-28";
const SERVICE: &str = "privatedns";
const CONTENT_TYPE: &str = "application/json; charset=utf-8";
/// The number of records of a page; the largest is 100.
const PAGE: usize = 100;

/// Source: Tencent Cloud, "Common error codes"; Private DNS, "Error codes".
const CODES: Codes = Codes {
    clock: &["AuthFailure.SignatureExpire"],
    zone: &[
        "InvalidParameter.ZoneNotExists",
        "ResourceNotFound",
        "InvalidParameterValue.ZoneNotExists",
    ],
    unavailable: &[
        "RequestLimitExceeded",
        "InternalError",
        "ResourceUnavailable",
        "ServiceUnavailable",
    ],
};

/// The zone `zone` of Private DNS. Its access key is read for every request.
pub fn private_dns(zone: &CloudZone, secrets: Arc<dyn Secrets>, clock: Arc<dyn Clock>) -> Result<Arc<dyn Names>> {
    let (url, network) = match &zone.endpoint {
        Some(url) => (Ok(url.clone()), Network::Private),
        None => (Url::parse("https://privatedns.tencentcloudapi.com"), Network::Public),
    };
    let url = url.map_err(|error| Error::refused(Code::DnsZoneInvalid, error))?;
    Ok(Arc::new(RecordByRecord(PrivateDns {
        endpoint: Endpoint { url, network },
        zone: zone.zone.clone(),
        region: zone.region.clone(),
        credentials: zone.credentials.clone(),
        secrets,
        clock,
    })))
}

struct PrivateDns {
    endpoint: Endpoint,
    zone: String,
    region: Option<String>,
    credentials: SecretReference,
    secrets: Arc<dyn Secrets>,
    clock: Arc<dyn Clock>,
}

/// What is signed besides the body.
struct Head<'a> {
    host: &'a str,
    service: &'a str,
    action: &'a str,
    seconds: i64,
}

impl PrivateDns {
    async fn call(&self, action: &'static str, mut body: Value, operation: &Operation) -> Result<Value> {
        body["ZoneId"] = self.zone.as_str().into();
        let key = AccessKey::parse(&self.secrets.secret(&self.credentials).await?)?;
        let body = body.to_string();
        let head = Head {
            host: self.endpoint.authority(),
            service: SERVICE,
            action,
            seconds: seconds(self.clock.now()),
        };
        let mut headers = vec![
            ("content-type", CONTENT_TYPE.to_owned()),
            ("authorization", sign(&head, &body, &key)),
            ("x-tc-action", action.to_owned()),
            ("x-tc-version", VERSION.to_owned()),
            ("x-tc-timestamp", head.seconds.to_string()),
        ];
        headers.extend(self.region.clone().map(|region| ("x-tc-region", region)));
        let url = &self.endpoint.url;
        let (status, mut json) = self.endpoint.post(url, headers, body, operation).await?;
        let response = json["Response"].take();
        let code = match response.get("Error") {
            None if status == 200 && response.is_object() => return Ok(response),
            None => format!("ServiceUnavailable {status}"),
            Some(error) => text(error, "Code"),
        };
        let message = response
            .get("Error")
            .map_or(String::new(), |error| text(error, "Message"));
        Err(CODES.error((self.title(), &code, &message), operation))
    }

    fn draft(draft: &Draft) -> Value {
        json!({
            "RecordType": draft.kind,
            "SubDomain": draft.host,
            "RecordValue": draft.value,
            "TTL": draft.ttl_seconds,
        })
    }
}

/// The header `Authorization`.
fn sign(head: &Head<'_>, body: &str, key: &AccessKey) -> String {
    let names = "content-type;host;x-tc-action";
    let lines = format!(
        "content-type:{CONTENT_TYPE}\nhost:{}\nx-tc-action:{}\n",
        head.host,
        head.action.to_ascii_lowercase()
    );
    let canonical = format!("POST\n/\n\n{lines}\n{names}\n{}", sha256(body));
    let time = timestamp(head.seconds);
    // The day in UTC.
    let date = time.split('T').next().unwrap_or_default();
    let scope = format!("{date}/{}/tc3_request", head.service);
    let signed = format!("TC3-HMAC-SHA256\n{}\n{scope}\n{}", head.seconds, sha256(&canonical));
    let of_key = hmac_sha256(format!("TC3{}", key.secret.expose_secret()).as_bytes(), date);
    let of_service = hmac_sha256(&of_key, head.service);
    let signature = hex(&hmac_sha256(&hmac_sha256(&of_service, "tc3_request"), &signed));
    format!(
        "TC3-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
        key.id
    )
}

#[async_trait]
impl RecordService for PrivateDns {
    fn title(&self) -> &'static str {
        "Private DNS"
    }

    async fn zone_name(&self, operation: &Operation) -> Result<String> {
        let response = self.call("DescribePrivateZone", json!({}), operation).await?;
        Ok(text(&response["PrivateZone"], "Domain"))
    }

    async fn page(&self, page: usize, operation: &Operation) -> Result<(Vec<Stored>, usize)> {
        let body = json!({ "Offset": page * PAGE, "Limit": PAGE });
        let response = self.call("DescribePrivateZoneRecordList", body, operation).await?;
        let records = response.get("RecordSet").and_then(Value::as_array);
        let records = records.into_iter().flatten().map(|record| Stored {
            id: text(record, "RecordId"),
            host: text(record, "SubDomain"),
            kind: text(record, "RecordType"),
            value: text(record, "RecordValue"),
            ttl_seconds: u32::try_from(number(record, "TTL")).unwrap_or(u32::MAX),
            // Absent from answers of versions that cannot disable a record.
            is_enabled: record.get("Enabled").and_then(Value::as_u64) != Some(0),
        });
        let total = usize::try_from(number(&response, "TotalCount")).unwrap_or(usize::MAX);
        Ok((records.collect(), total))
    }

    async fn create(&self, draft: &Draft, operation: &Operation) -> Result<()> {
        self.call("CreatePrivateZoneRecord", Self::draft(draft), operation)
            .await
            .map(drop)
    }

    async fn update(&self, id: &str, draft: &Draft, operation: &Operation) -> Result<()> {
        let mut body = Self::draft(draft);
        body["RecordId"] = id.into();
        self.call("ModifyPrivateZoneRecord", body, operation).await.map(drop)
    }

    async fn delete(&self, id: &str, operation: &Operation) -> Result<()> {
        self.call("DeletePrivateZoneRecord", json!({ "RecordId": id }), operation)
            .await
            .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of Tencent Cloud's documentation; its key has asterisks there.
    #[test]
    fn a_request_is_signed_as_the_documentation_shows() {
        let head = Head {
            host: "cvm.tencentcloudapi.com",
            service: "cvm",
            action: "DescribeInstances",
            seconds: 1_551_113_065,
        };
        let key = AccessKey {
            id: "AKIDz8krbsJ5yKBZQpn74WFkmLPx3*******".to_owned(),
            secret: "Gu5t9xGARNpq86cd98joQYCN3*******".into(),
        };
        let body = r#"{"Limit": 1, "Filters": [{"Values": ["\u672a\u547d\u540d"], "Name": "instance-name"}]}"#;
        assert_eq!(
            sign(&head, body, &key),
            "TC3-HMAC-SHA256 Credential=AKIDz8krbsJ5yKBZQpn74WFkmLPx3*******/2019-02-25/cvm/tc3_request, SignedHeaders=content-type;host;x-tc-action, Signature=be4f67d323c78ab9acb7395e43c0dbcf822a9cfac32fea2449a7bc7726b770a3"
        );
    }
}
