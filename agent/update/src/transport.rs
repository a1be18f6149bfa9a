//! How TUF gets its files, and what its errors mean for people.

use std::error::Error;
use std::fmt;

use futures_util::stream;
use image_layout::block_map;
use tough::error::Error as TufError;
use tough::{Bytes, Transport, TransportError, TransportErrorKind, TransportStream, async_trait, schema};

use crate::error::{UpdateError, UpdateErrorKind, chain};
use crate::http::{Failure, Http, too_long};

/// The most bytes of a file that is fetched whole: a block map is the longest.
pub(crate) const LONGEST: u64 = block_map::MAX_BYTES;

/// Fetches metadata and small targets for TUF.
#[derive(Clone)]
pub(crate) struct Fetcher(pub(crate) Http);

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fetcher")
    }
}

#[async_trait]
impl Transport for Fetcher {
    /// Only a file that is not there is an error at once: TUF takes any such one as the end of the roots, and
    /// one that is held back must not be.
    async fn fetch(&self, url: url::Url) -> Result<TransportStream, TransportError> {
        let (http, address) = (self.0.clone(), url.to_string());
        let fetched = tokio::task::spawn_blocking(move || http.get(&address, LONGEST)).await;
        let missing = matches!(fetched, Ok(Err(Failure::NotFound(_))));
        let kind = if missing { TransportErrorKind::FileNotFound } else { TransportErrorKind::Other };
        let failed = |error: UpdateError| TransportError::new_with_cause(kind, url.as_str(), error);
        let body = match fetched {
            Ok(Ok(bytes)) => Ok(Bytes::from(bytes)),
            Ok(Err(failure)) => Err(failed(failure.into())),
            Err(error) => Err(failed(UpdateError::local(format!("the transfer ended: {error}")))),
        };
        match body {
            Err(error) if missing => Err(error),
            body => Ok(Box::pin(stream::iter([body]))),
        }
    }
}

/// What an error of TUF means for the box's owner.
pub(crate) fn explain(error: &TufError) -> UpdateError {
    use UpdateErrorKind as Kind;
    let role_of = |role: &dyn fmt::Display| role.to_string().to_lowercase();
    let (kind, message) = match error {
        TufError::Transport { url, source, .. } => return transport(url.as_str(), source),
        TufError::ExpiredMetadata { role, .. } => (
            Kind::Expired,
            format!("the {} metadata has expired: the publisher has to refresh it", role_of(role)),
        ),
        TufError::VerifyMetadata { role, source, .. } => (Kind::Untrusted, unsigned(&role_of(role), source)),
        TufError::ParseTrustedMetadata { source, .. } => {
            (Kind::Local, format!("the image's own root metadata cannot be read: {source}"))
        }
        TufError::VerifyTrustedMetadata { .. } => {
            (Kind::Local, "the image's own root metadata is not signed by its own keys".to_owned())
        }
        TufError::OlderMetadata { role, current_version, new_version, .. } => (
            Kind::Older,
            format!(
                "the {} metadata has version {new_version}, and this box has seen version {current_version}",
                role_of(role)
            ),
        ),
        TufError::OlderSnapshotInTimestamp { snapshot_new, snapshot_old, .. } => (
            Kind::Older,
            format!(
                "the timestamp metadata names version {snapshot_new} of the snapshot, and this box has seen \
                 version {snapshot_old}"
            ),
        ),
        TufError::SnapshotRoleRollback { role, old_role_version, new_role_version, .. } => (
            Kind::Older,
            format!(
                "the snapshot metadata names version {new_role_version} of `{role}`, and this box has seen \
                 version {old_role_version}"
            ),
        ),
        TufError::VersionMismatch { role, fetched, expected, .. } => (
            Kind::Damaged,
            format!("the {} metadata has version {fetched}, and {expected} belongs here", role_of(role)),
        ),
        TufError::ParseMetadata { role, source, .. } => {
            (Kind::Damaged, format!("the {} metadata cannot be read: {source}", role_of(role)))
        }
        TufError::SystemTimeSteppedBackward { .. } => {
            (Kind::Local, "the clock was set back meanwhile".to_owned())
        }
        other => (Kind::Damaged, chain(other)),
    };
    UpdateError::new(kind, message)
}

fn unsigned(role: &str, error: &schema::Error) -> String {
    match error {
        schema::Error::SignatureThreshold { threshold, valid, .. } => format!(
            "the {role} metadata has {valid} of {threshold} signatures by keys that this box trusts for it"
        ),
        other => format!("the {role} metadata: {}", chain(other)),
    }
}

fn transport(url: &str, error: &TransportError) -> UpdateError {
    let cause = error.source();
    if let Some(ours) = cause.and_then(|cause| cause.downcast_ref::<UpdateError>()) {
        return ours.clone();
    }
    UpdateError::damaged(match cause.and_then(|cause| cause.downcast_ref::<TufError>()) {
        Some(TufError::HashMismatch { .. }) => format!("`{url}` is not what the signed metadata says"),
        Some(TufError::MaxSizeExceeded { max_size, .. }) => too_long(url, *max_size),
        Some(other) => format!("`{url}`: {}", chain(other)),
        None => chain(error),
    })
}
