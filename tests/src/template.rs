//! The templates as text: their parameters, resources and alarms.
//!
//! Here because the templates are written in one form (two spaces, one property in a line), so that no YAML parser with
//! `CloudFormation`'s tags is needed.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

/// One template of the repository.
#[derive(Debug, Clone)]
pub struct Template {
    text: String,
}

/// An alarm, with its values as they are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// The logical id.
    pub name: String,
    /// The condition under which the alarm exists.
    pub condition: Option<String>,
    /// The namespace of its metric.
    pub namespace: String,
    /// The name of its metric.
    pub metric: String,
    /// Names and values; a value may be `!Ref NAME`.
    pub dimensions: BTreeMap<String, String>,
    /// `Sum` or `Maximum`.
    pub statistic: String,
    /// The seconds of a period.
    pub period: u64,
    /// `GreaterThanThreshold` or `GreaterThanOrEqualToThreshold`.
    pub comparison: String,
    /// A number or `!Ref NAME`.
    pub threshold: String,
}

impl Template {
    /// The template at this path of the repository.
    ///
    /// # Panics
    /// If the file cannot be read.
    pub fn read(path: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let text = std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self { text }
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The entries of a section, each with its lines.
    pub fn section(&self, name: &str) -> BTreeMap<String, Vec<String>> {
        let mut entries: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut entry = None;
        let head = format!("{name}:");
        let lines = self.text.lines().skip_while(|line| *line != head).skip(1);
        for line in lines.take_while(|line| line.is_empty() || line.starts_with(' ')) {
            let is_entry = line.starts_with("  ") && !line.starts_with("   ") && !line.trim_start().starts_with('#');
            if is_entry && let Some((key, rest)) = line.trim().split_once(':') {
                entries.insert(key.to_owned(), vec![rest.to_owned()]);
                entry = Some(key.to_owned());
            } else if let Some(lines) = entry.as_ref().and_then(|key| entries.get_mut(key)) {
                lines.push(line.to_owned());
            }
        }
        entries
    }

    /// The default value of a parameter.
    ///
    /// # Panics
    /// If there is no such parameter, or it has no default.
    pub fn default_of(&self, parameter: &str) -> String {
        let parameters = self.section("Parameters");
        let lines = parameters
            .get(parameter)
            .unwrap_or_else(|| panic!("no parameter {parameter}"));
        value_of(lines, "Default").unwrap_or_else(|| panic!("{parameter} has no default"))
    }

    /// The alarms.
    pub fn alarms(&self) -> Vec<Alarm> {
        let resources = self.section("Resources");
        let is_alarm = |lines: &Vec<String>| value_of(lines, "Type").as_deref() == Some("AWS::CloudWatch::Alarm");
        let alarms = resources.into_iter().filter(|(_, lines)| is_alarm(lines));
        alarms.map(|(name, lines)| Alarm::of(name, &lines)).collect()
    }
}

impl Alarm {
    fn of(name: String, lines: &[String]) -> Self {
        let text = |field: &str| value_of(lines, field).unwrap_or_default();
        let dimension = |line: &String| {
            let (name, value) = line
                .trim()
                .strip_prefix("- { Name: ")?
                .strip_suffix(" }")?
                .split_once(", Value: ")?;
            Some((name.to_owned(), value.to_owned()))
        };
        Self {
            condition: value_of(lines, "Condition"),
            namespace: text("Namespace"),
            metric: text("MetricName"),
            dimensions: lines.iter().filter_map(dimension).collect(),
            statistic: text("Statistic"),
            period: text("Period").parse().unwrap_or_default(),
            comparison: text("ComparisonOperator"),
            threshold: text("Threshold"),
            name,
        }
    }

