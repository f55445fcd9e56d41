//! What a copy would do, found out without writing anything.
//!
//! The sweep asks whether anything differs and stops at the first difference; a dry run asks for everything that a copy would
//! send. Both read the two sides as the copy itself does (`sides`, `attached`) and follow the same decisions.

mod attached;
mod digest_tags;
mod sides;
mod survey;

use transship_oci::{AtSide as _, Code, Descriptor, Digest, Result, Side, Target};

pub(crate) use attached::{Lack, PARALLEL_ATTACHMENTS};
pub(crate) use sides::Sides;

pub use attached::Attachment;
pub use digest_tags::DigestTags;

use crate::compare::survey::Survey;
use crate::graph::{Graph, members};
use crate::platforms::{SelectedSource, selected};
use crate::ports::source_manifest;
use crate::selection::{SkipReason, skip_reason};
use crate::{
    BlobLocations, Counts, Decision, Destination, KeepReason, Options, Referrers, Replicas, Selection, Source,
};

/// What is compared, and how far.
pub struct CompareRequest<'a> {
    /// Where the image is read.
    pub source: &'a dyn Source,
    /// What is read there.
    pub from: Target,
    /// Where a copy would write.
    pub destination: &'a dyn Destination,
    /// What a copy would write there.
    pub to: Target,
    /// How a copy would treat what is there.
    pub options: Options,
    /// Which repositories of the destination hold which blobs.
    pub locations: &'a dyn BlobLocations,
    /// The record of the tags that we wrote.
    pub replicas: &'a dyn Replicas,
    /// Every digest tag of the source repository, if the caller listed its tags; [`None`]: each is asked for.
    pub digest_tags: Option<&'a DigestTags>,
    /// What is to be found out.
    pub extent: Extent,
    /// What is known of the destination before it is asked.
    pub presence: Presence,
}

/// What a comparison finds out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Whether a copy would write anything: the comparison ends at the first difference and looks at no blob.
    FirstDifference,
    /// Everything that a copy would write, with its blobs.
    Everything,
}

/// Whether the destination has a tag, before it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Not known: both sides are asked at the same time.
    Unknown,
    /// It probably does not have it: it is asked first, and the source only if its answer matters ([`Options::lets_all_pass`]).
    Unlikely,
    /// It does not have it, and is not asked unless the source must be.
    Absent,
}

/// What a copy would do with an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Write the image, or what is attached to it.
    Copy,
    /// Nothing: both sides are equal.
    Unchanged,
    /// Nothing: the destination tag keeps what it names.
    Keep(KeepReason),
    /// Nothing: the image is of a kind that is not let pass, or does not have the labels.
    Skip(SkipReason),
    /// Nothing: the source has no such tag. Only [`Extent::FirstDifference`] reports it; else it is `SOURCE_NOT_FOUND`.
    Absent,
}

/// What differs between the two sides.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// What a copy would do.
    pub action: Action,
    /// What the source names; [`None`] if nothing, or if it was not asked, because a copy would write any image.
    pub source: Option<Descriptor>,
    /// What the destination is to name: what the source names, or what the selected platforms of it become.
    pub wanted: Option<Descriptor>,
    /// What becomes of the image, if platforms are selected and the source has the image.
    pub selection: Option<Selection>,
    /// The platforms that the image has, in words, if it has none of those that are selected.
    pub why_skipped: Option<String>,
    /// What the destination names; [`None`] if nothing.
    pub destination: Option<Descriptor>,
    /// A copy would give what the destination names a tag of its own first.
    pub backup: bool,
    /// Manifests of the image that both sides have, as far as they were read, the root first. Only [`Extent::FirstDifference`]
    /// reports them, of equal images.
    pub members: Vec<Digest>,
    /// Manifests of the image that a copy would write, the root among them.
    pub manifests: Vec<Descriptor>,
    /// What is attached to the image at the source, and missing or different at the destination.
    pub attachments: Vec<Attachment>,
    /// Digest tags of the destination that name something else and would be kept.
    pub kept_tags: Vec<String>,
    /// Blobs by how they would come there. That a mount succeeds is assumed.
    pub blobs: Counts,
    /// Their bytes.
    pub bytes: Counts,
    /// Layers that may not be distributed and would not be sent.
    pub foreign_layers: u64,
    /// Manifests that would be written in all, those of attachments among them.
    pub manifests_to_write: u64,
    /// Requests that a copy would send beside those that the comparison sent, if everything goes well.
    pub requests_to_write: WriteRequests,
}

/// Requests of a copy, by the side they go to. A source that is not a registry receives none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WriteRequests {
    /// To the source.
    pub source: u64,
    /// To the destination.
    pub destination: u64,
}

