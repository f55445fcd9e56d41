//! What existed before a rule: the source digests of tags that a sweep does not copy, because they are the same as when the
//! document first had the rule.
//!
//! What must hold: a tag is in the baseline only because it was compared while the rule was new, or newly selected it; one
//! whose source moved since is copied. Nothing expires. Marks are kept in chunks of one repository, so that a repository of
//! any size is read and written in parts; a reader holds the parts that it needs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use transship_oci::{Code, Digest, Error, Repository, Result, Tag, Verb};
use transship_rules::Selection;

use super::{Key, Records};
use crate::job::Cursor;

/// Tags of one chunk: with the longest tags and digests, less than the 300 KB of a record.
const CHUNK_TAGS_MAX: usize = 800;
/// Attempts to change a record that others change at the same time.
const CHANGE_ATTEMPTS_MAX: usize = 16;
/// Repositories that could not be read while the baseline was recorded, and that are remembered by name. If there are more, the
/// baseline is recorded again by the next sweep.
pub const LEFT_OUT_MAX: usize = 500;

/// The baselines of all rules.
#[derive(Clone)]
pub struct Baselines {
    records: Arc<dyn Records>,
}

/// What the ledger knows of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleState {
    /// When the rule was first seen in a document.
    pub seen: Timestamp,
    /// What is older belongs to an earlier rule of the same name, which the document does not have any more.
    #[serde(default, skip_serializing_if = "is_epoch")]
    pub since: Timestamp,
    /// What the rule selects, as of [`Self::progress`].
    pub selection: Selection,
    /// What it selected before; [`None`]: it is new, or writes to another destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Selection>,
    /// Counts the selections.
    pub generation: u32,
    /// Whether the baseline of the selection is complete.
    pub progress: Progress,
    /// Repositories that could not be read: their baseline is recorded when they can be.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub left_out: BTreeSet<Repository>,
    /// The first sweep of the ledger saw the rule: the ledger may have been lost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_be_lost: bool,
}

/// How far the baseline of a rule is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// It is being recorded; so far up to this place.
    Recording {
        /// [`None`]: the beginning.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<Cursor>,
    },
    /// It is complete, and the sweep copies what changed since.
    Complete,
    /// The ledger was lost: there is no baseline, and what differs is reported until the rule was run.
    Lost,
    /// The document did not have the rule any more at this time. If it has it again, the rule is new.
    Forgotten(Timestamp),
}

/// A tag as it was when the baseline was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// What the source tag named; [`None`]: it could not be read.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// [`RuleState::generation`] at that time.
    #[serde(rename = "g")]
    pub generation: u32,
}

/// A value and the version it was read with; the version is [`None`] if there is none yet.
#[derive(Debug, Clone)]
pub struct Versioned<T> {
    /// The value.
    pub value: T,
    version: Option<u64>,
}

/// The first chunk of a repository, and where the further ones are.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Head {
    tags: BTreeMap<Tag, Mark>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    more: Vec<Range>,
}

/// The tags of a further chunk: its first, its last, and their number. Registries list in the order of tags, so a tag is in the
/// range of few chunks.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Range {
    first: Tag,
    last: Tag,
    tags: usize,
}

impl RuleState {
    /// The state of a rule whose baseline is to be recorded.
    pub const fn new(seen: Timestamp, selection: Selection) -> Self {
        Self {
            seen,
            since: Timestamp::UNIX_EPOCH,
            selection,
            before: None,
            generation: 1,
            progress: Progress::Recording { after: None },
            left_out: BTreeSet::new(),
            may_be_lost: false,
        }
    }

    /// The state of a rule that has no baseline, because all that it selects was offered to the destination.
    pub fn complete(seen: Timestamp, selection: Selection) -> Self {
        Self {
            progress: Progress::Complete,
            ..Self::new(seen, selection)
        }
    }

    /// Makes a rule that was forgotten a new one.
    pub fn renew(&mut self, seen: Timestamp, selection: &Selection) {
        if let Progress::Forgotten(at) = self.progress {
            *self = Self {
                since: at,
                ..Self::new(seen, selection.clone())
            };
        }
    }
}

impl Baselines {
    /// Kept in `records`.
    pub const fn new(records: Arc<dyn Records>) -> Self {
        Self { records }
    }

    /// What is known of `rule`. One call.
    pub async fn state(&self, rule: &str) -> Result<Option<Versioned<RuleState>>> {
        let record = self.records.get(&state_key(rule)).await?;
        record
            .map(|record| {
                Ok(Versioned {
                    value: read(&record.value)?,
                    version: Some(record.version),
                })
            })
            .transpose()
    }

