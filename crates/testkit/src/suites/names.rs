//! The promises of `Names`, and those of a switch over it.

use std::sync::Arc;

use transship_engine::names::{Entry, Names, Patience, RecordSet, Stamp, Switch, confirm, switch};
use transship_oci::Code;
use transship_rules::{Hostname, RecordKind, SiteRecord};

/// The text of a TXT record that external-dns writes beside a record that it manages.
pub const EXTERNAL_DNS: &str = "heritage=external-dns,external-dns/owner=default,external-dns/resource=ingress/x";

/// The name in the zone that external-dns manages.
pub const OWNED: &str = "owned";

/// The zone of a suite: empty, except that the TXT record `a-owned.<zone>` has the text [`EXTERNAL_DNS`].
pub struct NamesUnderTest {
    /// The adapter.
    pub names: Arc<dyn Names>,
    /// The zone's name.
    pub zone: Hostname,
}

impl NamesUnderTest {
    fn name(&self, label: &str) -> Hostname {
        self.zone.below(label).unwrap()
    }
}

fn record(kind: RecordKind, values: &[&str]) -> SiteRecord {
    SiteRecord {
        kind,
        values: values.iter().map(|value| (*value).to_owned()).collect(),
    }
}

fn alias(target: &str) -> SiteRecord {
    record(RecordKind::Cname, &[target])
}

fn entry(record: &SiteRecord, ttl_seconds: u32, text: &str) -> Entry {
    Entry {
        records: vec![RecordSet::of(record, ttl_seconds)],
        texts: vec![text.to_owned()],
        owner: None,
    }
}

fn text(epoch: u64) -> String {
    Stamp::new(epoch, "a", "suite").to_string()
}

async fn put(test: &NamesUnderTest, name: &Hostname, after: &Entry) {
    let before = test.names.read(name).await.unwrap();
    test.names.swap(name, &before, after).await.unwrap();
}

pub(super) async fn the_zone_is_named(test: NamesUnderTest) {
    assert_eq!(test.names.zone().await.unwrap(), test.zone);
}

pub(super) async fn a_name_without_records_is_empty(test: NamesUnderTest) {
    let found = test.names.read(&test.name("nothing")).await.unwrap();
    assert_eq!(found, Entry::default());
}

pub(super) async fn every_kind_of_record_is_read_as_it_was_written(test: NamesUnderTest) {
    let name = test.name("images");
    for (number, record) in [
        alias("a.example.net"),
        record(RecordKind::A, &["10.0.8.4", "10.0.8.5"]),
        record(RecordKind::A, &["10.0.8.6"]),
        record(RecordKind::Aaaa, &["fd00::8"]),
        alias("b.example.net"),
        alias("c.example.net"),
    ]
    .iter()
    .enumerate()
    {
        let after = entry(record, 60, &text(number as u64));
        put(&test, &name, &after).await;
        assert_eq!(test.names.read(&name).await.unwrap(), after, "{record}");
    }
}

pub(super) async fn the_time_to_live_is_changed_with_the_record(test: NamesUnderTest) {
    let name = test.name("images");
    put(&test, &name, &entry(&alias("a.example.net"), 600, &text(1))).await;
    let after = entry(&alias("b.example.net"), 60, &text(2));
    put(&test, &name, &after).await;
    assert_eq!(test.names.read(&name).await.unwrap(), after);
}

pub(super) async fn nothing_is_changed_if_the_records_are_not_the_expected_ones(test: NamesUnderTest) {
    let name = test.name("images");
    let now = entry(&alias("a.example.net"), 60, &text(7));
    put(&test, &name, &now).await;
    let after = entry(&alias("b.example.net"), 60, &text(8));
    let others = [
        Entry::default(),
        entry(&alias("b.example.net"), 60, &text(7)),
        entry(&alias("a.example.net"), 60, &text(6)),
        entry(&record(RecordKind::A, &["10.0.8.4"]), 60, &text(7)),
        Entry {
            texts: vec![],
            ..now.clone()
        },
        Entry {
            records: vec![],
            ..now.clone()
        },
    ];
    for before in &others {
        let error = test.names.swap(&name, before, &after).await.unwrap_err();
        assert!(error.is(Code::DnsRecordChanged), "{before}: {error}");
        assert_eq!(test.names.read(&name).await.unwrap(), now, "{before}");
    }
}

