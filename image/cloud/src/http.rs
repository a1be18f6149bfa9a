//! Requests and answers in JSON.
//!
//! What only asks is asked again when the network or the server fails; what changes something is sent
//! again only when the server says that it did nothing (429). An answer that is no success is an error
//! with what the server says of it. Headers, which hold tokens, are never shown.

use std::io::Read;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use ureq::http::{HeaderMap, Method, Request, Response};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body, SendBody};

use crate::Secret;

/// Most bytes of an answer.
const MOST: u64 = 16 << 20;
/// Most characters that are repeated of what a server says.
const TOLD: usize = 300;
/// Attempts in all.
const ATTEMPTS: u32 = 4;
/// Longest time that a server may ask to wait.
const LONGEST_WAIT: u64 = 60;
/// Longest time in which nothing can be sent, nothing comes, or an answer does not begin.
const LONGEST_STALL: Duration = Duration::from_secs(120);

/// A request that failed.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// There was no answer.
    #[error("{method} `{url}` failed")]
    Transport {
        /// The request's method.
        method: Method,
        /// Where to.
        url: String,
        /// Why.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The server says no.
    #[error("{method} `{url}` was answered with {status}: {told}")]
    Status {
        /// The request's method.
        method: Method,
        /// Where to.
        url: String,
        /// The status.
        status: u16,
        /// What the server says of it.
        told: String,
    },
    /// The answer is not what the API promises.
    #[error("{method} `{url}`: {problem}")]
    Answer {
        /// The request's method.
        method: Method,
        /// Where to.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl HttpError {
    /// The status, where there was an answer that says no.
    pub fn status(&self) -> Option<u16> {
        match self {
            HttpError::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the server refused, and so did nothing.
    pub(crate) fn is_refusal(&self) -> bool {
        self.status().is_some_and(|status| status < 500)
    }
}

/// An answer.
pub(crate) struct Answer {
    method: Method,
    url: String,
    pub(crate) headers: HeaderMap,
    /// Null where there is none.
    pub(crate) json: Value,
}

impl Answer {
    /// The value at a path of keys.
    pub(crate) fn at(&self, path: &[&str]) -> Result<&Value, HttpError> {
        let found = path.iter().try_fold(&self.json, |value, key| value.get(key));
        found.ok_or_else(|| self.wrong(format!("the answer has no `{}`", path.join("."))))
    }

    /// Reads the value at a path of keys.
    pub(crate) fn read<T: serde::de::DeserializeOwned>(&self, path: &[&str]) -> Result<T, HttpError> {
        let value = self.at(path)?.clone();
        serde_json::from_value(value).map_err(|error| self.wrong(format!("`{}`: {error}", path.join("."))))
    }

    fn wrong(&self, problem: String) -> HttpError {
        HttpError::Answer { method: self.method.clone(), url: self.url.clone(), problem }
    }
}

/// A client of one API.
pub(crate) struct Http {
    agent: Agent,
    base: String,
    headers: Vec<(&'static str, Secret)>,
    pause: Duration,
}

impl Http {
    /// A client of the API at `base`. `ca`: authorities to trust instead of the public ones, in PEM.
    pub(crate) fn new(base: &str, ca: Option<&[u8]>) -> Http {
        Http::stalling(base, ca, LONGEST_STALL)
    }

    /// As [`Http::new`]; `stall`: the longest time without progress.
    fn stalling(base: &str, ca: Option<&[u8]>, stall: Duration) -> Http {
        let mut tls = TlsConfig::builder();
        if let Some(pem) = ca {
            let certificates = ureq::tls::parse_pem(pem).filter_map(|item| match item {
                Ok(ureq::tls::PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            });
            tls = tls.root_certs(RootCerts::from(certificates.collect::<Vec<_>>()));
        }
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(15)))
            .timeout_recv_response(Some(stall))
            .timeout_per_read(Some(stall))
            .timeout_per_write(Some(stall))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("holdfast-image/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls.build())
            .build()
            .new_agent();
        let base = base.trim_end_matches('/').to_owned();
        Http { agent, base, headers: Vec::new(), pause: Duration::from_secs(1) }
    }

    /// The same client of another API of the same cloud.
    pub(crate) fn of(&self, base: &str) -> Http {
        Http {
            agent: self.agent.clone(),
            base: base.trim_end_matches('/').to_owned(),
            headers: self.headers.clone(),
            pause: self.pause,
        }
    }

    /// Sends a header with each request.
    pub(crate) fn header(mut self, name: &'static str, value: Secret) -> Http {
        self.headers.retain(|(present, _)| *present != name);
        self.headers.push((name, value));
        self
    }

    pub(crate) fn get(&self, path: &str) -> Result<Answer, HttpError> {
        self.ask(Method::GET, path, None)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Answer, HttpError> {
        self.ask(Method::POST, path, Some(body))
    }

    /// Removes what may be gone already; says whether it was there.
    pub(crate) fn delete(&self, path: &str) -> Result<bool, HttpError> {
        match self.ask(Method::DELETE, path, None) {
            Err(error) if error.status() == Some(404) => Ok(false),
            answer => answer.map(|_| true),
        }
    }

    /// Sends `length` bytes of `content`, once.
    pub(crate) fn put(&self, path: &str, content: &mut dyn Read, length: u64) -> Result<Answer, HttpError> {
        let url = format!("{}{path}", self.base);
        let request = self.request(&Method::PUT, &url);
        let request =
            request.header("content-type", "application/octet-stream").header("content-length", length);
        self.send(Method::PUT, url, request.body(SendBody::from_reader(content)))
    }

    fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, HttpError> {
        let url = format!("{}{path}", self.base);
        let asks_only = method == Method::GET || method == Method::DELETE;
        let mut attempt = 1;
        loop {
            let request = self.request(&method, &url);
            let answer = match body {
                Some(body) => {
                    let bytes = body.to_string().into_bytes();
                    let request = request.header("content-type", "application/json");
                    // Not every server takes a body in chunks.
                    let request = request.header("content-length", bytes.len());
                    self.send(
                        method.clone(),
                        url.clone(),
                        request.body(SendBody::from_owned_reader(std::io::Cursor::new(bytes))),
                    )
                }
                None => self.send(method.clone(), url.clone(), request.body(SendBody::none())),
            };
            let again = match &answer {
                Err(HttpError::Status { status: 429, .. }) => true,
                Err(HttpError::Status { status, .. }) => asks_only && *status >= 500,
                Err(HttpError::Transport { .. }) => asks_only,
                _ => false,
            };
            if !again || attempt == ATTEMPTS {
                return answer;
            }
            std::thread::sleep(self.pause * 2u32.pow(attempt - 1));
            attempt += 1;
        }
    }

    fn request(&self, method: &Method, url: &str) -> ureq::http::request::Builder {
        let request = Request::builder().method(method).uri(url).header("accept", "application/json");
        self.headers.iter().fold(request, |request, (name, value)| request.header(*name, value.expose()))
    }

    fn send(
        &self,
        method: Method,
        url: String,
        request: Result<Request<SendBody<'_>>, ureq::http::Error>,
    ) -> Result<Answer, HttpError> {
        let failed = |method: &Method, url: &str, source: ureq::Error| HttpError::Transport {
            method: method.clone(),
            url: url.to_owned(),
            source: Box::new(source),
        };
        let request = request.map_err(|error| failed(&method, &url, error.into()))?;
        let mut response = self.agent.run(request).map_err(|error| failed(&method, &url, error))?;
        let status = response.status().as_u16();
        let text = body(&mut response).map_err(|error| failed(&method, &url, error))?;
        if !(200..300).contains(&status) {
            if status == 429 {
                wait_as_told(response.headers());
            }
            return Err(HttpError::Status { method, url, status, told: told(&text) });
        }
        let headers = response.headers().clone();
        let json = if text.trim().is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).map_err(|error| HttpError::Answer {
                method: method.clone(),
                url: url.clone(),
                problem: format!("the answer is not JSON: {error}"),
            })?
        };
        Ok(Answer { method, url, headers, json })
    }
}

/// All but the characters that stand for themselves wherever they are (RFC 3986, section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A value of a query.
pub(crate) fn encoded(value: &str) -> String {
    utf8_percent_encode(value, RESERVED).to_string()
}

fn body(response: &mut Response<Body>) -> Result<String, ureq::Error> {
    response.body_mut().with_config().limit(MOST).lossy_utf8(true).read_to_string()
}

/// `Retry-After`, in seconds.
fn wait_as_told(headers: &HeaderMap) {
    let seconds = headers.get("retry-after").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    std::thread::sleep(Duration::from_secs(seconds.unwrap_or(0).min(LONGEST_WAIT)));
}

/// What an error's document says: its first `message`, else its text without markup, on one line.
fn told(text: &str) -> String {
    let json: Option<Value> = serde_json::from_str(text).ok();
    let said =
        json.as_ref().and_then(|json| message(json, 3)).map_or_else(|| without_tags(text), str::to_owned);
    let line = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let line: String = line.chars().filter(|c| !c.is_control()).take(TOLD).collect();
    if line.is_empty() { "without a reason".to_owned() } else { line }
}

fn message(json: &Value, depth: u32) -> Option<&str> {
    let object = json.as_object()?;
    let here = ["message", "error_message", "detail"].iter().find_map(|key| object.get(*key)?.as_str());
    let deeper = || object.values().find_map(|value| message(value, depth.checked_sub(1)?));
    here.or_else(deeper)
}

fn without_tags(text: &str) -> String {
    let mut inside = false;
    let keep = |c: char| {
        match c {
            '<' => inside = true,
            '>' => inside = false,
            c if !inside => return Some(c),
            _ => {}
        }
        (c == '>').then_some(' ')
    };
    text.chars().filter_map(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_say_of_an_error() {
        for (text, expect) in [
            (
                r#"{"id": "unauthorized", "message": "Unable to authenticate you"}"#,
                "Unable to authenticate you",
            ),
            (
                r#"{"error": {"code": 401, "message": "The request you have made", "title": "x"}}"#,
                "The request you have made",
            ),
            (
                r#"{"badRequest": {"message": "Invalid imageRef\nprovided.", "code": 400}}"#,
                "Invalid imageRef provided.",
            ),
            (
                "<html><head><title>415 Unsupported</title></head><body>No such <b>format</b></body></html>",
                "415 Unsupported No such format",
            ),
            ("", "without a reason"),
            ("{}", "{}"),
        ] {
            assert_eq!(told(text), expect);
        }
        assert_eq!(told(&"x".repeat(1000)).len(), TOLD);
    }

    #[test]
    fn what_is_sent_to_nobody_who_reads_ends() {
        let deaf = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let base = format!("http://{}", deaf.local_addr().unwrap());
        let http = Http::stalling(&base, None, Duration::from_millis(200));
        match http.put("/file", &mut std::io::repeat(0), 1 << 40).err() {
            Some(HttpError::Transport { source, .. }) => {
                assert!(matches!(*source, ureq::Error::Timeout(ureq::Timeout::PerWrite)), "{source}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_refusal_is_what_the_server_says_itself() {
        let (method, url) = (Method::POST, "https://example.org/".to_owned());
        for (status, expect) in [(401, true), (409, true), (422, true), (500, false), (504, false)] {
            let (method, url) = (method.clone(), url.clone());
            let error = HttpError::Status { method, url, status, told: String::new() };
            assert_eq!(error.is_refusal(), expect, "{status}");
        }
        // It was done; only what it led to is not known.
        assert!(!HttpError::Answer { method, url, problem: String::new() }.is_refusal());
    }

    #[test]
    fn a_value_of_a_query_ends_nowhere_else() {
        for (value, expect) in [
            ("holdfast-0.3.1_a~", "holdfast-0.3.1_a~"),
            ("hub1: a/b", "hub1%3A%20a%2Fb"),
            ("ä&limit=1#+%", "%C3%A4%26limit%3D1%23%2B%25"),
            ("", ""),
        ] {
            assert_eq!(encoded(value), expect);
        }
    }
}
