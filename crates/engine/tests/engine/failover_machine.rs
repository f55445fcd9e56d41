//! The state machine of a group under seeds: every call to the ledger and to DNS may fail before or after its effect, two
//! operators give orders at the same time, and between the calls clients push by the name and workers copy for late and repeated
//! events.
//!
//! What must hold: no worker writes a tag after the group is drained, or in a direction that is not active; no image that a worker
//! counted as replicated is replaced by an older one at the site that clients are led to; a command that is repeated often enough
//! ends; DNS and the ledger agree at the end.

#![expect(clippy::panic, reason = "a test that cannot go on has failed, in its helpers too")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use transship_copy::{Clock, TimeBudget};
use transship_engine::failover::{
    Assess, GroupState, OperationKind, Order, Phase, Readiness, Reason, Switchover, Writes, WritesOf, Zones, observe,
};
use transship_engine::ledger::{Cursor, Failovers, Key, Page, Record, Records};
use transship_engine::names::{Answer, Entry, Names, Patience, Receipt, RecordSet};
use transship_oci::{Code, Error, Result, Verb};
use transship_rules::{Document, Failover, Hostname, ZoneService};
use transship_testkit::clock::ManualClock;
use transship_testkit::memory::{MemoryLedger, MemoryNames};

use crate::failover_images::{Images, TAGS};

const SEEDS: u64 = 200;
const DOCUMENT: &str = r#"
version: 1
registries:
  a: { provider: distribution, endpoint: "https://a.example.net", webhook: none }
  b: { provider: distribution, endpoint: "https://b.example.net", webhook: none }
rules:
  - { name: core, source: { registry: a, namespace: core }, destination: { registry: b } }
failover:
  - name: main
    endpoint: https://images.example.com
    sites:
      - { registry: a, record: { type: CNAME, value: a.example.net } }
      - { registry: b, record: { type: CNAME, value: b.example.net } }
    writer: a
    zones:
      - { name: public, home: a, dns: { exec: public } }
      - { name: vpc, home: a, dns: { exec: vpc } }
    ttl: 60
    rpo: 15m
"#;

/// Numbers from a seed, shared by everything that decides.
#[derive(Debug, Clone)]
struct Dice(Arc<AtomicU64>);

impl Dice {
    fn one_in(&self, sides: u64) -> bool {
        self.below(sides) == 0
    }

    fn below(&self, limit: u64) -> u64 {
        let step = |state: u64| {
            state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407)
        };
        let last = self
            .0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |state| Some(step(state)));
        (step(last.unwrap()) >> 33) % limit
    }
}

/// A worker between the permission to write and the end of its write.
struct Writing {
    number: u64,
    tag: &'static str,
    /// What it read at the source.
    image: u64,
    ends: (&'static str, &'static str),
    admitted: std::time::SystemTime,
    /// How long its request may take.
    limit: Duration,
    holder: String,
}

/// Everything that the operators share.
struct World {
    dice: Dice,
    ledger: Arc<MemoryLedger>,
    failovers: Failovers,
    clock: ManualClock,
    document: Document,
    writing: Mutex<Vec<Writing>>,
    images: Mutex<Images>,
    /// Where clients are led.
    names: OnceLock<MemoryNames>,
    writes: AtomicU64,
    workers: AtomicU64,
    /// Faults happen.
    is_rough: std::sync::atomic::AtomicBool,
}