pub(super) async fn a_record_of_another_kind_is_noticed(test: NamesUnderTest) {
    let name = test.name("images");
    let (a, aaaa) = (
        record(RecordKind::A, &["10.0.8.4"]),
        record(RecordKind::Aaaa, &["fd00::8"]),
    );
    let mut both = entry(&a, 60, &text(1));
    both.records.push(RecordSet::of(&aaaa, 60));
    put(&test, &name, &both).await;
    assert_eq!(test.names.read(&name).await.unwrap(), both);
    let before = entry(&a, 60, &text(1));
    let after = entry(&record(RecordKind::A, &["10.0.8.5"]), 60, &text(2));
    let error = test.names.swap(&name, &before, &after).await.unwrap_err();
    assert!(error.is(Code::DnsRecordChanged), "{error}");
    assert_eq!(test.names.read(&name).await.unwrap(), both);
}

pub(super) async fn asking_whether_a_change_is_allowed_changes_nothing(test: NamesUnderTest) {
    let name = test.name("images");
    for after in [entry(&alias("a.example.net"), 60, &text(1)), Entry::default()] {
        let before = test.names.read(&name).await.unwrap();
        test.names.allows_change(&name, &before).await.unwrap();
        assert_eq!(test.names.read(&name).await.unwrap(), before);
        put(&test, &name, &after).await;
    }
}

pub(super) async fn a_change_concerns_one_name(test: NamesUnderTest) {
    let (name, other) = (test.name("images"), test.name("images2"));
    let kept = entry(&alias("a.example.net"), 60, &text(3));
    put(&test, &other, &kept).await;
    put(&test, &name, &entry(&alias("a.example.net"), 60, &text(1))).await;
    put(&test, &name, &entry(&alias("b.example.net"), 60, &text(2))).await;
    assert_eq!(test.names.read(&other).await.unwrap(), kept);
}

/// Of the operators that saw the same records, one wins. Where the service cannot compare, the records are those of one of
/// them, whole.
pub(super) async fn of_simultaneous_operators_one_wins(test: NamesUnderTest) {
    let name = test.name("images");
    let before = entry(&alias("a.example.net"), 60, &text(1));
    put(&test, &name, &before).await;
    let wanted: Vec<Entry> = (0..4)
        .map(|number| entry(&alias(&format!("b{number}.example.net")), 60, &text(2 + number)))
        .collect();
    let swaps = wanted.iter().map(|after| test.names.swap(&name, &before, after));
    let results = futures_util::future::join_all(swaps).await;
    let found = test.names.read(&name).await.unwrap();
    for (result, after) in results.iter().zip(&wanted) {
        if let Err(error) = result {
            assert!(error.is(Code::DnsRecordChanged), "{error}");
        }
        if test.names.is_atomic() {
            assert_eq!(result.is_ok(), found == *after, "{after}, found {found}");
        }
    }
    if test.names.is_atomic() {
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    }
}

pub(super) async fn external_dns_is_named_as_the_owner(test: NamesUnderTest) {
    let name = test.name(OWNED);
    let found = test.names.read(&name).await.unwrap();
    let owner = found.owner.unwrap();
    assert!(owner.contains("external-dns") && owner.contains("default"), "{owner}");
    let error = switch(&*test.names, &switch_to(&name, "b.example.net", 1))
        .await
        .unwrap_err();
    assert!(error.is(Code::DnsRecordOwned), "{error}");
    assert!(error.to_string().contains("external-dns"), "{error}");
}

fn switch_to(name: &Hostname, target: &str, epoch: u64) -> Switch {
    let from = if target.starts_with('a') { "b" } else { "a" };
    Switch {
        name: name.clone(),
        from: alias(&format!("{from}.example.net")),
        to: alias(target),
        ttl_seconds: 60,
        stamp: Stamp::new(epoch, &target[..1], "suite"),
    }
}