impl Comparison {
    const fn of(action: Action) -> Self {
        Self {
            action,
            source: None,
            wanted: None,
            selection: None,
            why_skipped: None,
            destination: None,
            backup: false,
            members: Vec::new(),
            manifests: Vec::new(),
            attachments: Vec::new(),
            kept_tags: Vec::new(),
            blobs: Counts::NONE,
            bytes: Counts::NONE,
            foreign_layers: 0,
            manifests_to_write: 0,
            requests_to_write: WriteRequests {
                source: 0,
                destination: 0,
            },
        }
    }

    /// Counts the requests of a copy: a blob that is sent is read once and takes two requests at the destination, and tags
    /// are looked at again, see [`crate::copy`].
    fn with_requests(mut self, request: &CompareRequest<'_>) -> Self {
        let is_tag = |attachment: &&Attachment| matches!(attachment, Attachment::DigestTag { .. });
        let mut writes = WriteRequests {
            source: self.blobs.copied + self.attachments.iter().filter(is_tag).count() as u64,
            destination: 2 * self.blobs.copied + self.blobs.mounted + self.manifests_to_write,
        };
        if !self.manifests.is_empty() {
            writes.source += u64::from(request.from.tag().is_some());
            let looks_again = request.options.looks_before_write(&request.to);
            writes.destination += u64::from(looks_again) + 2 * u64::from(self.backup);
        }
        self.requests_to_write = writes;
        self
    }
}

/// Compares the two sides of a copy. Sends no request that changes anything.
pub async fn compare(request: &CompareRequest<'_>) -> Result<Comparison> {
    let platforms = &request.options.platforms;
    let Some(source) = selected(request.source, &request.from, &request.to, platforms, request.replicas) else {
        return compare_from(request, None).await;
    };
    let request = CompareRequest {
        source: &source,
        from: request.from.clone(),
        to: request.to.clone(),
        options: request.options.clone(),
        ..*request
    };
    match compare_from(&request, Some(&source)).await {
        Ok(comparison) => Ok(Comparison {
            source: source.original(),
            selection: source.selection(),
            ..comparison
        }),
        Err(error) if error.is(Code::PlatformMissing) => Ok(Comparison {
            why_skipped: Some(error.message().to_owned()),
            ..Comparison::of(Action::Skip(SkipReason::Platforms))
        }),
        Err(error) => Err(error),
    }
}

async fn compare_from(request: &CompareRequest<'_>, selected: Option<&SelectedSource<'_>>) -> Result<Comparison> {
    let sides = Sides::new(
        request.source,
        request.destination,
        &request.options,
        request.replicas,
        request.digest_tags,
    );
    match request.extent {
        Extent::FirstDifference => first_difference(request, &sides, selected).await,
        Extent::Everything => Ok(everything(request, &sides, selected).await?.with_requests(request)),
    }
}

async fn first_difference(
    request: &CompareRequest<'_>,
    sides: &Sides<'_>,
    selected: Option<&SelectedSource<'_>>,
) -> Result<Comparison> {
    let wanted = async {
        // The tag was listed, so that one look that does not find it is not enough.
        match request.source.manifest_head(&request.from).await.at(Side::Source)? {
            None => request.source.manifest_find(&request.from).await.at(Side::Source),
            found => Ok(found),
        }
    };
    let found = async {
        let found = request.destination.manifest_head(&request.to).await;
        found.at(Side::Destination)
    };
    let (wanted, found) = match request.presence {
        Presence::Unlikely | Presence::Absent if request.options.lets_all_pass() => {
            let found = match request.presence {
                Presence::Absent => None,
                Presence::Unknown | Presence::Unlikely => found.await?,
            };
            if found.is_none() {
                return Ok(Comparison::of(Action::Copy));
            }
            (wanted.await?, found)
        }
        _ => tokio::try_join!(wanted, found)?,
    };
    let comparison = |action| Comparison {
        source: wanted.clone(),
        wanted: wanted.clone(),
        destination: found.clone(),
        ..Comparison::of(action)
    };
    let Some(root) = &wanted else {
        return Ok(comparison(Action::Absent));
    };
    let there = found.as_ref().map(|found| &found.digest);
    match sides.decide(&request.to, there, &root.digest, None).await? {
        Decision::Keep(reason) => return Ok(comparison(Action::Keep(reason))),
        Decision::Write { .. } => {}
        Decision::Equal if lacks_parts(request, selected).await? => {}
        Decision::Equal => {
            // Of a source that was not read the type of the image is not known.
            let root = found.as_ref().filter(|_| selected.is_some()).unwrap_or(root);
            if let Some(members) = equal_members(sides, &request.to, root).await? {
                return Ok(Comparison {
                    members,
                    ..comparison(Action::Unchanged)
                });
            }
        }
    }
    let skipped = match skipped(request, root).await? {
        None if lacks_referrer(sides, root).await? => Some(SkipReason::Referrers),
        skipped => skipped,
    };
    Ok(comparison(skipped.map_or(Action::Copy, Action::Skip)))
}

