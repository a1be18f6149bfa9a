//! The image that runs, as far as updates need to know it.

use agent_system::files;
use image_layout::manifest::Manifest;
use image_layout::{Version, paths};

/// Where the image says what it is made of.
const MANIFEST: &str = "/usr/share/holdfast/manifest.json";

/// The image that runs.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// Its version; none when it does not say one that is.
    pub(crate) version: Option<Version>,
    /// `SOURCE_DATE_EPOCH` of its build, seconds; 0 when it does not say.
    pub(crate) epoch: u64,
    /// TUF root metadata of the publisher that it follows.
    pub(crate) root: Option<String>,
}

impl Image {
    pub(crate) fn read() -> Image {
        let manifest = files::read_text(MANIFEST, 4 << 20).ok();
        let manifest = manifest.and_then(|text| serde_json::from_str::<Manifest>(&text).ok());
        Image {
            version: manifest.as_ref().and_then(|manifest| manifest.version.parse().ok()),
            epoch: manifest.map_or(0, |manifest| manifest.epoch),
            root: files::read_text(paths::UPDATE_ROOT, 1 << 20).ok(),
        }
    }
}
