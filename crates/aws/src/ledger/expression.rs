//! What is asked of an item, in DynamoDB's words. A placeholder is named like its attribute (`#state` is `state`), so that no
//! reserved word is in the way.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

/// The values of an expression, by their placeholder.
pub(super) type Values = HashMap<String, AttributeValue>;

/// A change of one item, with its condition.
#[derive(Debug, Clone, Default)]
pub(super) struct Change {
    set: Vec<String>,
    remove: Vec<String>,
    add: Vec<String>,
    condition: Option<String>,
    values: Values,
}

impl Change {
    /// Writes the attribute.
    pub(super) fn set(mut self, name: &str, value: AttributeValue) -> Self {
        self.set.push(format!("#{name} = :{name}"));
        self.value(name, value)
    }

    /// Writes the attribute, or removes it for want of a value.
    pub(super) fn set_or_remove(self, name: &str, value: Option<AttributeValue>) -> Self {
        match value {
            Some(value) => self.set(name, value),
            None => self.remove(name),
        }
    }

    /// Writes the attribute, unless it is there.
    pub(super) fn keep(mut self, name: &str, value: AttributeValue) -> Self {
        self.set.push(format!("#{name} = if_not_exists(#{name}, :{name})"));
        self.value(name, value)
    }

    /// Puts the elements before those the list has.
    pub(super) fn prepend(mut self, name: &str, elements: AttributeValue) -> Self {
        self.set.push(format!(
            "#{name} = list_append(:{name}, if_not_exists(#{name}, :empty))"
        ));
        self.value(name, elements).value("empty", AttributeValue::L(Vec::new()))
    }

    /// Removes the attribute, or an element: `digests[9]`.
    pub(super) fn remove(mut self, name: &str) -> Self {
        self.remove.push(format!("#{name}"));
        self
    }

    /// Adds to the number; what is not there is 0.
    pub(super) fn add(mut self, name: &str, value: AttributeValue) -> Self {
        self.add.push(format!("#{name} :{name}"));
        self.value(name, value)
    }

    /// Only if this holds; its values are given with [`Change::value`].
    pub(super) fn only_if(mut self, condition: &str) -> Self {
        self.condition = Some(condition.to_owned());
        self
    }

    /// A value of the condition, as `:name`.
    pub(super) fn value(mut self, name: &str, value: AttributeValue) -> Self {
        self.values.insert(format!(":{name}"), value);
        self
    }

    pub(super) fn expression(&self) -> String {
        let clause = |word: &str, parts: &[String]| (!parts.is_empty()).then(|| format!("{word} {}", parts.join(", ")));
        let clauses = [
            clause("SET", &self.set),
            clause("REMOVE", &self.remove),
            clause("ADD", &self.add),
        ];
        clauses.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    pub(super) fn condition(&self) -> Option<String> {
        self.condition.clone()
    }

    pub(super) fn names(&self) -> HashMap<String, String> {
        names([
            self.expression().as_str(),
            self.condition.as_deref().unwrap_or_default(),
        ])
    }

    pub(super) fn values(&self) -> Values {
        self.values.clone()
    }
}

/// Every `#name` of the texts.
pub(super) fn names<'a>(texts: impl IntoIterator<Item = &'a str>) -> HashMap<String, String> {
    let is_of_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
    texts
        .into_iter()
        .flat_map(|text| text.split('#').skip(1))
        .map(|rest| {
            rest.split(|character| !is_of_name(character))
                .next()
                .unwrap_or_default()
        })
        .map(|name| (format!("#{name}"), name.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::attributes::{number, text};
    use super::*;

    #[test]
    fn a_change_names_what_it_uses_and_nothing_else() {
        let change = Change::default()
            .set("state", text("running"))
            .keep("body", text("{}"))
            .remove("next")
            .remove("digests[9]")
            .add("attempts", number(1))
            .prepend("digests", AttributeValue::L(Vec::new()))
            .only_if("attribute_not_exists(#pk) OR #state = :queued")
            .value("queued", text("queued"));
        assert_eq!(
            change.expression(),
            "SET #state = :state, #body = if_not_exists(#body, :body), \
             #digests = list_append(:digests, if_not_exists(#digests, :empty)) \
             REMOVE #next, #digests[9] ADD #attempts :attempts"
        );
        let mut names: Vec<_> = change.names().into_values().collect();
        names.sort();
        assert_eq!(names, ["attempts", "body", "digests", "next", "pk", "state"]);
        let mut values: Vec<_> = change.values().into_keys().collect();
        values.sort();
        assert_eq!(
            values,
            [":attempts", ":body", ":digests", ":empty", ":queued", ":state"]
        );
    }
}
