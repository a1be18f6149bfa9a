//! HTTP for the registry client: one request, its redirects, and what an error of the transport means.
//!
//! Invariants: credentials go to the host that asked for them and to no other; a request that began
//! with TLS never goes on without.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use ureq::http::{Response, Uri, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, ResponseExt};

use super::RegistryAccess;
use super::error::{FetchError, FetchErrorKind, chain, told};

/// The system's certificates, as Debian keeps them.
const SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";
const REDIRECTS: u32 = 5;
const PLAIN_HINT: &str =
    "if the registry speaks HTTP without TLS, say `plain_http = true` in its [[box.registry]]";

/// Something that went wrong, and whether trying again may help.
pub(super) struct Failure {
    pub(super) error: FetchError,
    pub(super) transient: bool,
    /// When the server says how long to wait.
    pub(super) wait: Option<Duration>,
}

impl Failure {
    pub(super) fn last(kind: FetchErrorKind, message: impl Into<String>) -> Failure {
        Failure { error: FetchError::new(kind, message), transient: false, wait: None }
    }

    pub(super) fn transient(message: impl Into<String>) -> Failure {
        let error = FetchError::new(FetchErrorKind::Unreachable, message);
        Failure { error, transient: true, wait: None }
    }
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Failure {
        Failure { error, transient: false, wait: None }
    }
}

/// A registry's HTTP client.
pub(super) struct Http {
    /// For the registry itself.
    own: Agent,
    /// For hosts that it sends us to: they may have other certificates.
    other: Agent,
    host: String,
    plain: bool,
}

impl Http {
    pub(super) fn new(host: &str, access: &RegistryAccess) -> Result<Http, FetchError> {
        let private = access.ca.as_deref().map(certificates).transpose()?;
        let system = std::fs::read_to_string(SYSTEM).ok().map(|pem| certificates(&pem)).transpose()?;
        let roots = |certs: Option<Vec<_>>| RootCerts::new_with_certs(&certs.unwrap_or_default());
        let all = match (&private, &system) {
            (Some(private), Some(system)) => Some(private.iter().chain(system).cloned().collect()),
            (private, system) => private.clone().or_else(|| system.clone()),
        };
        Ok(Http {
            own: agent(roots(private.or(system))),
            other: agent(roots(all)),
            host: host.to_owned(),
            plain: access.plain_http,
        })
    }

    /// The registry's address of `path`.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", if self.plain { "http" } else { "https" }, self.host)
    }

    /// Whether an address is the registry's own.
    fn is_own(&self, address: &Uri) -> bool {
        address.authority().is_some_and(|authority| authority.as_str().eq_ignore_ascii_case(&self.host))
    }

    /// Whether the registry itself gave an answer, and not a host that it sent us to.
    pub(super) fn is_from_registry(&self, response: &Response<Body>) -> bool {
        self.is_own(response.get_uri())
    }

    /// Gets `url`, follows redirects, and gives whatever answer comes. `authorization` is sent to the
    /// host of `url` only.
    pub(super) fn get(
        &self,
        url: &str,
        headers: &[(&str, String)],
        authorization: Option<&str>,
    ) -> Result<Response<Body>, Failure> {
        let first = parse(url)?;
        let may_be_plain = self.plain && first.scheme_str() == Some("http");
        let mut at = first.clone();
        for _ in 0..=REDIRECTS {
            if at.scheme_str() != Some("https") && !(may_be_plain && at.scheme_str() == Some("http")) {
                let message = format!("`{}` would be fetched without TLS", shown(&at));
                return Err(FetchError::new(FetchErrorKind::Certificate, message).hint(PLAIN_HINT).into());
            }
            let same = at.authority() == first.authority() && at.scheme() == first.scheme();
            let agent = if self.is_own(&at) { &self.own } else { &self.other };
            let mut request = agent.get(at.clone());
            for (name, value) in headers {
                request = request.header(*name, value);
            }
            if let Some(authorization) = authorization.filter(|_| same) {
                request = request.header(header::AUTHORIZATION, authorization);
            }
            let response = request.call().map_err(|error| self.failure(&at, &error))?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let target = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            at = join(&at, target.unwrap_or_default())?;
        }
        Err(Failure::last(FetchErrorKind::Unreachable, format!("`{}` redirects too often", shown(&first))))
    }

    /// What an error of the transport means.
    fn failure(&self, url: &Uri, error: &ureq::Error) -> Failure {
        let host = url.authority().map(|authority| authority.to_string()).unwrap_or_default();
        let message = format!("failed to reach `{host}`: {}", chain(error));
        match tls_error(error) {
            Some(rustls::Error::InvalidCertificate(_)) => {
                FetchError::new(FetchErrorKind::Certificate, message)
                    .hint("if the registry has a private CA, give it as `ca` in its [[box.registry]]")
                    .into()
            }
            Some(rustls::Error::InvalidMessage(_)) if !self.plain => {
                FetchError::new(FetchErrorKind::Certificate, message).hint(PLAIN_HINT).into()
            }
            Some(_) => FetchError::new(FetchErrorKind::Certificate, message).into(),
            None => Failure::transient(message),
        }
    }
}