impl World {
    fn new(seed: u64) -> Arc<Self> {
        let ledger = Arc::new(MemoryLedger::default());
        let records: Arc<dyn Records> = Arc::clone(&ledger) as _;
        Arc::new(Self {
            dice: Dice(Arc::new(AtomicU64::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)))),
            ledger,
            failovers: Failovers::new(records),
            clock: ManualClock::default(),
            document: Document::parse(DOCUMENT).unwrap().document,
            writing: Mutex::default(),
            images: Mutex::default(),
            names: OnceLock::new(),
            writes: AtomicU64::new(0),
            workers: AtomicU64::new(0),
            is_rough: true.into(),
        })
    }

    /// What a worker or a check does first: the state is written.
    async fn settle(&self) {
        let state = GroupState::new(self.group());
        self.failovers.put("main", None, &state).await.unwrap();
    }

    fn group(&self) -> &Failover {
        self.document.failover_group("main").unwrap()
    }

    /// Lets the other operator run, and workers begin, write, and die.
    async fn tick(&self) {
        if !self.is_rough.load(Ordering::SeqCst) {
            return;
        }
        if self.dice.one_in(2) {
            tokio::task::yield_now().await;
        }
        match self.dice.below(6) {
            0 | 1 => self.begin_write().await,
            // Most writes last longer than the steps of an operator.
            2 | 3 if self.dice.one_in(8) => self.end_write().await,
            4 => self.push().await,
            5 if self.dice.one_in(8) => self.clock.advance(Duration::from_mins(3)),
            _ => {}
        }
    }

    fn tag(&self) -> &'static str {
        TAGS[usize::try_from(self.dice.below(3)).unwrap()]
    }

    /// The site that clients of the name are led to.
    async fn led_to(&self) -> &'static str {
        let group = self.group();
        let found = self.names.get().unwrap().read(&group.host).await.unwrap();
        let is_at_b = found.leads_to(&group.site("b").unwrap().record);
        if is_at_b { "b" } else { "a" }
    }

    /// A client pushes by the name.
    async fn push(&self) {
        let (tag, site) = (self.tag(), self.led_to().await);
        self.images.lock().unwrap().push(site, tag);
    }

    /// A while without an order of an operator.
    async fn live(&self) {
        for _ in 0..20 {
            self.tick().await;
        }
    }

    async fn begin_write(&self) {
        // Late and repeated events of both directions, for any tag.
        let (rule, ends) = if self.dice.one_in(2) {
            ("core", ("a", "b"))
        } else {
            ("core.reverse", ("b", "a"))
        };
        let tag = self.tag();
        // One worker at a time writes a destination.
        let is_claimed = |writing: &Writing| writing.ends.1 == ends.1 && writing.tag == tag;
        if self.writing.lock().unwrap().iter().any(is_claimed) {
            return;
        }
        let Some(image) = self.images.lock().unwrap().at.get(&(ends.0, tag)).copied() else {
            return;
        };
        let number = self.workers.fetch_add(1, Ordering::SeqCst);
        let holder = format!("worker {number}");
        let writes = Writes::new(self.writes_of(rule, ends), &holder);
        match writes.admit().await {
            Ok(limit) => self.writing.lock().unwrap().push(Writing {
                number,
                tag,
                image,
                ends,
                admitted: self.clock.now(),
                limit: limit.unwrap(),
                holder,
            }),
            Err(error) => {
                assert!(
                    error.is(Code::FailoverUnderWay) || error.is(Code::FailoverFenced),
                    "{error}"
                );
                writes.end().await;
            }
        }
    }

    fn writes_of<'a>(&'a self, rule: &'a str, ends: (&'a str, &'a str)) -> WritesOf<'a> {
        WritesOf {
            failovers: &self.failovers,
            clock: &self.clock,
            document: &self.document,
            rule,
            ends,
            zones: None,
            budget: None,
        }
    }

    /// A worker that was admitted writes its tag now, or has died.
    async fn end_write(&self) {
        let writing = {
            let mut all = self.writing.lock().unwrap();
            if all.is_empty() {
                return;
            }
            let chosen = usize::try_from(self.dice.below(all.len() as u64)).unwrap();
            all.remove(chosen)
        };
        let age = self.clock.now().duration_since(writing.admitted).unwrap_or_default();
        // A worker that died, and one whose time is over, write nothing. Their slots stay.
        if self.dice.one_in(6) || age > writing.limit {
            return;
        }
        let state = self.failovers.get("main").await.unwrap().map(|known| known.state);
        let state = state.unwrap_or_else(|| GroupState::new(self.group()));
        let is_drained = state.under_way().is_some_and(|operation| operation.writer.is_some())
            && matches!(state.phase, Phase::Drained | Phase::Flipped);
        assert!(!is_drained, "worker {} writes in {:?}", writing.number, state.phase);
        assert_eq!(
            writing.ends.0, state.writer,
            "worker {} writes to the writer",
            writing.number
        );
        self.writes.fetch_add(1, Ordering::SeqCst);
        let is_led_here = self.led_to().await == writing.ends.1;
        let (tag, image) = (writing.tag, writing.image);
        self.images
            .lock()
            .unwrap()
            .write_late(writing.ends, tag, image, is_led_here);
        let slots = self.failovers.slots("main").await.unwrap();
        for slot in slots.iter().filter(|slot| slot.slot.holder == writing.holder) {
            self.failovers.end_slot("main", slot).await.unwrap();
        }
    }

    /// What `dr failback` does first: the rules of the present writer are run, and conflicts are decided, some in each way.
    async fn copy_back(&self) {
        self.is_rough.store(false, Ordering::SeqCst);
        while !self.writing.lock().unwrap().is_empty() {
            self.end_write().await;
        }
        for tag in TAGS {
            let writes = Writes::new(self.writes_of("core.reverse", ("b", "a")), "failback");
            writes.admit().await.unwrap();
            let is_decided = self.dice.one_in(2);
            self.return_image(tag, is_decided);
            writes.end().await;
        }
        self.is_rough.store(true, Ordering::SeqCst);
    }

    fn return_image(&self, tag: &'static str, is_decided: bool) {
        let mut images = self.images.lock().unwrap();
        if let Some(image) = images.at.get(&("b", tag)).copied() {
            images.write(("b", "a"), tag, image, is_decided);
        }
    }

    /// The process ends here.
    fn crash(&self) -> Result<()> {
        if self.is_rough.load(Ordering::SeqCst) && self.dice.one_in(12) {
            return Err(Error::of(Code::LedgerUnavailable, Verb::Ledger).because("crash"));
        }
        Ok(())
    }
}

