//! What may be said of an image on its way, by `copy` and `import` alike: `--existing`, `--referrers`.

use clap::{Args, ValueEnum};
use transship_copy::Options;

/// The two options.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Policy {
    /// What happens if the destination tag names another image
    #[arg(long, value_enum, default_value_t = Existing::Overwrite)]
    existing: Existing,
    /// What happens to signatures, SBOMs and other referrers
    #[arg(long, value_enum, default_value_t = Referrers::Include)]
    referrers: Referrers,
}

/// `--existing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Existing {
    /// Replace what we wrote; this command remembers none, so it is as keep
    Follow,
    /// Never replace
    Keep,
    /// Replace
    Overwrite,
    /// Replace, after the old image got a tag of its own
    Backup,
}

/// `--referrers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Referrers {
    /// They go with the image
    Include,
    /// They stay
    Exclude,
    /// They go with it, and there must be one
    Require,
}

impl Policy {
    /// As a copy understands them.
    pub(crate) fn options(self) -> Options {
        Options {
            existing: match self.existing {
                Existing::Follow => transship_copy::Existing::Follow,
                Existing::Keep => transship_copy::Existing::Keep,
                Existing::Overwrite => transship_copy::Existing::Overwrite,
                Existing::Backup => transship_copy::Existing::Backup,
            },
            referrers: match self.referrers {
                Referrers::Include => transship_copy::Referrers::Include,
                Referrers::Exclude => transship_copy::Referrers::Exclude,
                Referrers::Require => transship_copy::Referrers::Require,
            },
            ..Options::default()
        }
    }

    /// As a task carries it.
    pub(crate) const fn existing(self) -> transship_rules::Existing {
        match self.existing {
            Existing::Follow => transship_rules::Existing::Follow,
            Existing::Keep => transship_rules::Existing::Keep,
            Existing::Overwrite => transship_rules::Existing::Overwrite,
            Existing::Backup => transship_rules::Existing::Backup,
        }
    }

    /// As a task carries it.
    pub(crate) const fn referrers(self) -> transship_rules::Referrers {
        match self.referrers {
            Referrers::Include => transship_rules::Referrers::Include,
            Referrers::Exclude => transship_rules::Referrers::Exclude,
            Referrers::Require => transship_rules::Referrers::Require,
        }
    }
}