/// True if the image `root` must have a referrer and has none that is proven.
async fn lacks_referrer(sides: &Sides<'_>, root: &Descriptor) -> Result<bool> {
    if sides.options.referrers != Referrers::Require {
        return Ok(false);
    }
    let members = sides.members_of(root.clone()).await?;
    let attachments = sides.attachments(members.clone()).await?;
    Ok(!sides.has_proven_referrer(&members, &attachments).await?)
}

/// True if the destination lacks a selected manifest of an index that it has.
async fn lacks_parts(request: &CompareRequest<'_>, selected: Option<&SelectedSource<'_>>) -> Result<bool> {
    if !selected.is_some_and(SelectedSource::may_lack_parts) {
        return Ok(false);
    }
    let root = source_manifest(request.source, &request.from).await?;
    let graph = Graph::load(request.source, root, Some(request.destination)).await?;
    Ok(graph.nodes.len() > 1)
}

/// Why the image is not let pass. [`None`] if that cannot be known: then its copy will report why.
async fn skipped(request: &CompareRequest<'_>, root: &Descriptor) -> Result<Option<SkipReason>> {
    let options = &request.options;
    if options.kinds.is_empty() && options.labels.is_empty() {
        return Ok(None);
    }
    let target = Target::Digest(root.digest.clone());
    let skipped = async {
        let root = source_manifest(request.source, &target).await?;
        skip_reason(request.source, &root, options).await
    };
    match skipped.await {
        Err(error) if error.persistence().is_permanent() => Ok(None),
        skipped => skipped,
    }
}

/// The manifests of an image whose `root` is the same on both sides, as far as they are read; [`None`] if something is attached
/// to it at the source that a copy would write.
async fn equal_members(sides: &Sides<'_>, to: &Target, root: &Descriptor) -> Result<Option<Vec<Digest>>> {
    if sides.options.referrers == Referrers::Exclude {
        return Ok(Some(vec![root.digest.clone()]));
    }
    let may_be_below = match sides.digest_tags {
        None => true,
        // Asked once, before the manifests of the image are looked at side by side.
        Some(tags) => {
            if let Some(tag) = to.tag()
                && sides.replicas.is_attended(tag, &root.digest).await?
            {
                sides.pass_api();
            }
            sides.asks_api(&root.digest).await? || tags.has_others(&root.digest)
        }
    };
    let members = if may_be_below {
        sides.members_of(root.clone()).await?
    } else {
        vec![root.clone()]
    };
    let survey = Survey::first(sides);
    let digests = members.iter().map(|member| member.digest.clone()).collect();
    survey.attachments(members).await?;
    Ok((!survey.has_found()).then_some(digests))
}

/// Reads what a copy reads, in the same order, and adds up what it would write.
async fn everything(
    request: &CompareRequest<'_>,
    sides: &Sides<'_>,
    selected: Option<&SelectedSource<'_>>,
) -> Result<Comparison> {
    let options = &request.options;
    let found = request
        .destination
        .manifest_head(&request.to)
        .await
        .at(Side::Destination)?;
    let survey = Survey::whole(sides, request.locations, found.is_some() || options.is_repeated);
    let mut backup = false;
    if let Some(there) = &found {
        let wanted = request.source.manifest_head(&request.from).await.at(Side::Source)?;
        let wanted = match wanted {
            Some(wanted) => wanted,
            // A cache may answer a HEAD with an old state.
            None => source_manifest(request.source, &request.from).await?.descriptor(),
        };
        let decision = sides
            .decide(&request.to, Some(&there.digest), &wanted.digest, None)
            .await?;
        match decision {
            Decision::Equal if lacks_parts(request, selected).await? => {}
            Decision::Equal => {
                if options.referrers != Referrers::Exclude {
                    survey.attachments(sides.members_of(wanted.clone()).await?).await?;
                    survey.require(&request.from).await?;
                }
                return Ok(survey.comparison(Action::Unchanged, wanted, found));
            }
            Decision::Keep(reason) => return Ok(survey.comparison(Action::Keep(reason), wanted, found)),
            Decision::Write { backup: saves } => backup = saves,
        }
    }
    let root = source_manifest(request.source, &request.from).await?;
    let wanted = root.descriptor();
    if let Some(reason) = skip_reason(request.source, &root, options).await? {
        return Ok(survey.comparison(Action::Skip(reason), wanted, found));
    }
    let graph = Graph::load(
        request.source,
        root,
        survey.may_be_partial().then_some(request.destination),
    )
    .await?;
    survey.graph(&graph).await?;
    if options.referrers != Referrers::Exclude {
        let mut all: Vec<Descriptor> = graph.descriptors().collect();
        all.extend(members(request.source, graph.present.clone()).await?);
        survey.attachments(all).await?;
        survey.require(&request.from).await?;
    }
    let manifests = graph.descriptors().collect();
    Ok(Comparison {
        backup,
        manifests,
        ..survey.comparison(Action::Copy, wanted, found)
    })
}
