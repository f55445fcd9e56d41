//! The order in which pairs get workers, and the share of each.

use proptest::prelude::*;

use super::*;

fn peers(source: &str, destination: &str) -> Peers {
    Peers {
        source: source.into(),
        destination: destination.into(),
    }
}

fn waiting(source: &str, destination: &str, messages: impl IntoIterator<Item = i64>) -> Waiting {
    Waiting {
        peers: peers(source, destination),
        messages: messages.into_iter().collect(),
    }
}

fn in_flight(source: &str, destination: &str, count: usize) -> InFlight {
    InFlight {
        peers: peers(source, destination),
        count,
    }
}

/// Workers, each of which keeps its message without end.
struct Workers {
    share: Share,
    in_flight: Vec<InFlight>,
}

impl Workers {
    fn new(workers: usize) -> Self {
        Self {
            share: Share::new(workers, str::to_owned),
            in_flight: Vec::new(),
        }
    }

    fn free(&self) -> usize {
        self.share.workers - self.in_flight.iter().map(|pair| pair.count).sum::<usize>()
    }

    /// Offers many messages of a pair, and returns how many workers take one.
    fn offer(&mut self, source: &str, destination: &str) -> usize {
        let offered = vec![waiting(source, destination, 0..1000)];
        let taken = choose(offered, &self.in_flight, Some(&self.share), self.free(), 0, 0).len();
        self.in_flight.push(in_flight(source, destination, taken));
        taken
    }
}

#[test]
fn destinations_take_turns() {
    let chosen = choose(
        vec![
            waiting("s", "a", [1, 2, 3]),
            waiting("s", "b", [11]),
            waiting("s", "c", [21, 22]),
        ],
        &[],
        None,
        5,
        0,
        0,
    );
    assert_eq!(chosen, [1, 11, 21, 2, 22]);
}

#[test]
fn a_slow_destination_leaves_the_workers_to_others() {
    let chosen = choose(
        vec![waiting("s", "slow", 1..100), waiting("s", "fast", 101..200)],
        &[in_flight("s", "slow", 5)],
        None,
        4,
        0,
        0,
    );
    assert_eq!(chosen, [101, 102, 103, 104]);
}

#[test]
fn a_slow_source_leaves_the_workers_to_others() {
    let chosen = choose(
        vec![waiting("slow", "d", 1..100), waiting("fast", "d", 101..200)],
        &[in_flight("slow", "d", 5)],
        None,
        4,
        0,
        0,
    );
    assert_eq!(chosen, [101, 102, 103, 104]);
}

#[test]
fn one_at_a_time_still_gives_each_its_turn() {
    let both = || vec![waiting("s", "a", [1]), waiting("s", "b", [11])];
    assert_eq!(choose(both(), &[], None, 1, 0, 0), [1]);
    assert_eq!(choose(both(), &[], None, 1, 1, 0), [11]);
    assert_eq!(choose(both(), &[], None, 1, 2, 0), [1]);
}

#[test]
fn nothing_waiting_gives_nothing() {
    assert!(choose(Vec::new(), &[], None, 3, 7, 0).is_empty());
}

#[test]
fn one_pair_occupies_about_a_third_of_the_workers_and_at_least_one() {
    let taken = [1, 2, 3, 4, 8, 12, 16, 32, 64].map(|workers| Workers::new(workers).offer("s", "d"));
    assert_eq!(taken, [1, 1, 1, 2, 3, 4, 6, 11, 22]);
}

#[test]
fn four_slow_pairs_leave_workers_to_a_fifth() {
    let mut workers = Workers::new(16);
    for slow in ["1", "2", "3", "4"] {
        assert!(workers.offer(&format!("s{slow}"), &format!("d{slow}")) > 0, "{slow}");
    }
    assert!(workers.offer("s", "d") > 0);
}

#[test]
fn four_slow_sources_of_one_destination_leave_workers_to_a_fifth_source_of_it() {
    let mut workers = Workers::new(16);
    for slow in ["s1", "s2", "s3", "s4"] {
        assert!(workers.offer(slow, "d") > 0, "{slow}");
    }
    assert!(workers.offer("s", "d") > 0);
}

