//! How much this process asks of one registry at the same time, learned from how it answers. It needs no configuration; configured
//! limits ([`crate::limits`]) hold as well.
//!
//! Requests and uploads each have a [`Window`]: it grows while the registry answers well, and is halved when the registry refuses
//! (429, 503), does not answer, or answers HEAD and POST ever more slowly. Waiting requests begin in the order of their arrival.
//! The [`Rate`] limits requests per second after refusals (429). For requests that wait, connections are opened ahead
//! ([`Connections`]).

mod connections;
mod rate;
mod window;

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::connections::Connections;
use self::rate::Rate;
use self::window::{Sizes, Window};

/// Requests in progress.
const REQUESTS: Sizes = Sizes {
    first: 8,
    unanswered: 32,
    max: 64,
};
/// Uploads in progress. Each has a source and a destination connection, and their buffers.
const UPLOADS: Sizes = Sizes {
    first: 8,
    unanswered: 8,
    max: 32,
};

/// What one registry bears.
pub(crate) struct Adaptive {
    began: Instant,
    requests: Arc<Gate>,
    uploads: Arc<Gate>,
    rate: Mutex<Rate>,
    connections: Mutex<Connections>,
}

impl Adaptive {
    /// Nothing is learned yet. `pause`: the first one after a refusal.
    pub(crate) fn new(pause: Duration) -> Self {
        Self {
            began: Instant::now(),
            requests: Gate::new(REQUESTS),
            uploads: Gate::new(UPLOADS),
            rate: Mutex::new(Rate::new(pause)),
            connections: Mutex::default(),
        }
    }

    /// After how long one more connection is to be opened, for `expected` requests that begin soon, or ([`None`]) for those that wait
    /// for their turn. [`None`]: there are enough.
    pub(crate) fn open_ahead(&self, expected: Option<usize>) -> Option<Duration> {
        // The connections that are open suffice for few requests per second.
        if lock(&self.rate).is_limited() {
            return None;
        }
        let (wanted, in_progress) = {
            let state = lock(&self.requests.state);
            let wanted = match expected {
                Some(expected) => expected.min(state.window.first_size()),
                None => (state.in_progress + state.waiting).min(state.window.next_size()),
            };
            (wanted, state.in_progress)
        };
        lock(&self.connections).open(wanted, in_progress, self.now())
    }

    /// The registry began to answer a request after this time.
    pub(crate) fn answered(&self, after: Duration) {
        lock(&self.connections).answered(after);
    }

    /// True if the registry answers so soon that no connection is worth opening ahead.
    pub(crate) fn is_near(&self) -> bool {
        lock(&self.connections).is_near()
    }

    /// Waits until one more request may begin.
    pub(crate) async fn request(&self) -> Turn<'_> {
        let place = self.requests.enter(self.now()).await;
        Turn {
            adaptive: self,
            place: Some(place),
            began: self.now(),
            is_ours: true,
        }
    }

    /// How long a request waits until it may begin, if the registry refuses more requests per second.
    pub(crate) fn wait(&self) -> Duration {
        lock(&self.rate).begin(self.now())
    }

    /// The turn of a request whose body is streamed. Its upload has a place already.
    pub(crate) fn streamed(&self) -> Turn<'_> {
        Turn {
            adaptive: self,
            place: None,
            began: self.now(),
            is_ours: true,
        }
    }

    /// Waits until one more upload may begin, which ends when the place is dropped.
    pub(crate) async fn upload(&self) -> Place {
        self.uploads.enter(self.now()).await
    }

    /// How long the first answer to a request that reads little is waited for; [`None`]: as long as to any other.
    pub(crate) fn patience(&self) -> Option<Duration> {
        lock(&self.requests.state).window.patience()
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }
}

/// A request that is in progress.
pub(crate) struct Turn<'a> {
    adaptive: &'a Adaptive,
    place: Option<Place>,
    began: Duration,
    /// False for a request to a host that the registry redirects to.
    is_ours: bool,
}

