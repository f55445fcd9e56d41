//! The ledger in one DynamoDB table: its four ports, and the requests they are made of.
//!
//! What must hold: a terminal state is written once, by a condition of the write itself, and counted in the same transaction;
//! what expires is judged by the caller's clock, never by the table's clean-up, which is days late; an event or a task stays
//! within the calls that its concept says.
//!
//! # The table
//!
//! Billed per request, with point-in-time recovery. Other attributes need no definition.
//!
//! | what | hash key | range key | projection |
//! |---|---|---|---|
//! | table | `pk` (S) | `sk` (S) | |
//! | index `months` | `month` (S) | `month_order` (S) | `KEYS_ONLY` |
//! | index `lists` | `list` (S) | `list_order` (S) | `KEYS_ONLY` |
//! | index `unfinished` | `unfinished_of` (S) | `touched` (N) | `INCLUDE`: `repository`, `follows` |
//!
//! Time to live: attribute `expires` (seconds since 1970).
//!
//! What a worker must be allowed on the table: `GetItem`, `BatchGetItem`, `Query`, `PutItem`, `UpdateItem`, `DeleteItem`,
//! `BatchWriteItem`; and `Query` on its indexes (`table/…/index/*`). The intake needs `PutItem` and `UpdateItem`. A user who
//! only lists needs `Query` and `BatchGetItem`. The intake of imports needs `Query`, `BatchGetItem`, `UpdateItem` and
//! `DeleteItem` on the table. A transaction needs what its parts need. Nothing here scans.
//!
//! # The items
//!
//! | item | `pk` | `sk` | kept |
//! |---|---|---|---|
//! | execution, with its counters if an event started it | `E#<execution>` | `E` | the retention after the last end in it |
//! | counters of another execution, one of 16 | `E#<execution>` | `S#<0 to f>` | the same |
//! | task | `E#<execution>` | `T#<task>` | the retention after its end; without expiry while it has not ended |
//! | origin: a registry or store that tasks read from | `O` | `<origin>` | without expiry |
//! | replica, with the lease of its destination | `R#<destination registry>/<repository>` | `:<tag>` or `@<digest>` | without expiry |
//! | record | `V#<family>` | `<name>` | without expiry |
//! | hint | `<family>` | `<name>` | an hour after its end |
//!
//! The families of hints: `lease`; `P#<host>`, a pause; `B#<host>#<digest>`, locations of a blob; `upload#<task>`;
//! `waiting`, `scan#<scan>`, `missing#<scan>#<wait>` and `lead#<place>#<blob>`, what incomplete sources wait for.
//!
//! | index | hash | order | which items |
//! |---|---|---|---|
//! | `months` | `<year>-<month>` | time, id | executions |
//! | `lists` | `R#<rule>` | time, id | executions of a rule |
//! | `lists` | `D#<destination registry>/<repository>` | time, id | tasks that write to a repository |
//! | `unfinished` | `<origin>` | when it was last touched | tasks that have not ended |
//! | `unfinished` | `F#`, which names no registry | when it ended | tasks that failed |
//!
//! Times are milliseconds, but `expires`. An index takes 1,000 writes a second in one of its partitions, so the busiest rule,
//! destination repository or origin is bound to 1,000 tasks a second.
//!
//! # What is counted
//!
//! `total` and the set `repositories` change in the transaction that records tasks, or, for a task that begins unrecorded, in
//! a transaction that marks the task as `recorded`; `ended_<state>`, `bytes` and `last` in the transaction that ends a task.
//! The set holds 48 bits for each destination repository and ends at 10,000. The own item of an execution with 16 counters
//! does not learn of its end: it is kept for the retention and 30 days after its last task was recorded.
//!
//! # The previous release
//!
//! Its executions have no `total`: they are not counted, and their totals are computed from at most 10,000 tasks. Its tasks
//! have their whole message in `body` and nothing beside it. Neither is in `lists`. Its locations are a list of `repositories`
//! instead of a `value`. Its leases (`C#`), pauses, continuations (`K#`) and waiting looks (`W#`, `A#`) are not read.

mod attributes;
mod batches;
mod claims;
mod expression;
mod hints;
mod history;
mod records;
mod repeats;
mod table;
mod transaction;

use std::time::Duration;

use crate::Aws;
use table::Table;

/// How long executions and tasks are kept.
const RETENTION: Duration = Duration::from_hours(90 * 24);
/// How far an index may be behind its table. AWS names no bound; it is a fraction of a second as a rule.
const INDEX_LAG: Duration = Duration::from_secs(5);

/// The ledger's ports in a DynamoDB table. Clones share it.
#[derive(Debug, Clone)]
pub struct DynamoLedger {
    table: Table,
    retention: Duration,
    origins: history::Origins,
}

impl DynamoLedger {
    /// The ledger in `table`. Executions and tasks are kept for 90 days.
    pub fn new(aws: &Aws, table: String) -> Self {
        Self {
            table: Table::new(aws.dynamodb(), table),
            retention: RETENTION,
            origins: history::Origins::default(),
        }
    }

    /// The same, keeping executions and tasks for `retention` after their creation.
    #[must_use]
    pub fn with_retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// The name of the table.
    pub fn table(&self) -> &str {
        self.table.name()
    }
}