/// The ledger as an operator sees it.
struct RoughRecords(Arc<World>);

#[async_trait]
impl Records for RoughRecords {
    async fn get(&self, key: &Key) -> Result<Option<Record>> {
        self.0.tick().await;
        self.0.crash()?;
        self.0.ledger.get(key).await
    }

    async fn put_if(&self, key: &Key, expected: Option<u64>, value: &str) -> Result<Option<u64>> {
        self.0.tick().await;
        self.0.crash()?;
        let put = self.0.ledger.put_if(key, expected, value).await;
        self.0.tick().await;
        self.0.crash()?;
        put
    }

    async fn remove_if(&self, key: &Key, expected: u64) -> Result<bool> {
        self.0.tick().await;
        self.0.ledger.remove_if(key, expected).await
    }

    async fn list(&self, family: &str, prefix: &str, after: Option<&Cursor>, limit: usize) -> Result<Page<Record>> {
        self.0.tick().await;
        self.0.crash()?;
        self.0.ledger.list(family, prefix, after, limit).await
    }
}

/// A zone as an operator sees it.
struct RoughNames(Arc<World>, MemoryNames);

#[async_trait]
impl Names for RoughNames {
    fn is_atomic(&self) -> bool {
        true
    }

    async fn zone(&self) -> Result<Hostname> {
        self.1.zone().await
    }

    async fn read(&self, name: &Hostname) -> Result<Entry> {
        self.0.tick().await;
        self.0.crash()?;
        self.1.read(name).await
    }

    async fn swap(&self, name: &Hostname, before: &Entry, after: &Entry) -> Result<Receipt> {
        self.0.tick().await;
        self.0.crash()?;
        let swapped = self.1.swap(name, before, after).await;
        self.0.tick().await;
        self.0.crash()?;
        swapped
    }

