//! Metrics in `CloudWatch`'s embedded metric format: lines of JSON on standard output, from which `CloudWatch` extracts
//! metrics.
//!
//! Calling `PutMetricData` would add latency to a function. The lower crates report through the `metrics` facade, which costs
//! nothing if no recorder is installed. There is one line for each set of dimensions, written at the end of each invocation.
//! Values that are not flushed are lost with the process, so correctness must not depend on a metric.
//!
//! Every metric has the dimension `Stack`, because an account may have several stacks.
//!
//! `transship_runtime` has the table of metrics and their units.
//!
//! The format: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use serde_json::{Map, Value, json};
use transship_runtime::{MetricUnit, is_summed_up};

/// The environment variable with the name of the stack.
const STACK: &str = "TRANSSHIP_STACK";
/// The namespace of all metrics.
pub const NAMESPACE: &str = "Transship";
/// Maximum number of values of one metric on one line that `CloudWatch` accepts.
const VALUES_MAX: usize = 100;

/// Values since the last flush. Cheap to clone; clones share them.
#[derive(Clone, Default)]
pub struct Emf {
    /// The dimension of all metrics; [`None`] outside a stack.
    stack: Option<Arc<str>>,
    measured: Arc<Mutex<Measured>>,
}

/// By dimensions, then by metric.
type Measured = BTreeMap<Dimensions, BTreeMap<String, Measure>>;
/// Names and values, sorted by name.
type Dimensions = Vec<(String, String)>;

enum Measure {
    /// A counter, or a gauge.
    Sum(f64),
    /// A histogram.
    Values(Vec<f64>),
}

/// One metric with its dimensions, as the facade hands it out.
struct Series {
    emf: Emf,
    name: String,
    dimensions: Dimensions,
}

impl Emf {
    /// The recorder of a function of the stack `stack`.
    pub fn of_stack(stack: &str) -> Self {
        Self {
            stack: Some(stack.into()),
            ..Self::default()
        }
    }

    /// Installs the recorder of the process; [`None`] if the process already has another one, which is kept. The stack is
    /// that of the environment.
    pub fn install() -> Option<Self> {
        let stack = std::env::var(STACK).ok().filter(|name| !name.is_empty());
        let emf = stack.as_deref().map(Self::of_stack).unwrap_or_default();
        metrics::set_global_recorder(emf.clone()).is_ok().then_some(emf)
    }

    /// Writes the values since the last flush to standard output. A line that cannot be written is lost.
    pub fn flush(&self) {
        let text = self.take(SystemTime::now());
        if !text.is_empty() {
            let mut output = std::io::stdout().lock();
            let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush());
        }
    }

    /// The lines since the last flush, each with its line feed.
    pub fn take(&self, now: SystemTime) -> String {
        let measured = std::mem::take(&mut *self.measured.lock().unwrap_or_else(PoisonError::into_inner));
        let timestamp_ms = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let mut text = String::new();
        for (dimensions, measures) in measured {
            let mut rest: Vec<(String, Vec<f64>)> = measures
                .into_iter()
                .map(|(name, measure)| match measure {
                    Measure::Sum(sum) => (name, vec![sum]),
                    Measure::Values(values) => (name, values),
                })
                .collect();
            while !rest.is_empty() {
                let now: Vec<(String, Vec<f64>)> = rest
                    .iter_mut()
                    .map(|(name, values)| (name.clone(), values.drain(..values.len().min(VALUES_MAX)).collect()))
                    .collect();
                rest.retain(|(_, values)| !values.is_empty());
                text.push_str(&line(
                    self.stack.as_deref(),
                    &dimensions,
                    now,
                    u64::try_from(timestamp_ms).unwrap_or(u64::MAX),
                ));
                text.push('\n');
            }
        }
        text
    }

    fn series(&self, key: &Key) -> Series {
        let mut dimensions: Dimensions = key
            .labels()
            .map(|label| (label.key().to_owned(), label.value().to_owned()))
            .collect();
        dimensions.sort();
        Series {
            emf: self.clone(),
            name: key.name().to_owned(),
            dimensions,
        }
    }
}

impl Series {
    fn change(&self, empty: Measure, change: impl FnOnce(&mut Measure)) {
        let mut measured = self.emf.measured.lock().unwrap_or_else(PoisonError::into_inner);
        let measures = measured.entry(self.dimensions.clone()).or_default();
        change(measures.entry(self.name.clone()).or_insert(empty));
    }

    fn add(&self, value: f64) {
        self.change(Measure::Sum(0.0), |measure| match measure {
            Measure::Sum(sum) => *sum += value,
            Measure::Values(values) => values.push(value),
        });
    }

    fn set_to(&self, value: f64) {
        self.change(Measure::Sum(value), |measure| *measure = Measure::Sum(value));
    }
}

impl CounterFn for Series {
    fn increment(&self, value: u64) {
        self.add(value as f64);
    }

    fn absolute(&self, value: u64) {
        self.set_to(value as f64);
    }
}

impl GaugeFn for Series {
    fn increment(&self, value: f64) {
        self.add(value);
    }

    fn decrement(&self, value: f64) {
        self.add(-value);
    }

    fn set(&self, value: f64) {
        self.set_to(value);
    }
}

impl HistogramFn for Series {
    fn record(&self, value: f64) {
        self.change(Measure::Values(Vec::new()), |measure| match measure {
            Measure::Sum(sum) => *sum += value,
            Measure::Values(values) => values.push(value),
        });
    }
}

