//! The publisher's repository as TUF lets it be seen: TUF specification 1.0.31, section 5, by `tough`.
//!
//! Trust starts from the root metadata of the image that runs, or from the newer one that an earlier run has
//! accepted ([`crate::trusted`]). Whether the clock may be believed is the agent's business, but for this: it
//! cannot be earlier than the build of the image that runs, or expired metadata would pass for fresh.

use std::path::Path;

use image_layout::Version;
use image_layout::block_map::{self, BlockMap};
use image_layout::disk::BLOCK;
use image_layout::release::{self, Channel, Part, PartitionImage, Release};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;
use tough::{IntoVec, Limits, RepositoryLoader, TargetName};

use crate::error::{UpdateError, UpdateErrorKind};
use crate::http::{Http, Patience};
use crate::message::{Found, Request};
use crate::transport::{Fetcher, LONGEST, explain};
use crate::trusted::Trusted;

/// The most bytes of the root, snapshot or timestamp metadata.
const METADATA: u64 = 1 << 20;
/// The most roots that are followed in one run.
const ROOTS: u64 = 256;

/// A repository that was accepted, and the release that the channel names.
pub(crate) struct Repository {
    tuf: tough::Repository,
    runtime: Runtime,
    http: Http,
    targets: String,
    release: Release,
}

/// Loads the repository and finds the channel's release.
pub(crate) fn open(
    folder: &Path,
    request: &Request,
    patience: Patience,
) -> Result<(Repository, Found), UpdateError> {
    let (mut repository, expires) = load(folder, request, patience)?;
    let channel: Channel = repository.document(&release::channel_target(&request.channel), "channel")?;
    repository.find(&channel.version)?;
    Ok((repository, Found { version: channel.version, expires }))
}

/// Loads the repository and finds a release of any channel.
pub(crate) fn open_version(
    folder: &Path,
    request: &Request,
    version: &Version,
    patience: Patience,
) -> Result<Repository, UpdateError> {
    let (mut repository, _) = load(folder, request, patience)?;
    repository.find(version)?;
    Ok(repository)
}

/// Loads the repository, without a release; when its metadata expires.
fn load(folder: &Path, request: &Request, patience: Patience) -> Result<(Repository, i64), UpdateError> {
    believable(Timestamp::now(), request.epoch)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| UpdateError::local(format!("no runtime: {error}")))?;
    let http = Http::new(request.url.starts_with("https://"), patience);
    let trusted = Trusted::open(folder)?;
    let root = trusted.root(&request.root);
    let loader = RepositoryLoader::new(
        &root,
        address(request, release::METADATA)?,
        address(request, release::TARGETS)?,
    )
    .transport(Fetcher(http.clone()))
    .datastore(trusted.work())
    .limits(Limits {
        max_root_size: METADATA,
        max_targets_size: LONGEST,
        max_timestamp_size: METADATA,
        max_snapshot_size: METADATA,
        max_root_updates: ROOTS,
    });
    let loaded = runtime.block_on(loader.load()).map_err(|error| explain(&error));
    let kept = trusted.keep();
    let tuf = loaded?;
    kept?;

    let expires = expiry(&tuf);
    let placeholder = Release { format: 0, version: request.installed.clone(), epoch: 0, partitions: vec![] };
    let targets = address(request, release::TARGETS)?.to_string();
    Ok((Repository { tuf, runtime, http, targets, release: placeholder }, expires))
}

/// Refuses a clock that is earlier than the build of the image that runs.
fn believable(now: Timestamp, built: u64) -> Result<(), UpdateError> {
    if now.as_second() < i64::try_from(built).unwrap_or(i64::MAX) {
        let message = format!("the clock says {now:.0}, which is before this image was built");
        return Err(UpdateError::local(message));
    }
    Ok(())
}