    async fn answers(&self, name: &Hostname, receipt: &Receipt) -> Result<Vec<Answer>> {
        self.0.tick().await;
        self.0.crash()?;
        self.1.answers(name, receipt).await
    }
}

#[derive(Clone)]
struct RoughZones(Arc<World>, BTreeMap<String, MemoryNames>);

impl RoughZones {
    fn new(world: &Arc<World>) -> Self {
        let group = world.group();
        let zones = group.zones.iter().map(|zone| {
            let names = MemoryNames::new("example.com".parse().unwrap());
            let home = group.site(&zone.home).unwrap();
            let entry = Entry {
                records: vec![RecordSet::of(&home.record, 60)],
                ..Entry::default()
            };
            names.put(&group.host, entry);
            (zone.name.clone(), names)
        });
        let zones: BTreeMap<String, MemoryNames> = zones.collect();
        world.names.set(zones["public"].clone()).ok();
        Self(Arc::clone(world), zones)
    }
}

#[async_trait]
impl Zones for RoughZones {
    async fn names(&self, service: &ZoneService) -> Result<Arc<dyn Names>> {
        let ZoneService::Exec(name) = service else {
            panic!("{service:?}")
        };
        Ok(Arc::new(RoughNames(Arc::clone(&self.0), self.1[name].clone())))
    }
}

/// What is said of every site.
struct Assessed(Vec<Reason>);

#[async_trait]
impl Assess for Assessed {
    async fn readiness(&self, group: &Failover, _: &str, site: &str) -> Result<Readiness> {
        Ok(Readiness::new(site, group.rpo, self.0.clone()))
    }
}

/// The clock of an operator, five minutes ahead of that of the workers.
struct AheadClock(ManualClock);

impl Clock for AheadClock {
    fn now(&self) -> std::time::SystemTime {
        self.0.now() + Duration::from_mins(5)
    }
}

fn switchover(world: &Arc<World>, zones: &RoughZones, process: &str, reasons: Vec<Reason>) -> Switchover {
    let often = Patience {
        times: 10_000,
        pause: Duration::ZERO,
    };
    Switchover {
        failovers: Failovers::new(Arc::new(RoughRecords(Arc::clone(world)))),
        zones: Arc::new(zones.clone()),
        assess: Arc::new(Assessed(reasons)),
        clock: Arc::new(AheadClock(world.clock.clone())),
        by: format!("ops-{process}@host"),
        process: process.to_owned(),
        // The processes of this test end at every fault.
        has_ended: |_| true,
        patience: often,
        drain: often,
    }
}

fn flip(to: &str) -> Order {
    Order {
        kind: OperationKind::Flip,
        to: Some(to.to_owned()),
        zone: None,
        accepts_data_loss: false,
    }
}

fn failback() -> Order {
    Order {
        kind: OperationKind::Failback,
        to: None,
        zone: None,
        accepts_data_loss: false,
    }
}

/// Repeats the command of one operator until it ends.
async fn insist(world: &Arc<World>, zones: &RoughZones, name: &str, order: &Order) -> usize {
    for time in 0..2_000 {
        let operator = switchover(world, zones, &format!("{name}-{time}"), Vec::new());
        match operator.run(world.group(), order).await {
            Ok(_) => return time,
            Err(error) => assert!(
                [Code::LedgerUnavailable, Code::FailoverBusy, Code::FailoverDrainSlow, Code::FailoverEpochUnknown]
                    .contains(&error.kind())
                    // An operation that another operator finished meanwhile is behind DNS for a moment.
                    || [Code::DnsEpochOld, Code::DnsRecordChanged].contains(&error.kind()),
                "{error}"
            ),
        }
        tokio::task::yield_now().await;
    }
    panic!("the command does not end");
}