    /// Writes the state of a rule of which nothing is known; [`None`] if something is known by now. One call.
    pub async fn begin(&self, rule: &str, state: RuleState) -> Result<Option<Versioned<RuleState>>> {
        let begun = Versioned {
            value: state,
            version: None,
        };
        self.change(rule, begun).await
    }

    /// Writes a state that was changed after it was read; [`None`] if another worker changed it meanwhile. One call.
    pub async fn change(&self, rule: &str, state: Versioned<RuleState>) -> Result<Option<Versioned<RuleState>>> {
        let value = write(&state.value)?;
        let version = self.records.put_if(&state_key(rule), state.version, &value).await?;
        Ok(version.map(|version| Versioned {
            value: state.value,
            version: Some(version),
        }))
    }

    /// Names of rules of which something is known, after `after`, in order, at most 100.
    pub async fn rules(&self, after: Option<&super::Cursor>) -> Result<super::Page<(String, RuleState)>> {
        let page = self.records.list(STATES, "", after, 100).await?;
        let items = page.items.into_iter();
        let items: Result<Vec<_>> = items
            .map(|record| Ok((record.key.name, read(&record.value)?)))
            .collect();
        Ok(super::Page {
            items: items?,
            next: page.next,
        })
    }

    /// Forgets what existed before `rule`, which the document does not have at `now`: if it is seen again, it is new.
    pub async fn forget(&self, rule: &str, now: Timestamp) -> Result<()> {
        self.clear(rule).await?;
        if let Some(mut state) = self.state(rule).await? {
            state.value.progress = Progress::Forgotten(now);
            state.value.before = None;
            state.value.left_out.clear();
            self.change(rule, state).await?;
        }
        Ok(())
    }

    /// Removes the marks of `rule`: every tag that differs counts as changed.
    pub async fn clear(&self, rule: &str) -> Result<()> {
        let family = marks_family(rule);
        loop {
            let page = self.records.list(&family, "", None, 10).await?;
            if page.items.is_empty() {
                return Ok(());
            }
            for record in page.items {
                self.records.remove_if(&record.key, record.version).await?;
            }
        }
    }

    /// Notes that everything that `rule` selects was offered to the destination, as by a run that saw all of it: the baseline is
    /// over, and from now on the sweep copies each tag that differs and did not fail. `selection`: what the run walked through.
    pub async fn settle(&self, rule: &str, selection: &Selection, now: Timestamp) -> Result<()> {
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            let known = self.state(rule).await?;
            let settled = match known {
                None => Versioned {
                    value: RuleState::complete(now, selection.clone()),
                    version: None,
                },
                Some(mut known) => {
                    known.value.renew(now, selection);
                    known.value.selection = selection.clone();
                    known.value.before = None;
                    known.value.generation += 1;
                    known.value.progress = Progress::Complete;
                    known.value.left_out.clear();
                    known.value.may_be_lost = false;
                    known
                }
            };
            if self.change(rule, settled).await?.is_some() {
                return self.clear(rule).await;
            }
        }
        Err(contended("settle"))
    }

    /// True if `rule` is known and its ledger was lost.
    pub async fn is_lost(&self, rule: &str) -> Result<bool> {
        let state = self.state(rule).await?;
        Ok(state.is_some_and(|state| state.value.progress == Progress::Lost))
    }

    /// The marks of `tags` of a repository. One call, and one for each further chunk that may have some of them.
    pub async fn marks(&self, rule: &str, repository: &Repository, tags: &[&Tag]) -> Result<HashMap<Tag, Mark>> {
        Marks::new(self.clone(), rule.to_owned(), repository.clone())
            .find(tags)
            .await
    }

    /// The tags of `tags` (each with what it names now) that are as they were before `rule`, so that no sweep copies them. One
    /// call, and one for each further chunk.
    pub async fn unchanged(
        &self,
        rule: &str,
        repository: &Repository,
        tags: &[(&Tag, &Digest)],
    ) -> Result<BTreeSet<Tag>> {
        let names: Vec<&Tag> = tags.iter().map(|(tag, _)| *tag).collect();
        let marks = self.marks(rule, repository, &names).await?;
        let is_unchanged = |tag: &Tag, digest: &Digest| {
            let mark = marks.get(tag);
            mark.is_some_and(|mark| mark.digest.as_ref().is_none_or(|marked| marked == digest))
        };
        let unchanged = tags.iter().filter(|(tag, digest)| is_unchanged(tag, digest));
        Ok(unchanged.map(|(tag, _)| (*tag).clone()).collect())
    }

    /// Takes `tag` out of the baseline: it is copied from now on. One call if it is not there.
    pub async fn release(&self, rule: &str, repository: &Repository, tag: &Tag) -> Result<()> {
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            let head: Versioned<Head> = self.chunk(rule, &chunk_name(repository, 0)).await?;
            let mut is_done = true;
            for number in chunks_of(&head.value, tag) {
                is_done &= self.release_from(rule, &chunk_name(repository, number), tag).await?;
            }
            if is_done {
                return Ok(());
            }
        }
        Err(contended("release"))
    }

    async fn release_from(&self, rule: &str, name: &str, tag: &Tag) -> Result<bool> {
        let mut chunk: Versioned<Head> = self.chunk(rule, name).await?;
        if chunk.value.tags.remove(tag).is_none() {
            return Ok(true);
        }
        self.put(rule, name, &chunk).await
    }

    async fn chunk(&self, rule: &str, name: &str) -> Result<Versioned<Head>> {
        let record = self.records.get(&Key::new(marks_family(rule), name)).await?;
        Ok(match record {
            None => Versioned {
                value: Head::default(),
                version: None,
            },
            Some(record) => Versioned {
                value: read(&record.value)?,
                version: Some(record.version),
            },
        })
    }

    /// False if another worker changed the chunk.
    async fn put(&self, rule: &str, name: &str, chunk: &Versioned<Head>) -> Result<bool> {
        let (key, value) = (Key::new(marks_family(rule), name), write(&chunk.value)?);
        Ok(self.records.put_if(&key, chunk.version, &value).await?.is_some())
    }
}