#[test]
fn silent_destinations_do_not_use_up_the_share_of_their_source() {
    let mut workers = Workers::new(16);
    for silent in ["d1", "d2", "d3", "d4"] {
        assert!(workers.offer("s", silent) > 0, "{silent}");
    }
    assert!(workers.offer("s", "d") > 0);
}

#[test]
fn two_slow_sources_and_two_silent_destinations_leave_workers_to_the_pair_between_their_peers() {
    let mut workers = Workers::new(16);
    for (source, destination) in [("s1", "b"), ("s2", "b"), ("a", "d1"), ("a", "d2")] {
        assert!(workers.offer(source, destination) > 0, "{source} {destination}");
        workers.offer(source, destination);
    }
    assert_eq!(workers.offer("a", "b"), 1, "nothing is known about the pair yet");
    workers.in_flight.pop();
    workers.share.done(&peers("a", "b"), 0, 0);
    assert_eq!(workers.offer("a", "b"), 2, "it is quick");
    workers.in_flight.pop();
    workers.share.done(&peers("s1", "b"), 0, QUICK_MS);
    assert_eq!(workers.offer("s1", "b"), 0, "one that takes long is not");
}

#[test]
fn a_source_with_any_number_of_destinations_leaves_workers_to_others() {
    for workers in [4, 16, 64] {
        let mut workers = Workers::new(workers);
        for destination in 0..200 {
            workers.offer("slow", &destination.to_string());
        }
        assert!(workers.free() > 0);
        assert!(workers.offer("s", "d") > 0);
    }
}

#[test]
fn a_destination_with_any_number_of_sources_leaves_workers_to_others() {
    let mut workers = Workers::new(16);
    for source in 0..200 {
        workers.offer(&source.to_string(), "silent");
    }
    assert!(workers.offer("s", "d") > 0);
}

#[test]
fn the_names_of_one_host_have_one_share() {
    let host_of = |name: &str| name.split('-').next().unwrap_or_default().to_owned();
    let share = Share::new(12, host_of);
    let names = |destination: &str| vec![waiting("s", destination, 0..100)];
    let taken = choose(names("host-1"), &[], Some(&share), 12, 0, 0).len();
    assert_eq!(taken, 4);
    let busy = [in_flight("s", "host-1", taken)];
    assert_eq!(choose(names("host-2"), &busy, Some(&share), 8, 0, 0).len(), 0);
    assert!(!choose(names("other"), &busy, Some(&share), 8, 0, 0).is_empty());
}

proptest! {
    #[test]
    fn without_a_share_as_many_as_there_are_and_each_once(
        sizes in prop::collection::vec((0_usize..9, 0_i64..20), 0..8),
        max in 0_usize..40,
        turn in 0_usize..20,
    ) {
        let mut next = 0;
        let (mut pairs, mut busy) = (Vec::new(), Vec::new());
        for (number, (count, size)) in sizes.iter().enumerate() {
            let destination = number.to_string();
            pairs.push(waiting("s", &destination, next..next + size));
            busy.push(in_flight("s", &destination, *count));
            next += size;
        }
        let mut chosen = choose(pairs, &busy, None, max, turn, 0);
        prop_assert_eq!(chosen.len(), max.min(usize::try_from(next).unwrap()));
        chosen.sort_unstable();
        chosen.dedup();
        prop_assert_eq!(chosen.len(), max.min(usize::try_from(next).unwrap()));
    }

    #[test]
    fn a_share_never_exceeds_the_workers_and_leaves_none_idle_that_has_nothing_in_flight(
        pairs in prop::collection::vec((0_u8..6, 0_u8..6, 1_i64..20), 1..12),
        workers in 1_usize..40,
    ) {
        let share = Share::new(workers, str::to_owned);
        let offered: Vec<_> = pairs
            .iter()
            .map(|(source, destination, size)| waiting(&format!("s{source}"), &format!("d{destination}"), 0..*size))
            .collect();
        let chosen = choose(offered, &[], Some(&share), workers, 0, 0);
        prop_assert!(!chosen.is_empty() && chosen.len() <= workers);
    }
}