/// The ledger and DNS agree that everything leads to `site`.
async fn expect_at(world: &Arc<World>, zones: &RoughZones, site: &str, phase: Phase) {
    world.is_rough.store(false, Ordering::SeqCst);
    let observed = observe(&world.failovers, world.group(), zones).await.unwrap();
    assert_eq!((observed.state.writer.as_str(), observed.state.phase), (site, phase));
    assert!(observed.state.under_way().is_none());
    for zone in &observed.zones {
        assert_eq!(zone.leads_to.as_deref(), Some(site), "{}", zone.name);
        assert_eq!(observed.state.site_of(world.group(), &zone.name), Some(site));
    }
    world.is_rough.store(true, Ordering::SeqCst);
}

#[tokio::test]
async fn a_switch_survives_every_crash_and_no_worker_writes_after_the_drain() {
    let (mut written, mut counted, mut kept) = (0, 0, 0);
    for seed in 0..SEEDS {
        eprintln!("seed {seed}");
        let world = World::new(seed);
        world.settle().await;
        let zones = RoughZones::new(&world);
        for tag in TAGS {
            world.images.lock().unwrap().push("a", tag);
        }
        world.live().await;
        let forth = flip("b");
        tokio::join!(
            insist(&world, &zones, "one", &forth),
            insist(&world, &zones, "two", &forth)
        );
        expect_at(&world, &zones, "b", Phase::Reversed).await;
        world.images.lock().unwrap().expect_nothing_lost(seed, "b");
        // The ledger is lost: DNS has the epoch and the site.
        if world.dice.one_in(3) {
            let known = world.failovers.get("main").await.unwrap().unwrap();
            let key = Key::new("failover", "main");
            world.ledger.remove_if(&key, known.version).await.unwrap();
            world.is_rough.store(false, Ordering::SeqCst);
            let mut observed = observe(&world.failovers, world.group(), &zones).await.unwrap();
            assert_eq!(
                (observed.state.epoch, observed.state.writer.as_str()),
                (known.state.epoch, "b")
            );
            let at = jiff::Timestamp::UNIX_EPOCH;
            observed.rebuild(&world.failovers, world.group(), at).await.unwrap();
            world.is_rough.store(true, Ordering::SeqCst);
        }
        world.live().await;
        world.copy_back().await;
        let back = failback();
        tokio::join!(
            insist(&world, &zones, "one", &back),
            insist(&world, &zones, "two", &back)
        );
        expect_at(&world, &zones, "a", Phase::Ready).await;
        // Late events of both directions.
        world.live().await;
        let images = world.images.lock().unwrap();
        images.expect_nothing_lost(seed, "a");
        counted += images.counted.len();
        kept += images.kept;
        written += world.writes.load(Ordering::SeqCst);
    }
    assert!(written > SEEDS, "workers wrote {written} tags");
    assert!(
        counted > 200 && kept > 20,
        "{counted} tags were replicated, {kept} conflicts kept"
    );
}

/// A world without faults.
fn calm() -> (Arc<World>, RoughZones) {
    let world = World::new(1);
    world.is_rough.store(false, Ordering::SeqCst);
    let zones = RoughZones::new(&world);
    (world, zones)
}

fn reason(code: &str, is_loss: bool) -> Reason {
    Reason {
        code: code.to_owned(),
        text: "text".to_owned(),
        is_loss,
    }
}

#[tokio::test]
async fn lag_is_refused_until_it_is_accepted_and_nothing_else_is_overridden() {
    let (world, zones) = calm();
    let lag = || vec![reason("LAG", true)];
    let run = async |reasons: Vec<Reason>, accepts_data_loss: bool| {
        let order = Order {
            accepts_data_loss,
            ..flip("b")
        };
        let operator = switchover(&world, &zones, "one", reasons);
        operator.run(world.group(), &order).await
    };
    assert!(run(lag(), false).await.unwrap_err().is(Code::FailoverLag));
    let both = vec![reason("LAG", true), reason("LOGIN", false)];
    for accepts in [false, true] {
        let refused = run(both.clone(), accepts).await.unwrap_err();
        assert!(
            refused.is(Code::FailoverNotReady) && refused.message().contains("LOGIN"),
            "{refused}"
        );
    }
    assert!(
        world.failovers.get("main").await.unwrap().is_none(),
        "nothing was changed"
    );
    let switched = run(lag(), true).await.unwrap();
    let accepted = switched.state.operation.unwrap().accepted.unwrap();
    assert_eq!(accepted.reasons, ["LAG"]);
}