impl Turn<'_> {
    /// The request begins now: it waited for more than its turn. `is_ours`: it goes to the registry itself, whose rate it tells.
    pub(crate) fn begin(&mut self, is_ours: bool) {
        self.began = self.adaptive.now();
        self.is_ours = is_ours;
    }

    /// The registry answered with `status`, or ([`None`]) did not answer. `retry_after`: how long it asks to wait.
    pub(crate) fn end(self, method: &Method, status: Option<StatusCode>, retry_after: Option<Duration>) {
        let (adaptive, began, now) = (self.adaptive, self.began, self.adaptive.now());
        match status.filter(|_| self.is_ours) {
            Some(StatusCode::TOO_MANY_REQUESTS) => lock(&adaptive.rate).refused(began, now, retry_after),
            Some(_) => lock(&adaptive.rate).accepted(began, now),
            None => {}
        }
        let gates = [&adaptive.requests, &adaptive.uploads];
        match status {
            None | Some(StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) => {
                for gate in gates {
                    gate.adapt(|window, _| window.refused(began, now));
                }
            }
            Some(_) => {
                let is_small = self.place.is_some() && matches!(*method, Method::HEAD | Method::POST);
                let latency = is_small.then(|| now.saturating_sub(began));
                let gate = if self.place.is_some() { gates[0] } else { gates[1] };
                gate.adapt(|window, in_progress| window.answered(began, now, in_progress, latency));
            }
        }
    }
}

/// A window, and the places in it.
struct Gate {
    state: Mutex<State>,
    /// Its permits and those that are held are [`State::places`] together.
    free: Arc<Semaphore>,
}

struct State {
    window: Window,
    places: usize,
    in_progress: usize,
    waiting: usize,
}

impl Gate {
    fn new(sizes: Sizes) -> Arc<Self> {
        let places = sizes.first.into();
        Arc::new(Self {
            state: Mutex::new(State {
                window: Window::new(sizes),
                places,
                in_progress: 0,
                waiting: 0,
            }),
            free: Arc::new(Semaphore::new(places)),
        })
    }

    async fn enter(self: &Arc<Self>, now: Duration) -> Place {
        let free = Arc::clone(&self.free);
        if let Ok(permit) = Arc::clone(&free).try_acquire_owned() {
            return self.place(Some(permit));
        }
        let mut waiting = Waiting::new(self, now);
        let mut permit = pin!(free.acquire_owned());
        if let Some(wait) = waiting.coming {
            tokio::select! {
                biased;
                permit = &mut permit => return self.place(permit.ok()),
                () = tokio::time::sleep(wait) => waiting.come(),
            }
        }
        self.place(permit.await.ok())
    }

    /// `permit`: the semaphore is never closed.
    fn place(self: &Arc<Self>, permit: Option<OwnedSemaphorePermit>) -> Place {
        lock(&self.state).in_progress += 1;
        Place {
            gate: Arc::clone(self),
            permit,
        }
    }

    fn adapt(&self, change: impl FnOnce(&mut Window, usize)) {
        let mut state = lock(&self.state);
        let in_progress = state.in_progress;
        change(&mut state.window, in_progress);
        let size = state.window.size();
        if size > state.places {
            self.free.add_permits(size - state.places);
            state.places = size;
        } else if size < state.places {
            state.places -= self.free.forget_permits(state.places - size);
        }
    }
}

/// One that waits for a place.
struct Waiting<'a> {
    gate: &'a Gate,
    /// How long until a place is added for it; [`None`]: none is.
    coming: Option<Duration>,
}

impl<'a> Waiting<'a> {
    fn new(gate: &'a Gate, now: Duration) -> Self {
        let mut state = lock(&gate.state);
        state.waiting += 1;
        let coming = state.window.coming(now);
        Self { gate, coming }
    }

