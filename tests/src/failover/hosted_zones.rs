//! Two hosted zones of one name on `MiniStack`: a public one, and the private one of a VPC.
//!
//! It checks policies, so `transship` changes them as a user who may do what `docs/failover.md` lists, and nothing else. It
//! answers no DNS: a client connects to the address that the API of Route 53 has. A change is complete with the second question
//! about it.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};
use transship_testkit::ministack::MiniStack;
use transship_testkit::proxy::FaultProxy;

use super::front::{Answer, Resolve};
use super::names::{TTL_SECONDS, ZONE};
use super::stage::CLIENTS;
use crate::aws::{Aws, REGION, UserKey, ZoneRecord};

/// The names of the zones in the group.
const NAMES: [&str; 2] = ["internet", "vpc"];
/// A zone that the user has a right to, and that was deleted.
pub const DELETED: &str = "Z0000000000000";
/// The VPC of the private one.
const VPC: &str = "vpc-0a1b2c3d";

/// The zones.
pub struct HostedZones {
    aws: Aws,
    ids: [String; 2],
    read_only: String,
    key: UserKey,
    /// What `transship` knows as AWS.
    pub faults: FaultProxy,
    ministack: MiniStack,
}

impl HostedZones {
    /// Starts the emulator, and makes the zones and the user.
    pub async fn start() -> Self {
        let ministack = MiniStack::start_with(&[("AUTH", "true")])
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        let faults = FaultProxy::start(ministack.host()).await.expect("a proxy starts");
        let aws = Aws::at(ministack.host().as_ref());
        let ids = [None, Some(VPC)].map(|vpc| aws.zone_create(ZONE, vpc));
        let read_only = aws.zone_create(ZONE, Some("vpc-7c8d9e0f"));
        let key = aws.user_create("operator", &policy(&ids, &read_only));
        Self {
            aws,
            ids,
            read_only,
            key,
            faults,
            ministack,
        }
    }

    /// The id of a zone of the group.
    ///
    /// # Panics
    /// If it has no zone of that name.
    pub fn id(&self, zone: &str) -> &str {
        let number = NAMES.iter().position(|name| *name == zone);
        &self.ids[number.expect("the group has the zone")]
    }

    /// A zone that the user may neither read nor change.
    pub fn forbidden(&self) -> String {
        self.aws.zone_create(ZONE, Some("vpc-4e5f6a7b"))
    }

    /// A zone that the user may read and not change. It leads to `address`.
    pub fn read_only(&self, address: IpAddr) -> &str {
        set(&self.aws, &self.read_only, "A", CLIENTS, &address.to_string());
        &self.read_only
    }

    /// The API, with every permission.
    pub const fn aws(&self) -> &Aws {
        &self.aws
    }

    /// The end of the emulator's log.
    pub fn log(&self) -> String {
        self.ministack.log()
    }

    pub(super) fn dns(&self) -> Vec<(&'static str, String)> {
        let dns = |id: &String| format!("{{ route53: {{ zone: {id} }} }}");
        NAMES.into_iter().zip(self.ids.iter().map(dns)).collect()
    }

    pub(super) fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", self.faults.url()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID", self.key.id.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.key.secret.clone()),
        ]
    }

    pub(super) fn answers(&self, kind: &str, name: &str) -> Vec<String> {
        let answer = |zone: &String| self.records(zone, kind, name).concat();
        self.ids.iter().map(answer).collect()
    }

    fn records(&self, zone: &str, kind: &str, name: &str) -> Vec<String> {
        let sets = self.aws.zone_records(zone, name);
        let of_kind = sets.into_iter().filter(|set| set.kind == kind);
        of_kind.flat_map(|set| set.values).collect()
    }

    pub(super) fn set(&self, kind: &str, name: &str, value: &str) {
        for zone in &self.ids {
            set(&self.aws, zone, kind, name, value);
        }
    }

    pub(super) fn remove(&self, kind: &str, name: &str) {
        for zone in &self.ids {
            let sets = self.aws.zone_records(zone, name);
            let of_kind = sets.into_iter().filter(|set| set.kind == kind);
            let changes: Vec<_> = of_kind.map(|set| ("DELETE", set)).collect();
            if !changes.is_empty() {
                self.aws.zone_change(zone, &changes);
            }
        }
    }

    /// What resolves for clients of a zone of the group.
    pub fn resolver(&self, zone: &str) -> Resolve {
        let number = NAMES.iter().position(|name| *name == zone);
        self.resolve(number.expect("the group has the zone"))
    }

    pub(super) fn resolve(&self, number: usize) -> Resolve {
        let (aws, zone) = (self.aws.clone(), self.ids[number].clone());
        std::sync::Arc::new(move |name| answer(&aws, &zone, name))
    }
}

impl std::fmt::Debug for HostedZones {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("HostedZones").field(&self.ids).finish()
    }
}

/// The address in the record of a zone.
fn answer(aws: &Aws, zone: &str, name: &str) -> Option<Answer> {
    let sets = aws.zone_records(zone, name);
    let set = sets.iter().find(|set| set.kind == "A")?;
    Some(Answer {
        address: set.values.first()?.parse().ok()?,
        ttl: Duration::from_secs(set.ttl_seconds.into()),
    })
}

/// Replaces the records of one kind in one zone.
pub fn set(aws: &Aws, zone: &str, kind: &str, name: &str, value: &str) {
    let record = ZoneRecord {
        name: name.to_owned(),
        kind: kind.to_owned(),
        ttl_seconds: TTL_SECONDS,
        values: vec![value.to_owned()],
    };
    aws.zone_change(zone, &[("UPSERT", record)]);
}

/// The permissions in `docs/failover.md`, and those to read a zone.
fn policy(ids: &[String], read_only: &str) -> Value {
    let arn = |id: &str| format!("arn:aws:route53:::hostedzone/{id}");
    let zones: Vec<String> = ids.iter().map(String::as_str).chain([DELETED]).map(arn).collect();
    let read = ["route53:GetHostedZone", "route53:ListResourceRecordSets"];
    json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Resource": zones, "Action": [read[0], read[1], "route53:ChangeResourceRecordSets"] },
        { "Effect": "Allow", "Resource": arn(read_only), "Action": read },
        { "Effect": "Allow", "Resource": "*", "Action": "route53:GetChange" },
    ] })
}