/// The host that gave an answer, for messages.
pub(super) fn host(response: &Response<Body>) -> String {
    response.get_uri().authority().map(|authority| authority.to_string()).unwrap_or_default()
}

/// Reads a body of at most `limit` bytes; `Ok(None)` when there are more.
pub(super) fn read_body(body: Body, limit: u64) -> Result<Option<Vec<u8>>, Failure> {
    use io::Read;
    let mut bytes = Vec::new();
    body.into_reader()
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::transient(format!("the answer was cut off: {error}")))?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}

fn agent(roots: RootCerts) -> Agent {
    let tls = TlsConfig::builder()
        .root_certs(roots)
        .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()));
    Agent::config_builder()
        .tls_config(tls.build())
        .proxy(None)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(concat!("holdfast/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(Some(Duration::from_secs(10)))
        .timeout_connect(Some(Duration::from_secs(15)))
        .timeout_recv_response(Some(Duration::from_secs(30)))
        .timeout_per_read(Some(Duration::from_secs(30)))
        .build()
        .new_agent()
}

fn certificates(pem: &str) -> Result<Vec<Certificate<'static>>, FetchError> {
    let certificates: Vec<_> = parse_pem(pem.as_bytes())
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(FetchError::new(FetchErrorKind::Certificate, "the given CA holds no certificate")
            .hint("`ca` is text that begins with `-----BEGIN CERTIFICATE-----`"));
    }
    Ok(certificates)
}

fn tls_error(error: &ureq::Error) -> Option<&rustls::Error> {
    match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}

/// An address without its query, which may be a permission of its own.
fn shown(address: &Uri) -> String {
    let authority = address.authority().map(|authority| authority.as_str()).unwrap_or_default();
    told(&format!("{}://{authority}{}", address.scheme_str().unwrap_or_default(), address.path()))
}

fn parse(url: &str) -> Result<Uri, Failure> {
    url.parse().map_err(|_| {
        let message = format!("`{}` is not an address that can be fetched", told(url));
        Failure::last(FetchErrorKind::Unreachable, message)
    })
}

/// A redirect's target: absolute, or a path on the same host.
fn join(base: &Uri, target: &str) -> Result<Uri, Failure> {
    if target.starts_with("http://") || target.starts_with("https://") {
        return parse(target);
    }
    let authority = base.authority().map(|authority| authority.as_str()).unwrap_or_default();
    let scheme = base.scheme_str().unwrap_or("https");
    if let Some(rest) = target.strip_prefix("//") {
        return parse(&format!("{scheme}://{rest}"));
    }
    if target.starts_with('/') {
        return parse(&format!("{scheme}://{authority}{target}"));
    }
    Err(Failure::last(
        FetchErrorKind::Unreachable,
        format!("`{}` redirects to `{}`", shown(base), told(target)),
    ))
}
