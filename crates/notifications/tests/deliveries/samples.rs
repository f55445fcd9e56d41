//! The samples in `events/`: what they contain, and how each of them is authenticated.

use http::HeaderMap;
use transship_notifications::{Authenticity, Delivery, Event, Expected, Format, Origin, Part, authenticate, parse};

pub use transship_testkit::deliveries::SECRET;
use transship_testkit::deliveries::SampleDelivery;

use crate::named;

/// A sample with its format.
pub struct Sample {
    pub file: String,
    pub body: Vec<u8>,
    delivery: SampleDelivery,
}

impl Sample {
    /// All samples.
    pub fn all() -> Vec<Self> {
        let of = |delivery: SampleDelivery| Self {
            file: delivery.file.clone(),
            body: delivery.body.clone(),
            delivery,
        };
        SampleDelivery::all().into_iter().map(of).collect()
    }

    pub fn format(&self) -> Format {
        named(&self.delivery.format)
    }

    pub fn headers(&self) -> HeaderMap {
        self.delivery.header_map()
    }

    pub fn read(&self) -> Vec<Event> {
        let delivery = Delivery {
            headers: &self.headers(),
            body: &self.body,
            token: None,
        };
        parse(self.format(), &delivery, &Origin::default()).unwrap()
    }

    fn is_authentic(&self, body: &[u8], secret: &str) -> bool {
        let delivery = Delivery {
            headers: &self.headers(),
            body,
            token: self.delivery.token.as_deref(),
        };
        is_authentic(self.format(), &delivery, secret)
    }
}

/// True if the delivery is authentic with `secret`, in whole and as far as its head shows.
pub fn is_authentic(format: Format, delivery: &Delivery<'_>, secret: &str) -> bool {
    let expected = Expected {
        secret: Some(secret),
        ..Expected::default()
    };
    let check = |part| authenticate(format, delivery, part, &expected, &|_| None);
    let is_authentic = check(Part::Whole).ok() == Some(Authenticity::Proven);
    assert!(
        !is_authentic || check(Part::Head).is_ok(),
        "its head is refused: {format}"
    );
    is_authentic
}

#[test]
fn the_samples_are_read() {
    let read: Vec<_> = Sample::all()
        .iter()
        .map(|sample| (sample.file.clone(), sample.read()))
        .collect();
    insta::assert_json_snapshot!(read);
}

#[test]
fn each_sample_has_the_number_of_events_that_is_written_with_it() {
    for sample in Sample::all() {
        assert_eq!(sample.read().len(), sample.delivery.events, "{}", sample.file);
    }
}

#[test]
fn each_format_has_a_sample() {
    let samples = Sample::all();
    for format in Format::all().filter(|format| format.as_str() != "generic") {
        let has_sample = samples.iter().any(|sample| sample.format() == format);
        assert!(has_sample, "{format}");
    }
}

#[test]
fn each_sample_is_authentic_with_its_secret_alone() {
    for sample in Sample::all() {
        let file = &sample.file;
        for secret in ["right", "old\nright", "right\nnew", "{\"hook\":\"right\"}"] {
            assert!(sample.is_authentic(&sample.body, secret), "{file} {secret}");
        }
        for secret in ["wrong", "Right", "righ", "", "\n", "right "] {
            assert!(!sample.is_authentic(&sample.body, secret), "{file} {secret}");
        }
    }
}

#[test]
fn a_changed_byte_of_a_signed_body_is_not_authentic() {
    let mut signed = 0;
    for mut sample in Sample::all().into_iter().filter(|sample| sample.format().is_signed()) {
        signed += 1;
        for at in 0..sample.body.len() {
            sample.body[at] ^= 1;
            assert!(!sample.is_authentic(&sample.body, SECRET), "{} {at}", sample.file);
            sample.body[at] ^= 1;
            assert!(!sample.is_authentic(&sample.body[..at], SECRET), "{} {at}", sample.file);
        }
        assert!(sample.is_authentic(&sample.body, SECRET), "{}", sample.file);
    }
    assert_eq!(signed, 4, "GitHub, Gitea, Artifactory and Nexus sign their bodies");
}

#[test]
fn a_body_signed_for_one_sender_is_not_authentic_without_its_header() {
    for sample in Sample::all() {
        let delivery = Delivery {
            headers: &HeaderMap::new(),
            body: &sample.body,
            token: None,
        };
        let expected = Expected {
            secret: Some(SECRET),
            ..Expected::default()
        };
        for part in [Part::Head, Part::Whole] {
            let error = authenticate(sample.format(), &delivery, part, &expected, &|_| None).unwrap_err();
            assert_eq!(error.code(), "NOT_AUTHENTIC", "{} {part:?}", sample.file);
        }
    }
}
