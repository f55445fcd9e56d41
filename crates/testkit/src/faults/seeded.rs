//! Faults drawn from a seed for a share of all requests, in the proportions observed in production.
//!
//! The fault of a request depends on the seed, the request and its number of repetitions, not on concurrent requests. The same
//! seed therefore gives the same faults in any interleaving.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::{Method, header};
use transship_oci::Digest;

use super::{Action, Ending, Faults, RequestHead};

/// Draws a fault for `percent` of all requests, except pings and token requests.
#[derive(Debug)]
pub struct Seeded {
    seed: u64,
    percent: u8,
    made: Mutex<HashMap<String, u64>>,
    struck: AtomicU64,
}

impl Seeded {
    /// The faults of `seed`; print it when a test fails, to replay it.
    pub fn new(seed: u64, percent: u8) -> Self {
        Self {
            seed,
            percent,
            made: Mutex::default(),
            struck: AtomicU64::new(0),
        }
    }

    /// The seed.
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// Number of requests that had a fault.
    pub fn struck(&self) -> u64 {
        self.struck.load(Ordering::Relaxed)
    }

    fn draw(&self, request: &RequestHead<'_>) -> Draw {
        let key = format!("{} {}", request.method, steady(request.path));
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let nth = made.entry(key.clone()).or_default();
        *nth += 1;
        Draw::new(&format!("{} {key} {nth}", self.seed))
    }
}

impl Faults for Seeded {
    fn action(&self, request: &RequestHead<'_>) -> Option<Action> {
        if !request.path.starts_with("/v2/") || request.path == "/v2/" {
            return None;
        }
        let mut draw = self.draw(request);
        if draw.below(100) >= u64::from(self.percent) {
            return None;
        }
        self.struck.fetch_add(1, Ordering::Relaxed);
        Some(mix(request, &mut draw))
    }
}

/// A path without the identifier of an upload session, which differs from run to run.
fn steady(path: &str) -> &str {
    path.find("/blobs/uploads/")
        .map_or(path, |at| &path[..at + "/blobs/uploads/".len()])
}

/// 25 % reset before the response, 15 % reset in mid-body, 10 % truncated with a clean end, 10 % response lost after its
/// effect, 15 % 5xx, 10 % 429, 5 % 401 in mid-session, 5 % upload session gone, 3 % stale HEAD, 2 % a flipped bit. A
/// fault that does not apply to a request is replaced by one that does.
fn mix(request: &RequestHead<'_>, draw: &mut Draw) -> Action {
    let is_read = request.method == Method::GET;
    let has_body = matches!(*request.method, Method::PUT | Method::PATCH);
    let is_session = steady(request.path).len() < request.path.len();
    match draw.below(100) {
        25..40 if is_read => Action::CutBody {
            after_bytes: draw.below(64 * 1024),
            ending: Ending::Reset,
        },
        25..40 if has_body => Action::CutRequest {
            after_bytes: draw.below(64 * 1024),
        },
        40..50 if is_read => Action::CutBody {
            after_bytes: draw.below(64 * 1024),
            ending: if draw.below(2) == 0 {
                Ending::Close
            } else {
                Ending::Unnoticed
            },
        },
        50..60 => Action::LoseResponse,
        60..75 => Action::status([500, 502, 503, 504][usize::try_from(draw.below(4)).unwrap_or(0)]),
        75..85 => Action::too_many_requests(0),
        85..90 if request.headers.contains_key(header::AUTHORIZATION) => Action::DropCredentials,
        90..95 if is_session => Action::Status {
            code: 404,
            headers: Vec::new(),
            body: Bytes::from_static(br#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"the upload is gone"}]}"#),
        },
        95..98 if request.method == Method::HEAD => Action::status(404),
        98..100 if is_read => Action::FlipBit {
            at_byte: draw.below(1024),
        },
        _ => Action::Reset,
    }
}

/// Numbers that are derived from a text.
struct Draw(u64);

impl Draw {
    fn new(text: &str) -> Self {
        let digest = Digest::sha256(text.as_bytes());
        Self(u64::from_str_radix(&digest.hex()[..16], 16).unwrap_or_default())
    }

    fn below(&mut self, limit: u64) -> u64 {
        let drawn = (self.0 >> 16) % limit;
        self.0 = self
            .0
            .wrapping_mul(0x5851_F42D_4C95_7F2D)
            .wrapping_add(0x1405_7B7E_F767_814F);
        drawn
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn actions(seed: u64, percent: u8, paths: &[String]) -> Vec<Option<Action>> {
        let (faults, headers) = (Seeded::new(seed, percent), HeaderMap::new());
        let ask = |path: &String| {
            faults.action(&RequestHead {
                method: &Method::GET,
                path,
                query: None,
                headers: &headers,
            })
        };
        paths.iter().map(ask).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_faults_in_any_order() {
        let paths: Vec<String> = (0..200).map(|at| format!("/v2/a/blobs/{at}")).collect();
        let mut backwards = paths.clone();
        backwards.reverse();
        let forth = actions(5, 20, &paths);
        let mut back = actions(5, 20, &backwards);
        back.reverse();
        assert_eq!(forth, back);
        assert_ne!(forth, actions(6, 20, &paths));
    }

    #[test]
    fn the_share_is_about_what_was_asked() {
        let paths: Vec<String> = (0..2000).map(|at| format!("/v2/a/blobs/{at}")).collect();
        let struck = actions(1, 20, &paths).iter().flatten().count();
        assert!((320..480).contains(&struck), "{struck} of 2000");
        assert_eq!(actions(1, 0, &paths).iter().flatten().count(), 0);
        assert_eq!(actions(1, 100, &["/v2/".to_owned()]), [None]);
    }

    #[test]
    fn a_request_that_failed_may_pass_when_it_is_made_again() {
        let again = vec!["/v2/a/blobs/x".to_owned(); 100];
        let struck = actions(3, 50, &again).iter().flatten().count();
        assert!((30..70).contains(&struck), "{struck} of 100");
    }
}