#[tokio::test]
async fn a_record_that_someone_else_changed_is_reported_before_the_fence() {
    let (world, zones) = calm();
    let entry = Entry {
        records: vec![RecordSet::parse(transship_rules::RecordKind::Cname, &["c.example.net".to_owned()], 60).unwrap()],
        ..Entry::default()
    };
    zones.1["vpc"].put(&world.group().host, entry);
    let operator = switchover(&world, &zones, "one", Vec::new());
    let refused = operator.run(world.group(), &flip("b")).await.unwrap_err();
    assert!(
        refused.is(Code::DnsRecordChanged) && refused.message().contains("vpc"),
        "{refused}"
    );
    assert!(
        world.failovers.get("main").await.unwrap().is_none(),
        "nothing was fenced"
    );
}

#[tokio::test]
async fn an_older_ledger_is_refused_until_it_takes_the_state_of_dns() {
    let (world, zones) = calm();
    let operator = switchover(&world, &zones, "one", Vec::new());
    operator.run(world.group(), &flip("b")).await.unwrap();
    let known = world.failovers.get("main").await.unwrap().unwrap();
    let old = GroupState::new(world.group());
    world.failovers.put("main", Some(known.version), &old).await.unwrap();
    let refused = operator.run(world.group(), &flip("b")).await.unwrap_err();
    assert!(
        refused.is(Code::DnsEpochOld) && refused.message().contains("--rebuild"),
        "{refused}"
    );
    let mut observed = observe(&world.failovers, world.group(), &zones).await.unwrap();
    observed
        .rebuild(&world.failovers, world.group(), jiff::Timestamp::UNIX_EPOCH)
        .await
        .unwrap();
    assert!(operator.run(world.group(), &flip("b")).await.unwrap().is_unchanged);
}

#[tokio::test]
async fn a_worker_without_a_state_asks_dns_and_writes_nothing_in_the_old_direction() {
    let (world, zones) = calm();
    let operator = switchover(&world, &zones, "one", Vec::new());
    operator.run(world.group(), &flip("b")).await.unwrap();
    let known = world.failovers.get("main").await.unwrap().unwrap();
    let key = Key::new("failover", "main");
    world.ledger.remove_if(&key, known.version).await.unwrap();
    let blind = Writes::new(world.writes_of("core", ("a", "b")), "blind");
    assert!(blind.admit().await.unwrap_err().is(Code::FailoverEpochUnknown));
    blind.end().await;
    let with_zones = |rule, ends| WritesOf {
        zones: Some(&zones),
        ..world.writes_of(rule, ends)
    };
    let old = Writes::new(with_zones("core", ("a", "b")), "old");
    assert!(old.admit().await.unwrap_err().is(Code::FailoverFenced));
    old.end().await;
    let written = world.failovers.get("main").await.unwrap().unwrap().state;
    assert_eq!((written.epoch, written.writer.as_str()), (known.state.epoch, "b"));
    let new = Writes::new(with_zones("core.reverse", ("b", "a")), "new");
    new.admit().await.unwrap();
    new.end().await;
}

#[tokio::test]
async fn a_group_that_was_never_switched_follows_its_document() {
    let (world, zones) = calm();
    let of = WritesOf {
        zones: Some(&zones),
        ..world.writes_of("core", ("a", "b"))
    };
    let first = Writes::new(of, "first");
    first.admit().await.unwrap();
    first.end().await;
    assert!(world.failovers.get("main").await.unwrap().is_some());
    assert!(world.failovers.all().await.unwrap().is_empty(), "no rule is reversed");
    let mut edited = world.group().clone();
    edited.writer = "b".to_owned();
    let observed = observe(&world.failovers, &edited, &zones).await.unwrap();
    assert_eq!(observed.state.writer, "b");
}