/// The address of a folder of the repository.
fn address(request: &Request, folder: &str) -> Result<url::Url, UpdateError> {
    let usable = |url: &url::Url| matches!(url.scheme(), "http" | "https") && url.query().is_none();
    let base = request.url.parse().ok().filter(usable);
    base.and_then(|base| format!("{}/{folder}/", base.as_str().trim_end_matches('/')).parse().ok())
        .ok_or_else(|| UpdateError::local(format!("`{}` is no address of a repository", request.url)))
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

/// What a release must say to be of use.
fn check(release: &Release, version: &Version) -> Result<(), UpdateError> {
    let wrong = |what: String| Err(UpdateError::damaged(format!("release {version}: {what}")));
    if release.version != *version {
        return wrong(format!("its document is of {}", release.version));
    }
    for part in Part::ALL {
        match release.image(part) {
            None => return wrong(format!("it has no {} image", part.as_str())),
            Some(image) if image.size == 0 || !image.size.is_multiple_of(BLOCK) => {
                return wrong(format!("its {} image has {} bytes", part.as_str(), image.size));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

impl Repository {
    /// Reads the document of a release.
    fn find(&mut self, version: &Version) -> Result<(), UpdateError> {
        self.release = self.document(&release::release_target(version), "release")?;
        check(&self.release, version)
    }

    /// The release's image of a partition.
    pub(crate) fn image(&self, part: Part) -> Result<&PartitionImage, UpdateError> {
        let missing = || UpdateError::damaged(format!("the release has no {} image", part.as_str()));
        self.release.image(part).ok_or_else(missing)
    }

    /// The client that blocks are fetched with.
    pub(crate) fn http(&self) -> &Http {
        &self.http
    }

    /// A block map, and its bytes as it is fetched.
    pub(crate) fn map(&self, target: &str) -> Result<(BlockMap, u64), UpdateError> {
        let bytes = self.read(target, block_map::MAX_BYTES)?;
        let map =
            BlockMap::decode(&bytes).map_err(|error| UpdateError::damaged(format!("`{target}`: {error}")))?;
        Ok((map, bytes.len() as u64))
    }

    /// Where a target is fetched by range, and its bytes.
    pub(crate) fn address(&self, target: &str) -> Result<(String, u64), UpdateError> {
        let (name, found) = self.target(target)?;
        let sha256 = crate::verify::hex(&found.hashes.sha256);
        Ok((format!("{}{sha256}.{}", self.targets, name.raw()), found.length))
    }

    /// A target by its name, which is one of a file without a folder.
    fn target(&self, name: &str) -> Result<(TargetName, &tough::schema::Target), UpdateError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte);
        if name.starts_with('.') || !name.bytes().all(plain) {
            return Err(UpdateError::damaged(format!("`{name}` cannot be the name of a target")));
        }
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

    /// A document, read only after its format is known to be one of ours.
    fn document<T: DeserializeOwned>(&self, target: &str, what: &str) -> Result<T, UpdateError> {
        #[derive(serde::Deserialize)]
        struct Form {
            format: u32,
        }
        let bytes = self.read(target, release::MAX_DOCUMENT)?;
        let wrong = |error| UpdateError::damaged(format!("`{target}` is no {what}: {error}"));
        let Form { format } = serde_json::from_slice(&bytes).map_err(wrong)?;
        if format != release::FORMAT {
            return Err(UpdateError::damaged(format!(
                "`{target}` has format {format}, and this version reads format {}",
                release::FORMAT
            )));
        }
        serde_json::from_slice(&bytes).map_err(wrong)
    }
}

fn missing(target: &str) -> UpdateError {
    UpdateError::new(UpdateErrorKind::Missing, format!("the repository has no `{target}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_from_before_the_build_is_not_believed() {
        let now = "2026-01-02T03:04:05.6Z".parse().unwrap();
        let check = |built, expect: Option<&str>| {
            let said = believable(now, built).err().map(|error| error.message);
            assert_eq!(said.as_deref(), expect, "{built}");
        };
        check(0, None);
        check(1_767_323_045, None);
        let refused = Some("the clock says 2026-01-02T03:04:05Z, which is before this image was built");
        check(1_767_323_046, refused);
        check(u64::MAX, refused);
    }
}
