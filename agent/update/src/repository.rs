//! The publisher's repository as TUF lets it be seen: TUF specification 1.0.31, section 5, by `tough`.
//!
//! Trust starts from the root metadata of the image that runs, or from the newer one that an earlier run has
//! accepted. What was accepted is kept in `trusted/`, so that nothing older is accepted later; it is written
//! file by file, each whole, only after all of it has been accepted. Whether the clock may be believed is the
//! agent's business: with a wrong one nothing is asked for.

use std::fmt;
use std::path::{Path, PathBuf};

use agent_system::files::{self, Access};
use image_layout::Version;
use image_layout::block_map::{self, BlockMap};
use image_layout::release::{self, Channel, Part, Release};
use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;
use tough::error::Error as TufError;
use tough::schema::Signed;
use tough::{
    Bytes, IntoVec, Limits, RepositoryLoader, TargetName, Transport, TransportError, TransportErrorKind,
    TransportStream, async_trait,
};

use crate::error::{UpdateError, UpdateErrorKind, chain};
use crate::http::{Failure, Http};
use crate::message::{Found, Request};

/// The most bytes of a metadata file.
const METADATA: u64 = 4 << 20;
/// Metadata that is kept from run to run, in the order in which it is written.
const KEPT: [&str; 4] = ["root.json", "targets.json", "snapshot.json", "timestamp.json"];

/// A repository that was accepted, and the release that the channel names.
pub(crate) struct Repository {
    tuf: tough::Repository,
    runtime: Runtime,
    http: Http,
    url: String,
    release: Release,
}

/// Loads the repository and finds the channel's release.
pub(crate) fn open(folder: &Path, request: &Request) -> Result<(Repository, Found), UpdateError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| UpdateError::local(format!("no runtime: {error}")))?;
    let http = Http::new(request.url.starts_with("https://"));
    let (trusted, work) = (folder.join("trusted"), folder.join("metadata"));
    files::create_dir_all(&trusted, Access::mode(0o700))?;
    files::remove_tree(&work)?;
    files::create_dir(&work, Access::mode(0o700))?;
    for name in KEPT {
        if let Some(bytes) = files::read_optional(trusted.join(name), METADATA)? {
            files::write_atomic(work.join(name), bytes, 0o600)?;
        }
    }
    let root = newest_root(&request.root, &work.join("root.json"));
    let address = |path: &str| {
        let url = format!("{}/{path}/", request.url);
        url.parse().map_err(|_| UpdateError::local(format!("`{url}` is no address")))
    };
    let loader = RepositoryLoader::new(&root, address(release::METADATA)?, address(release::TARGETS)?)
        .transport(Fetcher(http.clone()))
        .datastore(&work)
        .limits(Limits { max_targets_size: METADATA, max_root_updates: 256, ..Limits::default() });
    let tuf = runtime.block_on(loader.load()).map_err(|error| explain(&error))?;
    for name in KEPT {
        let bytes = files::read_limited(work.join(name), METADATA)?;
        files::write_atomic(trusted.join(name), bytes, 0o600)?;
    }
    files::remove_tree(&work)?;
    // Reading targets asks for a time that it wrote.
    files::create_dir(&work, Access::mode(0o700))?;

    let url = format!("{}/{}", request.url, release::TARGETS);
    let expires = expiry(&tuf);
    let placeholder = Release { format: 0, version: request.installed.clone(), epoch: 0, partitions: vec![] };
    let mut repository = Repository { tuf, runtime, http, url, release: placeholder };
    let channel: Channel =
        repository.document(&release::channel_target(&request.channel), "channel", |c: &Channel| c.format)?;
    repository.release =
        repository.document(&release::release_target(&channel.version), "release", |r: &Release| r.format)?;
    check(&repository.release, &channel.version)?;
    Ok((repository, Found { version: channel.version, expires }))
}

