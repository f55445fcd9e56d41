//! What a sweep leaves as it is, because it existed before the rule.
//!
//! The first sweep that sees a rule, or a rule that selects more than before, records what its tags name where they differ from
//! the destination, and copies none of them. Later sweeps copy what changed since. What must hold: nothing that an accepted event
//! announced, or that Transship wrote since the rule exists, is left; a list that could not be read counts as not recorded.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use transship_copy::Options;
use transship_oci::{Code, Digest, Repository, Result, Tag};
use transship_rules::{Pushed, Rule, Selected};

use crate::job::Cursor;
use crate::jobs::Jobs;
use crate::latest::latest_tags;
use crate::ledger::{LEFT_OUT_MAX, Mark, Marks, Progress, RuleState, Versioned};
use crate::walk::{Ends, Pair};
use crate::{Execution, ImageRef, Replica, Snapshot, Trigger};

/// The baseline of one rule, within one message of its sweep.
pub(super) struct Baseline<'a> {
    jobs: &'a Jobs,
    rule: &'a Rule,
    /// [`None`] for a rule that copies what existed before it, and is not known yet.
    state: Option<Versioned<RuleState>>,
    before: Option<Selected>,
    reader: Option<Marks>,
    /// Marks that are not written yet.
    unwritten: BTreeMap<Repository, BTreeMap<Tag, Mark>>,
    /// The repository that is being walked.
    current: Option<Repository>,
    left_out: BTreeSet<Repository>,
    walked: BTreeSet<Repository>,
    /// The list of repositories could not be read.
    is_incomplete: bool,
    pub(super) counts: BaselineCounts,
}

/// What a message found about the baseline.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct BaselineCounts {
    /// Tags that were recorded.
    pub(super) recorded: usize,
    /// Tags that were left as they are.
    pub(super) left: usize,
    /// Tags that differ and are only reported, because the ledger was lost.
    pub(super) reported: usize,
}

/// Where the walk of a message begins.
pub(super) enum Start {
    /// Where the message says.
    AsSent,
    /// At another place.
    At(Cursor),
    /// Not yet: the document here may be older than what is known of the rule.
    Unclear,
}

/// How a walk ended.
pub(super) enum Ended<'a> {
    /// It saw everything.
    Whole,
    /// It goes on from here.
    At(&'a Cursor),
    /// It cannot go on.
    Aborted,
}

/// A tag that differs at the destination.
pub(super) struct Difference {
    pub(super) source: ImageRef,
    pub(super) destination: ImageRef,
    /// What the source names.
    pub(super) digest: Digest,
}

/// What is done about a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// It changed since the rule exists, or the rule copies everything.
    Copy,
    /// It existed before.
    Leave,
    /// It existed before, and is remembered.
    Record,
    /// It cannot be known, because the ledger was lost.
    Report,
}

/// What is known about a difference.
#[derive(Debug, Clone, Copy)]
struct Facts<'a> {
    digest: &'a Digest,
    mark: Option<&'a Mark>,
    /// An earlier version of the rule selected it.
    was_selected: bool,
    /// Transship wrote or found equal what the destination had, since the rule exists.
    is_ours: bool,
    /// The repository could not be read when the baseline was recorded.
    is_left_out: bool,
}

fn decide(state: &RuleState, facts: &Facts<'_>) -> Decision {
    if facts.is_ours {
        return Decision::Copy;
    }
    let is_recording = match state.progress {
        Progress::Lost => return Decision::Report,
        Progress::Recording { .. } | Progress::Forgotten(_) => true,
        Progress::Complete => facts.is_left_out,
    };
    let is_new = is_recording && (!facts.was_selected || facts.is_left_out);
    match facts.mark {
        Some(mark) => match &mark.digest {
            Some(marked) if marked == facts.digest => Decision::Leave,
            None => Decision::Record,
            // It moved while the rule did not select it.
            Some(_) if is_new && !facts.is_left_out && mark.generation < state.generation => Decision::Record,
            Some(_) => Decision::Copy,
        },
        None if is_new => Decision::Record,
        None => Decision::Copy,
    }
}

