//! Hosted zones of Route 53, and users who may change them.
//!
//! Source: Amazon Route 53 API reference, `CreateHostedZone`, `ListResourceRecordSets` and `ChangeResourceRecordSets`.

use serde_json::Value;

use super::{Aws, REGION, texts};
use crate::http::{self, Response};

const NAMESPACE: &str = "https://route53.amazonaws.com/doc/2013-04-01/";

/// A record set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneRecord {
    /// The name, without a dot at its end.
    pub name: String,
    /// `A`, `TXT`, and so on.
    pub kind: String,
    /// The time to live.
    pub ttl_seconds: u32,
    /// The values as Route 53 has them: a text is in quotes.
    pub values: Vec<String>,
}

/// The key of a user.
#[derive(Debug, Clone)]
pub struct UserKey {
    /// For `AWS_ACCESS_KEY_ID`.
    pub id: String,
    /// For `AWS_SECRET_ACCESS_KEY`.
    pub secret: String,
}

impl Aws {
    /// Makes a hosted zone; a private one belongs to the VPC `vpc`. Its id.
    pub fn zone_create(&self, name: &str, vpc: Option<&str>) -> String {
        let reference = format!("{name} {}", vpc.unwrap_or("public"));
        let vpc = vpc.map_or(String::new(), |vpc| {
            format!("<VPC><VPCRegion>{REGION}</VPCRegion><VPCId>{vpc}</VPCId></VPC>")
        });
        let body = format!(
            "<CreateHostedZoneRequest xmlns=\"{NAMESPACE}\"><Name>{name}</Name>{vpc}<CallerReference>{reference}</CallerReference></CreateHostedZoneRequest>"
        );
        let answer = self.route53("POST", "/hostedzone", &body);
        assert_eq!(answer.status, 201, "zone {name}: {}", answer.text());
        let ids = texts(&answer.text(), "Id");
        let id = ids.iter().find_map(|id| id.strip_prefix("/hostedzone/"));
        id.expect("a zone has an id").to_owned()
    }

    /// The record sets of exactly this name.
    pub fn zone_records(&self, zone: &str, name: &str) -> Vec<ZoneRecord> {
        let path = format!("/hostedzone/{zone}/rrset?name={}", http::encoded_part(name));
        let answer = self.route53("GET", &path, "");
        assert_eq!(answer.status, 200, "zone {zone}: {}", answer.text());
        let sets = texts(&answer.text(), "ResourceRecordSet").into_iter().map(|set| {
            let text = |element: &str| texts(&set, element).into_iter().next().unwrap_or_default();
            ZoneRecord {
                name: text("Name").trim_end_matches('.').to_owned(),
                kind: text("Type"),
                ttl_seconds: text("TTL").parse().unwrap_or_default(),
                values: texts(&set, "Value"),
            }
        });
        sets.filter(|set| set.name == name).collect()
    }

    /// Sends one change batch: `CREATE`, `UPSERT` or `DELETE`, each with a record set.
    ///
    /// # Panics
    /// Unless it is accepted.
    pub fn zone_change(&self, zone: &str, changes: &[(&str, ZoneRecord)]) {
        let changes: String = changes.iter().map(|(action, record)| change(action, record)).collect();
        let body = format!(
            "<ChangeResourceRecordSetsRequest xmlns=\"{NAMESPACE}\"><ChangeBatch><Changes>{changes}</Changes></ChangeBatch></ChangeResourceRecordSetsRequest>"
        );
        let answer = self.route53("POST", &format!("/hostedzone/{zone}/rrset"), &body);
        assert_eq!(answer.status, 200, "zone {zone}: {}", answer.text());
    }

    fn route53(&self, method: &str, path: &str, body: &str) -> Response {
        let headers = [("Content-Type", "text/xml")];
        self.request(
            "route53",
            method,
            &format!("/2013-04-01{path}"),
            &headers,
            body.as_bytes(),
        )
    }

    /// Makes a user with this policy, and a key of it. An emulator that checks policies (`AUTH`) holds the user to it.
    pub fn user_create(&self, name: &str, policy: &Value) -> UserKey {
        self.iam(&[("Action", "CreateUser"), ("UserName", name)]);
        self.iam(&[
            ("Action", "PutUserPolicy"),
            ("UserName", name),
            ("PolicyName", "zones"),
            ("PolicyDocument", &policy.to_string()),
        ]);
        let made = self.iam(&[("Action", "CreateAccessKey"), ("UserName", name)]);
        let text = |element: &str| texts(&made, element).into_iter().next().unwrap_or_default();
        UserKey {
            id: text("AccessKeyId"),
            secret: text("SecretAccessKey"),
        }
    }

    fn iam(&self, fields: &[(&str, &str)]) -> String {
        let answer = self.form("iam", fields);
        assert_eq!(answer.status, 200, "{fields:?}: {}", answer.text());
        answer.text()
    }
}

fn change(action: &str, record: &ZoneRecord) -> String {
    let ZoneRecord {
        name,
        kind,
        ttl_seconds,
        values,
    } = record;
    let values = values
        .iter()
        .map(|value| format!("<ResourceRecord><Value>{value}</Value></ResourceRecord>"));
    let values: String = values.collect();
    format!(
        "<Change><Action>{action}</Action><ResourceRecordSet><Name>{name}.</Name><Type>{kind}</Type><TTL>{ttl_seconds}</TTL><ResourceRecords>{values}</ResourceRecords></ResourceRecordSet></Change>"
    )
}
