//! The metrics of Transship. The crates record them with the `metrics` facade, which costs nothing where no recorder is
//! installed; a platform installs one, such as `CloudWatch`'s embedded metric format.
//!
//! | metric | unit | dimensions | source |
//! |---|---|---|---|
//! | `ReplicationLag` | milliseconds | `Rule`, and all rules together | `engine`, when a task ends: from its event to its end |
//! | `Tasks` | count | `State` | `engine`, once for each terminal state |
//! | `BytesCopied`, `BytesMounted` | bytes | | `engine`, when a task ends |
//! | `Requests` | count | `Registry`, `Status` (`2xx` … `5xx`, `none`) | `registry` |
//! | `OldestTaskAge` | milliseconds | | `runtime`: since the message was sent |
//! | `OldestUnfinishedTask` | milliseconds | `Rule`, and all rules together | `runtime`, when a task is sent on: since its event; `engine`, when a sweep sends it again |
//! | `DeliveriesRefused` | count | `Code`, and all together | `http`: a delivery that is refused for good; `engine`: one that names another host |
//! | `PushesUnmatched` | count | `Source`, and all together | `engine`: pushes that no rule takes |
//! | `PushesNotAnnounced` | count | `Source`, and all together | `engine`, at each sweep: pushes that no delivery announced, of rules whose pushes only the sweep finds |
//! | `DocumentRefused` | count | | `runtime`: a read of a document that is not valid or cannot be read |
//! | `ConfigurationFallback` | count | | `runtime`: a start or a read with an earlier version of the document in force |
//! | `MessagesInvalid` | count | | `runtime`: an invalid message |
//! | `HandedOver` | count | | `runtime`: a message sent on as a new one |
//! | `Uploads` | count | | the bulk import function: objects in its events |
//! | `Looks` | count | | the bulk import function: scans that it sent |
//! | `KeptUnexplained` | count | | `engine`: tags that are kept and that the ledger does not know, when a task ends and at each sweep |
//! | `LedgerLost` | count | | `engine`: once, if the first sweep finds an empty ledger beside a filled destination |
//! | `SourcesIncomplete` | count | | `engine`, at each sweep: sources that wait for missing content |
//! | `FailoverLag` | milliseconds | `Group`, and all together | `engine`, each time schedules are followed: the lag of the worst standby, if it is known |
//! | `FailoverComparisonAge` | milliseconds | `Group`, and all together | `engine`, as above: since the last comparison of the sites that saw everything |
//! | `FailoverMissing`, `FailoverAtRisk` | count | `Group`, and all together | `engine`, as above: images that a standby lacks or has otherwise; images that a switch would lose |
//! | `FailoverConflicts` | count | `Group`, and all together | `engine`, as above: images that were pushed to a standby itself, and that no rule replaces |
//! | `FailoverNotReady` | count | `Group`, and all together | `engine`, as above: reasons of the ledger against a switch, such as a lag over the `rpo` or unknown facts |
//! | `FailoverCheckAge`, `FailoverDrillAge` | milliseconds | `Group`, and all together | `engine`, as above: since the last check, and the last good drill, if there was one |
//! | `FailoverDrillOverdue` | count | `Group`, and all together | `engine`, as above: 1 if no drill succeeded in the last 90 days |

/// The unit of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricUnit {
    /// Milliseconds.
    Milliseconds,
    /// Bytes.
    Bytes,
    /// Events or objects.
    Count,
}

impl MetricUnit {
    /// The unit of the metric `name`.
    pub fn of(name: &str) -> Self {
        match name {
            "ReplicationLag"
            | "OldestTaskAge"
            | "OldestUnfinishedTask"
            | "FailoverLag"
            | "FailoverComparisonAge"
            | "FailoverCheckAge"
            | "FailoverDrillAge" => Self::Milliseconds,
            "BytesCopied" | "BytesMounted" => Self::Bytes,
            _ => Self::Count,
        }
    }

    /// The word for it in `CloudWatch`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Milliseconds => "Milliseconds",
            Self::Bytes => "Bytes",
            Self::Count => "Count",
        }
    }
}

/// True for a metric that is also recorded without its dimensions, because an alarm does not know the rules in advance.
pub fn is_summed_up(metric: &str) -> bool {
    [
        "ReplicationLag",
        "OldestUnfinishedTask",
        "DeliveriesRefused",
        "PushesUnmatched",
        "PushesNotAnnounced",
        "FailoverLag",
        "FailoverComparisonAge",
        "FailoverMissing",
        "FailoverAtRisk",
        "FailoverConflicts",
        "FailoverNotReady",
        "FailoverCheckAge",
        "FailoverDrillAge",
        "FailoverDrillOverdue",
    ]
    .contains(&metric)
}