impl<'a> Baseline<'a> {
    /// Reads what is known of `rule` for the sweep that began at `started`, and notes a rule that is new or changed. `cursor`: how far
    /// the sweep got.
    pub(super) async fn load(
        jobs: &'a Jobs,
        snapshot: &Snapshot,
        rule: &'a Rule,
        started: Timestamp,
        cursor: Option<&Cursor>,
    ) -> Result<(Self, Start)> {
        let baselines = &jobs.ledger.baselines;
        let mut state = baselines.state(&rule.name).await?;
        let mut start = Start::AsSent;
        if state.is_none() && !rule.backfill {
            let begun = baselines
                .begin(&rule.name, Self::first(jobs, rule, started).await?)
                .await?;
            state = match begun {
                Some(begun) => Some(begun),
                None => baselines.state(&rule.name).await?,
            };
            if cursor.is_some() {
                start = Start::At(Cursor::default());
            }
        }
        if let Some(known) = &mut state
            && !rule.backfill
        {
            let earlier = known.value.clone();
            known.value.renew(started, &rule.selection);
            if known.value.may_be_lost {
                Self::check_lost(jobs, &mut known.value, &rule.name, started).await?;
            }
            if known.value.selection != rule.selection {
                if !is_as_new(snapshot, rule, started) {
                    start = Start::Unclear;
                } else if change(&mut known.value, rule) {
                    start = Start::At(Cursor::default());
                }
            }
            if known.value != earlier {
                state = match baselines.change(&rule.name, known.clone()).await? {
                    Some(changed) => Some(changed),
                    None => baselines.state(&rule.name).await?,
                };
            }
        }
        if let (Some(known), Start::AsSent, None) = (&state, &start, cursor)
            && let Progress::Recording { after: Some(after) } = &known.value.progress
        {
            start = Start::At(after.clone());
        }
        let before = state.as_ref().and_then(|state| state.value.before.as_ref()?.read());
        let current = match &start {
            Start::At(at) => at.repository.clone(),
            _ => cursor.and_then(|cursor| cursor.repository.clone()),
        };
        let baseline = Self {
            jobs,
            rule,
            state,
            before,
            reader: None,
            unwritten: BTreeMap::new(),
            current,
            left_out: BTreeSet::new(),
            walked: BTreeSet::new(),
            is_incomplete: false,
            counts: BaselineCounts::default(),
        };
        Ok((baseline, start))
    }

    /// The state of a rule that nothing is known of.
    async fn first(jobs: &Jobs, rule: &Rule, started: Timestamp) -> Result<RuleState> {
        let first_sweep = &jobs.ledger.first_sweep;
        if !first_sweep.notes_rules().await? {
            // An earlier release swept it.
            return Ok(RuleState::complete(started, rule.selection.clone()));
        }
        Ok(RuleState {
            may_be_lost: first_sweep.is_first(started).await?,
            ..RuleState::new(started, rule.selection.clone())
        })
    }

    /// Another rule may have shown that the ledger was lost.
    async fn check_lost(jobs: &Jobs, state: &mut RuleState, rule: &str, started: Timestamp) -> Result<()> {
        if jobs.ledger.first_sweep.is_reported().await? {
            jobs.ledger.baselines.clear(rule).await?;
            state.progress = Progress::Lost;
            state.may_be_lost = false;
        } else if state.seen != started {
            state.may_be_lost = false;
        }
        Ok(())
    }

    /// A repository is walked from its beginning.
    pub(super) fn begin_repository(&mut self, repository: &Repository) {
        self.end_repository();
        self.current = Some(repository.clone());
    }

    fn end_repository(&mut self) {
        self.walked.extend(self.current.take());
    }

