//! A message to the box's owner, sent by one POST.
//!
//! The folder holds `request.json`; what comes out is `result.json`. The address may be all that lets someone
//! send there: nothing that is written, printed or shown by `Debug` has any of it, and so no word of the
//! server either, which may repeat it. Deliberately absent: trying again, and what the message says.

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use agent_system::files::{self, FileError};
use base64::prelude::{BASE64_STANDARD, Engine};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use ureq::Agent;
use ureq::http::{StatusCode, header};
use url::Url;

use crate::http::system_tls;

/// Bytes of a request.
const REQUEST: u64 = 64 << 10;
/// Redirects that are followed.
const REDIRECTS: usize = 5;
/// Time that each hop may take as a whole.
const TIME: Duration = Duration::from_secs(45);

/// What to send, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotifyRequest {
    /// Version of this format.
    pub format: u32,
    /// Where: `http` or `https`.
    pub url: Address,
    /// What: JSON, as it is sent.
    pub body: String,
}

/// An address that is not shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Address(String);

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotifyResult {
    /// Version of this format.
    pub format: u32,
    /// What came of it.
    #[serde(flatten)]
    pub delivery: Delivery,
}

/// What came of it, each with words for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Delivery {
    /// The server took it.
    Delivered(String),
    /// The server would not have it, and will hardly change its mind.
    Refused(String),
    /// There was no answer, or one that says to come again.
    Failed(String),
}

impl NotifyRequest {
    /// The format that is written now.
    pub const FORMAT: u32 = 1;
    /// Its name in the folder.
    pub const FILE: &'static str = "request.json";

    /// A request of that format.
    pub fn new(url: &str, body: String) -> NotifyRequest {
        NotifyRequest { format: NotifyRequest::FORMAT, url: Address(url.to_owned()), body }
    }
}

impl NotifyResult {
    /// The format that is written now.
    pub const FORMAT: u32 = 1;
    /// Its name in the folder.
    pub const FILE: &'static str = "result.json";
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address(…)")
    }
}

/// Sends what `folder/request.json` holds and writes `folder/result.json`. Gives what came of it too; the
/// error is that the result cannot be written.
pub fn run(folder: &Path) -> Result<Delivery, FileError> {
    let delivery = match read(folder) {
        Ok(request) => deliver(&request),
        Err(reason) => Delivery::Failed(reason),
    };
    let result = NotifyResult { format: NotifyResult::FORMAT, delivery };
    let text = serde_json::to_vec_pretty(&result).unwrap_or_default();
    files::write_atomic(folder.join(NotifyResult::FILE), text, 0o600)?;
    Ok(result.delivery)
}

fn read(folder: &Path) -> Result<NotifyRequest, String> {
    let text = files::read_limited(folder.join(NotifyRequest::FILE), REQUEST);
    let text = text.map_err(|error| crate::error::chain(&error))?;
    // What is wrong with it would be told with the address.
    let request: NotifyRequest =
        serde_json::from_slice(&text).map_err(|_| "the request cannot be read".to_owned())?;
    match request.format {
        NotifyRequest::FORMAT => Ok(request),
        other => Err(format!("requests of format {other} are not known")),
    }
}

fn deliver(request: &NotifyRequest) -> Delivery {
    let Ok(mut url) = Url::parse(&request.url.0) else {
        return Delivery::Refused("`url` in [box.notify] is no URL".to_owned());
    };
    let credentials = credentials(&mut url);
    let mut authorization = credentials;
    for _ in 0..=REDIRECTS {
        let (status, location) = match post(&url, authorization.as_deref(), &request.body) {
            Ok(answered) => answered,
            Err(error) => return Delivery::Failed(words(&error, &url)),
        };
        if !matches!(status.as_u16(), 307 | 308) {
            return judge(status);
        }
        let next = match location.as_deref().map(|location| redirected(&url, location)) {
            Some(Ok(next)) => next,
            Some(Err(reason)) => return Delivery::Refused(format!("{}, {reason}", answers(status))),
            None => return Delivery::Refused(format!("{}, and not where to", answers(status))),
        };
        if next.origin() != url.origin() {
            authorization = None;
        }
        url = next;
    }
    Delivery::Refused(format!("the server redirects more than {REDIRECTS} times"))
}

