//! Continuations: how far the upload of a blob got. One call each. An upload's location leaves the table only as a request.

use jiff::Timestamp;
use transship_copy::Continuation;
use transship_engine::Result;
use transship_oci::Digest;

use super::attributes::{
    GRACE, binary, binary_of, expires, item, key, number, number_of, text, text_of, time, time_of,
};
use super::table::{Answered, Item, Table};

fn key_of(task: &str, blob: &Digest) -> Item {
    key(format!("K#{task}"), blob.to_string())
}

/// The upload of `blob` by `task`, unless it expired.
pub(super) async fn find(table: &Table, task: &str, blob: &Digest, now: Timestamp) -> Result<Option<Continuation>> {
    let operation = "ledger continuation";
    let Some(item) = table.get(operation, key_of(task, blob)).await? else {
        return Ok(None);
    };
    let read = read(&item, blob).map_err(|answer| table.unreadable(answer, operation))?;
    let (continuation, until) = read;
    Ok((until > now).then_some(continuation))
}

fn read(item: &Item, blob: &Digest) -> Answered<(Continuation, Timestamp)> {
    let continuation = Continuation {
        digest: blob.clone(),
        location: text_of(item, "location")?.to_owned(),
        offset: number_of(item, "offset")?,
        hash: binary_of(item, "hash")?,
        hops: number_of(item, "hops")?,
    };
    Ok((continuation, time_of(item, "until")?))
}

/// Remembers an upload.
pub(super) async fn put(table: &Table, task: &str, upload: &Continuation, until: Timestamp) -> Result<()> {
    let item = item(
        key_of(task, &upload.digest),
        [
            ("location", text(&upload.location)),
            ("offset", number(upload.offset)),
            ("hash", binary(&upload.hash)),
            ("hops", number(upload.hops)),
            ("until", time(until)),
            ("expires", expires(until, GRACE)),
        ],
    );
    table.put("ledger continuation_put", item).await
}

/// Forgets an upload.
pub(super) async fn remove(table: &Table, task: &str, blob: &Digest) -> Result<()> {
    table
        .delete("ledger continuation_remove", key_of(task, blob), None)
        .await
}