    /// True if lines of the embedded metric format raise the alarm, as `CloudWatch` computes it: the statistic of the values
    /// of one period is compared with the threshold. `resolve` gives the value of a `!Ref`.
    pub fn is_raised_by(&self, lines: &[Value], resolve: impl Fn(&str) -> String) -> bool {
        let resolve = |text: &str| text.strip_prefix("!Ref ").map_or_else(|| text.to_owned(), &resolve);
        let threshold: f64 = resolve(&self.threshold).parse().unwrap_or(f64::NAN);
        let mut periods: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
        for line in lines.iter().filter(|line| self.is_of(line, &resolve)) {
            let period = line["_aws"]["Timestamp"].as_u64().unwrap_or_default() / 1000 / self.period.max(1);
            let value = &line[&self.metric];
            let values = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
            periods
                .entry(period)
                .or_default()
                .extend(values.iter().filter_map(Value::as_f64));
        }
        periods.into_values().any(|values| {
            let statistic = match self.statistic.as_str() {
                "Sum" => values.iter().sum(),
                _ => values.into_iter().fold(f64::NEG_INFINITY, f64::max),
            };
            match self.comparison.as_str() {
                "GreaterThanThreshold" => statistic > threshold,
                _ => statistic >= threshold,
            }
        })
    }

    /// True if a line has a value of this very metric: the namespace, the name, and a set of exactly these dimensions.
    fn is_of(&self, line: &Value, resolve: &impl Fn(&str) -> String) -> bool {
        let directives = line["_aws"]["CloudWatchMetrics"].as_array();
        let mut names: Vec<&str> = self.dimensions.keys().map(String::as_str).collect();
        names.sort_unstable();
        let has_values = self
            .dimensions
            .iter()
            .all(|(name, value)| line[name] == resolve(value).as_str());
        has_values
            && directives.into_iter().flatten().any(|directive| {
                let metrics = directive["Metrics"].as_array();
                let sets = directive["Dimensions"].as_array();
                directive["Namespace"] == self.namespace.as_str()
                    && metrics
                        .into_iter()
                        .flatten()
                        .any(|metric| metric["Name"] == self.metric.as_str())
                    && sets.into_iter().flatten().any(|set| {
                        let mut set: Vec<&str> =
                            set.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                        set.sort_unstable();
                        set == names
                    })
            })
    }
}

/// The value of the first line `FIELD: value`, without quotes.
fn value_of(lines: &[String], field: &str) -> Option<String> {
    let head = format!("{field}: ");
    let found = lines.iter().find_map(|line| line.trim().strip_prefix(&head))?;
    Some(found.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn alarm() -> Alarm {
        let text = "Resources:\n  A:\n    Type: AWS::CloudWatch::Alarm\n    Properties:\n      Namespace: N\n      MetricName: M\n      \
                    Dimensions:\n        - { Name: Stack, Value: !Ref Stack }\n      Statistic: Sum\n      Period: 300\n      \
                    ComparisonOperator: GreaterThanOrEqualToThreshold\n      Threshold: 2\n";
        Template { text: text.into() }.alarms().remove(0)
    }

    fn line(second: u64, sets: &Value, stack: &str, value: f64) -> Value {
        json!({
            "_aws": { "Timestamp": second * 1000, "CloudWatchMetrics": [
                { "Namespace": "N", "Dimensions": sets, "Metrics": [{ "Name": "M", "Unit": "Count" }] }] },
            "Stack": stack, "Rule": "r", "M": value,
        })
    }

    #[test]
    fn only_values_of_one_period_with_exactly_the_dimensions_raise_an_alarm() {
        let raised = |lines: &[Value]| alarm().is_raised_by(lines, |_| "prod".to_owned());
        let of_stack = json!([["Stack", "Rule"], ["Stack"]]);
        assert!(raised(&[
            line(0, &of_stack, "prod", 1.0),
            line(299, &of_stack, "prod", 1.0)
        ]));
        assert!(!raised(&[
            line(0, &of_stack, "prod", 1.0),
            line(300, &of_stack, "prod", 1.0)
        ]));
        assert!(!raised(&[line(0, &json!([["Stack", "Rule"]]), "prod", 5.0)]));
        assert!(!raised(&[line(0, &json!([[]]), "prod", 5.0)]));
        assert!(!raised(&[line(0, &of_stack, "other", 5.0)]));
    }
}
