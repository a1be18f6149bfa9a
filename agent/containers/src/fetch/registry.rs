//! Images from a registry.
//!
//! OCI distribution specification, "Pulling". A tag is resolved by the one request for its manifest: what
//! comes is hashed by us, and no header is believed. Blobs go to a file while they are hashed; one that
//! was cut off goes on where it ended.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::thread;

use sha2::{Digest as _, Sha256};
use ureq::http::{Response, header};
use ureq::{Body, ResponseExt};

use super::RegistryAccess;
use super::auth;
use super::error::{FetchError, FetchErrorKind};
use super::http::{Failure, Http, read_body, refusal};
use super::manifest::{Descriptor, MANIFESTS};
use super::room;
use super::source::{Document, Source};
use crate::{Digest, Limits, Reference};

/// Bytes between two lines about a download.
const STEP: u64 = 16 << 20;
/// Bytes after which a broken download counts as having got somewhere.
const PROGRESS: u64 = 1 << 20;

/// One repository of a registry.
pub(super) struct Registry<'a> {
    http: Http,
    access: &'a RegistryAccess,
    repository: String,
    authorization: Option<String>,
    limits: &'a Limits,
}

/// A download that may take several requests.
struct Download {
    file: File,
    hasher: Sha256,
    bytes: u64,
}

impl<'a> Registry<'a> {
    pub(super) fn new(
        reference: &Reference,
        access: &'a RegistryAccess,
        limits: &'a Limits,
    ) -> Result<Registry<'a>, FetchError> {
        // Docker's own registry is known by a name that does not serve it.
        let (host, repository) = match (reference.registry.as_str(), &reference.repository) {
            ("docker.io", name) if !name.contains('/') => ("registry-1.docker.io", format!("library/{name}")),
            ("docker.io", name) => ("registry-1.docker.io", name.clone()),
            (host, name) => (host, name.clone()),
        };
        let http = Http::new(host, access)?;
        Ok(Registry { http, access, repository, authorization: None, limits })
    }

    /// Gets a path of the repository, with credentials once they are asked for.
    fn get(&mut self, path: &str, headers: &[(&str, String)], what: &str) -> Result<Response<Body>, Failure> {
        let url = self.http.url(&format!("/v2/{}/{path}", self.repository));
        let mut response = self.http.get(&url, headers, self.authorization.as_deref())?;
        // What a host that we were sent to asks for is none of its business.
        if response.status().as_u16() == 401
            && self.http.is_own(response.get_uri())
            && let Some(answer) = auth::answer(&self.http, &response, self.access, &self.repository)?
        {
            self.authorization = Some(answer);
            response = self.http.get(&url, headers, self.authorization.as_deref())?;
        }
        match response.status().as_u16() {
            200 | 206 => Ok(response),
            _ => Err(refusal(&response, what)),
        }
    }

    /// Tries until it works, fails for good, or was tried often enough.
    fn retry<T>(
        &mut self,
        mut attempt: impl FnMut(&mut Self) -> Result<T, Failure>,
    ) -> Result<T, FetchError> {
        let mut pause = self.limits.pause;
        let mut tried = 1;
        loop {
            match attempt(self) {
                Ok(value) => return Ok(value),
                Err(failure) if !failure.transient || tried >= self.limits.attempts => {
                    return Err(failure.error);
                }
                Err(failure) => thread::sleep(failure.wait.unwrap_or(pause).max(pause)),
            }
            pause *= 2;
            tried += 1;
        }
    }

    /// Gets a whole document.
    fn small(&mut self, path: &str, accept: &str, limit: u64, what: &str) -> Result<Vec<u8>, FetchError> {
        self.retry(|registry| {
            let response = registry.get(path, &[("Accept", accept.to_owned())], what)?;
            read_body(response.into_body(), limit)?.ok_or_else(|| {
                Failure::last(FetchErrorKind::Limit, format!("{what} is larger than {limit} bytes"))
            })
        })
    }

    fn verified(&mut self, path: &str, accept: &str, descriptor: &Descriptor) -> Result<Vec<u8>, FetchError> {
        let what = descriptor.digest.to_string();
        let limit = descriptor.size.min(self.limits.document);
        let bytes = self.small(path, accept, limit, &what)?;
        if Digest::of(&bytes) != descriptor.digest {
            return Err(mismatch(&what));
        }
        Ok(bytes)
    }

    /// One request of a download. `Ok`: all bytes are there.
    fn part(
        &mut self,
        descriptor: &Descriptor,
        download: &mut Download,
        say: &mut dyn FnMut(&str),
    ) -> Result<(), Failure> {
        let what = descriptor.digest.to_string();
        let mut headers = Vec::new();
        if download.bytes > 0 {
            headers.push(("Range", format!("bytes={}-", download.bytes)));
        }
        let response = self.get(&format!("blobs/{what}"), &headers, &what)?;
        let goes_on = response.status().as_u16() == 206
            && response
                .headers()
                .get(header::CONTENT_RANGE)
                .and_then(|value| value.to_str().ok())
                .is_some_and(|value| value.starts_with(&format!("bytes {}-", download.bytes)));
        if !goes_on {
            download.restart()?;
        }
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; 1 << 16];
        let mut next = download.bytes + STEP;
        loop {
            let read = body.read(&mut buffer).map_err(|error| {
                Failure::transient(format!("the download of {what} was cut off: {error}"))
            })?;
            if read == 0 {
                break;
            }
            download.take(&buffer[..read])?;
            if download.bytes > descriptor.size {
                return Err(mismatch(&what).into());
            }
            if download.bytes >= next {
                next += STEP;
                say(&format!("{} of {} MiB", download.bytes >> 20, descriptor.size >> 20));
            }
        }
        if download.bytes < descriptor.size {
            return Err(Failure::transient(format!(
                "the download of {what} ended after {} of {} bytes",
                download.bytes, descriptor.size
            )));
        }
        Ok(())
    }
}