#[tokio::test]
async fn the_second_operator_is_informed_and_a_fence_is_taken_back() {
    let (world, zones) = calm();
    world.settle().await;
    // The first operator meets a write that does not end.
    let writes = Writes::new(world.writes_of("core", ("a", "b")), "stuck");
    writes.admit().await.unwrap();
    let mut first = switchover(&world, &zones, "one", Vec::new());
    first.drain.times = 1;
    let slow = first.run(world.group(), &flip("b")).await.unwrap_err();
    assert!(
        slow.is(Code::FailoverDrainSlow) && slow.message().contains("stuck"),
        "{slow}"
    );
    let mut second = switchover(&world, &zones, "two", Vec::new());
    second.has_ended = |_| false;
    let busy = second.run(world.group(), &flip("b")).await.unwrap_err();
    assert!(
        busy.is(Code::FailoverBusy) && busy.message().contains("ops-one@host"),
        "{busy}"
    );
    let other = switchover(&world, &zones, "three", Vec::new());
    let busy = other.run(world.group(), &failback()).await.unwrap_err();
    assert!(busy.is(Code::FailoverBusy), "{busy}");
    let waits = Writes::new(world.writes_of("core", ("a", "b")), "next");
    assert!(waits.admit().await.unwrap_err().is(Code::FailoverUnderWay));
    waits.end().await;
    let taken_back = other.run(world.group(), &flip("a")).await.unwrap();
    assert!(taken_back.state.operation.unwrap().is_aborted);
    waits.admit().await.unwrap();
    waits.end().await;
}

#[tokio::test]
async fn a_zone_alone_moves_without_the_writer_while_another_leads_to_it() {
    let (world, zones) = calm();
    let operator = switchover(&world, &zones, "one", Vec::new());
    let only = |zone: &str| Order {
        zone: Some(zone.to_owned()),
        ..flip("b")
    };
    let first = operator.run(world.group(), &only("vpc")).await.unwrap().state;
    assert_eq!(
        (first.writer.as_str(), first.phase, first.epoch),
        ("a", Phase::Flipped, 1)
    );
    let second = operator.run(world.group(), &only("public")).await.unwrap().state;
    assert_eq!(
        (second.writer.as_str(), second.phase, second.epoch),
        ("b", Phase::Reversed, 2)
    );
    let unknown = operator.run(world.group(), &only("nowhere")).await.unwrap_err();
    assert!(
        unknown.is(Code::UnknownSite) && unknown.message().contains("public, vpc"),
        "{unknown}"
    );
}

/// Clocks of workers and operators may be five minutes apart.
#[tokio::test]
async fn a_slot_outlasts_each_write_for_an_operator_whose_clock_is_ahead() {
    let (world, _) = calm();
    world.settle().await;
    let minutes = Duration::from_mins(10);
    let budget = TimeBudget::until(std::time::Instant::now() + minutes, minutes);
    for budget in [None, Some(budget)] {
        let of = WritesOf {
            budget,
            ..world.writes_of("core", ("a", "b"))
        };
        let writes = Writes::new(of, "worker");
        for _ in 0..40 {
            let limit = writes.admit().await.unwrap().unwrap();
            assert!(limit >= Duration::from_mins(2), "{limit:?}");
            let slots = world.failovers.slots("main").await.unwrap();
            let ends = jiff::Timestamp::try_from(world.clock.now() + limit).unwrap();
            assert!(slots[0].slot.expires >= ends + Duration::from_mins(5), "{limit:?}");
            assert!(limit <= Duration::from_mins(5));
            world.clock.advance(Duration::from_secs(37));
        }
        writes.end().await;
    }
}