/// The marks of one repository. It holds the first chunk and the one that was needed last.
pub struct Marks {
    baselines: Baselines,
    rule: String,
    repository: Repository,
    head: Option<Head>,
    last: Option<(usize, Head)>,
}

impl Marks {
    /// Of `repository` under `rule`. No call.
    pub const fn new(baselines: Baselines, rule: String, repository: Repository) -> Self {
        Self {
            baselines,
            rule,
            repository,
            head: None,
            last: None,
        }
    }

    /// The repository.
    pub const fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The marks of those of `tags` that have one.
    pub async fn find(&mut self, tags: &[&Tag]) -> Result<HashMap<Tag, Mark>> {
        let mut found = HashMap::new();
        if tags.is_empty() {
            return Ok(found);
        }
        let head = self.head().await?;
        let mut numbers = BTreeSet::new();
        for tag in tags {
            match head.tags.get(*tag) {
                Some(mark) => {
                    found.insert((*tag).clone(), mark.clone());
                }
                None => numbers.extend(chunks_of(head, tag).filter(|number| *number > 0)),
            }
        }
        for number in numbers {
            let chunk = self.further(number).await?;
            for tag in tags {
                if let Some(mark) = chunk.tags.get(*tag) {
                    found.insert((*tag).clone(), mark.clone());
                }
            }
        }
        Ok(found)
    }