    /// Something could not be read: a tag, a repository, or the list of repositories.
    pub(super) fn pass_over(&mut self, repository: Option<&Repository>, tag: Option<&Tag>) {
        match (repository, tag) {
            (None, _) => self.is_incomplete = true,
            (Some(repository), None) => {
                self.left_out.insert(repository.clone());
            }
            (Some(repository), Some(tag)) => {
                let Some(state) = self.state.as_ref().map(|state| &state.value) else {
                    return;
                };
                let is_recording = matches!(state.progress, Progress::Recording { .. });
                if is_recording && !self.was_named(repository, tag) {
                    let mark = Mark {
                        digest: None,
                        generation: state.generation,
                    };
                    self.mark(repository, tag, mark);
                }
            }
        }
    }

    /// What is done about each of the differences, which are of one repository.
    pub(super) async fn decide(&mut self, ends: &Ends<'_>, found: &[Difference]) -> Result<Vec<Decision>> {
        let (Some(first), false, Some(state)) = (found.first(), self.rule.backfill, self.state.clone()) else {
            return Ok(vec![Decision::Copy; found.len()]);
        };
        let (state, repository) = (state.value, first.source.repository.clone());
        self.write_others(&repository).await?;
        let tags: Vec<&Tag> = found.iter().filter_map(|found| found.source.target.tag()).collect();
        let marks = self.reader(&repository).find(&tags).await?;
        let destinations: Vec<ImageRef> = found.iter().map(|found| found.destination.clone()).collect();
        let replicas = self.jobs.ledger.replicas.find(&destinations).await?;
        let is_recording = matches!(state.progress, Progress::Recording { .. });
        let was_selected = if is_recording {
            self.were_selected(ends, &repository, found, &marks).await?
        } else {
            BTreeSet::new()
        };
        let is_left_out = state.left_out.contains(&repository);
        let mut decisions = Vec::new();
        for difference in found {
            let Some(tag) = difference.source.target.tag() else {
                decisions.push(Decision::Copy);
                continue;
            };
            let replica = replicas.get(&difference.destination);
            let decision = decide(
                &state,
                &Facts {
                    digest: &difference.digest,
                    mark: marks.get(tag),
                    was_selected: was_selected.contains(tag),
                    is_ours: replica.is_some_and(|replica| self.is_ours(replica, difference, state.since)),
                    is_left_out,
                },
            );
            match decision {
                Decision::Copy => {}
                Decision::Leave => self.counts.left += 1,
                Decision::Report => self.counts.reported += 1,
                Decision::Record => {
                    self.counts.recorded += 1;
                    let mark = Mark {
                        digest: Some(difference.digest.clone()),
                        generation: state.generation,
                    };
                    self.mark(&repository, tag, mark);
                }
            }
            decisions.push(decision);
        }
        Ok(decisions)
    }

    /// Records those of `kept` that existed before the rule. They are of one repository, and their destinations keep what they have.
    pub(super) async fn record(&mut self, ends: &Ends<'_>, kept: &[Difference]) -> Result<()> {
        let state = self.state.as_ref().map(|state| &state.value);
        if !state.is_some_and(|state| matches!(state.progress, Progress::Recording { .. })) {
            return Ok(());
        }
        let counts = self.counts;
        self.decide(ends, kept).await?;
        self.counts = BaselineCounts {
            recorded: self.counts.recorded,
            ..counts
        };
        Ok(())
    }

    /// What is older is of an earlier rule of this name; [`None`]: nothing is known of the rule.
    pub(super) fn since(&self) -> Option<Timestamp> {
        self.state.as_ref().map(|state| state.value.since)
    }

