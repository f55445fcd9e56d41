//! The published schema of the document, for editors and for programs that generate documents.

/// The JSON Schema (draft 2020-12) of the document. A document that conforms to the schema can still be rejected, because a
/// schema cannot check references between registries and rules.
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::generate::SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<crate::raw::Document>();
    schema.insert("title".to_owned(), "Transship".into());
    schema.to_value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_schema_changes_only_on_purpose() {
        insta::assert_json_snapshot!(schema());
    }

    #[test]
    fn every_field_of_the_schema_is_described() {
        fn undescribed(value: &serde_json::Value, path: &str, found: &mut Vec<String>) {
            let Some(table) = value.as_object() else { return };
            for (name, property) in table
                .get("properties")
                .and_then(|p| p.as_object())
                .into_iter()
                .flatten()
            {
                if property.get("description").is_none() {
                    found.push(format!("{path}.{name}"));
                }
            }
            for (name, child) in table {
                undescribed(child, &format!("{path}/{name}"), found);
            }
        }
        let mut found = Vec::new();
        undescribed(&schema(), "", &mut found);
        assert_eq!(found, [""; 0]);
    }
}