fn unstamped(record: &SiteRecord) -> Entry {
    Entry {
        records: vec![RecordSet::of(record, 300)],
        ..Entry::default()
    }
}

pub(super) async fn a_switch_is_made_once_and_answered_everywhere(test: NamesUnderTest) {
    let name = test.name("images");
    put(&test, &name, &unstamped(&alias("a.example.net"))).await;
    let wanted = switch_to(&name, "b.example.net", 1);
    let switched = switch(&*test.names, &wanted).await.unwrap();
    assert_eq!(
        switched.after,
        entry(&alias("b.example.net"), 60, &wanted.stamp.to_string())
    );
    assert_eq!(switched.before, unstamped(&alias("a.example.net")));
    let confirmation = confirm(&*test.names, &name, &switched, Patience::default())
        .await
        .unwrap();
    confirmation.check(&name).unwrap();
    assert!(!confirmation.current.is_empty());
    let again = switch(&*test.names, &wanted).await.unwrap();
    assert_eq!(again.before, again.after);
    let back = switch(&*test.names, &switch_to(&name, "a.example.net", 2))
        .await
        .unwrap();
    assert!(back.after.leads_to(&alias("a.example.net")));
}

pub(super) async fn an_older_epoch_cannot_switch_back(test: NamesUnderTest) {
    let name = test.name("images");
    put(&test, &name, &unstamped(&alias("a.example.net"))).await;
    switch(&*test.names, &switch_to(&name, "b.example.net", 5))
        .await
        .unwrap();
    for epoch in [1, 4, 5] {
        let error = switch(&*test.names, &switch_to(&name, "a.example.net", epoch))
            .await
            .unwrap_err();
        assert!(error.is(Code::DnsEpochOld), "{error}");
        assert!(error.to_string().contains("epoch=5; site=b"), "{error}");
    }
    assert!(test.names.read(&name).await.unwrap().leads_to(&alias("b.example.net")));
}

pub(super) async fn a_record_that_another_client_changed_is_shown_and_kept(test: NamesUnderTest) {
    let name = test.name("images");
    let theirs = unstamped(&alias("elsewhere.example.org"));
    put(&test, &name, &theirs).await;
    let error = switch(&*test.names, &switch_to(&name, "b.example.net", 1))
        .await
        .unwrap_err();
    assert!(error.is(Code::DnsRecordChanged), "{error}");
    assert!(error.to_string().contains("300 CNAME elsewhere.example.org"), "{error}");
    assert_eq!(test.names.read(&name).await.unwrap(), theirs);

    let foreign = entry(&alias("a.example.net"), 60, "a text of another tool");
    put(&test, &name, &foreign).await;
    let error = switch(&*test.names, &switch_to(&name, "b.example.net", 1))
        .await
        .unwrap_err();
    assert!(error.is(Code::DnsRecordChanged), "{error}");
    assert_eq!(test.names.read(&name).await.unwrap(), foreign);
}

/// What a crash between the steps of a service without transactions leaves.
pub(super) async fn a_switch_that_was_interrupted_is_continued(test: NamesUnderTest) {
    let name = test.name("images");
    let wanted = switch_to(&name, "b.example.net", 3);
    put(
        &test,
        &name,
        &entry(&alias("a.example.net"), 60, &wanted.stamp.to_string()),
    )
    .await;
    let error = switch(&*test.names, &switch_to(&name, "b.example.net", 2))
        .await
        .unwrap_err();
    assert!(error.is(Code::DnsEpochOld), "{error}");
    let switched = switch(&*test.names, &wanted).await.unwrap();
    assert!(switched.after.leads_to(&alias("b.example.net")));
}

pub(super) async fn an_alias_at_the_apex_is_refused_before_it_is_sent(test: NamesUnderTest) {
    let error = switch(&*test.names, &switch_to(&test.zone, "b.example.net", 1))
        .await
        .unwrap_err();
    assert!(error.is(Code::DnsApexCname), "{error}");
    let outside: Hostname = "images.example.invalid".parse().unwrap();
    let error = switch(&*test.names, &switch_to(&outside, "b.example.net", 1))
        .await
        .unwrap_err();
    assert!(error.is(Code::DnsZoneInvalid), "{error}");
}
