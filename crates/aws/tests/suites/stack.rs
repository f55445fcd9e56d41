//! A stack to test on: MiniStack, a proxy before it that counts calls and breaks them, fresh tables and queues.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection, ProjectionType,
    ScalarAttributeType, TimeToLiveSpecification,
};
use transship_aws::{Aws, DynamoLedger, SqsQueue};
use transship_testkit::faults::{Action, Faults, RequestHead};
use transship_testkit::ministack::MiniStack;
use transship_testkit::proxy::FaultProxy;
use transship_testkit::suites::at;

pub(crate) struct Stack {
    pub(crate) aws: Aws,
    pub(crate) calls: Arc<Calls>,
    _proxy: FaultProxy,
    _ministack: MiniStack,
    made: AtomicU32,
}

impl Stack {
    pub(crate) async fn start() -> Self {
        let ministack = MiniStack::start().await.unwrap();
        let proxy = FaultProxy::start(ministack.host()).await.unwrap();
        let calls = Arc::new(Calls::default());
        proxy.set_faults(Some(Arc::clone(&calls) as _));
        Self {
            aws: Aws::emulated(&proxy.url()).await,
            calls,
            _proxy: proxy,
            _ministack: ministack,
            made: AtomicU32::new(0),
        }
    }

    fn name(&self) -> String {
        format!("transship-{}", self.made.fetch_add(1, Ordering::Relaxed))
    }

    /// A ledger in a table of its own.
    pub(crate) async fn ledger(&self) -> DynamoLedger {
        let name = self.name();
        self.table_create(&name).await;
        DynamoLedger::new(&self.aws, name).with_retention(retention())
    }

    /// A queue of its own.
    pub(crate) async fn queue(&self) -> SqsQueue {
        let request = self.aws.sqs().create_queue().queue_name(self.name());
        SqsQueue::new(&self.aws, request.send().await.unwrap().queue_url.unwrap())
    }

    /// The table as the ledger's page defines it.
    async fn table_create(&self, name: &str) {
        let months = index("months", "month", "month_order")
            .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build());
        let told = Projection::builder()
            .projection_type(ProjectionType::Include)
            .non_key_attributes("repository")
            .non_key_attributes("follows");
        let unfinished = index("unfinished", "unfinished_of", "touched").projection(told.build());
        let lists = index("lists", "list", "list_order")
            .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build());
        let client = self.aws.dynamodb();
        client
            .create_table()
            .table_name(name)
            .billing_mode(BillingMode::PayPerRequest)
            .set_attribute_definitions(Some(
                [
                    "pk",
                    "sk",
                    "month",
                    "month_order",
                    "list",
                    "list_order",
                    "unfinished_of",
                    "touched",
                ]
                .map(definition)
                .into(),
            ))
            .key_schema(element("pk", KeyType::Hash))
            .key_schema(element("sk", KeyType::Range))
            .global_secondary_indexes(months.build().unwrap())
            .global_secondary_indexes(lists.build().unwrap())
            .global_secondary_indexes(unfinished.build().unwrap())
            .send()
            .await
            .unwrap();
        let ttl = TimeToLiveSpecification::builder()
            .enabled(true)
            .attribute_name("expires");
        client
            .update_time_to_live()
            .table_name(name)
            .time_to_live_specification(ttl.build().unwrap())
            .send()
            .await
            .unwrap();
    }
}

/// The samples are of a fixed day: they must not be older than what is kept.
fn retention() -> Duration {
    let age = jiff::Timestamp::now().duration_since(at(0));
    Duration::try_from(age).unwrap() + Duration::from_hours(90 * 24)
}

fn definition(name: &str) -> AttributeDefinition {
    let kind = if name == "touched" {
        ScalarAttributeType::N
    } else {
        ScalarAttributeType::S
    };
    let definition = AttributeDefinition::builder().attribute_name(name).attribute_type(kind);
    definition.build().unwrap()
}

fn element(name: &str, kind: KeyType) -> KeySchemaElement {
    let element = KeySchemaElement::builder().attribute_name(name).key_type(kind);
    element.build().unwrap()
}

fn index(name: &str, hash: &str, range: &str) -> aws_sdk_dynamodb::types::builders::GlobalSecondaryIndexBuilder {
    GlobalSecondaryIndex::builder()
        .index_name(name)
        .key_schema(element(hash, KeyType::Hash))
        .key_schema(element(range, KeyType::Range))
}

/// Counts calls by operation, and breaks the configured ones.
#[derive(Default)]
pub(crate) struct Calls {
    made: Mutex<Vec<String>>,
    faults: Mutex<Vec<(String, Action)>>,
}

impl Calls {
    /// The operations since the last time.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.made.lock().unwrap())
    }

    /// The next call of `operation` that no other fault is waiting for suffers this.
    pub(crate) fn break_next(&self, operation: &str, action: Action) {
        self.faults.lock().unwrap().push((operation.to_owned(), action));
    }

    /// True if every fault struck: a test that expects faults proves nothing without them.
    pub(crate) fn all_struck(&self) -> bool {
        self.faults.lock().unwrap().is_empty()
    }
}

impl Faults for Calls {
    fn action(&self, request: &RequestHead<'_>) -> Option<Action> {
        let target = request.headers.get("x-amz-target")?.to_str().ok()?;
        let operation = target.rsplit('.').next()?.to_owned();
        let mut faults = self.faults.lock().unwrap();
        let position = faults.iter().position(|(of, _)| *of == operation);
        self.made.lock().unwrap().push(operation);
        position.map(|position| faults.remove(position).1)
    }
}

/// An answer of AWS's JSON protocols.
pub(crate) fn answer(code: u16, body: &str) -> Action {
    Action::Status {
        code,
        headers: vec![("content-type".into(), "application/x-amz-json-1.0".into())],
        body: body.to_owned().into(),
    }
}

/// A refusal under AWS's code.
pub(crate) fn refusal(code: u16, name: &str) -> Action {
    answer(
        code,
        &format!(r#"{{"__type":"com.amazonaws#{name}","message":"said so"}}"#),
    )
}
