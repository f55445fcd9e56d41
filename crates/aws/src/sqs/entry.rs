//! Converts messages to entries of SQS requests, and groups them into batches. No I/O.

use std::time::Duration;

use jiff::Timestamp;
use transship_engine::Outgoing;
use transship_oci::Result;

/// Maximum delay of SQS. Source: `SendMessage`, `DelaySeconds`.
const DELAY_MAX: Duration = Duration::from_mins(15);
/// Maximum number of messages in a request. Source: `SendMessageBatch`.
const BATCH_ENTRIES_MAX: usize = 10;
/// Maximum size of a request in bytes: the limit of every region (most accept 1 MiB by now), less a reserve for the rest of the
/// request.
const BATCH_BYTES_MAX: usize = 250 * 1024;
/// Maximum length of the name of a message group. Source: `SendMessage`, `MessageGroupId`.
const GROUP_CHARS_MAX: usize = 128;

/// One message of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Id within the batch.
    pub(super) id: String,
    pub(super) body: String,
    /// The fairness group, if its name is valid.
    pub(super) group: Option<String>,
    pub(super) delay_seconds: i32,
}

impl Entry {
    /// The entry of a message that is sent at `now`. A wait that is longer than SQS can delay a message is in the message.
    pub(super) fn of(outgoing: &Outgoing, now: Timestamp) -> Result<Self> {
        let mut envelope = outgoing.envelope.clone();
        if outgoing.delay > DELAY_MAX {
            envelope = envelope.waiting(outgoing.delay, now);
        }
        Ok(Self {
            id: String::new(),
            body: allowed(&envelope.to_json()?),
            group: group(envelope.job.group()),
            delay_seconds: whole_seconds(outgoing.delay.min(DELAY_MAX)),
        })
    }
}

/// The same JSON with the two characters escaped that JSON allows and SQS rejects. SQS also rejects control characters, which
/// JSON always escapes. Source: `SendMessage`, `MessageBody`.
fn allowed(json: &str) -> String {
    json.replace('\u{fffe}', "\\ufffe").replace('\u{ffff}', "\\uffff")
}

/// Up to 128 letters, digits and punctuation characters of ASCII. If two groups get the same name, they only share their
/// fairness.
fn group(name: &str) -> Option<String> {
    let name: String = name
        .chars()
        .map(|character| if character.is_ascii_graphic() { character } else { '_' })
        .take(GROUP_CHARS_MAX)
        .collect();
    (!name.is_empty()).then_some(name)
}

/// Never less than `duration`, which must be less than a lifetime.
pub(super) fn whole_seconds(duration: Duration) -> i32 {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

/// Batches within both limits, in order, with a unique id for each entry.
pub(super) fn batches(entries: Vec<Entry>) -> Vec<Vec<Entry>> {
    let mut batches: Vec<Vec<Entry>> = Vec::new();
    let mut bytes = 0;
    for mut entry in entries {
        bytes += entry.body.len();
        match batches.last_mut() {
            Some(batch) if batch.len() < BATCH_ENTRIES_MAX && bytes <= BATCH_BYTES_MAX => {
                entry.id = batch.len().to_string();
                batch.push(entry);
            }
            _ => {
                bytes = entry.body.len();
                "0".clone_into(&mut entry.id);
                batches.push(vec![entry]);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use transship_engine::{Envelope, Job, MESSAGE_BYTES_MAX, Sweep};
    use transship_testkit::suites::{at, copy_task};

    use super::*;

    fn entry(bytes: usize) -> Entry {
        Entry {
            id: String::new(),
            body: "a".repeat(bytes),
            group: None,
            delay_seconds: 0,
        }
    }

    fn sent(delay: Duration) -> (i32, Option<Timestamp>) {
        let entry = Entry::of(&Outgoing::later(copy_task(1), delay), at(0)).unwrap();
        let envelope = Envelope::parse(&entry.body).unwrap();
        assert_eq!(envelope.job, Job::Copy(copy_task(1)));
        (entry.delay_seconds, envelope.not_before)
    }

    #[test]
    fn a_long_wait_travels_in_the_message() {
        assert_eq!(sent(Duration::ZERO), (0, None));
        assert_eq!(sent(Duration::from_mins(15)), (900, None));
        assert_eq!(sent(Duration::from_secs(901)), (900, Some(at(901))));
        assert_eq!(sent(Duration::MAX), (900, Some(Timestamp::MAX)));
    }

    #[test]
    fn a_wait_is_never_shortened() {
        assert_eq!(sent(Duration::from_millis(1)).0, 1);
        assert_eq!(sent(Duration::from_millis(1999)).0, 2);
        let mut later = Outgoing::later(copy_task(1), Duration::from_secs(1000));
        later.envelope.not_before = Some(at(5000));
        let entry = Entry::of(&later, at(0)).unwrap();
        assert_eq!(Envelope::parse(&entry.body).unwrap(), later.envelope);
    }

    #[test]
    fn what_sqs_refuses_in_a_body_arrives_all_the_same() {
        let mut strange = copy_task(1);
        strange.execution.rule = "\u{0}\u{b}\u{1f}\u{7f}\u{fffe}\u{ffff}\u{10ffff} \\ufffe".to_owned();
        let entry = Entry::of(&Outgoing::now(strange.clone()), at(0)).unwrap();
        let is_allowed = |character: char| !matches!(character, '\u{0}'..'\u{20}' | '\u{fffe}' | '\u{ffff}');
        assert!(entry.body.chars().all(is_allowed), "{}", entry.body);
        assert_eq!(Envelope::parse(&entry.body).unwrap().job, Job::Copy(strange));
    }

    #[test]
    fn a_group_has_a_name_that_sqs_takes() {
        assert_eq!(group("zhangjiakou").as_deref(), Some("zhangjiakou"));
        assert_eq!(group("上 b").as_deref(), Some("__b"));
        assert_eq!(group(""), None);
        assert_eq!(group(&"x".repeat(500)).unwrap().len(), 128);
        let entry = Entry::of(&Outgoing::now(Sweep::default()), at(0)).unwrap();
        assert_eq!(entry.group.as_deref(), Some("sweep"));
    }

    #[test]
    fn batches_keep_both_limits_and_lose_nothing() {
        assert!(batches(Vec::new()).is_empty());
        let sizes = |entries: Vec<Entry>| batches(entries).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(vec![entry(10); 25]), [10, 10, 5]);
        assert_eq!(sizes(vec![entry(MESSAGE_BYTES_MAX); 7]), [3, 3, 1]);
        assert_eq!(sizes(vec![entry(BATCH_BYTES_MAX), entry(1)]), [1, 1]);
        for batch in batches(vec![entry(10); 25]) {
            let mut ids: Vec<_> = batch.iter().map(|entry| entry.id.clone()).collect();
            ids.sort();
            ids.dedup();
            assert_eq!(ids.len(), batch.len(), "an id stands twice in a batch");
        }
    }
}
