//! Pushing an image to a registry (OCI distribution specification 1.1, "Push").
//!
//! Every blob is read and verified; those that the registry has are not sent again. Each upload is one POST and one PUT. What the
//! registry says it stored is compared with what was sent.

use std::cell::RefCell;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde::Deserialize;
use ureq::http::{HeaderMap, Response};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};

use crate::oci::OciError;
use crate::oci::image::{Descriptor, MANIFEST};
use crate::oci::layout::Layout;
use crate::progress::Progress;

/// How to talk to a registry.
#[derive(Debug, Default)]
pub(crate) struct Access {
    /// HTTP instead of HTTPS.
    pub plain_http: bool,
    /// The authorities to trust, instead of the public ones.
    pub ca: Option<Vec<Certificate<'static>>>,
    /// Who pushes, with a password.
    pub login: Option<(String, String)>,
}

/// The certificates in a PEM text; what else is in it is passed over.
pub(crate) fn certificates(pem: &[u8]) -> Vec<Certificate<'static>> {
    let certificate = |item| match item {
        Ok(ureq::tls::PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    };
    ureq::tls::parse_pem(pem).filter_map(certificate).collect()
}

/// Where to push to: `HOST[:PORT]/NAME[:TAG]`, tag `latest` where none is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    host: String,
    name: String,
    tag: String,
}

impl Target {
    /// Reads a reference.
    pub(crate) fn parse(text: &str) -> Result<Target, OciError> {
        let invalid = || OciError::Reference(text.to_owned());
        let (host, rest) = text.split_once('/').ok_or_else(invalid)?;
        let (name, tag) = rest.rsplit_once(':').unwrap_or((rest, "latest"));
        let word = |text: &str, more: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        let host_like = host.contains(['.', ':']) || host == "localhost";
        if !host_like || !word(host, ".-:[]") || !word(name, "._-/") || !word(tag, "._-") {
            return Err(invalid());
        }
        Ok(Target { host: host.to_owned(), name: name.to_owned(), tag: tag.to_owned() })
    }

    /// The reference in full.
    pub(crate) fn reference(&self) -> String {
        format!("{}/{}:{}", self.host, self.name, self.tag)
    }
}

/// Pushes the only image of a layout; gives its digest.
pub(crate) fn push(
    layout: &Layout,
    target: &Target,
    access: &Access,
    progress: &Progress,
) -> Result<String, OciError> {
    let descriptor = layout.only()?;
    let (manifest, bytes) = layout.manifest(descriptor)?;
    let session = Session::new(target, access);
    for blob in manifest.layers.iter().chain([&manifest.config]) {
        session.blob(layout, blob, progress)?;
    }
    let url = format!("{}/manifests/{}", session.base, target.tag);
    let response = session.send(&url, |agent, authorization| {
        authorized(agent.put(&url), authorization).content_type(MANIFEST).send(bytes.as_slice())
    })?;
    let response = expect(&url, response, &[201])?;
    same_digest(response.headers(), &descriptor.digest)?;
    Ok(descriptor.digest.clone())
}

struct Session<'a> {
    agent: Agent,
    access: &'a Access,
    target: &'a Target,
    scheme: &'static str,
    base: String,
    authorization: RefCell<Option<String>>,
}

