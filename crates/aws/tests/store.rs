//! A bucket keeps what the port promises, on MiniStack; and through a proxy whose faults MiniStack does not know.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed, in its helpers too"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use transship_aws::{Aws, S3Store};
use transship_layout::{ObjectStore, Part, Put};
use transship_testkit::faults::{Action, Ending, Fault, Script};
use transship_testkit::ministack::MiniStack;
use transship_testkit::proxy::FaultProxy;
use transship_testkit::suites;

/// A stack behind a proxy.
struct World {
    stack: MiniStack,
    proxy: FaultProxy,
    aws: Aws,
}

impl World {
    async fn new() -> Self {
        let stack = MiniStack::start().await.unwrap();
        let proxy = FaultProxy::start(stack.host()).await.unwrap();
        let aws = Aws::emulated(&proxy.url()).await;
        Self { stack, proxy, aws }
    }

    async fn bucket(&self, name: &str) -> S3Store {
        self.aws.s3().create_bucket().bucket(name).send().await.unwrap();
        S3Store::new(&self.aws, name, "")
    }

    fn suffer(&self, fault: Fault) -> Arc<Script> {
        let script = Arc::new(Script::new([fault]));
        self.proxy.set_faults(Some(Arc::clone(&script) as _));
        script
    }
}

fn answer(code: u16, name: &str) -> Action {
    let body = format!("<Error><Code>{name}</Code><Message>no</Message></Error>");
    Action::Status {
        code,
        headers: vec![("content-type".into(), "application/xml".into())],
        body: body.into(),
    }
}

