//! HTTP: whole files with a limit, and ranges.
//!
//! What is fetched is not trusted for coming from here. Trouble that may pass is tried again a few times; a
//! server that answers a range with the whole file is understood. One whose file has another length than was
//! signed is refused before its bytes are read.

use std::io::{ErrorKind, Read};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use ureq::http::{Response, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

use crate::error::{UpdateError, UpdateErrorKind, chain};

/// The system's certificates, as Debian keeps them.
const SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";

/// How often trouble that may pass is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Attempts at one request, and at a transfer that gets no further.
    pub attempts: u32,
    /// Wait before the second attempt; doubles.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { attempts: 4, pause: Duration::from_millis(500) }
    }
}

/// Why a request has no answer that can be used.
#[derive(Debug)]
pub(crate) enum Failure {
    /// There is no such file.
    NotFound(String),
    /// Trouble that may pass.
    Transient(String),
    /// Trouble that stays.
    Last(String),
    /// The file is not what it should be.
    Wrong(String),
}

/// A client.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    agent: Agent,
    patience: Patience,
}

/// What a server gives for a range.
pub(crate) enum Ranged {
    /// The range.
    Part(Body),
    /// The file from its beginning: it knows no ranges.
    Whole(Body),
}

impl From<Failure> for UpdateError {
    fn from(failure: Failure) -> UpdateError {
        match failure {
            Failure::NotFound(message) => UpdateError::new(UpdateErrorKind::Missing, message),
            Failure::Transient(message) | Failure::Last(message) => {
                UpdateError::new(UpdateErrorKind::Unreachable, message)
            }
            Failure::Wrong(message) => UpdateError::damaged(message),
        }
    }
}

impl Http {
    /// A client; with `tls` it never goes on without.
    pub(crate) fn new(tls: bool, patience: Patience) -> Http {
        let agent = Agent::config_builder()
            .tls_config(system_tls())
            .https_only(tls)
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(5)
            .user_agent(concat!("holdfast/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(Duration::from_secs(10)))
            .timeout_connect(Some(Duration::from_secs(15)))
            .timeout_recv_response(Some(Duration::from_secs(30)))
            .timeout_per_read(Some(Duration::from_secs(30)))
            .build()
            .new_agent();
        Http { agent, patience }
    }

    /// A whole file of at most `limit` bytes.
    pub(crate) fn get(&self, url: &str, limit: u64) -> Result<Vec<u8>, Failure> {
        self.patiently(|| {
            let response = self.ask(url, None)?;
            if response.status() != 200 {
                return Err(refusal(url, &response));
            }
            let mut bytes = Vec::new();
            let read = response.into_body().into_reader().take(limit + 1).read_to_end(&mut bytes);
            read.map_err(|error| Failure::Transient(cut_off(url, &error)))?;
            if bytes.len() as u64 > limit {
                return Err(Failure::Wrong(too_long(url, limit)));
            }
            Ok(bytes)
        })
    }

    /// Bytes `from` to `to`, without `to`, of a file of `length` bytes. A server may give fewer.
    pub(crate) fn range(&self, url: &str, from: u64, to: u64, length: u64) -> Result<Ranged, Failure> {
        self.patiently(|| {
            let response = self.ask(url, Some(&format!("bytes={from}-{}", to - 1)))?;
            let status = response.status().as_u16();
            let (first, total) = match status {
                206 | 416 => content_range(&response),
                200 => (None, response.body().content_length()),
                _ => return Err(refusal(url, &response)),
            };
            if let Some(total) = total.filter(|total| *total != length) {
                return Err(Failure::Wrong(format!("`{url}` has {total} bytes, and {length} were signed")));
            }
            match status {
                200 => Ok(Ranged::Whole(response.into_body())),
                206 if first == Some(from) => Ok(Ranged::Part(response.into_body())),
                _ => {
                    let message = format!("`{url}`: the server does not give bytes {from} to {}", to - 1);
                    Err(Failure::Last(message))
                }
            }
        })
    }

    /// How often trouble that may pass is tried again.
    pub(crate) fn patience(&self) -> Patience {
        self.patience
    }

    /// Tries again what may pass.
    fn patiently<T>(&self, mut attempt: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
        let mut wait = self.patience.pause;
        for _ in 1..self.patience.attempts {
            match attempt() {
                Err(Failure::Transient(_)) => std::thread::sleep(wait),
                ended => return ended,
            }
            wait *= 2;
        }
        attempt()
    }

    fn ask(&self, url: &str, range: Option<&str>) -> Result<Response<Body>, Failure> {
        let mut request = self.agent.get(url);
        if let Some(range) = range {
            request = request.header(header::RANGE, range);
        }
        request.call().map_err(|error| {
            let message = format!("failed to reach `{url}`: {}", cause(&error));
            match error {
                ureq::Error::Rustls(_) | ureq::Error::Tls(_) | ureq::Error::BadUri(_) => {
                    Failure::Last(message)
                }
                _ => Failure::Transient(message),
            }
        })
    }
}

/// TLS with the system's certificates.
pub(crate) fn system_tls() -> TlsConfig {
    let system = std::fs::read(SYSTEM).unwrap_or_default();
    let certificates: Vec<Certificate<'static>> = parse_pem(&system)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&certificates))
        .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
        .build()
}

/// What is wrong with a file that is longer than it may be.
pub(crate) fn too_long(url: &str, limit: u64) -> String {
    format!("`{url}` has more than {limit} bytes")
}

/// What is said of a transfer that broke off.
pub(crate) fn cut_off(url: &str, error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::UnexpectedEof => format!("`{url}` ended too early"),
        _ => format!("`{url}` was cut off: {}", chain(error)),
    }
}

/// The first byte and the length of the whole file, RFC 9110, section 14.4.
fn content_range(response: &Response<Body>) -> (Option<u64>, Option<u64>) {
    let value = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let Some((range, total)) =
        value.and_then(|value| value.strip_prefix("bytes ")).and_then(|value| value.split_once('/'))
    else {
        return (None, None);
    };
    let first = range.split_once('-').and_then(|(first, _)| first.parse().ok());
    (first, total.parse().ok())
}

/// What went wrong, without the client's own classification.
fn cause(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) => chain(error),
        ureq::Error::Timeout(_) => "no answer in time".to_owned(),
        ureq::Error::RequireHttpsOnly(_) => "the server sends on to an address without TLS".to_owned(),
        other => chain(other),
    }
}

fn refusal(url: &str, response: &Response<Body>) -> Failure {
    let status = response.status().as_u16();
    let message = format!("`{url}`: the server answers {status}");
    match status {
        // Object stores say 403 of a file that is not there.
        403 | 404 | 410 => Failure::NotFound(message),
        408 | 429 | 500..=599 => Failure::Transient(message),
        _ => Failure::Last(message),
    }
}
