//! How long a delivery is read: `cargo run --release -p transship-notifications --example parsing-bench`.
//!
//! Each sample of `events/` is authenticated and parsed many times. The largest ordinary delivery is that of an image of two
//! platforms. Files and headers are read before.

#![expect(clippy::print_stdout, reason = "a table on standard output is what it is for")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use transship_notifications::{Delivery, Expected, Format, Origin, Part, authenticate, parse};
use transship_testkit::deliveries::{SECRET, SampleDelivery};

const ROUNDS: usize = 20_000;

fn main() {
    println!("{:<44} {:>6} {:>10} {:>8}", "sample", "bytes", "median us", "99 % us");
    for sample in SampleDelivery::all() {
        let Some(format) = Format::all().find(|format| format.as_str() == sample.format) else {
            continue;
        };
        let mut times: Vec<Duration> = (0..ROUNDS).map(|_| read(format, &sample)).collect();
        times.sort();
        let microseconds = |percent: usize| {
            let time = times.get(times.len() * percent / 100).copied().unwrap_or_default();
            time.as_secs_f64() * 1e6
        };
        let (median, slow) = (microseconds(50), microseconds(99));
        println!(
            "{:<44} {:>6} {median:>10.1} {slow:>8.1}",
            sample.file,
            sample.body.len()
        );
    }
}

/// Authenticates and parses the delivery once.
fn read(format: Format, sample: &SampleDelivery) -> Duration {
    let headers = sample.header_map();
    let delivery = Delivery {
        headers: &headers,
        body: &sample.body,
        token: sample.token.as_deref(),
    };
    let expected = Expected {
        secret: Some(SECRET),
        ..Expected::default()
    };
    let begun = Instant::now();
    black_box(authenticate(format, &delivery, Part::Whole, &expected, &|_| None)).ok();
    black_box(parse(format, &delivery, &Origin::default())).ok();
    begun.elapsed()
}
