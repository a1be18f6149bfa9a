//! Where the archives are: a folder, a URL, or the host's apt sources.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::fetch::{FetchError, sources};

/// The most that a signed release may have.
const RELEASE_LIMIT: u64 = 8 << 20;
/// How often a request is made before the mirror counts as broken.
const ATTEMPTS: u32 = 3;

/// Archives and how to read them.
#[derive(Clone, Debug)]
pub(crate) struct Mirror {
    bases: BTreeMap<String, String>,
    everything: Option<String>,
    agent: ureq::Agent,
}

impl Mirror {
    /// A folder or URL that holds the archives; without one, what the host's apt uses.
    pub(crate) fn new(option: Option<&str>) -> Mirror {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(15)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_per_read(Some(Duration::from_secs(60)))
            .user_agent(concat!("holdfast-image/", env!("CARGO_PKG_VERSION")))
            .build();
        Mirror {
            bases: if option.is_some() { BTreeMap::new() } else { sources::host(Path::new("/etc/apt")) },
            everything: option.map(|text| text.trim_end_matches('/').to_owned()),
            agent: config.new_agent(),
        }
    }

    /// Where a file of an archive is.
    pub(crate) fn url(&self, archive: &str, path: &str) -> Result<String, FetchError> {
        if let Some(everything) = &self.everything {
            return Ok(format!("{everything}/{archive}/{path}"));
        }
        let base = self.bases.get(archive);
        let base = base.ok_or_else(|| FetchError::NoMirror { archive: archive.to_owned() })?;
        Ok(format!("{base}/{path}"))
    }

    /// Opens a file.
    pub(crate) fn open(&self, url: &str) -> Result<Box<dyn Read + Send>, FetchError> {
        if let Some(path) = local(url) {
            return match File::open(&path) {
                Ok(file) => Ok(Box::new(file)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    Err(FetchError::Gone { url: url.to_owned() })
                }
                Err(source) => Err(FetchError::Read { url: url.to_owned(), source }),
            };
        }
        let response = self
            .agent
            .get(url)
            .call()
            .map_err(|source| FetchError::Transport { url: url.to_owned(), source: Box::new(source) })?;
        match response.status().as_u16() {
            200 => Ok(Box::new(response.into_body().into_reader())),
            404 | 410 => Err(FetchError::Gone { url: url.to_owned() }),
            status => Err(FetchError::Status { url: url.to_owned(), status }),
        }
    }

    /// Reads a small text file.
    pub(crate) fn read_text(&self, archive: &str, path: &str) -> Result<String, FetchError> {
        let url = self.url(archive, path)?;
        attempts(|| {
            let mut text = String::new();
            let mut reader = self.open(&url)?.take(RELEASE_LIMIT);
            reader
                .read_to_string(&mut text)
                .map_err(|source| FetchError::Read { url: url.clone(), source })?;
            Ok(text)
        })
    }
}

/// Repeats what failed for a reason that may pass.
pub(super) fn attempts<T>(mut work: impl FnMut() -> Result<T, FetchError>) -> Result<T, FetchError> {
    let mut attempt = 1;
    loop {
        match work() {
            Err(error) if error.is_transient() && attempt < ATTEMPTS => {
                std::thread::sleep(Duration::from_millis(500 << attempt));
                attempt += 1;
            }
            result => return result,
        }
    }
}

fn local(url: &str) -> Option<PathBuf> {
    if let Some(path) = url.strip_prefix("file://").or_else(|| url.strip_prefix("file:")) {
        return Some(PathBuf::from(path));
    }
    (!url.contains("://")).then(|| PathBuf::from(url))
}
