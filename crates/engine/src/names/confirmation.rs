//! Waits until every authoritative server that answers has the new records, and names those that do not.
//!
//! A server that does not answer leads no client anywhere, so it does not keep a switch from its end. One that answers with the
//! old record does.

use std::time::Duration;

use transship_oci::{Code, Error, Result, Verb};
use transship_rules::Hostname;

use super::{Entry, Names, Switched};

/// How long the servers are asked.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// The number of times that every server is asked, at least 1.
    pub times: u32,
    /// The longest wait between two times. The first waits are shorter, see [`Patience::pause_after`].
    pub pause: Duration,
}

/// The wait after the first time. NOTIFY and a transfer on one network take milliseconds.
const PAUSE_MIN: Duration = Duration::from_millis(50);

impl Default for Patience {
    /// Two minutes: Route 53 is "generally within 60 seconds", and NOTIFY takes seconds.
    fn default() -> Self {
        Self {
            times: 120,
            pause: Duration::from_secs(1),
        }
    }
}

impl Patience {
    /// The wait after the servers were asked `time` times: it doubles from 50 ms to `pause`.
    pub fn pause_after(self, time: u32) -> Duration {
        let doublings = time.saturating_sub(1).min(16);
        self.pause.min(PAUSE_MIN * 2_u32.pow(doublings))
    }

    /// The same for a service that asks for a wait of at least `pause_min`.
    fn pause_within(self, time: u32, pause_min: Duration) -> Duration {
        self.pause_after(time).max(pause_min.min(self.pause))
    }
}

/// The number of times that servers which do not answer are asked, if all others have the new records: for 4.5 seconds. A server
/// that restarts answers within seconds.
const SILENT_TIMES: u32 = 9;

/// What the authoritative servers answered last.
#[derive(Debug, Default)]
pub struct Confirmation {
    /// The servers that answer with the new records.
    pub current: Vec<String>,
    /// The servers that answer with others, and these; empty if the service reports that the change is under way.
    pub stale: Vec<(String, Option<Entry>)>,
    /// The servers that do not answer, and why.
    pub unreachable: Vec<(String, Error)>,
}

impl Confirmation {
    /// True if every server answers with the new records.
    pub fn is_complete(&self) -> bool {
        self.stale.is_empty() && self.unreachable.is_empty()
    }

    /// True if every server that answers has the new records, and one does.
    pub fn is_settled(&self) -> bool {
        self.stale.is_empty() && !self.current.is_empty()
    }

    /// The servers that do not answer, each with the reason.
    pub fn silent(&self) -> Vec<String> {
        let silent = self.unreachable.iter();
        silent.map(|(server, error)| format!("{server}: {error}")).collect()
    }

    /// `DNS_NOT_SETTLED` with every server that is not current, if one answers with other records, or none answers.
    pub fn check(&self, name: &Hostname) -> Result<()> {
        if self.is_settled() {
            return Ok(());
        }
        let stale = self.stale.iter().map(|(server, entry)| match entry {
            Some(entry) => format!("{server} answers {entry}"),
            None => format!("{server} reports that the change is under way"),
        });
        let unreachable = self
            .unreachable
            .iter()
            .map(|(server, error)| format!("{server} does not answer ({})", error.code()));
        let others: Vec<String> = stale.chain(unreachable).collect();
        let all = self.current.len() + others.len();
        let why = format!(
            "{} of {all} servers are current; {}",
            self.current.len(),
            others.join("; ")
        );
        Err(Error::of(Code::DnsNotSettled, Verb::Names.on(name)).because(why))
    }
}

/// Asks until every server answers with the new records, or `patience` ends; servers that do not answer at all are asked
/// [`SILENT_TIMES`]. The whole list is asked each time, and the last answers count. A service that cannot be asked
/// (`DNS_UNAVAILABLE`), because it is throttled, is asked again too.
pub async fn confirm(
    names: &dyn Names,
    name: &Hostname,
    switched: &Switched,
    patience: Patience,
) -> Result<Confirmation> {
    let mut time = 1;
    loop {
        let mut confirmation = Confirmation::default();
        let answers = match names.answers(name, &switched.receipt).await {
            Err(error) if error.is(Code::DnsUnavailable) && time < patience.times => Vec::new(),
            answers => answers?,
        };
        // The port promises at least one answer, so without one the service is asked again.
        let is_asked = !answers.is_empty();
        for answer in answers {
            match answer.entry {
                Ok(Some(entry)) if entry.is_same(&switched.after) => confirmation.current.push(answer.server),
                Ok(entry) => confirmation.stale.push((answer.server, entry)),
                Err(error) => confirmation.unreachable.push((answer.server, error)),
            }
        }
        let is_enough = confirmation.is_settled() && time >= SILENT_TIMES;
        if (is_asked && confirmation.is_complete()) || is_enough || time >= patience.times {
            return Ok(confirmation);
        }
        tokio::time::sleep(patience.pause_within(time, names.pause_min())).await;
        time += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_waits_are_short() {
        let pauses: Vec<u128> = (1..=7)
            .map(|time| Patience::default().pause_after(time).as_millis())
            .collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1000, 1000]);
        let silent: Duration = (1..SILENT_TIMES)
            .map(|time| Patience::default().pause_after(time))
            .sum();
        assert_eq!(silent, Duration::from_millis(4550));
        let brief = Patience {
            times: 2,
            pause: Duration::from_millis(10),
        };
        assert_eq!(brief.pause_after(1), Duration::from_millis(10));
        assert_eq!(Patience::default().pause_after(u32::MAX), Duration::from_secs(1));
        let limited = [1, 4, 5, 6].map(|time| {
            let pause = Patience::default().pause_within(time, Duration::from_millis(500));
            pause.as_millis()
        });
        assert_eq!(limited, [500, 500, 800, 1000]);
    }
}
