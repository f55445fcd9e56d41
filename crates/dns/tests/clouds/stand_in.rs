//! A stand-in for `PrivateZone` and Private DNS: it verifies signatures and times, and keeps records.
//!
//! It is written from the documentation of the clouds, and shares no code with the adapters.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use jiff::Timestamp;
use ring::{digest, hmac};
use serde_json::{Value, json};

pub(crate) const ID: &str = "AKIDexample";
pub(crate) const SECRET: &str = "stand-in-secret";
pub(crate) const ZONE: &str = "zone-1";
/// How far a clock may be wrong. Source: Alibaba Cloud, `InvalidTimeStamp.Expired`: 15 minutes; Tencent Cloud,
/// `AuthFailure.SignatureExpire`: 5 minutes.
const ALIBABA_SECONDS: i64 = 900;
const TENCENT_SECONDS: i64 = 300;

#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) id: u64,
    pub(crate) host: String,
    pub(crate) kind: String,
    pub(crate) value: String,
    pub(crate) ttl: u64,
    pub(crate) is_enabled: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Zone {
    pub(crate) records: Vec<Record>,
    next: u64,
    nonces: HashSet<String>,
    /// Changes are accepted and not made.
    pub(crate) is_lazy: bool,
    /// Reading is allowed, changing is not.
    pub(crate) is_read_only: bool,
    /// Records that the service counts and does not list.
    pub(crate) hidden: usize,
    /// The calls, by action.
    pub(crate) calls: Vec<String>,
}

pub(crate) type Shared = Arc<Mutex<Zone>>;

impl Zone {
    pub(crate) fn add(&mut self, host: &str, kind: &str, value: &str, ttl: u64) {
        self.next += 1;
        self.records.push(Record {
            id: self.next,
            host: host.to_owned(),
            kind: kind.to_owned(),
            value: value.to_owned(),
            ttl,
            is_enabled: true,
        });
    }
}

/// Starts the service. Returns its address.
pub(crate) async fn start(zone: Shared) -> String {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(answer).with_state(zone);
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

type Fault = (u16, &'static str);

async fn answer(State(zone): State<Shared>, uri: Uri, headers: HeaderMap, body: Bytes) -> (StatusCode, String) {
    let mut zone = zone.lock().unwrap();
    let is_alibaba = headers.contains_key("x-acs-action");
    let answered = if is_alibaba {
        alibaba(&mut zone, &uri, &headers, &body)
    } else {
        tencent(&mut zone, &headers, &body)
    };
    match (answered, is_alibaba) {
        (Ok(json), true) => (StatusCode::OK, json.to_string()),
        (Ok(json), false) => (StatusCode::OK, json!({ "Response": json }).to_string()),
        (Err((status, code)), true) => {
            let json = json!({ "Code": code, "Message": "no", "RequestId": "1" });
            (StatusCode::from_u16(status).unwrap(), json.to_string())
        }
        (Err((_, code)), false) => {
            let json = json!({ "Response": { "Error": { "Code": code, "Message": "no" }, "RequestId": "1" } });
            (StatusCode::OK, json.to_string())
        }
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().fold(String::new(), |mut digits, byte| {
        write!(digits, "{byte:02x}").unwrap();
        digits
    })
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes))
}

fn mac(key: &[u8], text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
}

/// The value of a part of `Authorization`.
fn part<'a>(authorization: &'a str, name: &str) -> &'a str {
    let (_, rest) = authorization.split_once(name).unwrap_or_default();
    rest.split([',', ' ']).next().unwrap_or_default()
}

fn signed_lines(headers: &HeaderMap, names: &str) -> String {
    let line = |name: &str| {
        let value = header(headers, name);
        let value = if name == "x-tc-action" {
            value.to_ascii_lowercase()
        } else {
            value.to_owned()
        };
        format!("{name}:{value}\n")
    };
    names.split(';').map(line).collect()
}