/// When the first of the metadata expires.
fn expiry(tuf: &tough::Repository) -> i64 {
    let all = [
        tuf.root().signed.expires,
        tuf.targets().signed.expires,
        tuf.snapshot().signed.expires,
        tuf.timestamp().signed.expires,
    ];
    all.iter().map(|expires| expires.as_second()).min().unwrap_or_default()
}

/// The root to start from: the image's, unless a newer one was accepted.
fn newest_root(of_image: &str, accepted: &PathBuf) -> Vec<u8> {
    let version = |bytes: &[u8]| {
        let root = serde_json::from_slice::<Signed<tough::schema::Root>>(bytes).ok()?;
        Some(root.signed.version.get())
    };
    let kept = files::read_limited(accepted, METADATA).ok();
    match kept {
        Some(kept) if version(&kept) > version(of_image.as_bytes()) => kept,
        _ => of_image.as_bytes().to_owned(),
    }
}

/// What a release must say to be of use.
fn check(release: &Release, version: &Version) -> Result<(), UpdateError> {
    let wrong = |what: String| Err(UpdateError::damaged(format!("release {version}: {what}")));
    if release.version != *version {
        return wrong(format!("its document is of {}", release.version));
    }
    for part in Part::ALL {
        match release.image(part) {
            None => return wrong(format!("it has no {} image", part.as_str())),
            Some(image) if image.size == 0 || image.size % image_layout::disk::BLOCK != 0 => {
                return wrong(format!("its {} image has {} bytes", part.as_str(), image.size));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

impl Repository {
    /// The channel's release.
    pub(crate) fn release(&self) -> &Release {
        &self.release
    }

    /// The client that blocks are fetched with.
    pub(crate) fn http(&self) -> &Http {
        &self.http
    }

    /// A block map.
    pub(crate) fn map(&self, target: &str) -> Result<BlockMap, UpdateError> {
        let bytes = self.read(target, block_map::MAX_BYTES)?;
        BlockMap::decode(&bytes).map_err(|error| UpdateError::damaged(format!("`{target}`: {error}")))
    }

    /// Where a target is fetched by range, and its bytes.
    pub(crate) fn address(&self, target: &str) -> Result<(String, u64), UpdateError> {
        let (name, found) = self.target(target)?;
        let sha256 = crate::verify::hex(&found.hashes.sha256);
        Ok((format!("{}/{sha256}.{}", self.url, name.resolved()), found.length))
    }

    fn target(&self, name: &str) -> Result<(TargetName, &tough::schema::Target), UpdateError> {
        let target = TargetName::new(name).map_err(|error| explain(&error))?;
        let found = self.tuf.targets().signed.targets.get(&target).ok_or_else(|| missing(name))?;
        Ok((target, found))
    }

    /// A whole target, verified.
    fn read(&self, target: &str, limit: u64) -> Result<Vec<u8>, UpdateError> {
        let (name, found) = self.target(target)?;
        if found.length > limit {
            let message =
                format!("`{target}` has {} bytes; {limit} are the most that it may have", found.length);
            return Err(UpdateError::damaged(message));
        }
        let read = async {
            match self.tuf.read_target(&name).await? {
                Some(stream) => stream.into_vec().await.map(Some),
                None => Ok(None),
            }
        };
        let bytes = self.runtime.block_on(read).map_err(|error| explain(&error))?;
        bytes.ok_or_else(|| missing(target))
    }

    fn document<T: DeserializeOwned>(
        &self,
        target: &str,
        what: &str,
        format: impl Fn(&T) -> u32,
    ) -> Result<T, UpdateError> {
        let bytes = self.read(target, release::MAX_DOCUMENT)?;
        let wrong = |error: String| UpdateError::damaged(format!("`{target}` is no {what}: {error}"));
        #[derive(serde::Deserialize)]
        struct Form {
            format: u32,
        }
        let form: Form = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        if form.format > release::FORMAT {
            return Err(wrong(format!(
                "it has format {}, and this version reads up to {}",
                form.format,
                release::FORMAT
            )));
        }
        let document: T = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        debug_assert_eq!(format(&document), form.format);
        Ok(document)
    }
}

fn missing(target: &str) -> UpdateError {
    UpdateError::new(UpdateErrorKind::Missing, format!("the repository has no `{target}`"))
}

/// Fetches metadata and small targets for TUF.
#[derive(Clone)]
struct Fetcher(Http);

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fetcher")
    }
}

#[async_trait]
impl Transport for Fetcher {
    async fn fetch(&self, url: url::Url) -> Result<TransportStream, TransportError> {
        let (http, address) = (self.0.clone(), url.to_string());
        let limit = METADATA.max(block_map::MAX_BYTES);
        let fetched = tokio::task::spawn_blocking(move || http.get(&address, limit)).await;
        let failed = |kind, message: String| TransportError::new_with_cause(kind, url.as_str(), message);
        match fetched {
            Ok(Ok(bytes)) => Ok(Box::pin(futures_util::stream::iter([Ok(Bytes::from(bytes))]))),
            Ok(Err(Failure::NotFound(message))) => Err(failed(TransportErrorKind::FileNotFound, message)),
            Ok(Err(failure)) => Err(failed(TransportErrorKind::Other, failure.message().to_owned())),
            Err(error) => Err(failed(TransportErrorKind::Other, error.to_string())),
        }
    }
}

/// What an error of TUF means for the box's owner.
fn explain(error: &TufError) -> UpdateError {
    use UpdateErrorKind as Kind;
    let say = |kind, message: String| UpdateError::new(kind, message);
    let role_of = |role: &dyn fmt::Display| role.to_string().to_lowercase();
    match error {
        TufError::ExpiredMetadata { role, .. } => say(
            Kind::Expired,
            format!("the {} metadata has expired: the publisher has to refresh it", role_of(role)),
        ),
        TufError::VerifyMetadata { role, source, .. } => {
            say(Kind::Untrusted, unsigned(&role_of(role), source))
        }
        TufError::VerifyTrustedMetadata { source, .. } => {
            say(Kind::Untrusted, format!("the image's own root metadata: {}", chain(source)))
        }
        TufError::OlderMetadata { role, current_version, new_version, .. } => say(
            Kind::Older,
            format!(
                "the {} metadata has version {new_version}, and this box has seen version {current_version}",
                role_of(role)
            ),
        ),
        TufError::OlderSnapshotInTimestamp { .. } | TufError::SnapshotRoleRollback { .. } => {
            say(Kind::Older, chain(error))
        }
        TufError::VersionMismatch { role, fetched, expected, .. } => say(
            Kind::Damaged,
            format!("the {} metadata has version {fetched}, and {expected} belongs here", role_of(role)),
        ),
        TufError::Transport { url, source, .. } => transport(url.as_str(), source),
        TufError::ParseMetadata { .. } | TufError::MissingSnapshotMeta { .. } => {
            say(Kind::Damaged, chain(error))
        }
        _ => say(Kind::Damaged, chain(error)),
    }
}

fn unsigned(role: &str, error: &tough::schema::Error) -> String {
    match error {
        tough::schema::Error::SignatureThreshold { threshold, valid, .. } => format!(
            "the {role} metadata has {valid} of {threshold} signatures by keys that this box trusts for it"
        ),
        other => format!("the {role} metadata: {}", chain(other)),
    }
}

fn transport(url: &str, error: &TransportError) -> UpdateError {
    use std::error::Error;
    match error.source().and_then(|cause| cause.downcast_ref::<TufError>()) {
        Some(TufError::HashMismatch { .. }) => {
            UpdateError::damaged(format!("`{url}` is not what the signed metadata says"))
        }
        Some(other) => UpdateError::damaged(format!("`{url}`: {}", chain(other))),
        None => {
            let said = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            let kind = match error.kind() {
                TransportErrorKind::FileNotFound => UpdateErrorKind::Missing,
                _ => UpdateErrorKind::Unreachable,
            };
            UpdateError::new(kind, said)
        }
    }
}
