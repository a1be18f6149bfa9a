//! Images from a registry.
//!
//! OCI distribution specification, "Pulling". A tag is resolved by the one request for its manifest: what
//! comes is hashed by us, and no header is believed. Blobs go to a file while they are hashed; one that
//! was cut off goes on where it ended, in this run or a later one.

use std::fs::File;
use std::path::Path;
use std::thread;
use std::time::Duration;

use ureq::Body;
use ureq::http::Response;

use super::RegistryAccess;
use super::auth;
use super::download::Download;
use super::error::{FetchError, FetchErrorKind};
use super::http::{self, Failure, Http, read_body};
use super::manifest::{Descriptor, MANIFESTS};
use super::refusal::{Asked, refusal};
use super::room;
use super::source::{Document, Source};
use crate::{Digest, Limits, Reference};

/// Bytes after which attempts are counted anew.
const PROGRESS: u64 = 64 << 10;

/// One repository of a registry.
pub(super) struct Registry<'a> {
    http: Http,
    access: &'a RegistryAccess,
    repository: String,
    authorization: Option<String>,
    limits: &'a Limits,
}

/// Attempts at one thing.
struct Attempts<'a> {
    limits: &'a Limits,
    failed: u32,
    pause: Duration,
}

impl Attempts<'_> {
    fn new(limits: &Limits) -> Attempts<'_> {
        Attempts { limits, failed: 0, pause: limits.pause }
    }

    /// Waits for the next attempt; the failure's error when there is none.
    fn wait(&mut self, failure: Failure) -> Result<(), FetchError> {
        self.failed += 1;
        let wait = failure.wait.unwrap_or(self.pause).max(self.pause);
        if !failure.transient || self.failed >= self.limits.attempts || wait > self.limits.wait {
            return Err(failure.error);
        }
        thread::sleep(wait);
        self.pause *= 2;
        Ok(())
    }
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

    /// Gets a path of the repository, with credentials once they are asked for: each time, since a token is
    /// good for some minutes only. An answer to a request for a range may be that there is none (416).
    fn get(&mut self, path: &str, headers: &[(&str, String)], what: &str) -> Result<Response<Body>, Failure> {
        let url = self.http.url(&format!("/v2/{}/{path}", self.repository));
        let mut response = self.http.get(&url, headers, self.authorization.as_deref())?;
        // What a host that we were sent to asks for is none of its business.
        if response.status().as_u16() == 401
            && self.http.is_from_registry(&response)
            && let Some(answer) = auth::answer(&self.http, &response, self.access, &self.repository)?
        {
            self.authorization = Some(answer);
            response = self.http.get(&url, headers, self.authorization.as_deref())?;
        }
        let ranged = headers.iter().any(|(name, _)| *name == "Range");
        match response.status().as_u16() {
            200 | 206 => Ok(response),
            416 if ranged => Ok(response),
            _ if self.http.is_from_registry(&response) => {
                Err(refusal(response, &Asked::Image { what, named: self.access.username.is_some() }))
            }
            _ => {
                let host = http::host(&response);
                Err(refusal(response, &Asked::Elsewhere { what, host: &host }))
            }
        }
    }

    /// Gets a whole document.
    fn small(&mut self, path: &str, accept: &str, limit: u64, what: &str) -> Result<Vec<u8>, FetchError> {
        let mut attempts = Attempts::new(self.limits);
        loop {
            let got = self
                .get(path, &[("Accept", accept.to_owned())], what)
                .and_then(|response| read_body(response.into_body(), limit));
            match got {
                Ok(Some(bytes)) => return Ok(bytes),
                Ok(None) => {
                    let message = format!("{what} is larger than {limit} bytes");
                    return Err(FetchError::new(FetchErrorKind::Limit, message));
                }
                Err(failure) => attempts.wait(failure)?,
            }
        }
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

    /// Gets what a download lacks. Every answer that brought something makes the attempts count anew.
    fn complete(
        &mut self,
        descriptor: &Descriptor,
        download: &mut Download,
        say: &mut dyn FnMut(&str),
    ) -> Result<(), FetchError> {
        let mut attempts = Attempts::new(self.limits);
        let mut far = download.furthest;
        while download.bytes < descriptor.size {
            let Err(failure) = self.part(descriptor, download, say) else { break };
            if download.furthest >= far + PROGRESS {
                far = download.furthest;
                attempts = Attempts::new(self.limits);
            }
            let failed = failure.error.message.clone();
            attempts.wait(failure)?;
            say(&format!("{failed}; it goes on at {}", download.place()));
        }
        Ok(())
    }

    /// One request of a download. `Ok`: all bytes are there.
    fn part(
        &mut self,
        descriptor: &Descriptor,
        download: &mut Download,
        say: &mut dyn FnMut(&str),
    ) -> Result<(), Failure> {
        let what = descriptor.digest.to_string();
        let path = format!("blobs/{what}");
        if download.bytes > 0 {
            let response = self.get(&path, &[("Range", format!("bytes={}-", download.bytes))], &what)?;
            if download.goes_on_with(&response) {
                return download.take(&what, response.into_body(), say);
            }
            download.restart()?;
            if response.status().as_u16() == 200 {
                return download.take(&what, response.into_body(), say);
            }
        }
        let response = self.get(&path, &[], &what)?;
        match response.status().as_u16() {
            200 => download.take(&what, response.into_body(), say),
            status => {
                Err(Failure::transient(format!("the registry answers {status} to the request for {what}")))
            }
        }
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
        let mut download = Download::open(work, descriptor.size)?;
        room::check(work.parent().unwrap_or(work), descriptor.size - download.bytes, self.limits)?;
        if (1..descriptor.size).contains(&download.bytes) {
            say(&format!("it goes on at {}", download.place()));
        }
        self.complete(descriptor, &mut download, say)?;
        if download.pieced && !download.is(&descriptor.digest) {
            // What an earlier run left may be damaged, and not each server knows what it sends a part of.
            say("its pieces do not fit: it begins again");
            download.restart()?;
            download.furthest = 0;
            self.complete(descriptor, &mut download, say)?;
        }
        match download.is(&descriptor.digest) {
            true => Ok(download.into_file()),
            false => Err(mismatch(&descriptor.digest.to_string())),
        }
    }
}

fn mismatch(what: &str) -> FetchError {
    FetchError::new(FetchErrorKind::DigestMismatch, format!("the content of {what} is something else"))
        .hint("the registry's storage is damaged, or something in between changed it")
}