    /// The place is added.
    fn come(&mut self) {
        if self.coming.take().is_some() {
            self.gate.adapt(|window, _| window.come(true));
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.gate.state);
        state.waiting -= 1;
        if self.coming.is_some() {
            state.window.come(false);
        }
    }
}

/// A place in a window, free again when it is dropped.
pub(crate) struct Place {
    gate: Arc<Gate>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = lock(&self.gate.state);
        state.in_progress = state.in_progress.saturating_sub(1);
        if state.places > state.window.size()
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
            state.places -= 1;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    /// As many turns as begin at once.
    fn all_that_begin(adaptive: &Adaptive) -> Vec<Turn<'_>> {
        let mut turns = Vec::new();
        // Otherwise tokio lets a task take 128 permits, and no more.
        while let Some(turn) = tokio::task::unconstrained(adaptive.request()).now_or_never() {
            turns.push(turn);
        }
        turns
    }

    #[tokio::test]
    async fn refusals_take_places_away_also_those_that_are_held() {
        let adaptive = Adaptive::new(Duration::from_millis(200));
        let turns = all_that_begin(&adaptive);
        assert_eq!(turns.len(), usize::from(REQUESTS.first));
        for turn in turns {
            turn.end(&Method::HEAD, Some(StatusCode::SERVICE_UNAVAILABLE), None);
        }
        assert_eq!(all_that_begin(&adaptive).len(), usize::from(REQUESTS.first / 2));
    }

    #[tokio::test]
    async fn answers_make_room_for_more() {
        let adaptive = Adaptive::new(Duration::from_millis(200));
        for _ in 0..16 {
            // Places are added one after another.
            std::thread::sleep(Duration::from_millis(100));
            for turn in all_that_begin(&adaptive) {
                turn.end(&Method::GET, Some(StatusCode::OK), None);
            }
        }
        assert_eq!(all_that_begin(&adaptive).len(), usize::from(REQUESTS.max));
    }

    #[tokio::test]
    async fn a_request_that_waits_begins_soon_though_nothing_was_answered() {
        let adaptive = Adaptive::new(Duration::from_millis(200));
        let mut turns = all_that_begin(&adaptive);
        while turns.len() < usize::from(REQUESTS.unanswered) {
            turns.push(adaptive.request().await);
        }
        let one_more = tokio::time::timeout(Duration::from_millis(100), adaptive.request());
        assert!(one_more.await.is_err());
        // One that is given up leaves the place to the next.
        turns.pop();
        turns.push(adaptive.request().await);
        let state = lock(&adaptive.requests.state);
        assert_eq!((state.in_progress, state.waiting), (turns.len(), 0));
    }

    #[tokio::test]
    async fn a_host_that_the_registry_redirects_to_tells_nothing_of_its_rate() {
        let adaptive = Adaptive::new(Duration::from_millis(200));
        let send = async |is_ours, status| {
            let mut turn = adaptive.request().await;
            turn.begin(is_ours);
            turn.end(&Method::GET, Some(status), None);
        };
        for _ in 0..20 {
            send(true, StatusCode::OK).await;
        }
        send(false, StatusCode::TOO_MANY_REQUESTS).await;
        assert!(!lock(&adaptive.rate).is_limited());
        send(true, StatusCode::TOO_MANY_REQUESTS).await;
        assert!(lock(&adaptive.rate).is_limited());
    }

    #[tokio::test]
    async fn a_request_that_is_given_up_frees_its_place() {
        let adaptive = Adaptive::new(Duration::from_millis(200));
        for _ in 0..100 {
            let turn = adaptive.request().await;
            drop(turn);
        }
        let upload = adaptive.upload().await;
        drop(upload);
        assert_eq!(lock(&adaptive.requests.state).in_progress, 0);
        assert_eq!(lock(&adaptive.uploads.state).in_progress, 0);
    }
}
