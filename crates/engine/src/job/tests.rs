use transship_layout::SourceKind;
use transship_oci::{Digest, Target};
use transship_oci::{Existing, Referrers};

use transship_registry::PageCursor;

use super::*;
use crate::{Execution, Import, StoreName, Trigger};

/// Messages as the previous release wrote them.
mod previous {
    pub const COPY: &str = r#"{"version":1,"id":"t-0123456789abcdef0123","execution":"e-0123456789abcdef0123","rule":"core-images","trigger":"event","action":"copy","source":{"registry":"hangzhou","repository":"core/app","target":{"tag":"v1"}},"destination":{"registry":"zhangjiakou","repository":"copy/app","target":{"tag":"v1"}},"existing":"follow","referrers":"include","kinds":["image"],"follows":false,"hint":"sha256:05b3abf2579a5eb66403cd78be557fd860633a1fe2103c7642030defe32c657f","created":"2026-01-01T00:00:00.123Z","hops":3,"not_before":"2026-01-01T00:10:00Z"}"#;
    pub const ATTACHMENT: &str = r#"{"version":1,"id":"t-0123456789abcdef0123","execution":"e-0123456789abcdef0123","rule":"core-images","trigger":"event","action":"copy","source":{"registry":"hangzhou","repository":"core/app","target":{"digest":"sha256:05b3abf2579a5eb66403cd78be557fd860633a1fe2103c7642030defe32c657f"}},"destination":{"registry":"zhangjiakou","repository":"copy/app","target":{"digest":"sha256:05b3abf2579a5eb66403cd78be557fd860633a1fe2103c7642030defe32c657f"}},"existing":"follow","referrers":"include","follows":true,"created":"2026-01-01T00:00:00.123Z"}"#;
    pub const STORED: &str = r#"{"version":1,"id":"t-c5e6f12aac1ce0e5877b","execution":"e-09abf3eb0c9661cd6b68","rule":"seed","trigger":"import","action":"copy","source":{"registry":"s3://layouts","repository":"team/app","target":{"tag":"v1"}},"destination":{"registry":"zhangjiakou","repository":"core/team/app","target":{"tag":"v1"}},"existing":"keep","referrers":"include","follows":false,"hint":"sha256:05b3abf2579a5eb66403cd78be557fd860633a1fe2103c7642030defe32c657f","created":"2026-01-01T00:00:00Z","found":{"kind":"layout","key":"to/team/app/","path":"team/app"}}"#;
    pub const SCAN: &str = r#"{"version":1,"id":"l-7169dca720676aede93d","execution":"e-09abf3eb0c9661cd6b68","rule":"seed","trigger":"import","action":"copy","source":{"registry":"s3://layouts","repository":"team/app","target":{"tag":"_"}},"destination":{"registry":"zhangjiakou","repository":"core/team/app","target":{"tag":"_"}},"existing":"keep","referrers":"include","follows":false,"created":"2026-01-01T00:00:00Z","found":{"kind":"layout","key":"to/team/app/","path":"team/app"},"look":{"import":{"name":"seed","registry":"zhangjiakou","path":"core","existing":"keep","referrers":"include"},"is_upload":true}}"#;
    pub const SCAN_OF_ONE: &str = r#"{"version":1,"id":"l-b70553cd45d06372f60c","execution":"e-09abf3eb0c9661cd6b68","rule":"seed","trigger":"import","action":"copy","source":{"registry":"s3://layouts","repository":"app","target":{"tag":"v1"}},"destination":{"registry":"zhangjiakou","repository":"core/app","target":{"tag":"v1"}},"existing":"keep","referrers":"include","follows":false,"created":"2026-01-01T00:00:00Z","hops":2,"found":{"kind":"repository","key":"to/docker/registry/v2/repositories/app/","path":"app"},"look":{"import":{"name":"seed","registry":"zhangjiakou","path":"core","existing":"keep","referrers":"include"},"is_single":true,"is_upload":true}}"#;
    pub const SCAN_OF_THE_REST: &str = r#"{"version":1,"id":"l-7169dca720676aede93d","execution":"e-09abf3eb0c9661cd6b68","rule":"seed","trigger":"import","action":"copy","source":{"registry":"s3://layouts","repository":"team/app","target":{"tag":"_"}},"destination":{"registry":"zhangjiakou","repository":"core/team/app","target":{"tag":"_"}},"existing":"keep","referrers":"include","follows":false,"created":"2026-01-01T00:00:00Z","found":{"kind":"layout","key":"to/team/app/","path":"team/app"},"look":{"import":{"name":"seed","registry":"zhangjiakou","path":"core","existing":"keep","referrers":"include"},"done":100}}"#;
    pub const RECORDED_SCAN: &str = r#"{"version":1,"id":"t-dd98b7f25fd517932720","execution":"e-09abf3eb0c9661cd6b68","rule":"seed","trigger":"import","action":"copy","source":{"registry":"s3://layouts","repository":"team/app","target":{"tag":"_"}},"destination":{"registry":"zhangjiakou","repository":"core/team/app","target":{"tag":"_"}},"existing":"keep","referrers":"include","follows":false,"created":"2026-01-01T00:00:00Z","found":{"kind":"layout","key":"to/team/app/","path":"team/app"},"look":{"import":{"name":"seed","registry":"zhangjiakou","path":"core","existing":"keep","referrers":"include"},"done":100,"is_recorded":true}}"#;
    pub const SEARCH: &str = r#"{"version":1,"search":{"import":{"name":"seed","registry":"zhangjiakou","path":"core","existing":"keep","referrers":"include"},"store":"s3://layouts","execution":{"id":"e-09abf3eb0c9661cd6b68","rule":"seed","trigger":"import","created":"2026-01-01T00:00:00Z"},"at":{"prefix":"to/","has_any":false,"is_over":false},"stuck":2}}"#;
    pub const SWEEP: &str = r#"{"version":1,"sweep":{}}"#;
    pub const SWEEP_TASKS: &str =
        r#"{"version":1,"sweep":{"started":"2026-01-01T00:00:00Z","step":{"tasks":{"registry":"s3://layouts"}}}}"#;
    pub const SWEEP_INCOMPLETE: &str =
        r#"{"version":1,"sweep":{"started":"2026-01-01T00:00:00Z","step":"incomplete"}}"#;
    pub const SWEEP_RULE: &str = r#"{"version":1,"sweep":{"started":"2026-01-01T00:00:00Z","step":{"rule":{"rule":"core","after":{"page":"n=1000&last=core%2Faa","pages":1,"repository":"core/app","tag":"v1","stuck":2}}}}}"#;
}