impl Source for Registry<'_> {
    fn resolve(&mut self, reference: &Reference) -> Result<Document, FetchError> {
        let path = format!("manifests/{}", reference.target());
        let limit = self.limits.document;
        let bytes = self.small(&path, &MANIFESTS.join(", "), limit, &format!("`{reference}`"))?;
        let digest = Digest::of(&bytes);
        if reference.digest.is_some_and(|expected| expected != digest) {
            return Err(mismatch(&format!("`{reference}`")));
        }
        Ok(Document { digest, bytes })
    }

    fn manifest(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, FetchError> {
        let path = format!("manifests/{}", descriptor.digest);
        let accept = MANIFESTS.join(", ");
        self.verified(&path, &accept, descriptor)
    }

    fn document(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, FetchError> {
        let path = format!("blobs/{}", descriptor.digest);
        self.verified(&path, "*/*", descriptor)
    }

    fn blob(
        &mut self,
        descriptor: &Descriptor,
        work: &Path,
        say: &mut dyn FnMut(&str),
    ) -> Result<File, FetchError> {
        room::check(work.parent().unwrap_or(work), descriptor.size, self.limits)?;
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(work)
            .map_err(|error| FetchError::io("failed to make a file for a layer", &error))?;
        let mut download = Download { file, hasher: Sha256::new(), bytes: 0 };
        loop {
            let before = download.bytes;
            let done = self.retry(|registry| {
                let far = download.bytes;
                match registry.part(descriptor, &mut download, say) {
                    // It got somewhere: start counting failures again.
                    Err(failure) if failure.transient && download.bytes >= far + PROGRESS => Ok(false),
                    other => other.map(|()| true),
                }
            })?;
            if done {
                break;
            }
            debug_assert!(download.bytes > before);
        }
        if Digest::finish(download.hasher) != descriptor.digest {
            return Err(mismatch(&descriptor.digest.to_string()));
        }
        Ok(download.file)
    }
}

impl Download {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file.write_all(bytes).map_err(|error| FetchError::io("failed to write a layer", &error))?;
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn restart(&mut self) -> Result<(), Failure> {
        self.file
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.file.set_len(0))
            .map_err(|error| FetchError::io("failed to write a layer", &error))?;
        self.hasher = Sha256::new();
        self.bytes = 0;
        Ok(())
    }
}

fn mismatch(what: &str) -> FetchError {
    FetchError::new(FetchErrorKind::DigestMismatch, format!("the content of {what} is something else"))
        .hint("the registry's storage is damaged, or something in between changed it")
}
