//! The table of codes. `docs/codes.md` and `transship explain CODE` are made from it.
//!
//! A row: the variant, the code, whether trying again can help, what it means, what to do.

use super::code::codes;

codes! {
    // Names, digests and manifests.
    InvalidDigest => "INVALID_DIGEST", PERMANENT,
        "the digest is not valid",
        "Write algorithm:hex, such as sha256: and 64 lower case hexadecimal digits.";
    DigestUnsupported => "DIGEST_UNSUPPORTED", PERMANENT,
        "digests of this algorithm are not supported; sha256 and sha512 are",
        "Push the image again with a tool that uses sha256.";
    InvalidReference => "INVALID_REFERENCE", PERMANENT,
        "the reference is not valid",
        "Write HOST/REPOSITORY:TAG or HOST/REPOSITORY@DIGEST. A repository has lower case letters, digits, `.`, `_`, `-` and `/`: rename the folder or archive that an import names so.";
    ManifestInvalid => "MANIFEST_INVALID", PERMANENT,
        "the manifest is not valid",
        "Push the image again with a current tool.";
    ManifestAmbiguous => "MANIFEST_AMBIGUOUS", PERMANENT,
        "the manifest is ambiguous",
        "It is an image and an index at once, which two readers would read differently (CVE-2021-41190). Push the image again with a current tool.";
    MediaTypeMismatch => "MEDIA_TYPE_MISMATCH", PERMANENT,
        "the media types disagree",
        "The manifest and the registry that sent it name different media types. Push the image again, or repair the registry.";
    ManifestTooLarge => "MANIFEST_TOO_LARGE", PERMANENT,
        "the manifest is too large",
        "Manifests of at most 4 MiB are copied. Split the index, or move data out of annotations.";
    Schema1Unsupported => "MANIFEST_SCHEMA1_UNSUPPORTED", PERMANENT,
        "Docker schema 1 images are not supported",
        "Pull the image and push it again with a current tool, which writes a current manifest.";
    ManifestUnsupported => "MANIFEST_UNSUPPORTED", PERMANENT,
        "the manifest type is not supported",
        "Only OCI and Docker manifests and indexes are copied. An artifact manifest was withdrawn from the OCI specification: push the artifact again with a current tool, or set `referrers: exclude` if it is only attached.";

    // What a registry answers.
    NotFound => "NOT_FOUND", PERMANENT,
        "not found in the registry",
        "At a destination: create the project or repository there, because some registries (ECR, Harbor) do not create one on push.";
    AuthFailed => "AUTH_FAILED", PERMANENT,
        "the registry rejected the credentials",
        "Check the login in the registry's `credentials`, and on ECR the repository lists of the stack's parameters. Then redrive the task.";
    AccessDenied => "ACCESS_DENIED", PERMANENT,
        "the registry accepted the login but denied the action",
        "Give the login the right to pull at the source and to push at the destination; on ECR see the repository lists of the stack's parameters. Then redrive the task.";
    RealmRejected => "AUTH_REALM_REJECTED", PERMANENT,
        "credentials are not sent to the realm",
        "Add the realm's host to the registry's `hosts` if it is yours.";
    ChallengeInvalid => "AUTH_CHALLENGE_INVALID", PERMANENT,
        "the registry requires a kind of authentication that is not supported",
        "The registry must ask for Basic or Bearer. See its configuration, or a proxy in front of it.";
    TokenInvalid => "AUTH_TOKEN_INVALID", PERMANENT,
        "the realm did not return a valid token",
        "See the token service of the registry, or a proxy in front of it.";
    CredentialsUnavailable => "CREDENTIALS_UNAVAILABLE", PERSISTENT,
        "the credentials could not be read",
        "Check the name in the document, the prefix `SecretsPrefix` and the key `SecretsKeyArn`; on this machine the file or credential helper that the message names. Tasks wait for a day and continue when it is repaired.";
    RateLimited => "RATE_LIMITED", TEMPORARY,
        "rate-limited by the registry",
        "Nothing at first: Transship waits as long as the registry says. If tasks failed, the limit lasted for a day: raise it at the registry or set `limits`, then redrive.";
    RegistryUnavailable => "REGISTRY_UNAVAILABLE", TEMPORARY,
        "the registry is temporarily unavailable",
        "Nothing at first. If tasks failed, it lasted for a day: see the registry, then redrive.";
    ConnectFailed => "CONNECT_FAILED", TEMPORARY,
        "no connection",
        "Check the endpoint, the network and the firewall. If tasks failed, it lasted for a day: see the registry, then redrive.";
    ConnectionBroken => "CONNECTION_BROKEN", TEMPORARY,
        "the connection broke",
        "Nothing at first. If tasks failed, it lasted for a day: see the registry and the network, then redrive.";
    Tls => "TLS_ERROR", PERSISTENT,
        "the TLS connection to the registry failed",
        "The message says what is wrong with the registry's certificate: expired, of another name, or of an unknown authority. Tasks wait for a day and continue when it is repaired.";
    Timeout => "TIMEOUT", TEMPORARY,
        "no progress",
        "Nothing at first. If tasks failed, it lasted for a day: see the registry and the network, then redrive.";
    TooSlow => "TOO_SLOW", TEMPORARY,
        "the registry is slower than 1 KiB per second",
        "Nothing at first. If tasks failed, it lasted for a day: see the registry and the network, then redrive. Waits for the other side of the copy and for `limits.bandwidth` do not count.";
    EgressDenied => "EGRESS_DENIED", PERMANENT,
        "connections to this address are not allowed",
        "A name that resolves to a private address needs `network: private` on the registry.";
    RedirectRefused => "REDIRECT_REFUSED", PERMANENT,
        "the registry redirects to an address that is not followed",
        "Check that the endpoint's scheme is right. Writes are not redirected, and nothing is redirected from https to http.";
    LocationRejected => "UPLOAD_LOCATION_REJECTED", PERMANENT,
        "the registry sends the upload to an address that is not followed",
        "An upload continues only on the registry's own host, or where its product keeps uploads. See the registry's external URL, or a proxy in front of it.";
    ResponseTooLarge => "RESPONSE_TOO_LARGE", PERMANENT,
        "the response is too large",
        "See the registry, or a proxy in front of it: responses of this kind are far smaller.";
    ResponseInvalid => "RESPONSE_INVALID", PERMANENT,
        "the response of the registry does not conform to the specification",
        "Check that the endpoint is a registry and that no proxy answers in its place.";
    MemoryBusy => "MEMORY_BUSY", TEMPORARY,
        "too many large manifests or lists are read at the same time",
        "Nothing at first: it is tried again. If it recurs, a registry sends large manifests or lists very slowly: the messages name the requests.";
    ListAborted => "LIST_ABORTED", TEMPORARY,
        "the listing does not end",
        "See the registry: it links pages without end, or lists more than is followed.";
    TagImmutable => "DEST_TAG_IMMUTABLE", PERMANENT,
        "the destination does not allow this tag to be replaced",
        "Exclude such tags in the rule, or allow moving tags at the destination.";
    UploadSessionLost => "UPLOAD_SESSION_LOST", TEMPORARY,
        "the registry forgot the upload before it ended",
        "Nothing at first: the blob is uploaded again. If it recurs, several instances of the registry may not share their uploads.";
    RegistryRefused => "REGISTRY_REFUSED", PERMANENT,
        "the registry rejected the request",
        "The message has the status and the text of the registry.";
    InvalidEndpoint => "INVALID_ENDPOINT", PERMANENT,
        "the endpoint is not the address of a registry",
        "Write https://host[:port], without a path.";

    // The copy of an image.
    SourceNotFound => "SOURCE_NOT_FOUND", PERMANENT,
        "the source has no such image",
        "Nothing, if the tag was removed on purpose before it was copied.";
    SourceDeleted => "SOURCE_DELETED", PERMANENT,
        "the source tag was deleted before it was copied",
        "Nothing to do: the delete was propagated.";
    NotDeleted => "NOT_DELETED", PERMANENT,
        "the source still has the tag that a delete event named",
        "Nothing, if the tag was pushed again. Otherwise the delete did not happen, or the event is forged: nothing was deleted.";
    DeleteUnconfirmed => "DELETE_UNCONFIRMED", PERSISTENT,
        "a delete waits, because the source repository cannot be listed or does not say that the tag is unknown",
        "The login may have lost its rights, or the whole repository is gone. Nothing was deleted. Restore the rights, then run `transship redrive --code DELETE_UNCONFIRMED`: each delete is checked again. If the repository is gone for good, delete the tags at the destination yourself and cancel the execution.";
    DeleteLimit => "DELETE_LIMIT", PERSISTENT,
        "a delete waits, because the rule has reached the limit of its deletes",
        "Check that the deletes at the source were intended. Then run `transship redrive --code DELETE_LIMIT`: each waiting delete is checked again and done. Otherwise cancel their executions.";
    TagDeleteUnsupported => "TAG_DELETE_UNSUPPORTED", PERMANENT,
        "the destination does not delete tags",
        "Enable deletes at the destination if it can delete by tag (see docs/registries.md). Otherwise delete the tag with the registry's own tools. Transship never deletes by digest, because other tags may name the same image.";
    SourceGone => "SOURCE_GONE", PERMANENT,
        "the source image disappeared during the copy",
        "Nothing, if the tag was removed on purpose before it was copied.";
    SourceNotSettled => "SOURCE_NOT_SETTLED", SOON,
        "the source tag does not point to the digest of its event yet; it is tried again",
        "Nothing to do: shortly after an event a tag may still point to the previous image.";
    SourceMoving => "SOURCE_MOVING", SOON,
        "the source tag kept moving; it is tried again",
        "Nothing to do: the newest image is copied once the tag rests.";
    SourceIncomplete => "SOURCE_INCOMPLETE", PERMANENT,
        "the source waits for content that was not uploaded yet",
        "Upload the rest; nothing if it is still on its way. To give it up, remove the source: it is forgotten after 30 days.";
    BlobNotFound => "BLOB_NOT_FOUND", PERMANENT,
        "the source does not have a blob that its manifest names",
        "Push the image to the source again.";
    BlobDigestMismatch => "BLOB_DIGEST_MISMATCH", PERMANENT,
        "the bytes of a blob do not have its digest",
        "The source serves wrong bytes: push the image there again, or upload the object of a bucket again. If a verification says it, the destination serves them: delete the tag, its manifests and the blob there, and run the rule.";
    BlobSizeMismatch => "BLOB_SIZE_MISMATCH", PERMANENT,
        "a blob does not have the size that its descriptor says",
        "The source serves a blob that is cut or wrong: push the image there again, or upload the object of a bucket again.";
    ManifestDigestMismatch => "MANIFEST_DIGEST_MISMATCH", PERMANENT,
        "the bytes of a manifest do not have its digest",
        "The source serves wrong bytes: push the image there again, or upload the object of a bucket again.";
    IndexTooDeep => "INDEX_TOO_DEEP", PERMANENT,
        "the index is nested too deeply",
        "Push an index that names its images within eight levels.";
    GraphTooLarge => "GRAPH_TOO_LARGE", PERMANENT,
        "the image has too many manifests, or too large ones",
        "At most 5,000 manifests, 32 MiB of manifests and 10,000 attachments of one image are copied: split the index, or move data out of annotations.";
    ReferrersMissing => "REFERRERS_MISSING", TEMPORARY,
        "the image has no referrer yet, and the rule requires one",
        "Sign the image: the task waits for the signature's push, for an hour. After that the push of the signature starts a new task. Or set `referrers: include` in the rule.";
    ReferrersTagConflict => "REFERRERS_TAG_CONFLICT", PERMANENT,
        "a tag that should list referrers is not an index",
        "Remove or rename the tag `sha256-…` that the message names.";
    CommitBusy => "COMMIT_BUSY", SOON,
        "another worker is writing the destination tag; it is tried again",
        "Nothing to do.";
    PullQuotaLow => "PULL_QUOTA_LOW", TEMPORARY,
        "the source says that few pulls are left, which are kept for pushes",
        "Nothing: runs and sweeps continue when the source allows more pulls. Log in to the source, or raise the limit of the login.";
    BlobUnderWay => "BLOB_UNDER_WAY", SOON,
        "another task sends a blob that this one needs; it continues after that",
        "Nothing to do.";
    SlotOver => "SLOT_OVER", AT_ONCE,
        "out of time; another worker will resume",
        "Nothing to do for an image. An archive that could not be read in five slots: raise `WorkerTimeout`, or upload a plain tar or a layout; then redrive.";
    DestinationVerifyFailed => "DEST_VERIFY_FAILED", TEMPORARY,
        "the destination does not have content that it acknowledged",
        "Nothing at first: it is tried again. If it recurs, see the storage of the destination registry.";
    BlobUnknownAtDestination => "BLOB_UNKNOWN_AT_DEST", TEMPORARY,
        "the destination rejects the manifest because content that it names is missing",
        "Nothing at first: it is tried again. If it recurs, the destination loses blobs: see its garbage collection.";

    // Notes of a task that ended without an error.
    DestinationKept => "DESTINATION_KEPT", PERMANENT,
        "the destination tag has an image that the rule does not replace; it was kept",
        "Nothing, if that is intended. Else set `existing: overwrite` in the rule, or remove the tag at the destination.";
    SignatureTagKept => "SIGNATURE_TAG_KEPT", PERMANENT,
        "the destination has its own signature tag; it was kept",
        "Nothing, if the destination signs images itself. Else remove that tag there, and redrive.";
    ForeignLayerSkipped => "FOREIGN_LAYER_SKIPPED", PERMANENT,
        "non-distributable layers were not copied",
        "Nothing to do.";
    KindNotMatched => "KIND_NOT_MATCHED", PERMANENT,
        "the rule does not select this kind of content",
        "Nothing, or add the kind to `kinds` of the rule.";
    LabelsNotMatched => "LABELS_NOT_MATCHED", PERMANENT,
        "the image does not have the labels that the rule selects",
        "Nothing, or change `source.labels` of the rule.";
    PlatformMissing => "PLATFORM_MISSING", PERMANENT,
        "the image has none of the platforms that are selected",
        "Nothing, or add one of the platforms that the message names to `platforms` of the rule, or to `--platform`.";
    PlatformsIncomplete => "PLATFORMS_INCOMPLETE", PERMANENT,
        "the image lacks some of the platforms that are selected; the others were copied",
        "Nothing, if that is intended. Else push the image with these platforms, or remove them from `platforms` of the rule.";
    SparseUnsupported => "SPARSE_UNSUPPORTED", PERMANENT,
        "the destination does not accept an index some of whose manifests are missing",
        "Remove `sparse: true`: then an index of only these platforms is written, with a digest of its own. Or allow such indexes at the destination (CNCF Distribution 3: `validation.manifests.indexes.platforms`).";
    TagNotLatest => "TAG_NOT_LATEST", PERMANENT,
        "the tag is not among the latest versions that the rule selects",
        "Nothing, or raise `source.tag.latest` of the rule.";
    LatestUndecidable => "LATEST_UNDECIDABLE", PERMANENT,
        "the rule selects the latest tags, and one of the tags is not a version",
        "Add `semver: \"*\"` to `source.tag`, or exclude the tag that the message names. Then redrive the task.";
    NotAReferrer => "NOT_A_REFERRER", PERMANENT,
        "an untagged manifest without a subject is copied with its image",
        "Nothing to do.";
    SubjectNotReplicated => "SUBJECT_NOT_REPLICATED", PERMANENT,
        "the image that the content belongs to is not replicated",
        "Nothing to do: the content is copied together with its image if that changes.";
    SubjectPending => "SUBJECT_PENDING", TEMPORARY,
        "the image that the content belongs to is still being copied",
        "Nothing to do.";

    // Workers, queue and ledger.
    TaskBusy => "TASK_BUSY", TEMPORARY,
        "another worker has the task",
        "Nothing to do: a message came twice, and waits while another worker continues with its task.";
    TaskOverdue => "TASK_OVERDUE", TEMPORARY,
        "the worker of the task vanished, and the sweep sent the task again",
        "Nothing to do.";
    WorkerCrashed => "WORKER_CRASHED", PERMANENT,
        "the task ended its workers again and again",
        "See their logs by the task's id; give the worker more memory; redrive.";
    WorkerPanic => "WORKER_PANIC", TEMPORARY,
        "a worker failed by a defect of Transship",
        "Report the log line. The message is tried again.";
    QueueUnavailable => "QUEUE_UNAVAILABLE", TEMPORARY,
        "the queue did not accept or deliver messages",
        "Nothing at first: messages are kept, and uploads are tried three times. See the queue and the function's rights.";
    LedgerUnavailable => "LEDGER_UNAVAILABLE", TEMPORARY,
        "the ledger did not answer",
        "Nothing at first: it is tried again. See the table and the function's rights.";
    SecretUnavailable => "SECRET_UNAVAILABLE", TEMPORARY,
        "the secret could not be read",
        "Check the name in the document, the prefix `SecretsPrefix` and the key `SecretsKeyArn`. Tasks wait for a day and continue when it is repaired.";
    MessageInvalid => "MESSAGE_INVALID", PERMANENT,
        "the message is not a task",
        "See what else writes to the queue. A message of a newer release is kept: finish the deployment.";
    CursorInvalid => "CURSOR_INVALID", PERMANENT,
        "the cursor does not belong to this list: start the list again without a cursor",
        "Begin the list again without a cursor.";
    StoreUnknown => "STORE_UNKNOWN", PERMANENT,
        "the store cannot be read here",
        "Tasks of imports are done by the deployed stack, and tasks of a folder by this machine.";
    SweepRunning => "SWEEP_RUNNING", TEMPORARY,
        "an earlier sweep of the rule is still running",
        "Nothing to do.";
    SweepAborted => "SWEEP_ABORTED", TEMPORARY,
        "the sweep ended before it saw every tag",
        "Nothing at first: the next sweep starts again. If it recurs, split the rule by repository.";
    SweepNoCatalog => "SWEEP_NO_CATALOG", PERMANENT,
        "the registry does not list its repositories",
        "Name the repositories in rules of their own (`source.repository: NAME`), or let the login list the catalog.";
    UnknownRule => "UNKNOWN_RULE", PERMANENT,
        "the document has no rule of that name",
        "Check the name: `transship check --config FILE` lists the rules. A deployed stack uses the document in its bucket.";
    RunActive => "RUN_ACTIVE", TEMPORARY,
        "another run of the rule is active",
        "Wait for its end, or cancel it. Of one rule one run is active at a time; a run of the whole rule is joined.";
    RunIncomplete => "RUN_INCOMPLETE", TEMPORARY,
        "a part of the source could not be read, so the run does not count as complete",
        "See the failed tasks of the execution, which name the part and its code. Repair the cause, then redrive the execution.";
    RunFailed => "RUN_FAILED", PERMANENT,
        "not every task of the execution ended well",
        "See the failed tasks of the execution and their codes. Repair the cause, then redrive the execution.";
    ManifestMissing => "MANIFEST_MISSING", PERMANENT,
        "the destination does not have a manifest of the image",
        "Delete the tag at the destination and run the rule: the copy sends what is missing. See whether a cleanup there removes untagged manifests.";
    BlobMissing => "BLOB_MISSING", PERMANENT,
        "the destination does not have a blob of the image, or has it in another size",
        "Delete the tag and its manifests at the destination and run the rule: the copy sends what is missing. See the registry's garbage collection.";
    AttachmentMissing => "ATTACHMENT_MISSING", PERMANENT,
        "a signature or another referrer is missing or different at the destination: of the image, of one of its platforms, or of a referrer",
        "Run the rule: the copy sends it.";
    ExtraTag => "EXTRA_TAG", PERMANENT,
        "the destination has a tag that the source does not have",
        "Nothing if it was pushed there or deleted at the source on purpose. A rule deletes only with `deletes: propagate`.";
    NeverReplicated => "NEVER_REPLICATED", PERMANENT,
        "the image was not pushed since the rule exists, so it was never copied",
        "Run the rule (`transship run RULE`) to copy what existed before it.";
    DestinationDeleted => "DESTINATION_DELETED", PERMANENT,
        "the image was copied, and deleted at the destination since",
        "Run the rule to copy it again. See the retention of the destination registry.";
    DestinationOverwritten => "DESTINATION_OVERWRITTEN", PERMANENT,
        "the image was copied, and the tag was overwritten at the destination by someone else since",
        "Under `existing: follow` the tag is kept. To replace it, delete it at the destination, or replicate the image with `--existing overwrite`.";
    DestinationNotOurs => "DESTINATION_NOT_OURS", PERMANENT,
        "the destination has another image under the tag, which Transship did not write as far as the ledger knows",
        "Under `existing: follow` the tag is kept. To replace it, delete it at the destination, or replicate the image with `--existing overwrite`.";
    SourceMoved => "SOURCE_MOVED", TEMPORARY,
        "the tag moved at the source and the copy has not followed yet",
        "Nothing at first: the next sweep copies it. If it lasts, check that the notifications of the source arrive.";
    TaskOpen => "TASK_OPEN", TEMPORARY,
        "the task that copies the image has not ended",
        "Wait for its end: `transship tasks --open` lists it.";
    VerifyDiffers => "VERIFY_DIFFERS", PERMANENT,
        "not every image is equal on both sides",
        "See the reason of each image. `transship run RULE` copies what is missing.";
    SweepNoTags => "SWEEP_NO_TAGS", PERMANENT,
        "the registry does not list the tags of a repository, or has too many; it is not swept",
        "Let the login list tags, or remove old tags.";
    SecretInClear => "SECRET_IN_CLEAR", PERSISTENT,
        "deliveries to an address with http:// carry the secret in clear",
        "Put a proxy that ends TLS in front of the webhook, and give senders its https:// address.";
    SourceSilent => "SOURCE_SILENT", PERSISTENT,
        "only the sweep finds pushes of this source: its notifications do not arrive",
        "Test the webhook with `transship check --deliver URL`, and look at the registry's own record of deliveries: a webhook that is missing for this project or repository, disabled, or has another URL or secret. The images arrive with each sweep. The next delivery ends the report.";

    // Layouts, archives, storage trees and their stores.
    SourceReplaced => "SOURCE_REPLACED", PERMANENT,
        "a newer version of the source was uploaded before this one was complete",
        "Nothing: the newer version is imported.";
    SourceEmpty => "SOURCE_EMPTY", PERMANENT,
        "nothing that can be imported was found",
        "Check the bucket and prefix, or the folder, in the message: a layout, an archive or a storage tree is expected.";
    LayoutInvalid => "LAYOUT_INVALID", PERMANENT,
        "not a valid OCI image layout",
        "The message says whether `oci-layout` is missing, has another version, or `index.json` is not valid. Write the layout again.";
    LayoutReferenceNotFound => "LAYOUT_REFERENCE_NOT_FOUND", PERMANENT,
        "the layout has no such image",
        "Name one of the images that the message lists.";
    LayoutReferenceAmbiguous => "LAYOUT_REFERENCE_AMBIGUOUS", PERMANENT,
        "the layout has several images",
        "Name one of the images that the message lists.";
    LayoutNameConflict => "LAYOUT_NAME_CONFLICT", PERMANENT,
        "one name is used for several manifests",
        "Leave one of them in `index.json`. The other names are imported.";
    LayoutNameUnmappable => "LAYOUT_NAME_UNMAPPABLE", PERMANENT,
        "the name has no part that could be a tag",
        "Name the image `name:tag`, or do not name it.";
    LayoutBlobMissing => "LAYOUT_BLOB_MISSING", PERMANENT,
        "an index or manifest names content that is missing",
        "Upload the content.";
    ArchiveInvalid => "ARCHIVE_INVALID", PERMANENT,
        "the archive cannot be read",
        "Write the archive again: it is not a valid tar, or two readers would read it differently.";
    ArchiveWithoutImages => "ARCHIVE_WITHOUT_IMAGES", PERMANENT,
        "the archive holds no image",
        "Nothing, if it is something else, such as a chart or a backup. An archive of images holds `oci-layout`, `manifest.json`, `repositories` or `docker/registry/v2/`.";
    ArchivePlatformsMissing => "ARCHIVE_PLATFORMS_MISSING", PERMANENT,
        "the archive holds only some platforms of an image",
        "Save one platform that is there (`docker save --platform`), or pull all platforms before the image is saved.";
    ArchiveTruncated => "ARCHIVE_TRUNCATED", PERMANENT,
        "the archive is truncated",
        "Upload the archive again.";
    ArchiveUnsupported => "ARCHIVE_UNSUPPORTED", PERMANENT,
        "this archive is not supported",
        "Upload the archive uncompressed, or compressed with gzip or zstd and a usual window.";
    ArchiveTooLarge => "ARCHIVE_TOO_LARGE", PERMANENT,
        "the archive has too many entries",
        "An archive has at most 100,000 entries: split it, or upload it as a folder.";
    ArchiveBomb => "ARCHIVE_BOMB", PERMANENT,
        "the archive expands out of proportion",
        "Upload the archive uncompressed.";
    ArchiveEntryUnsafe => "ARCHIVE_ENTRY_UNSAFE", PERMANENT,
        "the archive holds a link, a device or a sparse file instead of a plain file",
        "Links are followed within the archive only: write it with plain files (`tar --dereference --hard-dereference`).";
    ArchiveEntryAmbiguous => "ARCHIVE_ENTRY_AMBIGUOUS", PERMANENT,
        "the archive holds this name more than once, with different content",
        "Write the archive again.";
    DockerArchiveInvalid => "DOCKER_ARCHIVE_INVALID", PERMANENT,
        "not a valid archive of docker save",
        "Save the image again: `manifest.json`, a configuration or a layer is not valid.";
    StorageLinkInvalid => "STORAGE_LINK_INVALID", PERMANENT,
        "the link does not hold a digest",
        "Copy the storage tree again, or repair the link at its source.";
    StorageLinkDangling => "STORAGE_LINK_DANGLING", PERMANENT,
        "the link points to a manifest that is missing",
        "Copy the rest of the storage tree. If it is complete, the tag is broken at its source, too.";
    ObjectUnreadable => "OBJECT_UNREADABLE", TEMPORARY,
        "the store did not deliver the object",
        "Nothing at first: it is tried again for hours. See the store's health, then order the import again.";
    ObjectRefused => "OBJECT_REFUSED", PERMANENT,
        "the store refuses access, or has no such bucket",
        "Check the bucket's name, region and policy, the parameter `ImportBuckets`, and the key. Restore an archived object first.";
    ObjectChanged => "OBJECT_CHANGED", TEMPORARY,
        "the object was replaced while it was read; it is read again",
        "Nothing at first. If a task failed, the object was replaced again and again: upload it once, then order the import.";
    ObjectConflict => "OBJECT_CONFLICT", TEMPORARY,
        "the store could not decide between simultaneous writers",
        "Write the object, or order the import, again.";

    // Deliveries, uploads and orders.
    DeliveryRefused => "DELIVERY_REFUSED", PERMANENT,
        "the webhook did not answer a trial delivery as expected",
        "See the note of `transship check --deliver`: the secret or the address of the source is another one there, or a proxy is in between.";
    DeliveryInvalid => "DELIVERY_INVALID", PERMANENT,
        "the body is not a delivery of this format",
        "Check the format that the sender is configured for and the registry's `provider` in the document.";
    DeliveryTooLarge => "DELIVERY_TOO_LARGE", PERMANENT,
        "the delivery is too large",
        "Let the sender send fewer events at once.";
    DeliveryTooSlow => "DELIVERY_TOO_SLOW", TEMPORARY,
        "the delivery did not arrive in time",
        "See the network between the sender and Transship. The sender tries again.";
    MethodNotAllowed => "METHOD_NOT_ALLOWED", PERMANENT,
        "the path does not accept this method",
        "Deliveries are sent with POST.";
    NotAuthentic => "NOT_AUTHENTIC", PERMANENT,
        "the delivery does not prove that its sender knows the secret",
        "Set the same secret at the sender and in the document.";
    UnknownSource => "UNKNOWN_SOURCE", PERMANENT,
        "the document has no source of that name",
        "Compare the last part of the URL with the names under `registries`.";
    Unavailable => "UNAVAILABLE", TEMPORARY,
        "the delivery cannot be accepted now",
        "Nothing at first: the sender tries again. See the log for the error behind it.";
    HostMismatch => "HOST_MISMATCH", PERMANENT,
        "the delivery names a host that does not belong to the registry",
        "Add the host to `hosts` of the registry.";
    EventIgnored => "EVENT_IGNORED", PERMANENT,
        "the event does not concern a new object",
        "Nothing to do.";
    EventInvalid => "EVENT_INVALID", PERMANENT,
        "neither an event of Amazon S3 nor an order",
        "See what invokes the function.";
    OrderInvalid => "ORDER_INVALID", PERMANENT,
        "the order is incomplete or contradicts itself",
        "The message says what is missing or too much.";
    UnknownImport => "UNKNOWN_IMPORT", PERMANENT,
        "the document has no import of that name",
        "`transship check --config transship.yaml` lists the imports.";
    EnvironmentInvalid => "ENVIRONMENT_INVALID", PERMANENT,
        "an environment variable of the function is missing",
        "See the environment of the function, and deploy the stack again.";

    // DNS records of failover groups.
    DnsUnavailable => "DNS_UNAVAILABLE", TEMPORARY,
        "a name server or the API of a DNS service did not answer",
        "Check the address in `zones` of the group, and the network. Nothing is known about a change that was under way: run the command again, which reads the record first.";
    DnsRefused => "DNS_REFUSED", PERSISTENT,
        "the DNS service refused the request",
        "Check the key or credentials of the zone, and their right to read and change the record and the TXT record `_transship.<name>`.";
    DnsClockSkew => "DNS_CLOCK_SKEW", PERSISTENT,
        "the clock of this machine and that of the DNS service differ too much",
        "Synchronise both clocks (NTP). A signed request is valid for 5 minutes.";
    DnsZoneInvalid => "DNS_ZONE_INVALID", PERMANENT,
        "the zone does not exist there, or does not hold the name",
        "Check the id or the name of the zone in the group, and the servers or the account.";
    DnsApexCname => "DNS_APEX_CNAME", PERMANENT,
        "a CNAME is not allowed at the apex of a zone",
        "Use records of type A or AAAA, or a name below the zone.";
    DnsRecordChanged => "DNS_RECORD_CHANGED", PERMANENT,
        "the record is not the expected one, because another operator or tool changed it",
        "The message shows the record. Find out what changed it, and restore the record of a site.";
    DnsRecordOwned => "DNS_RECORD_OWNED", PERMANENT,
        "another tool manages the record and would change it back",
        "Exclude the name from the tool that the message names, and remove its TXT record.";
    DnsRecordUnsupported => "DNS_RECORD_UNSUPPORTED", PERMANENT,
        "the record is an alias or has a routing policy, which cannot be compared and replaced",
        "Replace it by a simple record of type CNAME, A or AAAA.";
    DnsEpochOld => "DNS_EPOCH_OLD", PERMANENT,
        "the zone was switched by a newer operation",
        "Nothing is changed. See the TXT record `_transship.<name>`: it names the site, the epoch and who switched.";
    DnsNotChanged => "DNS_NOT_CHANGED", PERSISTENT,
        "the DNS service accepted the change, but still has the old record",
        "See the log of the DNS service. Run the command again when the service works.";
    DnsNotSettled => "DNS_NOT_SETTLED", TEMPORARY,
        "some name servers still answer with the old record, or none answers",
        "The change is made. The message names the servers: see their zone transfers and notifications.";
    DnsServerSilent => "DNS_SERVER_SILENT", TEMPORARY,
        "some authoritative servers of the zone do not answer; those that answer have the new record",
        "A switch does not wait for them. Repair them, or remove their NS records: a server that was cut off serves the old record until it has transferred the zone. `transship dr check GROUP` shows the answer of each.";
    DnsCommandUnknown => "DNS_COMMAND_UNKNOWN", PERMANENT,
        "no command is registered under the name in `exec`",
        "Register it: `transship serve --dns-command NAME=PATH`. The stack deployed on AWS runs no commands.";
    DnsCommandFailed => "DNS_COMMAND_FAILED", PERSISTENT,
        "the registered DNS command failed, or its answer is not valid",
        "See docs/failover.md for what the command receives and answers. The message has the end of its standard error.";

    Route53NotBuilt => "ROUTE53_NOT_BUILT", PERMANENT,
        "this build cannot change zones of Route 53",
        "Use a build with AWS: `cargo install --path crates/cli --features aws`.";

    // Operations on failover groups.
    UnknownGroup => "UNKNOWN_GROUP", PERMANENT,
        "the document has no failover group of that name",
        "`transship check --config transship.yaml` lists the groups.";
    UnknownSite => "UNKNOWN_SITE", PERMANENT,
        "the failover group has no site or zone of that name",
        "Use one of the names that the message lists.";
    FailoverFenced => "FAILOVER_FENCED", PERMANENT,
        "the rule is not active in the direction of the task: another site is the writer of the failover group",
        "Nothing: the image was pushed to a site that clients no longer use. `transship dr failback GROUP` lists such images as conflicts.";
    FailoverUnderWay => "FAILOVER_UNDER_WAY", TEMPORARY,
        "a switch of the failover group is under way, so no tag is written between its sites",
        "Nothing at first: the task waits. `transship dr status GROUP` shows the switch; repeat its command to continue it.";
    FailoverEpochUnknown => "FAILOVER_EPOCH_UNKNOWN", TEMPORARY,
        "the state of the failover group cannot be read, so no tag is written between its sites",
        "Nothing at first: the task waits. If it lasts, the ledger does not answer, or it has no state of the group and DNS cannot be read: `transship dr status GROUP` shows it, and writes the state once every zone can be read.";
    FailoverNotReady => "FAILOVER_NOT_READY", PERMANENT,
        "the site cannot take over",
        "Remove the reasons that the message names. `transship dr check GROUP` shows all facts.";
    FailoverLag => "FAILOVER_LAG", PERMANENT,
        "the site lags behind the writer by more than the document accepts",
        "Wait until it has caught up. To lose the images that are listed, repeat the command with --accept-data-loss.";
    FailoverBusy => "FAILOVER_BUSY", PERMANENT,
        "another operation on the failover group is under way",
        "`transship dr status GROUP` shows it. Repeat its command to continue it, also if the process that began it has ended.";
    FailoverConflicts => "FAILOVER_CONFLICTS", PERMANENT,
        "images were changed at both sites",
        "Look at each of them. Repeat the command with --conflicts keep to leave them as they are, or with --conflicts overwrite to replace those of the old site.";
    FailoverDrainSlow => "FAILOVER_DRAIN_SLOW", TEMPORARY,
        "a write that began before the fence has not ended",
        "Repeat the command to wait longer. A write of a worker that died counts as ended after its time limit, which is 15 minutes.";

    // What speaks against a switch.
    FailoverFactsUnknown => "FAILOVER_FACTS_UNKNOWN", TEMPORARY,
        "it is not known what the site has of the writer's images, or what is known is older than an hour",
        "Run `transship dr check GROUP` where both sites can be reached: it compares them if no worker does. `serve` and a stack compare them regularly; see their log for COMPARISON_FAILED.";
    ComparisonFailed => "COMPARISON_FAILED", TEMPORARY,
        "a comparison of two sites could not read everything",
        "The message names what could not be read. The next comparison tries it again.";
    SiteUnreachable => "SITE_UNREACHABLE", TEMPORARY,
        "the site cannot be reached from here at the address of its record",
        "Check the record of the site, and the way from this machine to it: security groups, routes, firewalls. Clients may have another way.";
    SiteCertificate => "SITE_CERTIFICATE", PERSISTENT,
        "the certificate of the site does not cover the name that clients use, is expired, or is not trusted",
        "Install a certificate for the clients' name at the site. An authority of your own goes into tls.authorities of the registry.";
    SiteLoginRefused => "SITE_LOGIN_REFUSED", PERSISTENT,
        "the site does not accept the login of the clients",
        "Create the user or robot account of the clients with the same password at every site: registries do not replicate accounts.";
    SitePullFailed => "SITE_PULL_FAILED", PERSISTENT,
        "an image cannot be pulled through the clients' name at the site",
        "Check the clients' right to pull, and that the site serves the repositories of the writer under the clients' name.";
    SiteClockSkew => "SITE_CLOCK_SKEW", PERSISTENT,
        "the clock of the site differs from that of this machine by more than five minutes",
        "Synchronise both clocks (NTP). Tokens and certificates are judged by them.";
    DnsTtlDiffers => "DNS_TTL_DIFFERS", PERMANENT,
        "the time to live of the record is not that of the document",
        "Clients keep the old address for as long as the record says. The next switch writes the `ttl` of the document.";
    DrillOverdue => "DRILL_OVERDUE", PERMANENT,
        "the last successful drill of the failover group was more than 90 days ago",
        "Run `transship dr drill GROUP`, or let a timer run it.";
    DrillFailed => "DRILL_FAILED", PERMANENT,
        "a drill of the failover group did not succeed",
        "The report names the step and the reason. Clients were not affected.";

    // The document.
    ConfigUnavailable => "CONFIG_UNAVAILABLE", TEMPORARY,
        "the document cannot be read",
        "Check `TRANSSHIP_CONFIG`, the object it names and the function's right to read it.";
    ConfigUnreadable => "CONFIG_UNREADABLE", PERMANENT,
        "the file of the document cannot be read",
        "Check its path, its rights and its size.";
    ConfigFallback => "CONFIG_FALLBACK", TEMPORARY,
        "the newest version of the document cannot be used, so an earlier one is in force",
        "Repair the document: `transship check --config transship.yaml` shows line and column. Until then nothing is cancelled or deleted, and tasks of rules that the earlier version lacks wait.";
    ConfigInvalid => "CONFIG_INVALID", PERMANENT,
        "the document has an error of syntax, an unknown key, a wrong type or a value out of range",
        "`transship check --config transship.yaml` shows line and column.";
    RuleInvalid => "RULE_INVALID", PERMANENT,
        "a pattern, name or template of the rule cannot be used",
        "`transship check --config transship.yaml` shows line and column.";
    ScheduleInvalid => "SCHEDULE_INVALID", PERMANENT,
        "the schedule of a rule cannot be used: its expression is not valid or never has a time, or its time zone is unknown",
        "Write five fields and a time zone of the IANA database, such as `{ schedule: \"0 3 * * *\", timezone: Asia/Shanghai }`.";
    UnknownRegistry => "UNKNOWN_REGISTRY", PERMANENT,
        "the document has no registry of that name",
        "Add it under `registries`, or use one that `transship check --config transship.yaml` lists.";
    RegistryInvalid => "REGISTRY_INVALID", PERMANENT,
        "the registry's entry in the document cannot be used",
        "The message says why. `transship check --config transship.yaml` shows the place.";
    RuleCycle => "RULE_CYCLE", PERMANENT,
        "the rule would start itself again, directly or through other rules",
        "Change a destination of the rules that the message names, or remove one of them.";
    TopologyStrict => "TOPOLOGY_STRICT", PERMANENT,
        "the rules are allowed by the topology `acyclic` but not by `strict`",
        "Set `topology: acyclic`, or change the rules that the message names.";
    DestinationConflict => "DESTINATION_CONFLICT", PERMANENT,
        "two rules write the same destination tags from different sources, or a rule gives several images one name",
        "Give each rule a namespace of its own or different tags, or allow one of them under `links` with the reason.";
    DestinationPathInvalid => "DESTINATION_PATH_INVALID", PERMANENT,
        "the destination registry cannot hold repositories with this number of path components",
        "Set `flatten: all`, or change `destination.namespace`. Docker Hub and Alibaba Cloud have two levels.";
    RuleNeverMatches => "RULE_NEVER_MATCHES", PERMANENT,
        "the conditions of the rule contradict each other, so that nothing can match",
        "Change or remove the condition that the message names.";
    FailoverInvalid => "FAILOVER_INVALID", PERMANENT,
        "a failover group of the document cannot be used",
        "`transship check --config transship.yaml` shows line and column, and what to write instead.";
    FailoverWithoutRule => "FAILOVER_WITHOUT_RULE", PERMANENT,
        "a site of a failover group is not the destination of any rule from its writer",
        "Add a rule from the writer to the site that the message names, or remove the site.";
    CredentialsUnencrypted => "CREDENTIALS_UNENCRYPTED", PERMANENT,
        "credentials are sent without encryption",
        "Write an https endpoint if the registry offers one.";
    CredentialsExpire => "CREDENTIALS_EXPIRE", PERMANENT,
        "the credentials of a registry expire, so that tasks fail later",
        "Use credentials that do not expire, or a source that renews them.";
    LimitAdjusted => "LIMIT_ADJUSTED", PERMANENT,
        "a limit is outside its bounds and is used as the nearest value",
        "Write a value within the bounds that the message names.";
    WebhookMissing => "WEBHOOK_MISSING", PERMANENT,
        "rules wait for events of a registry whose deliveries are refused, because it has no webhook secret",
        "Add `webhook` to the registry, or write `trigger: []` in the rule.";
    WebhookOpen => "WEBHOOK_OPEN", PERMANENT,
        "the deliveries of a registry are accepted from anyone",
        "Add a secret under `webhook` if the sender supports one.";
    ImportsOverlap => "IMPORTS_OVERLAP", PERMANENT,
        "two imports copy the same objects to the same place",
        "Give each import a prefix or namespace of its own.";
    NeedsAws => "NEEDS_AWS", PERMANENT,
        "the setting has an effect in the stack deployed on AWS only",
        "Nothing, if the document is for the stack. Elsewhere use the setting that the message names.";
    NotOnAws => "NOT_ON_AWS", PERMANENT,
        "the stack deployed on AWS does not read the setting",
        "Nothing, if the document is for `serve` or a command on a machine. For a stack, keep the secret in Secrets Manager or Parameter Store.";
    PartitionRefused => "PARTITION_REFUSED", PERMANENT,
        "the rule copies from the public partition into another one, and no link allows that",
        "Add the link to the document if that is intended.";
    EditionCannotBeSource => "EDITION_CANNOT_BE_SOURCE", PERMANENT,
        "a registry of the basic edition cannot be a source",
        "Use a registry of another edition, or raise the edition.";
    DuplicateRule => "DUPLICATE_RULE", PERMANENT,
        "two rules have the same name",
        "Rename one of them.";
    CredentialsInvalid => "CREDENTIALS_INVALID", PERMANENT,
        "the reference to a secret is not valid",
        "Write one of the forms that the message lists. Never write the secret itself into the document.";
    NotYetSupported => "NOT_YET_SUPPORTED", PERMANENT,
        "part of the language of documents that this version does not support",
        "Remove the field, or use a newer version.";

    LedgerLost => "LEDGER_LOST", PERMANENT,
        "the ledger is empty, but the destination has images",
        "A new stack or data folder beside a filled destination, or a table that was lost. Nothing is lost at the registries, and equal tags were adopted. Tags that differ are not copied by a sweep until their rule is run: `transship run RULE`. If the ledger existed before, restore it, or set `existing: overwrite` and run the rules, to bring the kept tags up to date.";
    RuleRemoved => "RULE_REMOVED", PERMANENT,
        "the document has no rule or import of that name any more",
        "Nothing if it was removed on purpose. Otherwise add it again: the next sweep copies what is missing, and a redrive the cancelled tasks.";
    RuleDisabled => "RULE_DISABLED", PERMANENT,
        "the rule or import is not enabled any more",
        "Nothing if it was disabled on purpose. Otherwise set `enabled: true`: the next sweep copies what is missing, and a redrive the cancelled tasks.";
    ExecutionCancelled => "EXECUTION_CANCELLED", PERMANENT,
        "an operator cancelled the execution",
        "Nothing if it was cancelled on purpose. Otherwise redrive the execution: its cancelled tasks begin again in a new one.";
    RuleUnclear => "RULE_UNCLEAR", TEMPORARY,
        "the version of the document that is in force here may be older than the task, and does not enable its rule or its registry",
        "Nothing at first: the worker reads the document again. If it lasts, the newest version of the document cannot be used: repair it.";

    // Why a rule does not apply to an event (`transship explain --event`).
    OtherRegistry => "OTHER_REGISTRY", PERMANENT,
        "the rule has another source registry",
        "Nothing, or change `source.registry`.";
    Disabled => "DISABLED", PERMANENT,
        "the rule is not enabled",
        "Nothing, or set `enabled: true`.";
    NotOnEvent => "NOT_ON_EVENT", PERMANENT,
        "the triggers of the rule do not include events",
        "Nothing, or add `event` to `triggers`.";
    OutsideNamespace => "OUTSIDE_NAMESPACE", PERMANENT,
        "the repository is not below the rule's namespace",
        "Nothing, or change `source.namespace`.";
    RepositoryNotIncluded => "REPOSITORY_NOT_INCLUDED", PERMANENT,
        "the path below the namespace does not match `source.repository`",
        "Nothing, or change `source.repository`.";
    RepositoryExcluded => "REPOSITORY_EXCLUDED", PERMANENT,
        "`source.repository.exclude` excludes the repository",
        "Nothing, or change `source.repository.exclude`.";
    TagNotIncluded => "TAG_NOT_INCLUDED", PERMANENT,
        "the tag does not match `source.tag`",
        "Nothing, or change `source.tag`.";
    TagExcluded => "TAG_EXCLUDED", PERMANENT,
        "`source.tag.exclude` excludes the tag",
        "Nothing, or change `source.tag.exclude`.";
    TagOutsideVersions => "TAG_OUTSIDE_VERSIONS", PERMANENT,
        "the tag is not a version in the range of the rule",
        "Nothing, or change `source.tag.semver`.";
    KindNotIncluded => "KIND_NOT_INCLUDED", PERMANENT,
        "the kinds of the rule do not include this kind of content",
        "Nothing, or add the kind to `kinds`.";
    ReferrersExcluded => "REFERRERS_EXCLUDED", PERMANENT,
        "the content is a referrer, and the rule excludes referrers",
        "Nothing, or set `referrers: include`.";
    NameInvalid => "NAME_INVALID", PERMANENT,
        "the name at the destination would not be valid",
        "Change the rule's destination template, or exclude the repository.";
    SamePlace => "SAME_PLACE", PERMANENT,
        "the destination of the rule is the source image itself",
        "Nothing, or change the rule's destination.";
    DeletesIgnored => "DELETES_IGNORED", PERMANENT,
        "an image that is deleted at the source stays at the destination",
        "Nothing, or set `deletes: propagate` in the rule.";

    // This machine.
    DataLocked => "DATA_LOCKED", TEMPORARY,
        "another process uses this data folder",
        "Stop the other process, or name another folder with --data.";
    DataTooNew => "DATA_TOO_NEW", PERMANENT,
        "a newer release wrote the database",
        "Use a newer release, or another data folder.";
    DataUnavailable => "DATA_UNAVAILABLE", TEMPORARY,
        "the data folder cannot be used",
        "The message says why: check the folder's rights, the space on the disk and the file transship.db.";
    ImportsNotServed => "IMPORTS_NOT_SERVED", PERMANENT,
        "`serve` does not read the buckets of `imports`",
        "Use the deployed stack, or `transship import`.";
    ListenFailed => "LISTEN_FAILED", PERMANENT,
        "cannot listen on the address",
        "Choose another address with --listen, or stop the process that has it.";
    SignalsFailed => "SIGNALS_FAILED", PERMANENT,
        "cannot receive signals",
        "See the limits of the process.";
    RuntimeFailed => "RUNTIME_FAILED", PERMANENT,
        "cannot start threads",
        "See the limits of the process.";
    BindFailed => "BIND_FAILED", PERMANENT,
        "the loopback address could not be bound; see which process limits are in force",
        "See the limits of the process.";
    NotifyUrlInvalid => "NOTIFY_URL_INVALID", PERMANENT,
        "the notification address is not an http:// URL; give one such as http://127.0.0.1:8080/hooks/source",
        "Use an http:// URL.";

    // The command line.
    Usage => "USAGE", PERMANENT,
        "the command line is not valid",
        "`transship COMMAND --help` shows what the command accepts.";
    InputUnreadable => "INPUT_UNREADABLE", PERMANENT,
        "the input file cannot be read",
        "Check its path, its rights and its size.";
    OutputFailed => "OUTPUT_FAILED", PERMANENT,
        "the output cannot be written",
        "Check where standard output goes, and the space there.";
    CheckFailed => "CHECK_FAILED", PERMANENT,
        "a registry of the document could not be used",
        "The lines above name the registry and the error.";
    DemoFailed => "DEMO_FAILED", PERMANENT,
        "the demo failed",
        "Report the output.";
    ImportIncomplete => "IMPORT_INCOMPLETE", PERMANENT,
        "some of the images were not imported",
        "The lines above name them. Repair them, and import again: images that are there are not copied again.";
    ImportNotBegun => "IMPORT_NOT_BEGUN", TEMPORARY,
        "the deployed stack did not start the import in time",
        "Check that --queue and --table name the stack, and that its worker runs.";
    UnknownExecution => "UNKNOWN_EXECUTION", PERMANENT,
        "there is no such execution",
        "`transship executions` lists them.";
    UnknownMessage => "UNKNOWN_MESSAGE", PERMANENT,
        "no queue has such a message now",
        "`transship dead-letters` lists them. A message that a worker has is not listed; it is again after some minutes.";
    AwsNotBuilt => "AWS_NOT_BUILT", PERMANENT,
        "this build cannot reach a deployed stack",
        "Build one that can with `cargo install --path crates/cli --features aws`, or name a data folder with --data.";
    S3NotBuilt => "S3_NOT_BUILT", PERMANENT,
        "this build cannot read buckets",
        "Build one that can with `cargo install --path crates/cli --features aws`, or copy the objects into a folder.";
}