fn tag(text: &str) -> Target {
    Target::Tag(text.parse().unwrap())
}

fn import() -> Import {
    Import {
        name: "seed".into(),
        registry: "zhangjiakou".into(),
        path: Some("core".parse().unwrap()),
        existing: Existing::Keep,
        referrers: Referrers::Include,
    }
}

fn execution() -> Execution {
    Execution {
        id: "e-09abf3eb0c9661cd6b68".into(),
        rule: "seed".into(),
        trigger: Trigger::Import,
        created: "2026-01-01T00:00:00Z".parse().unwrap(),
    }
}

fn cursor() -> Cursor {
    Cursor {
        page: Some(PageCursor::new("n=1000&last=core%2Faa")),
        repository: Some("core/app".parse().unwrap()),
        tag_page: None,
        tag: Some("v1".parse().unwrap()),
    }
}

#[test]
fn a_job_comes_back_as_it_was_sent() {
    let found = transship_layout::SourceRef::new(SourceKind::Layout, "to/app/", "app");
    let store = StoreName::bucket("layouts");
    let sweep = |step| Sweep {
        started: Some("2026-01-01T00:00:00Z".parse().unwrap()),
        step: Some(step),
    };
    let jobs: [Job; 6] = [
        Scan::new(&import(), &store, &found, Some(&tag("v1")), &execution()).into(),
        ListPrefix::new(import(), store, "to/", execution()).into(),
        Sweep::default().into(),
        sweep(SweepStep::Incomplete).into(),
        sweep(SweepStep::Tasks { registry: "a".into() }).into(),
        sweep(SweepStep::Rule {
            rule: "core".into(),
            after: Some(cursor()),
        })
        .into(),
    ];
    for job in jobs {
        let again = Envelope::new(job).again(Duration::ZERO).envelope;
        let json = again.to_json().unwrap();
        assert!(json.contains(&format!(r#""kind":"{}""#, again.job.kind())), "{json}");
        assert_eq!(Envelope::parse(&json).unwrap(), again);
    }
}

#[test]
fn what_the_ledger_keeps_is_the_first_message_of_the_job() {
    let Job::Copy(task) = Envelope::parse(previous::STORED).unwrap().job else {
        panic!("not a copy")
    };
    let entry = task.entry();
    assert_eq!(Envelope::parse(&entry.job).unwrap(), Envelope::new(task));
    assert_eq!((entry.origin.as_str(), entry.source_repository), ("s3://layouts", None));
    assert_eq!(entry.source, "s3://layouts/to/team/app:v1");
    assert_eq!(entry.destination, "zhangjiakou/core/team/app:v1");
    let list = ListPrefix::new(import(), StoreName::bucket("layouts"), "to/", execution());
    assert_eq!(Envelope::parse(&list.entry().job).unwrap(), Envelope::new(list.clone()));
    assert_eq!(list.entry().source, "s3://layouts/to");
    assert_eq!(list.entry().destination, "zhangjiakou/core");
}

#[test]
fn copies_of_the_previous_release_are_read() {
    let read = Envelope::parse(previous::COPY).unwrap();
    assert_eq!(
        (read.version, read.tries, read.not_before),
        (2, 3, Some("2026-01-01T00:10:00Z".parse().unwrap()))
    );
    let Job::Copy(task) = read.job else {
        panic!("not a copy")
    };
    let digest = Digest::sha256(b"manifest");
    assert_eq!(task.id, "t-0123456789abcdef0123");
    assert_eq!(task.execution.id, "e-0123456789abcdef0123");
    assert_eq!(task.execution.created, "2026-01-01T00:00:00.123Z".parse().unwrap());
    assert_eq!(task.source.to_string(), "hangzhou/core/app:v1");
    assert_eq!(task.destination.to_string(), "zhangjiakou/copy/app:v1");
    assert_eq!(task.policy.kinds, [transship_oci::Kind::Image]);
    assert_eq!(task.expected.as_ref(), Some(&digest));

    let Job::Copy(attachment) = Envelope::parse(previous::ATTACHMENT).unwrap().job else {
        panic!("not a copy")
    };
    assert!(attachment.is_attachment);
    assert_eq!(attachment.source.target(), &Target::Digest(digest));

    let Job::Copy(stored) = Envelope::parse(previous::STORED).unwrap().job else {
        panic!("not a copy")
    };
    let Source::Stored { store, found, target } = stored.source else {
        panic!("not in a store")
    };
    assert_eq!(
        (store, found.key.as_str(), target),
        (StoreName::bucket("layouts"), "to/team/app/", tag("v1"))
    );
}

#[test]
fn scans_of_the_previous_release_are_read() {
    let scan = |body| match Envelope::parse(body).unwrap() {
        Envelope {
            tries,
            job: Job::Scan(scan),
            ..
        } => (tries, scan),
        other => panic!("not a scan: {other:?}"),
    };
    let (tries, whole) = scan(previous::SCAN);
    let found = transship_layout::SourceRef::new(SourceKind::Layout, "to/team/app/", "team/app");
    let expected = Scan {
        is_upload: true,
        ..Scan::new(&import(), &StoreName::bucket("layouts"), &found, None, &execution())
    };
    assert_eq!((tries, &whole), (0, &expected));
    assert_eq!(whole.key(), "l-7169dca720676aede93d", "it waited under this key");
    let (tries, one) = scan(previous::SCAN_OF_ONE);
    assert_eq!((tries, one.only.clone()), (2, Some(tag("v1"))));
    assert_eq!(one.key(), "l-b70553cd45d06372f60c", "it waited under this key");
    let (_, rest) = scan(previous::SCAN_OF_THE_REST);
    assert_eq!((rest.done, rest.is_upload), (100, false));
    let (_, recorded) = scan(previous::RECORDED_SCAN);
    assert_eq!(recorded, rest, "the ledger has it under the same id");
}

#[test]
fn listings_and_sweeps_of_the_previous_release_are_read() {
    let list = ListPrefix::new(import(), StoreName::bucket("layouts"), "to/", execution());
    let expected = Envelope {
        tries: 2,
        ..Envelope::new(list)
    };
    assert_eq!(Envelope::parse(previous::SEARCH).unwrap(), expected);
    assert_eq!(
        Envelope::parse(previous::SWEEP).unwrap(),
        Envelope::new(Sweep::default())
    );
    let started = Some("2026-01-01T00:00:00Z".parse().unwrap());
    let registry = "s3://layouts".to_owned();
    let rule = SweepStep::Rule {
        rule: "core".into(),
        after: Some(cursor()),
    };
    for (body, tries, step) in [
        (previous::SWEEP_TASKS, 0, SweepStep::Tasks { registry }),
        (previous::SWEEP_INCOMPLETE, 0, SweepStep::Incomplete),
        (previous::SWEEP_RULE, 2, rule),
    ] {
        let sweep = Sweep {
            started,
            step: Some(step),
        };
        let expected = Envelope {
            tries,
            ..Envelope::new(sweep)
        };
        assert_eq!(Envelope::parse(body).unwrap(), expected);
    }
}

#[test]
fn what_is_not_a_message_is_refused_with_its_reason() {
    for (body, why) in [
        ("", "EOF"),
        ("{}", "no version"),
        (r#"{"version":3,"job":{"kind":"sweep"}}"#, "version 3"),
        (r#"{"version":2,"job":{"kind":"dance"}}"#, "unknown variant"),
        (r#"{"version":2}"#, "missing field"),
        (r#"{"version":1}"#, "missing field"),
        (r#"{"version":1,"sweep":7}"#, "invalid type"),
        (r#"{"version":"1"}"#, "no version"),
        ("[]", "no version"),
    ] {
        let error = Envelope::parse(body).unwrap_err();
        assert_eq!(error.code(), "MESSAGE_INVALID");
        assert!(error.to_string().contains(why), "{body}: {error}");
    }
}

#[test]
fn a_message_that_is_too_large_is_not_sent() {
    let sweep = Sweep {
        started: None,
        step: Some(SweepStep::Tasks {
            registry: "a".repeat(MESSAGE_BYTES_MAX),
        }),
    };
    assert_eq!(Envelope::new(sweep).to_json().unwrap_err().code(), "MESSAGE_INVALID");
}

#[test]
fn a_message_says_how_often_nothing_was_decided_only_if_that_happened() {
    let again = |envelope: Envelope| envelope.again_undecided(Duration::ZERO).envelope;
    let message = Envelope::new(Sweep::default());
    let body = message.to_json().unwrap();
    assert!(!body.contains("undecided"), "{body}");
    assert_eq!(Envelope::parse(&body).unwrap().undecided, 0);
    let undecided = again(again(message));
    let read = Envelope::parse(&undecided.to_json().unwrap()).unwrap();
    assert_eq!((read.tries, read.undecided, &read), (2, 2, &undecided));
    assert_eq!(undecided.again(Duration::ZERO).envelope.undecided, 0);
}

#[test]
fn a_wait_counts_as_a_try_and_ends_an_earlier_one() {
    let envelope = Envelope {
        not_before: Some("2026-01-01T00:00:10Z".parse().unwrap()),
        ..Envelope::new(Sweep::default())
    };
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    assert_eq!(envelope.is_early(now), Some(Duration::from_secs(10)));
    let next = envelope.again(Duration::from_mins(1));
    assert_eq!((next.envelope.tries, next.delay), (1, Duration::from_mins(1)));
    assert_eq!(next.envelope.is_early(now), None);
}

#[test]
fn a_clock_that_was_ahead_makes_no_message_wait_and_no_job_young() {
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let copy = || Envelope::new(Envelope::parse(previous::COPY).unwrap().job);
    let (hour, year) = (Duration::from_hours(1), Duration::from_hours(24 * 365));
    let wait = |since: Timestamp| copy().waiting(hour, since).is_early(now);
    assert_eq!(wait(now), Some(hour));
    assert_eq!(wait(now.checked_add(Duration::from_secs(1)).unwrap()), None);
    let of_an_earlier_release = Envelope {
        not_before: now.checked_add(year).ok(),
        ..copy()
    };
    assert_eq!(of_an_earlier_release.is_early(now), None);

    let created = |now: Timestamp| copy().received(now).job.execution().unwrap().created;
    let accepted = copy().job.execution().unwrap().created;
    assert_eq!(
        created(accepted.checked_sub(year).unwrap()),
        accepted.checked_sub(year).unwrap()
    );
    assert_eq!(created(accepted.checked_add(year).unwrap()), accepted);
}
