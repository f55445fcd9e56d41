//! The ledger's table, made and read.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Map, Value, json};
use transship_testkit::deployment::table_definition;

use super::Aws;

impl Aws {
    /// Makes the ledger's table, with its indexes and its time to live.
    pub fn table_create(&self, name: &str) {
        self.ask("DynamoDB_20120810.CreateTable", &table_definition(name));
        self.ask(
            "DynamoDB_20120810.UpdateTimeToLive",
            &json!({ "TableName": name,
                     "TimeToLiveSpecification": { "Enabled": true, "AttributeName": "expires" } }),
        );
    }

    /// Every item of a table, with plain values in place of typed ones.
    pub fn table_scan(&self, name: &str) -> Vec<Value> {
        let (mut items, mut request) = (Vec::new(), json!({ "TableName": name, "ConsistentRead": true }));
        loop {
            let answer = self.ask("DynamoDB_20120810.Scan", &request);
            items.extend(answer["Items"].as_array().into_iter().flatten().map(plain_item));
            match answer.get("LastEvaluatedKey").filter(|key| !key.is_null()) {
                Some(key) => request["ExclusiveStartKey"] = key.clone(),
                None => return items,
            }
        }
    }
}

fn plain_item(item: &Value) -> Value {
    let fields = item.as_object().into_iter().flatten();
    fields
        .map(|(name, value)| (name.clone(), plain(value)))
        .collect::<Map<_, _>>()
        .into()
}

/// `{"S": "a"}` is `"a"`, and so on.
fn plain(typed: &Value) -> Value {
    let Some((kind, value)) = typed.as_object().and_then(|fields| fields.iter().next()) else {
        return typed.clone();
    };
    match kind.as_str() {
        "N" => serde_json::from_str(value.as_str().unwrap_or_default()).unwrap_or_default(),
        "M" => plain_item(value),
        "L" => value.as_array().into_iter().flatten().map(plain).collect(),
        "NULL" => Value::Null,
        // Readable, so that what must not be in it is found.
        "B" => value
            .as_str()
            .and_then(|text| BASE64_STANDARD.decode(text).ok())
            .map_or(Value::Null, |bytes| String::from_utf8_lossy(&bytes).into_owned().into()),
        _ => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_values_become_plain_ones() {
        let item = json!({
            "pk": { "S": "E#1" }, "attempts": { "N": "3" }, "follows": { "BOOL": true }, "code": { "NULL": true },
            "digests": { "L": [{ "S": "a" }, { "M": { "b": { "N": "1.5" } } }] }, "hash": { "B": "c2VjcmV0" },
            "names": { "SS": ["x", "y"] },
        });
        assert_eq!(
            plain_item(&item),
            json!({ "pk": "E#1", "attempts": 3, "follows": true, "code": null, "digests": ["a", { "b": 1.5 }],
                    "hash": "secret", "names": ["x", "y"] })
        );
    }
}