    /// Adds marks, in place of those of the same tags.
    pub async fn put(&mut self, marks: &BTreeMap<Tag, Mark>) -> Result<()> {
        if marks.is_empty() {
            return Ok(());
        }
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            (self.head, self.last) = (None, None);
            if self.try_put(marks).await? {
                (self.head, self.last) = (None, None);
                return Ok(());
            }
        }
        Err(contended("put"))
    }

    /// False if another worker changed the chunks.
    async fn try_put(&self, marks: &BTreeMap<Tag, Mark>) -> Result<bool> {
        let (baselines, rule) = (&self.baselines, self.rule.as_str());
        let name = |number| chunk_name(&self.repository, number);
        let mut head: Versioned<Head> = baselines.chunk(rule, &name(0)).await?;
        let mut left: BTreeMap<Tag, Mark> = BTreeMap::new();
        let mut of_chunks: BTreeMap<usize, Vec<(&Tag, &Mark)>> = BTreeMap::new();
        for (tag, mark) in marks {
            if let Some(known) = head.value.tags.get_mut(tag) {
                *known = mark.clone();
                continue;
            }
            let mut numbers = chunks_of(&head.value, tag).filter(|number| *number > 0).peekable();
            if numbers.peek().is_none() {
                left.insert(tag.clone(), mark.clone());
            }
            for number in numbers {
                of_chunks.entry(number).or_default().push((tag, mark));
            }
        }
        // Those that are in a further chunk, or could be and are not.
        let mut missing: BTreeMap<&Tag, &Mark> = of_chunks.values().flatten().copied().collect();
        for (number, candidates) in &of_chunks {
            let mut chunk: Versioned<Head> = baselines.chunk(rule, &name(*number)).await?;
            let mut is_changed = false;
            for (tag, mark) in candidates {
                if let Some(known) = chunk.value.tags.get_mut(*tag) {
                    missing.remove(tag);
                    is_changed |= known != *mark;
                    *known = (*mark).clone();
                }
            }
            if is_changed && !baselines.put(rule, &name(*number), &chunk).await? {
                return Ok(false);
            }
        }
        left.extend(missing.into_iter().map(|(tag, mark)| (tag.clone(), mark.clone())));
        self.append(&mut head.value, left).await?;
        baselines.put(rule, &name(0), &head).await
    }

    /// Puts new tags into the first chunk while it is the only one, else into the last or into new ones, which are written.
    async fn append(&self, head: &mut Head, mut left: BTreeMap<Tag, Mark>) -> Result<()> {
        let (baselines, rule) = (&self.baselines, self.rule.as_str());
        if head.more.is_empty() {
            take(
                &mut left,
                CHUNK_TAGS_MAX.saturating_sub(head.tags.len()),
                &mut head.tags,
            );
        }
        while !left.is_empty() {
            let is_full = head.more.last().is_none_or(|last| last.tags >= CHUNK_TAGS_MAX);
            let number = head.more.len() + usize::from(is_full);
            let name = chunk_name(&self.repository, number);
            let mut chunk: Versioned<Head> = baselines.chunk(rule, &name).await?;
            // A writer that ended before it wrote the head left it behind.
            take(
                &mut left,
                CHUNK_TAGS_MAX.saturating_sub(chunk.value.tags.len()),
                &mut chunk.value.tags,
            );
            if !baselines.put(rule, &name, &chunk).await? {
                return Err(contended("append"));
            }
            let tags = &chunk.value.tags;
            let (Some((first, _)), Some((last, _))) = (tags.first_key_value(), tags.last_key_value()) else {
                break;
            };
            let range = Range {
                first: first.clone(),
                last: last.clone(),
                tags: tags.len(),
            };
            if is_full {
                head.more.push(range);
            } else if let Some(last) = head.more.last_mut() {
                *last = range;
            }
        }
        Ok(())
    }

    async fn head(&mut self) -> Result<&Head> {
        if self.head.is_none() {
            let name = chunk_name(&self.repository, 0);
            self.head = Some(self.baselines.chunk(&self.rule, &name).await?.value);
        }
        Ok(self.head.get_or_insert_default())
    }

    async fn further(&mut self, number: usize) -> Result<&Head> {
        if self.last.as_ref().is_none_or(|(held, _)| *held != number) {
            let name = chunk_name(&self.repository, number);
            self.last = Some((number, self.baselines.chunk(&self.rule, &name).await?.value));
        }
        Ok(&self.last.get_or_insert_default().1)
    }
}

/// Moves the first `count` marks.
fn take(from: &mut BTreeMap<Tag, Mark>, count: usize, to: &mut BTreeMap<Tag, Mark>) {
    for _ in 0..count {
        let Some((tag, mark)) = from.pop_first() else { return };
        to.insert(tag, mark);
    }
}

/// The chunks that may have `tag`; the first is number 0.
fn chunks_of(head: &Head, tag: &Tag) -> impl Iterator<Item = usize> {
    let ranges = head.more.iter().enumerate();
    let further = ranges.filter(|(_, range)| range.first <= *tag && *tag <= range.last);
    std::iter::once(0).chain(further.map(|(position, _)| position + 1))
}

fn is_epoch(time: &Timestamp) -> bool {
    *time == Timestamp::UNIX_EPOCH
}

const STATES: &str = "rule";

fn state_key(rule: &str) -> Key {
    Key::new(STATES, rule)
}

fn marks_family(rule: &str) -> String {
    format!("baseline#{rule}")
}

fn chunk_name(repository: &Repository, number: usize) -> String {
    match number {
        0 => repository.to_string(),
        number => format!("{repository}#{number}"),
    }
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| {
        let why = "a record of a baseline cannot be read: it may be of a newer release".to_owned();
        Error::of(Code::LedgerUnavailable, Verb::Ledger.on("baselines_get"))
            .because(why)
            .with_source(error)
    })
}

fn write(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| {
        let why = "a baseline has no JSON".to_owned();
        Error::of(Code::LedgerUnavailable, Verb::Ledger.on("baselines_put"))
            .because(why)
            .with_source(error)
    })
}

/// Others changed the record all the time: the message is tried again.
fn contended(operation: &str) -> Error {
    let why = "other workers change the baseline at the same time".to_owned();
    Error::of(
        Code::LedgerUnavailable,
        Verb::Ledger.on(format!("baselines_{operation}")),
    )
    .because(why)
}
