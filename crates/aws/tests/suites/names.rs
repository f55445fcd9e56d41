//! Hosted zones keep the promises of the port, on MiniStack.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use aws_sdk_route53::types::{
    AliasTarget, Change, ChangeAction, ChangeBatch, ResourceRecord, ResourceRecordSet, RrType, Vpc, VpcRegion,
};
use transship_aws::{Aws, HostedZone};
use transship_embedded_registry::faults::Action;
use transship_engine::names::{Entry, Names};
use transship_oci::Code;
use transship_rules::Hostname;
use transship_testkit::faults::{Fault, Script};
use transship_testkit::ministack::MiniStack;
use transship_testkit::proxy::FaultProxy;
use transship_testkit::suites::{self, EXTERNAL_DNS, NamesUnderTest, OWNED};

async fn zone(aws: &Aws, name: &str, vpc: Option<Vpc>) -> String {
    let request = aws.route53().create_hosted_zone().name(name).caller_reference(name);
    let zone = request.set_vpc(vpc).send().await.unwrap().hosted_zone.unwrap();
    let id = zone.id.trim_start_matches("/hostedzone/").to_owned();
    let text = ResourceRecord::builder()
        .value(format!("\"{EXTERNAL_DNS}\""))
        .build()
        .unwrap();
    let set = ResourceRecordSet::builder()
        .name(format!("a-{OWNED}.{name}"))
        .r#type(RrType::Txt)
        .ttl(300)
        .resource_records(text);
    put(aws, &id, set.build().unwrap()).await;
    id
}

async fn put(aws: &Aws, zone: &str, set: ResourceRecordSet) {
    let change = Change::builder()
        .action(ChangeAction::Create)
        .resource_record_set(set)
        .build()
        .unwrap();
    let batch = ChangeBatch::builder().changes(change).build().unwrap();
    let request = aws.route53().change_resource_record_sets().hosted_zone_id(zone);
    request.change_batch(batch).send().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hosted_zone_keeps_the_promises_of_the_port() {
    let ministack = MiniStack::start().await.unwrap();
    let aws = Aws::emulated(&ministack.endpoint()).await;
    let made = AtomicU32::new(0);
    let make = async || {
        let number = made.fetch_add(1, Ordering::Relaxed);
        let name = format!("z{number}.example");
        // Every other zone is private.
        let vpc = Vpc::builder().vpc_id("vpc-1").vpc_region(VpcRegion::UsEast1).build();
        let id = zone(&aws, &name, (number % 2 == 1).then_some(vpc)).await;
        NamesUnderTest {
            names: Arc::new(HostedZone::new(aws.clone(), id)),
            zone: name.parse().unwrap(),
        }
    };
    suites::names(make).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_switched_in_a_hosted_zone_is_named() {
    let ministack = MiniStack::start().await.unwrap();
    let aws = Aws::emulated(&ministack.endpoint()).await;
    let name: Hostname = "images.example.com".parse().unwrap();
    let missing = HostedZone::new(aws.clone(), "Z0000000000000");
    for error in [
        missing.zone().await.unwrap_err(),
        missing.read(&name).await.unwrap_err(),
        missing
            .swap(&name, &Entry::default(), &Entry::default())
            .await
            .unwrap_err(),
        missing.allows_change(&name, &Entry::default()).await.unwrap_err(),
    ] {
        assert!(error.is(Code::DnsZoneInvalid), "{error}");
    }

    let id = zone(&aws, "example.com", None).await;
    let target = AliasTarget::builder()
        .hosted_zone_id("Z2FDTNDATAQYW2")
        .dns_name("d1.cloudfront.net.")
        .evaluate_target_health(false);
    let alias = ResourceRecordSet::builder()
        .name("images.example.com")
        .r#type(RrType::A)
        .alias_target(target.build().unwrap());
    put(&aws, &id, alias.build().unwrap()).await;
    let names = HostedZone::new(aws.clone(), id);
    let error = names.read(&name).await.unwrap_err();
    assert!(error.is(Code::DnsRecordUnsupported), "{error}");

    drop(ministack);
    let error = names.read(&name).await.unwrap_err();
    assert!(error.is(Code::DnsUnavailable), "{error}");
}

/// A role without the right to the zone.
#[tokio::test]
async fn a_zone_without_permission_is_refused_with_the_reason() {
    let ministack = MiniStack::start().await.unwrap();
    let proxy = FaultProxy::start(ministack.host()).await.unwrap();
    let body = "<ErrorResponse xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>not authorized to perform: route53:ChangeResourceRecordSets</Message></Error></ErrorResponse>";
    let denied = Action::Status {
        code: 403,
        headers: vec![("content-type".to_owned(), "text/xml".to_owned())],
        body: body.into(),
    };
    let fault = Fault::new("*", "/2013-04-01/hostedzone/", denied).unwrap();
    proxy.set_faults(Some(Arc::new(Script::new([fault.always()]))));
    let aws = Aws::emulated(&proxy.url()).await;
    let name: Hostname = "images.example.com".parse().unwrap();
    let names = HostedZone::new(aws, "Z1");
    assert_eq!(names.pause_min().as_millis(), 500, "5 requests a second of an account");
    for error in [
        names.zone().await.unwrap_err(),
        names.read(&name).await.unwrap_err(),
        names
            .swap(&name, &Entry::default(), &Entry::default())
            .await
            .unwrap_err(),
        names.allows_change(&name, &Entry::default()).await.unwrap_err(),
    ] {
        assert!(error.is(Code::DnsRefused), "{error}");
        assert!(error.to_string().contains("not authorized"), "{error}");
    }
}