    /// Writes what was recorded and how far it got. `is_lost`: this message showed that the ledger was lost.
    pub(super) async fn save(&mut self, ended: Ended<'_>, is_lost: bool) -> Result<()> {
        let baselines = self.jobs.ledger.baselines.clone();
        if let Ended::Whole = ended {
            self.end_repository();
        }
        let is_over = matches!(ended, Ended::Whole) && !self.is_incomplete;
        let Some(mut state) = self.state.take() else {
            return if is_over { self.settle().await } else { Ok(()) };
        };
        if self.rule.backfill {
            return if is_over { self.settle().await } else { Ok(()) };
        }
        if is_lost && state.value.may_be_lost {
            self.unwritten.clear();
            baselines.clear(&self.rule.name).await?;
            state.value.progress = Progress::Lost;
            state.value.may_be_lost = false;
            baselines.change(&self.rule.name, state).await?;
            return Ok(());
        }
        self.write_all().await?;
        let earlier = state.value.clone();
        let known = &mut state.value;
        known.left_out.retain(|repository| !self.walked.contains(repository));
        if let Progress::Recording { after } = &mut known.progress {
            known.left_out.extend(self.left_out.iter().cloned());
            *after = match ended {
                Ended::At(cursor) => Some(cursor.clone()),
                Ended::Whole | Ended::Aborted => None,
            };
            if is_over && known.left_out.len() <= LEFT_OUT_MAX {
                known.progress = Progress::Complete;
                let (rule, left_out) = (self.rule.name.as_str(), known.left_out.len());
                tracing::info!(
                    rule,
                    left_out,
                    "the baseline of the rule is complete: the sweep copies what changes from now on"
                );
            } else if known.left_out.len() > LEFT_OUT_MAX {
                // They are read again by the next sweep, as everything else.
                known.left_out.clear();
                *known = RuleState {
                    progress: Progress::Recording { after: None },
                    ..known.clone()
                };
            }
        }
        // If another worker changed it, what it wrote holds.
        if *known != earlier {
            baselines.change(&self.rule.name, state).await?;
        }
        Ok(())
    }

    /// Everything that the rule selects was offered, so it has no baseline.
    async fn settle(&self) -> Result<()> {
        let baselines = &self.jobs.ledger.baselines;
        let known = baselines.state(&self.rule.name).await?;
        let is_settled = known.is_some_and(|known| {
            known.value.progress == Progress::Complete
                && known.value.selection == self.rule.selection
                && known.value.left_out.is_empty()
        });
        if is_settled {
            return baselines.clear(&self.rule.name).await;
        }
        baselines
            .settle(&self.rule.name, &self.rule.selection, self.jobs.now())
            .await
    }

    /// True if the replica shows that the difference arose since the rule exists: a push or a sweep wrote it, or both sides were
    /// equal and the source moved.
    fn is_ours(&self, replica: &Replica, difference: &Difference, since: Timestamp) -> bool {
        replica.source.as_ref() == Some(&difference.source)
            && replica.rule == self.rule.name
            && replica.written >= since
            && (replica.accepted > since || *replica.source_digest() != difference.digest)
    }

    /// True if the version of the rule before this one selected the tag by its name.
    fn was_named(&self, repository: &Repository, tag: &Tag) -> bool {
        let pushed = Pushed {
            repository,
            tag: Some(tag),
            kind: None,
        };
        let registry = &self.rule.source.registry;
        self.before
            .as_ref()
            .is_some_and(|before| before.holds(registry, &pushed))
    }

    /// Those of the differences that the version of the rule before this one selected.
    async fn were_selected(
        &self,
        ends: &Ends<'_>,
        repository: &Repository,
        found: &[Difference],
        marks: &HashMap<Tag, Mark>,
    ) -> Result<BTreeSet<Tag>> {
        let mut selected = BTreeSet::new();
        let Some(before) = &self.before else {
            return Ok(selected);
        };
        let source = &self.rule.source;
        let latest = if before.source().latest.is_some() && before.source().latest != source.latest {
            let listed = ends.source.repository(repository.clone());
            latest_tags(before.source(), &listed, None).await.ok().flatten()
        } else {
            None
        };
        let is_content_same = before.kinds() == self.rule.kinds && *before.labels() == source.labels;
        for difference in found {
            let Some(tag) = difference.source.target.tag() else {
                continue;
            };
            if !self.was_named(repository, tag) || latest.as_ref().is_some_and(|latest| !latest.has(tag)) {
                continue;
            }
            // One that has a mark of its own was selected when it was marked.
            if !is_content_same && !marks.contains_key(tag) {
                let pair = Pair {
                    source: difference.source.clone(),
                    destination: difference.destination.clone(),
                };
                let options = Options {
                    kinds: before.kinds().to_vec(),
                    labels: before.labels().clone(),
                    existing: self.rule.existing,
                    ..Options::default()
                };
                if ends.skips(&pair, options).await? {
                    continue;
                }
            }
            selected.insert(tag.clone());
        }
        Ok(selected)
    }