fn alibaba(zone: &mut Zone, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<Value, Fault> {
    let authorization = header(headers, "authorization");
    let names = part(authorization, "SignedHeaders=");
    for needed in [
        "host",
        "x-acs-action",
        "x-acs-version",
        "x-acs-date",
        "x-acs-signature-nonce",
        "x-acs-content-sha256",
    ] {
        if !names.split(';').any(|name| name == needed) {
            return Err((400, "MissingSecurityHeader"));
        }
    }
    if part(authorization, "Credential=") != ID {
        return Err((404, "InvalidAccessKeyId.NotFound"));
    }
    let mut query: Vec<&str> = uri.query().unwrap_or_default().split('&').collect();
    query.sort_unstable();
    let lines = signed_lines(headers, names);
    let canonical = format!(
        "POST\n{}\n{}\n{lines}\n{names}\n{}",
        uri.path(),
        query.join("&"),
        sha256(body)
    );
    let text = format!("ACS3-HMAC-SHA256\n{}", sha256(canonical.as_bytes()));
    let is_signed = hex(mac(SECRET.as_bytes(), &text)) == part(authorization, "Signature=");
    if !is_signed || header(headers, "x-acs-content-sha256") != sha256(body) {
        return Err((400, "SignatureDoesNotMatch"));
    }
    let date: Timestamp = header(headers, "x-acs-date").parse().unwrap();
    if (date.as_second() - Timestamp::now().as_second()).abs() > ALIBABA_SECONDS {
        return Err((400, "InvalidTimeStamp.Expired"));
    }
    if !zone.nonces.insert(header(headers, "x-acs-signature-nonce").to_owned()) {
        return Err((400, "SignatureNonceUsed"));
    }
    assert_eq!(header(headers, "x-acs-version"), "2018-01-01");
    let url = url::Url::parse(&format!("http://x/?{}", uri.query().unwrap_or_default())).unwrap();
    let fields: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
    let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
    let action = header(headers, "x-acs-action");
    if fields.contains_key("ZoneId") && field("ZoneId") != ZONE {
        return Err((400, "Zone.NotExists"));
    }
    zone.calls.push(action.to_owned());
    match action {
        "DescribeZoneInfo" => Ok(json!({ "ZoneId": ZONE, "ZoneName": "example.com" })),
        "DescribeZoneRecords" => {
            let size: usize = field("PageSize").parse().unwrap();
            let page: usize = field("PageNumber").parse().unwrap();
            assert!(size <= 100 && page >= 1);
            let records = zone.records.iter().skip((page - 1) * size).take(size).map(|record| {
                let status = if record.is_enabled { "ENABLE" } else { "DISABLE" };
                json!({ "RecordId": record.id, "Rr": record.host, "Type": record.kind, "Value": record.value, "Ttl": record.ttl, "Status": status })
            });
            let records: Vec<Value> = records.collect();
            Ok(json!({ "TotalItems": zone.records.len() + zone.hidden, "Records": { "Record": records } }))
        }
        _ => change(
            zone,
            action,
            &Change {
                id: field("RecordId"),
                host: field("Rr"),
                kind: field("Type"),
                value: field("Value"),
                ttl: field("Ttl"),
            },
        ),
    }
}

fn tencent(zone: &mut Zone, headers: &HeaderMap, body: &[u8]) -> Result<Value, Fault> {
    let authorization = header(headers, "authorization");
    let names = part(authorization, "SignedHeaders=");
    let mut scope = part(authorization, "Credential=").split('/');
    if scope.next() != Some(ID) {
        return Err((200, "AuthFailure.SecretIdNotFound"));
    }
    let scope = scope.collect::<Vec<_>>().join("/");
    let seconds: i64 = header(headers, "x-tc-timestamp").parse().unwrap();
    let date = Timestamp::from_second(seconds)
        .unwrap()
        .strftime("%Y-%m-%d")
        .to_string();
    if scope != format!("{date}/privatedns/tc3_request") || !names.contains("host") || !names.contains("content-type") {
        return Err((200, "AuthFailure.SignatureFailure"));
    }
    let canonical = format!("POST\n/\n\n{}\n{names}\n{}", signed_lines(headers, names), sha256(body));
    let text = format!("TC3-HMAC-SHA256\n{seconds}\n{scope}\n{}", sha256(canonical.as_bytes()));
    let mut key = format!("TC3{SECRET}").into_bytes();
    for step in [date.as_str(), "privatedns", "tc3_request"] {
        key = mac(&key, step).as_ref().to_vec();
    }
    if hex(mac(&key, &text)) != part(authorization, "Signature=") {
        return Err((200, "AuthFailure.SignatureFailure"));
    }
    if (seconds - Timestamp::now().as_second()).abs() > TENCENT_SECONDS {
        return Err((200, "AuthFailure.SignatureExpire"));
    }
    assert_eq!(header(headers, "x-tc-version"), "2020-10-28");
    let fields: Value = serde_json::from_slice(body).unwrap();
    let field = |name: &str| match &fields[name] {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    };
    if field("ZoneId") != ZONE {
        return Err((200, "InvalidParameter.ZoneNotExists"));
    }
    let action = header(headers, "x-tc-action");
    zone.calls.push(action.to_owned());
    match action {
        "DescribePrivateZone" => Ok(json!({ "PrivateZone": { "ZoneId": ZONE, "Domain": "example.com" } })),
        "DescribePrivateZoneRecordList" => {
            let (offset, limit): (usize, usize) = (field("Offset").parse().unwrap(), field("Limit").parse().unwrap());
            assert!(limit <= 100);
            let records = zone.records.iter().skip(offset).take(limit).map(|record| {
                json!({ "RecordId": record.id.to_string(), "SubDomain": record.host, "RecordType": record.kind, "RecordValue": record.value, "TTL": record.ttl, "Enabled": u8::from(record.is_enabled) })
            });
            let records: Vec<Value> = records.collect();
            Ok(json!({ "TotalCount": zone.records.len() + zone.hidden, "RecordSet": records }))
        }
        _ => change(
            zone,
            action,
            &Change {
                id: field("RecordId"),
                host: field("SubDomain"),
                kind: field("RecordType"),
                value: field("RecordValue"),
                ttl: field("TTL"),
            },
        ),
    }
}

struct Change {
    id: String,
    host: String,
    kind: String,
    value: String,
    ttl: String,
}

fn change(zone: &mut Zone, action: &str, change: &Change) -> Result<Value, Fault> {
    if zone.is_read_only {
        return Err((403, "Forbidden.RAM"));
    }
    if zone.is_lazy {
        return Ok(json!({}));
    }
    let found = zone
        .records
        .iter()
        .position(|record| record.id.to_string() == change.id);
    if action.starts_with("Delete") {
        zone.records.remove(found.ok_or((400, "Record.NotExists"))?);
        return Ok(json!({}));
    }
    // A CNAME has no neighbours, and no record exists twice.
    let mut others = zone
        .records
        .iter()
        .filter(|record| record.host == change.host && record.id.to_string() != change.id);
    let is_conflict = |record: &Record| {
        record.kind == "CNAME"
            || change.kind == "CNAME"
            || (&record.kind, &record.value) == (&change.kind, &change.value)
    };
    if others.any(is_conflict) {
        return Err((400, "Record.Conflict"));
    }
    let ttl = change.ttl.parse().unwrap();
    if action.starts_with("Add") || action.starts_with("Create") {
        zone.add(&change.host, &change.kind, &change.value, ttl);
    } else {
        let position = found.ok_or((400, "Record.NotExists"))?;
        let record = &mut zone.records[position];
        record.kind.clone_from(&change.kind);
        record.value.clone_from(&change.value);
        record.ttl = ttl;
    }
    Ok(json!({}))
}
