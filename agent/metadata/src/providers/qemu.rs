//! QEMU: fw_cfg and SMBIOS, each of which carries user-data and nothing else.

use std::path::{Path, PathBuf};

use crate::{Channel, Offer, ReadError, read};

/// What a single file offers.
pub(crate) fn offer(channel: Channel, path: &Path) -> Result<Option<Offer>, ReadError> {
    Ok(read::user_data(path)?.map(|user_data| Offer { user_data: Some(user_data), ..Offer::new(channel) }))
}

/// What the first of the files that exists offers.
pub(crate) fn credential(paths: &[PathBuf]) -> Option<Result<Option<Offer>, ReadError>> {
    paths.iter().map(|path| offer(Channel::Smbios, path)).find(|answer| !matches!(answer, Ok(None)))
}