impl Recorder for Emf {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::new(self.series(key)))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Arc::new(self.series(key)))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(self.series(key)))
    }
}

fn line(stack: Option<&str>, dimensions: &Dimensions, measures: Vec<(String, Vec<f64>)>, timestamp_ms: u64) -> String {
    let of_all: Vec<&str> = stack.map(|_| "Stack").into_iter().collect();
    let names = dimensions.iter().map(|(name, _)| name.as_str());
    let mut sets = vec![of_all.iter().copied().chain(names).collect()];
    if measures.iter().any(|(name, _)| is_summed_up(name)) && !dimensions.is_empty() {
        sets.push(of_all);
    }
    let said: Vec<Value> = measures
        .iter()
        .map(|(name, _)| json!({ "Name": name, "Unit": MetricUnit::of(name).as_str() }))
        .collect();
    let mut line = Map::new();
    line.insert(
        "_aws".into(),
        json!({
            "Timestamp": timestamp_ms,
            "CloudWatchMetrics": [{ "Namespace": NAMESPACE, "Dimensions": sets, "Metrics": said }],
        }),
    );
    line.extend(stack.map(|stack| ("Stack".to_owned(), json!(stack))));
    line.extend(dimensions.iter().map(|(name, value)| (name.clone(), json!(value))));
    for (name, values) in measures {
        let value = match values.as_slice() {
            [one] => json!(one),
            many => json!(many),
        };
        line.insert(name, value);
    }
    Value::Object(line).to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use metrics::{counter, gauge, histogram, with_local_recorder};

    use super::*;

    fn lines(emf: &Emf) -> Vec<Value> {
        let text = emf.take(UNIX_EPOCH + Duration::from_secs(1));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn each_set_of_dimensions_is_one_line() {
        let emf = Emf::default();
        with_local_recorder(&emf, || {
            counter!("Tasks", "State" => "failed").increment(1);
            counter!("Tasks", "State" => "failed").increment(2);
            counter!("Tasks", "State" => "succeeded").increment(1);
            counter!("BytesCopied").increment(5);
            counter!("BytesMounted").increment(7);
        });
        let lines = lines(&emf);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!(
            lines[1],
            json!({
                "_aws": {
                    "Timestamp": 1000,
                    "CloudWatchMetrics": [{
                        "Namespace": "Transship",
                        "Dimensions": [["State"]],
                        "Metrics": [{ "Name": "Tasks", "Unit": "Count" }],
                    }],
                },
                "State": "failed",
                "Tasks": 3.0,
            })
        );
        assert_eq!(lines[0]["_aws"]["CloudWatchMetrics"][0]["Dimensions"], json!([[]]));
        assert_eq!(
            (&lines[0]["BytesCopied"], &lines[0]["BytesMounted"]),
            (&json!(5.0), &json!(7.0))
        );
    }

    #[test]
    fn the_lag_is_told_by_rule_and_of_all_rules() {
        let emf = Emf::default();
        with_local_recorder(&emf, || histogram!("ReplicationLag", "Rule" => "core").record(1500.0));
        let line = &lines(&emf)[0];
        let said = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(said["Dimensions"], json!([["Rule"], []]));
        assert_eq!(said["Metrics"][0]["Unit"], "Milliseconds");
        assert_eq!(
            (&line["Rule"], &line["ReplicationLag"]),
            (&json!("core"), &json!(1500.0))
        );
    }

    #[test]
    fn every_metric_names_its_stack() {
        let emf = Emf::of_stack("prod");
        with_local_recorder(&emf, || {
            histogram!("ReplicationLag", "Rule" => "core").record(1500.0);
            counter!("HandedOver").increment(1);
        });
        let lines = lines(&emf);
        let sets = |line: &Value| line["_aws"]["CloudWatchMetrics"][0]["Dimensions"].clone();
        assert_eq!(sets(&lines[0]), json!([["Stack"]]));
        assert_eq!(sets(&lines[1]), json!([["Stack", "Rule"], ["Stack"]]));
        assert_eq!(
            (&lines[0]["Stack"], &lines[1]["Stack"]),
            (&json!("prod"), &json!("prod"))
        );
    }

    #[test]
    fn no_line_has_more_values_than_are_taken() {
        let emf = Emf::default();
        with_local_recorder(&emf, || {
            for value in 0..250 {
                histogram!("OldestTaskAge").record(f64::from(value));
            }
        });
        let lengths: Vec<usize> = lines(&emf)
            .iter()
            .map(|line| line["OldestTaskAge"].as_array().unwrap().len())
            .collect();
        assert_eq!(lengths, [100, 100, 50]);
    }

    #[test]
    fn of_a_gauge_the_last_value_is_told() {
        let emf = Emf::default();
        with_local_recorder(&emf, || {
            for sources in [7.0, 3.0] {
                gauge!("SourcesIncomplete").set(sources);
            }
        });
        let line = &lines(&emf)[0];
        assert_eq!(line["SourcesIncomplete"], json!(3.0));
        let said = &line["_aws"]["CloudWatchMetrics"][0]["Metrics"][0];
        assert_eq!(said, &json!({ "Name": "SourcesIncomplete", "Unit": "Count" }));
    }

    #[test]
    fn what_was_flushed_is_not_told_again() {
        let emf = Emf::default();
        with_local_recorder(&emf, || counter!("HandedOver").increment(1));
        assert_eq!(lines(&emf).len(), 1);
        assert!(lines(&emf).is_empty());
    }
}
