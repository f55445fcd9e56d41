//! The options that `copy` and `import` share: `--existing` and `--referrers`.

use clap::Args;
use transship_copy::Options;
use transship_oci::{Existing, Platforms, Referrers};

/// The two options.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Policy {
    /// What to do if the destination tag already names another image. Without a ledger, `follow` is the same as `keep`
    #[arg(long, value_enum, default_value_t = Existing::Overwrite)]
    pub(crate) existing: Existing,
    /// What to do with signatures, SBOMs and other referrers
    #[arg(long, value_enum, default_value_t = Referrers::Include)]
    pub(crate) referrers: Referrers,
}

impl Policy {
    /// As a copy takes them.
    pub(crate) fn options(self, platforms: Platforms) -> Options {
        Options {
            platforms,
            existing: self.existing,
            referrers: self.referrers,
            ..Options::default()
        }
    }
}