    fn mark(&mut self, repository: &Repository, tag: &Tag, mark: Mark) {
        let marks = self.unwritten.entry(repository.clone()).or_default();
        marks.insert(tag.clone(), mark);
    }

    fn reader(&mut self, repository: &Repository) -> &mut Marks {
        let reader = self.reader.take().filter(|reader| reader.repository() == repository);
        let new = || {
            Marks::new(
                self.jobs.ledger.baselines.clone(),
                self.rule.name.clone(),
                repository.clone(),
            )
        };
        self.reader.insert(reader.unwrap_or_else(new))
    }

    /// Writes the marks of repositories that the walk has left.
    async fn write_others(&mut self, current: &Repository) -> Result<()> {
        let left: Vec<Repository> = self.unwritten.keys().filter(|name| *name != current).cloned().collect();
        for repository in left {
            self.write(&repository).await?;
        }
        Ok(())
    }

    async fn write_all(&mut self) -> Result<()> {
        while let Some(repository) = self.unwritten.keys().next().cloned() {
            self.write(&repository).await?;
        }
        Ok(())
    }

    async fn write(&mut self, repository: &Repository) -> Result<()> {
        let Some(marks) = self.unwritten.get(repository) else {
            return Ok(());
        };
        let mut marks = marks.clone();
        let unread: Vec<&Tag> = marks
            .iter()
            .filter(|(_, mark)| mark.digest.is_none())
            .map(|(tag, _)| tag)
            .collect();
        // What was read before is better than nothing.
        let known = self
            .jobs
            .ledger
            .baselines
            .marks(&self.rule.name, repository, &unread)
            .await?;
        marks.retain(|tag, mark| mark.digest.is_some() || !known.contains_key(tag));
        self.reader(repository).put(&marks).await?;
        self.unwritten.remove(repository);
        Ok(())
    }
}

/// Takes over what the rule selects now; true if its baseline is recorded from the beginning.
fn change(state: &mut RuleState, rule: &Rule) -> bool {
    let writes_there = state.selection.read().is_some_and(|before| before.writes_where(rule));
    let earlier = std::mem::replace(&mut state.selection, rule.selection.clone());
    match state.progress {
        Progress::Lost | Progress::Forgotten(_) => return false,
        Progress::Recording { .. } if writes_there => {}
        Progress::Recording { .. } => state.before = None,
        Progress::Complete => {
            state.before = writes_there.then_some(earlier);
            state.generation += 1;
        }
    }
    state.progress = Progress::Recording { after: None };
    true
}

/// True if the document in force is known to be as new as the sweep.
fn is_as_new(snapshot: &Snapshot, rule: &Rule, started: Timestamp) -> bool {
    snapshot.covers(&Execution {
        id: String::new(),
        rule: rule.name.clone(),
        trigger: Trigger::Sweep,
        created: started,
    })
}

/// Reports that differences are not copied because the ledger was lost.
pub(super) fn report(counts: BaselineCounts) {
    if counts.reported > 0 {
        metrics::counter!("LedgerLost").increment(1);
        tracing::error!(
            code = Code::LedgerLost.as_str(),
            tags = counts.reported,
            "the ledger was lost, so it is not known whether tags that differ existed before the rule: they are not copied until the rule is run"
        );
    }
}
