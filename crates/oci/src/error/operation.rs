//! During what an error happened: a verb from a closed list, and what it was applied to.

use std::fmt;

use crate::Target;

/// Makes the enum of verbs and their texts.
macro_rules! verbs {
    ($($variant:ident => $text:literal;)+) => {
        /// What was done. Each is shown as the word in its documentation.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Verb {
            $(#[doc = concat!("`", $text, "`")] $variant,)+
        }

        impl Verb {
            /// The verb as it is shown.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

verbs! {
    // Requests to a registry.
    Ping => "ping";
    Catalog => "catalog";
    TagsList => "tags_list";
    ManifestHead => "manifest_head";
    ManifestGet => "manifest_get";
    ManifestPut => "manifest_put";
    ManifestDelete => "manifest_delete";
    BlobHead => "blob_head";
    BlobGet => "blob_get";
    BlobMount => "blob_mount";
    BlobPost => "blob_post";
    BlobPatch => "blob_patch";
    BlobStatus => "blob_status";
    BlobPut => "blob_put";
    BlobCancel => "blob_cancel";
    Referrers => "referrers";
    Token => "token";
    Login => "login";
    // What precedes a request.
    Client => "client";
    Endpoint => "endpoint";
    Url => "url";
    Registry => "registry";
    FallbackTag => "fallback tag";
    BackupTag => "backup tag";
    // The copy of an image, and what it remembers.
    Copy => "copy";
    ContinuationPut => "continuation_put";
    // Layouts, archives and object stores.
    Open => "open";
    Layout => "layout";
    Assemble => "assemble";
    Import => "import";
    Run => "run";
    LookAt => "look at";
    List => "list";
    Read => "read";
    Write => "write";
    Store => "store";
    // Messages, the ledger, the document and its secrets.
    Accept => "accept";
    Queue => "queue";
    Ledger => "ledger";
    Message => "message";
    Order => "order";
    Search => "search";
    Configuration => "configuration";
    Names => "names";
    Environment => "environment";
    Secret => "secret";
    Authenticate => "authenticate";
    Parse => "parse";
    // This machine.
    Create => "create";
    Lock => "lock";
    Bind => "bind";
    Notify => "notify";
}

impl Verb {
    /// The operation of applying this verb to `subject`.
    pub fn on(self, subject: impl fmt::Display) -> Operation {
        Operation {
            verb: Some(self),
            subject: subject.to_string(),
            target: None,
        }
    }

    /// The operation of applying this verb to what `target` names in `repository`.
    pub fn on_target(self, repository: impl fmt::Display, target: &Target) -> Operation {
        Operation {
            target: Some(target.clone()),
            ..self.on(format_args!("{repository}{}{target}", target.separator()))
        }
    }
}

/// During what an error happened. Shown as verb and subject: `manifest_get registry.example/app:v1`.
///
/// Holds neither a query nor the location of an upload: both may be secrets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Operation {
    verb: Option<Verb>,
    subject: String,
    target: Option<Target>,
}

impl Operation {
    /// An operation on `subject`, where the verb does not matter.
    pub fn of(subject: impl fmt::Display) -> Self {
        Self {
            subject: subject.to_string(),
            ..Self::default()
        }
    }

    /// What was done; [`None`] where a value was judged and nothing was done with it yet.
    pub const fn verb(&self) -> Option<Verb> {
        self.verb
    }

    /// What it was applied to; empty if the verb says all.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The tag or digest it was applied to, if it was applied to what one names.
    pub const fn target(&self) -> Option<&Target> {
        self.target.as_ref()
    }

    pub(super) const fn is_unknown(&self) -> bool {
        self.verb.is_none() && self.subject.is_empty()
    }
}

impl From<Verb> for Operation {
    fn from(verb: Verb) -> Self {
        Self {
            verb: Some(verb),
            ..Self::default()
        }
    }
}

impl From<&Operation> for Operation {
    fn from(operation: &Operation) -> Self {
        operation.clone()
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.verb {
            Some(verb) if self.subject.is_empty() => formatter.write_str(verb.as_str()),
            Some(verb) => write!(formatter, "{} {}", verb.as_str(), self.subject),
            None => formatter.write_str(&self.subject),
        }
    }
}