async fn read(store: &S3Store, key: &str, part: Part<'_>) -> Vec<u8> {
    let stream = store.get(key, part).await.unwrap().unwrap();
    let chunks: Vec<Bytes> = stream.try_collect().await.unwrap();
    chunks.concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_keeps_its_promises() {
    let stack = MiniStack::start().await.unwrap();
    let aws = Aws::emulated(&stack.endpoint()).await;
    let number = AtomicU32::new(0);
    suites::object_store(async || {
        let number = number.fetch_add(1, Ordering::Relaxed);
        let bucket = format!("bucket-{number}");
        aws.s3().create_bucket().bucket(&bucket).send().await.unwrap();
        // Some with a prefix, some without.
        let prefix = if number.is_multiple_of(2) { "" } else { "to b/+%20/" };
        Arc::new(S3Store::new(&aws, bucket, prefix)) as Arc<dyn ObjectStore>
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_s3_could_not_decide_is_written_again_and_a_lost_race_is_not() {
    let world = World::new().await;
    let store = world.bucket("bucket").await;
    let conflict = || answer(409, "ConditionalRequestConflict");
    let script = world.suffer(Fault::new("PUT", "/bucket/a", conflict()).unwrap().times(2));
    let put = store.put_if_absent("a", Bytes::from_static(b"x")).await.unwrap();
    assert!(matches!(put, Put::Written(Some(_))));
    assert_eq!(script.struck(), 2);

    world.suffer(Fault::new("PUT", "/bucket/b", conflict()).unwrap().always());
    let error = store.put_if_absent("b", Bytes::from_static(b"x")).await.unwrap_err();
    assert_eq!(error.code(), "OBJECT_CONFLICT");
    assert!(!error.persistence().is_permanent());

    world.proxy.set_faults(None);
    world.proxy.reset_requests();
    assert_eq!(
        store.put_if_absent("a", Bytes::from_static(b"y")).await.unwrap(),
        Put::Lost
    );
    assert_eq!(world.proxy.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_breaks_goes_on_in_the_same_content() {
    let world = World::new().await;
    let store = world.bucket("bucket").await;
    let content: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let Put::Written(Some(etag)) = store.put_if_absent("layer", content.clone().into()).await.unwrap() else {
        panic!("nobody else wrote")
    };
    for ending in [Ending::Close, Ending::Reset] {
        let cut = || Action::CutBody {
            after_bytes: 1_000_000,
            ending,
        };
        let script = world.suffer(Fault::new("GET", "/bucket/layer", cut()).unwrap().times(2));
        world.proxy.reset_requests();
        assert!(read(&store, "layer", Part::from(0)).await == content, "{ending:?}");
        assert_eq!(script.struck(), 2);
        let asked = world.proxy.requests();
        assert_eq!(asked.len(), 3);
        // A reset may take with it what was sent and not read.
        let twice = if ending == Ending::Reset { 2_000_000 } else { 0 };
        let sent: u64 = asked.iter().map(|request| request.bytes_out).sum();
        assert!(sent <= 12_000_000 + twice, "{ending:?}: {sent}");
        let part = Part {
            offset: 5,
            length: Some(2_000_000),
            etag: Some(&etag),
        };
        world.suffer(Fault::new("GET", "/bucket/layer", cut()).unwrap());
        assert!(read(&store, "layer", part).await == content[5..2_000_005]);
    }

    // Replaced in the middle: never half of one and half of the other.
    world.suffer(
        Fault::new(
            "GET",
            "/bucket/layer",
            Action::CutBody {
                after_bytes: 1_000_000,
                ending: Ending::Reset,
            },
        )
        .unwrap(),
    );
    let stream = store.get("layer", Part::from(0)).await.unwrap().unwrap();
    store
        .put_if_match("layer", vec![0; 12_000_000].into(), &etag)
        .await
        .unwrap();
    let error = stream.try_collect::<Vec<Bytes>>().await.unwrap_err();
    assert_eq!(error.code(), "OBJECT_CHANGED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_names_the_bucket_and_what_is_missing() {
    let world = World::new().await;
    let store = world.bucket("bucket").await;
    let nowhere = S3Store::new(&world.aws, "nowhere", "");
    for error in [
        nowhere.get("a", Part::from(0)).await.err(),
        nowhere.list("", None, 1).await.err(),
        nowhere.put_if_absent("a", Bytes::new()).await.err(),
        nowhere.put_if_match("a", Bytes::new(), "\"x\"").await.err(),
    ] {
        let error = error.unwrap();
        assert_eq!(error.code(), "OBJECT_REFUSED", "{error}");
        assert!(error.to_string().contains("there is no bucket \"nowhere\""), "{error}");
        assert!(error.persistence().is_permanent());
    }

    world.suffer(
        Fault::new("*", "/bucket", answer(403, "AccessDenied"))
            .unwrap()
            .always(),
    );
    for (error, permission) in [
        (store.head("a").await.err(), "s3:GetObject"),
        (store.get("a", Part::from(0)).await.err(), "s3:GetObject"),
        (store.list("", None, 1).await.err(), "s3:ListBucket"),
        (store.put_if_absent("a", Bytes::new()).await.err(), "s3:PutObject"),
    ] {
        let error = error.unwrap();
        assert_eq!(error.code(), "OBJECT_REFUSED", "{error}");
        let text = error.to_string();
        assert!(text.contains("\"bucket\"") && text.contains(permission), "{text}");
    }

    for (status, code) in [(301, "PermanentRedirect"), (400, "AuthorizationHeaderMalformed")] {
        world.suffer(Fault::new("*", "/bucket", answer(status, code)).unwrap().always());
        let error = store.list("", None, 1).await.err().unwrap();
        assert_eq!(error.code(), "OBJECT_REFUSED", "{error}");
        assert!(error.to_string().contains("another region"), "{error}");
        assert!(error.persistence().is_permanent());
    }

    world.suffer(Fault::new("*", "/bucket", answer(503, "SlowDown")).unwrap().always());
    let error = store.get("a", Part::from(0)).await.err().unwrap();
    assert_eq!(error.code(), "OBJECT_UNREADABLE");
    assert!(!error.persistence().is_permanent());
    drop(world.stack);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_no_url_can_hold_is_refused_and_never_another_object() {
    let world = World::new().await;
    let store = world.bucket("bucket").await;
    for key in ["b", "a/b", "a//b", "a/...", "a/.b", "%2e%2e/b", "a/%2E/b"] {
        let bytes = Bytes::copy_from_slice(key.as_bytes());
        store.put_if_absent(key, bytes).await.unwrap();
    }
    for key in ["b", "a/b", "a//b", "a/...", "a/.b", "%2e%2e/b", "a/%2E/b"] {
        assert_eq!(read(&store, key, Part::from(0)).await, key.as_bytes());
    }
    world.proxy.reset_requests();
    for key in ["a/../b", "./b", "..", "a/./b", "a/.."] {
        for error in [
            store.head(key).await.err(),
            store.get(key, Part::from(0)).await.err(),
            store.put_if_absent(key, Bytes::new()).await.err(),
        ] {
            let error = error.unwrap();
            assert_eq!(error.code(), "OBJECT_REFUSED", "{error}");
            assert!(error.persistence().is_permanent());
        }
    }
    assert_eq!(world.proxy.requests().len(), 0);
    // The service itself returns the same.
    let request = world.aws.s3().get_object().bucket("bucket").key("a/../b");
    assert!(request.send().await.is_err());
    assert_eq!(world.proxy.requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_holds_what_lies_below_its_prefix() {
    let world = World::new().await;
    let whole = world.bucket("bucket").await;
    for key in ["to/", "to/a", "to/b/c", "tone", "other"] {
        whole.put_if_absent(key, Bytes::from_static(b"x")).await.unwrap();
    }
    let below = S3Store::new(&world.aws, "bucket", "to/");
    let page = below.list("", None, 1).await.unwrap();
    assert_eq!((page.objects[0].key.as_str(), page.is_last), ("a", false));
    let page = below.list("", Some("a"), 10).await.unwrap();
    assert_eq!((page.objects[0].key.as_str(), page.is_last), ("b/c", true));
    assert_eq!(
        below.head("a").await.unwrap(),
        below.list("a", None, 9).await.unwrap().objects.pop()
    );
    assert_eq!(below.name(), "s3://bucket/to");
}
