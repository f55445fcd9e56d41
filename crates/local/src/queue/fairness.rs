//! Selects the next messages: the destination with the fewest messages in flight is first, so that a slow destination cannot
//! occupy all workers.

/// A destination with visible messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// Number of its messages in flight.
    pub(crate) in_flight: usize,
    /// Its visible messages, in order.
    pub(crate) messages: Vec<i64>,
}

/// Up to `max` messages in the order of their delivery. Ties go to the destination that is first after the `turn`-th, so that
/// all destinations are served if few messages are in flight.
pub(crate) fn choose(waiting: Vec<Waiting>, max: usize, turn: usize) -> Vec<i64> {
    let count = waiting.len().max(1);
    let mut queues: Vec<_> = waiting
        .into_iter()
        .enumerate()
        .map(|(at, destination)| {
            let rank = (at + count - turn % count) % count;
            (destination.in_flight, rank, destination.messages.into_iter())
        })
        .collect();
    let mut chosen = Vec::new();
    while chosen.len() < max {
        queues.retain(|(_, _, messages)| messages.len() > 0);
        let Some((in_flight, _, messages)) = queues.iter_mut().min_by_key(|(in_flight, rank, _)| (*in_flight, *rank))
        else {
            break;
        };
        *in_flight += 1;
        chosen.extend(messages.next());
    }
    chosen
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn waiting(in_flight: usize, messages: impl IntoIterator<Item = i64>) -> Waiting {
        Waiting {
            in_flight,
            messages: messages.into_iter().collect(),
        }
    }

    #[test]
    fn destinations_take_turns() {
        let chosen = choose(
            vec![waiting(0, [1, 2, 3]), waiting(0, [11]), waiting(0, [21, 22])],
            5,
            0,
        );
        assert_eq!(chosen, [1, 11, 21, 2, 22]);
    }

    #[test]
    fn a_slow_destination_leaves_the_workers_to_others() {
        let chosen = choose(vec![waiting(5, 1..100), waiting(0, 101..200)], 4, 0);
        assert_eq!(chosen, [101, 102, 103, 104]);
    }

    #[test]
    fn one_at_a_time_still_gives_each_its_turn() {
        let both = || vec![waiting(0, [1]), waiting(0, [11])];
        assert_eq!(choose(both(), 1, 0), [1]);
        assert_eq!(choose(both(), 1, 1), [11]);
        assert_eq!(choose(both(), 1, 2), [1]);
    }

    #[test]
    fn nothing_waiting_gives_nothing() {
        assert!(choose(Vec::new(), 3, 7).is_empty());
    }

    proptest! {
        #[test]
        fn as_many_as_there_are_and_each_once(sizes in prop::collection::vec((0_usize..9, 0_i64..20), 0..8), max in 0_usize..40, turn in 0_usize..20) {
            let mut next = 0;
            let destinations: Vec<_> = sizes.iter().map(|(in_flight, size)| {
                next += size;
                waiting(*in_flight, next - size..next)
            }).collect();
            let mut chosen = choose(destinations, max, turn);
            prop_assert_eq!(chosen.len(), max.min(usize::try_from(next).unwrap()));
            chosen.sort_unstable();
            chosen.dedup();
            prop_assert_eq!(chosen.len(), max.min(usize::try_from(next).unwrap()));
        }
    }
}