type Answered = (StatusCode, Option<String>);

/// One request: the status, and where it is redirected to.
fn post(url: &Url, authorization: Option<&str>, body: &str) -> Result<Answered, ureq::Error> {
    let agent: Agent = Agent::config_builder()
        .tls_config(system_tls())
        .https_only(url.scheme() == "https")
        .proxy(None)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(concat!("holdfast/", env!("CARGO_PKG_VERSION")))
        .timeout_global(Some(TIME))
        .timeout_resolve(Some(Duration::from_secs(10)))
        .timeout_connect(Some(Duration::from_secs(15)))
        .timeout_recv_response(Some(Duration::from_secs(30)))
        .build()
        .new_agent();
    let mut request = agent.post(url.as_str()).header(header::CONTENT_TYPE, "application/json");
    if let Some(authorization) = authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    let response = request.send(body)?;
    let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    Ok((response.status(), location.map(str::to_owned)))
}

fn judge(status: StatusCode) -> Delivery {
    match status.as_u16() {
        200..=299 => Delivery::Delivered(answers(status)),
        301..=303 => Delivery::Refused(format!(
            "{}, which a message does not follow: give the new `url`",
            answers(status)
        )),
        408 | 429 | 500..=599 => Delivery::Failed(answers(status)),
        _ => Delivery::Refused(answers(status)),
    }
}

fn answers(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("the server answers {} {reason}", status.as_u16()),
        None => format!("the server answers {}", status.as_u16()),
    }
}

/// Where a redirect leads: to HTTP or HTTPS, and never from HTTPS to HTTP.
fn redirected(from: &Url, location: &str) -> Result<Url, &'static str> {
    let mut next = from.join(location).map_err(|_| "to what is no URL")?;
    next.set_fragment(None);
    // What a server gives is not taken for a password.
    credentials(&mut next);
    match (from.scheme(), next.scheme()) {
        (_, "https") | ("http", "http") => Ok(next),
        ("https", "http") => Err("to plain http, which is not followed"),
        _ => Err("to what is neither http nor https"),
    }
}

/// Takes user and password out of a URL, as they are sent (RFC 7617).
fn credentials(url: &mut Url) -> Option<String> {
    let unescaped = |text| percent_decode_str(text).collect::<Vec<u8>>();
    let user = unescaped(url.username());
    let password = url.password().map(unescaped);
    let given = !user.is_empty() || password.is_some();
    let both = [&user, &b":"[..], password.as_deref().unwrap_or_default()].concat();
    // These fail only for URLs that cannot have either.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    given.then(|| format!("Basic {}", BASE64_STANDARD.encode(both)))
}

/// Why there was no answer, without the address.
fn words(error: &ureq::Error, url: &Url) -> String {
    let hidden = |text: String| match url.host_str() {
        Some(host) if !host.is_empty() => text.replace(host, "the server"),
        _ => text,
    };
    match error {
        ureq::Error::Timeout(what) => format!("the server does not answer in time ({what})"),
        ureq::Error::HostNotFound => "the server's name is not known".to_owned(),
        // Trouble of a handshake comes as trouble of the stream.
        ureq::Error::Io(error) if error.kind() == ErrorKind::InvalidData => hidden(tls(&error.to_string())),
        ureq::Error::Io(error) => hidden(format!("the server cannot be reached: {error}")),
        ureq::Error::Rustls(error) => hidden(tls(&error.to_string())),
        ureq::Error::Tls(what) => format!("the server is not trusted: {what}"),
        ureq::Error::Protocol(error) => hidden(format!("the server does not speak HTTP: {error}")),
        _ => "the server cannot be asked".to_owned(),
    }
}

fn tls(error: &str) -> String {
    let what = if error.contains("certificate") { "is not trusted" } else { "does not speak TLS" };
    format!("the server {what}: {error}")
}

#[cfg(test)]
#[path = "notify_tests.rs"]
mod tests;
