//! Metrics that a test can read: the values of the counters and gauges that its thread records.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, LocalRecorderGuard, Metadata, Recorder, SharedString,
    Unit,
};

/// The values of all dimensions of each metric together.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Arc<Mutex<HashMap<String, f64>>>);

impl Metrics {
    /// Records what this thread measures until the guard is dropped.
    pub fn record(&self) -> LocalRecorderGuard<'_> {
        metrics::set_default_local_recorder(self)
    }

    /// The value of the metric `name` in whole numbers, which is 0 afterwards.
    #[expect(clippy::cast_possible_truncation, reason = "counts of a test")]
    pub fn take(&self, name: &str) -> i64 {
        self.values().remove(name).unwrap_or_default() as i64
    }

    fn values(&self) -> MutexGuard<'_, HashMap<String, f64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn series(&self, key: &Key) -> Arc<Series> {
        Arc::new(Series {
            metrics: self.clone(),
            name: key.name().to_owned(),
        })
    }
}

struct Series {
    metrics: Metrics,
    name: String,
}

impl Series {
    fn change(&self, change: impl FnOnce(&mut f64)) {
        change(self.metrics.values().entry(self.name.clone()).or_default());
    }
}

impl CounterFn for Series {
    fn increment(&self, value: u64) {
        self.change(|sum| *sum += value as f64);
    }

    fn absolute(&self, value: u64) {
        self.change(|sum| *sum = value as f64);
    }
}

impl GaugeFn for Series {
    fn increment(&self, value: f64) {
        self.change(|gauge| *gauge += value);
    }

    fn decrement(&self, value: f64) {
        self.change(|gauge| *gauge -= value);
    }

    fn set(&self, value: f64) {
        self.change(|gauge| *gauge = value);
    }
}

impl Recorder for Metrics {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.series(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.series(key))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
