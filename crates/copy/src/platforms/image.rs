//! The platform of an image whose index does not say it: that of its configuration.

use serde::Deserialize;
use transship_oci::{Kind, Manifest, Platform, Result};

use crate::Source;
use crate::selection::config_of;

#[derive(Default, Deserialize)]
struct PlatformConfig {
    #[serde(default)]
    os: Option<String>,
    #[serde(default, rename = "os.version")]
    os_version: Option<String>,
    #[serde(default)]
    architecture: Option<String>,
    #[serde(default)]
    variant: Option<String>,
}

/// The platform of `image`; [`None`] if its configuration names none. One request.
pub(super) async fn platform_of(source: &dyn Source, image: &Manifest) -> Result<Option<Platform>> {
    let Some(config) = image.config().filter(|_| has_platform(image)) else {
        return Ok(None);
    };
    let config: PlatformConfig = config_of(source, config).await?;
    let platform = Platform {
        os: config.os.unwrap_or_default(),
        os_version: config.os_version,
        architecture: config.architecture.unwrap_or_default(),
        variant: config.variant.filter(|variant| !variant.is_empty()),
    };
    Ok(Some(platform).filter(Platform::is_known))
}

/// False for charts and other artifacts, which run on no platform.
pub(super) fn has_platform(image: &Manifest) -> bool {
    image.kind() == Kind::Image
}