impl<'a> Session<'a> {
    fn new(target: &'a Target, access: &'a Access) -> Self {
        let mut tls = TlsConfig::builder();
        if let Some(ca) = &access.ca {
            tls = tls.root_certs(RootCerts::from(ca.clone()));
        }
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(15)))
            .timeout_recv_response(Some(Duration::from_secs(300)))
            .tls_config(tls.build())
            .build()
            .new_agent();
        let scheme = if access.plain_http { "http" } else { "https" };
        let base = format!("{scheme}://{}/v2/{}", target.host, target.name);
        Session { agent, access, target, scheme, base, authorization: RefCell::default() }
    }

    /// Makes a request; when the registry asks who it is, answers and makes it again.
    fn send(
        &self,
        url: &str,
        request: impl Fn(&Agent, Option<&str>) -> Result<Response<Body>, ureq::Error>,
    ) -> Result<Response<Body>, OciError> {
        let transport = |source| OciError::Transport { url: url.to_owned(), source: Box::new(source) };
        let response = request(&self.agent, self.authorization.borrow().as_deref()).map_err(transport)?;
        if response.status() != 401 || self.authorization.borrow().is_some() {
            return Ok(response);
        }
        let challenge = response.headers().get("www-authenticate").and_then(|value| value.to_str().ok());
        let Some(authorization) = self.authorize(challenge.unwrap_or_default())? else { return Ok(response) };
        self.authorization.replace(Some(authorization));
        request(&self.agent, self.authorization.borrow().as_deref()).map_err(transport)
    }

    fn authorize(&self, challenge: &str) -> Result<Option<String>, OciError> {
        let login = self.access.login.as_ref();
        let basic = login.map(|(user, password)| {
            format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
        });
        let Some(rest) = challenge.strip_prefix("Bearer ") else { return Ok(basic) };
        let Some(realm) = parameter(rest, "realm") else { return Ok(basic) };
        let scope = format!("repository:{}:pull,push", self.target.name);
        let mut request = self.agent.get(&realm).query("scope", scope);
        if let Some(service) = parameter(rest, "service") {
            request = request.query("service", service);
        }
        if let Some(basic) = &basic {
            request = request.header("authorization", basic);
        }
        let transport = |source| OciError::Transport { url: realm.clone(), source: Box::new(source) };
        let mut response = expect(&realm, request.call().map_err(transport)?, &[200])?;
        let text = response.body_mut().read_to_string().map_err(transport)?;
        let token: Token = serde_json::from_str(&text)
            .map_err(|source| OciError::Json { path: realm.clone().into(), source })?;
        Ok(token.token.or(token.access_token).map(|token| format!("Bearer {token}")))
    }

    fn blob(&self, layout: &Layout, blob: &Descriptor, progress: &Progress) -> Result<(), OciError> {
        let bytes = layout.blob(blob)?;
        let there = format!("{}/blobs/{}", self.base, blob.digest);
        let response = self.send(&there, |agent, auth| authorized(agent.head(&there), auth).call())?;
        match response.status().as_u16() {
            200 => return Ok(()),
            404 => {}
            _ => {
                expect(&there, response, &[200])?;
            }
        }
        let start = format!("{}/blobs/uploads/", self.base);
        let response = self.send(&start, |agent, auth| authorized(agent.post(&start), auth).send_empty())?;
        let response = expect(&start, response, &[202])?;
        let location = self.location(&start, response.headers())?;
        let separator = if location.contains('?') { '&' } else { '?' };
        let put = format!("{location}{separator}digest={}", blob.digest.replace(':', "%3A"));
        let name = format!(
            "push {} ({})",
            &blob.digest[..19.min(blob.digest.len())],
            crate::progress::size(blob.size)
        );
        let response = progress.step(&name, || {
            self.send(&put, |agent, auth| {
                let request = authorized(agent.put(&put), auth);
                request.content_type("application/octet-stream").send(bytes.as_slice())
            })
        })?;
        let response = expect(&put, response, &[201])?;
        same_digest(response.headers(), &blob.digest)
    }

    /// Where an upload goes on: absolute, or on the same host.
    fn location(&self, url: &str, headers: &HeaderMap) -> Result<String, OciError> {
        let missing = || OciError::Refused {
            url: url.to_owned(),
            status: 202,
            detail: ": without a place to upload to".to_owned(),
        };
        let location = headers.get("location").and_then(|value| value.to_str().ok()).ok_or_else(missing)?;
        if location.starts_with('/') {
            return Ok(format!("{}://{}{location}", self.scheme, self.target.host));
        }
        if location.starts_with("http://") || location.starts_with("https://") {
            return Ok(location.to_owned());
        }
        Err(missing())
    }
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

fn authorized<B>(request: ureq::RequestBuilder<B>, authorization: Option<&str>) -> ureq::RequestBuilder<B> {
    match authorization {
        Some(value) => request.header("authorization", value),
        None => request,
    }
}

fn expect(url: &str, mut response: Response<Body>, statuses: &[u16]) -> Result<Response<Body>, OciError> {
    let status = response.status().as_u16();
    if statuses.contains(&status) {
        return Ok(response);
    }
    let text = response.body_mut().with_config().limit(4096).read_to_string().unwrap_or_default();
    let detail = text.trim();
    let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
    Err(OciError::Refused { url: url.to_owned(), status, detail })
}

/// Registries need not say the digest; one that does must say the right one.
fn same_digest(headers: &HeaderMap, expected: &str) -> Result<(), OciError> {
    match headers.get("docker-content-digest").and_then(|value| value.to_str().ok()) {
        Some(found) if found != expected => {
            Err(OciError::Stored { expected: expected.to_owned(), found: found.to_owned() })
        }
        _ => Ok(()),
    }
}

/// A value of a challenge: `realm="https://…",service="…"`.
fn parameter(challenge: &str, name: &str) -> Option<String> {
    let start = challenge.find(&format!("{name}=\""))? + name.len() + 2;
    challenge[start..].split('"').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_have_a_host() {
        for (text, expect) in [
            ("127.0.0.1:5000/app", Some("127.0.0.1:5000/app:latest")),
            ("registry.example.org/a/b:1.2", Some("registry.example.org/a/b:1.2")),
            ("localhost/a", Some("localhost/a:latest")),
            ("nginx:1", None),
            ("library/nginx", None),
            ("example.org/a@sha256:00", None),
            ("example.org/", None),
        ] {
            assert_eq!(Target::parse(text).ok().map(|t| t.reference()).as_deref(), expect, "{text}");
        }
    }

    #[test]
    fn challenges_are_taken_apart() {
        let challenge = r#"realm="https://auth.example.org/token",service="registry.example.org""#;
        assert_eq!(parameter(challenge, "service").as_deref(), Some("registry.example.org"));
        assert_eq!(parameter(challenge, "scope"), None);
    }
}
