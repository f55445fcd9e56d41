//! What a fleet shows that does not come to rest, so that the failure of a test names its cause.

use serde_json::Value;

use super::Fleet;
use crate::serve::is_terminal;

/// The attributes of a task that say why it has not ended.
const OF_TASK: [&str; 9] = [
    "sk",
    "state",
    "code",
    "message",
    "attempts",
    "next",
    "follows",
    "source",
    "destination",
];
/// The attributes of a replica that say who wrote it.
const OF_REPLICA: [&str; 7] = ["pk", "sk", "digests", "holder", "until", "written", "accepted"];

impl Fleet {
    /// The counters of both queues, the dead letters, the tasks that have not ended, and the replicas without manifests.
    pub fn unrest(&self) -> String {
        let items = self.items();
        let mut lines = vec![
            format!("queue: {:?}", self.aws.queue_counters(&self.queue)),
            format!("dead letters: {:?}", self.aws.queue_counters(&self.dead)),
        ];
        lines.extend(
            self.dead_letters()
                .into_iter()
                .map(|body| format!("dead letter: {body}")),
        );
        lines.extend(open_tasks(&items));
        lines.extend(replicas_without_manifests(&items));
        lines.join("\n")
    }
}

fn open_tasks(items: &[Value]) -> Vec<String> {
    let open = items
        .iter()
        .filter(|item| starts_with(item, "sk", "T#") && !is_terminal(item));
    open.map(|task| format!("open task: {}", chosen(task, &OF_TASK)))
        .collect()
}

/// A referrer of an image with such a replica does not follow it.
fn replicas_without_manifests(items: &[Value]) -> Vec<String> {
    let is_empty = |item: &&Value| item["manifests"].as_array().is_none_or(Vec::is_empty);
    let replicas = items.iter().filter(|item| starts_with(item, "pk", "R#"));
    replicas
        .filter(is_empty)
        .map(|replica| format!("replica without manifests: {}", chosen(replica, &OF_REPLICA)))
        .collect()
}

fn starts_with(item: &Value, name: &str, prefix: &str) -> bool {
    item[name].as_str().is_some_and(|text| text.starts_with(prefix))
}

/// The attributes `names` of an item, as far as it has them.
fn chosen(item: &Value, names: &[&str]) -> String {
    let known = names
        .iter()
        .filter_map(|name| Some(format!("{name}={}", item.get(name)?)));
    known.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_has_not_ended_and_what_has_no_manifests_is_shown() {
        let items = [
            json!({ "pk": "E#1", "sk": "E" }),
            json!({ "pk": "E#1", "sk": "T#1", "state": "waiting", "code": "SUBJECT_PENDING", "body": "long" }),
            json!({ "pk": "E#1", "sk": "T#2", "state": "succeeded" }),
            json!({ "pk": "R#b/copy/app", "sk": ":v1", "digests": ["x"], "manifests": [] }),
            json!({ "pk": "R#b/copy/app", "sk": ":v2", "digests": ["y"], "manifests": ["y"] }),
        ];
        let open = "open task: sk=\"T#1\" state=\"waiting\" code=\"SUBJECT_PENDING\"";
        assert_eq!(open_tasks(&items), [open]);
        let replica = "replica without manifests: pk=\"R#b/copy/app\" sk=\":v1\" digests=[\"x\"]";
        assert_eq!(replicas_without_manifests(&items), [replica]);
    }
}
