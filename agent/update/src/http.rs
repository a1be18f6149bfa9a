//! HTTP: whole files with a limit, and ranges.
//!
//! What is fetched is not trusted for coming from here. Transient trouble is tried again a few times; a
//! server that answers a range with the whole file is understood.

use std::io::Read;
use std::time::Duration;

use ureq::http::{Response, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

use crate::error::{UpdateError, UpdateErrorKind, chain};

/// The system's certificates, as Debian keeps them.
const SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Attempts at one request.
const ATTEMPTS: u32 = 4;
/// Wait before the second attempt; doubles.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// Why a request has no answer that can be used.
#[derive(Debug)]
pub(crate) enum Failure {
    /// There is no such file.
    NotFound(String),
    /// Trouble that may pass.
    Transient(String),
    /// Trouble that stays.
    Last(String),
}

/// A client.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    agent: Agent,
}

/// What a server gives for a range.
pub(crate) enum Ranged {
    /// The range.
    Part(Body),
    /// The file from its beginning: it knows no ranges.
    Whole(Body),
}

impl Failure {
    pub(crate) fn message(&self) -> &str {
        match self {
            Failure::NotFound(message) | Failure::Transient(message) | Failure::Last(message) => message,
        }
    }
}

impl From<Failure> for UpdateError {
    fn from(failure: Failure) -> UpdateError {
        let kind = match &failure {
            Failure::NotFound(_) => UpdateErrorKind::Missing,
            Failure::Transient(_) | Failure::Last(_) => UpdateErrorKind::Unreachable,
        };
        UpdateError::new(kind, failure.message())
    }
}

impl Http {
    /// A client; with `tls` it never goes on without.
    pub(crate) fn new(tls: bool) -> Http {
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
        Http { agent }
    }

    /// A whole file of at most `limit` bytes.
    pub(crate) fn get(&self, url: &str, limit: u64) -> Result<Vec<u8>, Failure> {
        patiently(|| {
            let response = self.ask(url, None)?;
            if response.status() != 200 {
                return Err(refusal(url, &response));
            }
            let mut bytes = Vec::new();
            let read = response.into_body().into_reader().take(limit + 1).read_to_end(&mut bytes);
            read.map_err(|error| Failure::Transient(format!("`{url}` was cut off: {error}")))?;
            if bytes.len() as u64 > limit {
                return Err(Failure::Last(format!("`{url}` has more than {limit} bytes")));
            }
            Ok(bytes)
        })
    }

    /// Bytes `from` to `to`, without `to`.
    pub(crate) fn range(&self, url: &str, from: u64, to: u64) -> Result<Ranged, Failure> {
        patiently(|| {
            let response = self.ask(url, Some(&format!("bytes={from}-{}", to - 1)))?;
            match response.status().as_u16() {
                206 if starts_at(&response, from) => Ok(Ranged::Part(response.into_body())),
                206 => Err(Failure::Last(format!(
                    "`{url}`: the server gave another range than it was asked for"
                ))),
                200 => Ok(Ranged::Whole(response.into_body())),
                416 => Err(Failure::Last(format!("`{url}` has no bytes {from} to {to}: it was cut off"))),
                _ => Err(refusal(url, &response)),
            }
        })
    }

    fn ask(&self, url: &str, range: Option<&str>) -> Result<Response<Body>, Failure> {
        let mut request = self.agent.get(url);
        if let Some(range) = range {
            request = request.header(header::RANGE, range);
        }
        request.call().map_err(|error| {
            let message = format!("failed to reach `{url}`: {}", chain(&error));
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
    TlsConfig::builder().root_certs(RootCerts::new_with_certs(&certificates)).build()
}

fn starts_at(response: &Response<Body>, from: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {from}-")))
}

fn refusal(url: &str, response: &Response<Body>) -> Failure {
    let status = response.status().as_u16();
    let message = format!("`{url}`: the server answers {status}");
    match status {
        404 | 410 => Failure::NotFound(message),
        408 | 429 | 500..=599 => Failure::Transient(message),
        _ => Failure::Last(message),
    }
}

/// Tries again what may pass.
fn patiently<T>(mut attempt: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    let mut wait = FIRST_WAIT;
    for _ in 1..ATTEMPTS {
        match attempt() {
            Err(Failure::Transient(_)) => std::thread::sleep(wait),
            ended => return ended,
        }
        wait *= 2;
    }
    attempt()
}
