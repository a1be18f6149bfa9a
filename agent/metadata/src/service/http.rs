//! GET requests to one address.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, HOST, LOCATION, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::ServiceError;

/// How long a connection may take: a host that is there answers at once.
const CONNECT: Duration = Duration::from_secs(3);
/// Most redirects of one request: the documented ones add a slash.
const REDIRECTS: usize = 3;

/// A service at an address; each request has a connection of its own.
pub(super) struct Service {
    address: SocketAddr,
}

impl Service {
    pub(super) fn new(address: SocketAddr) -> Service {
        Service { address }
    }

    /// Where it is.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The body of at most `limit` bytes behind `path`; none where there is none (404).
    pub(super) async fn get(&self, path: &str, limit: usize) -> Result<Option<Bytes>, ServiceError> {
        let mut at = path.to_owned();
        for _ in 0..=REDIRECTS {
            let response = self.send(&at).await?;
            let status = response.status();
            if status == StatusCode::NOT_FOUND {
                return Ok(None);
            }
            if status == StatusCode::OK {
                return body(path, response, limit).await.map(Some);
            }
            let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
            let Some(to) = to.filter(|_| status.is_redirection()) else {
                return Err(ServiceError::Status(path.to_owned(), status.as_u16()));
            };
            let elsewhere = || ServiceError::Elsewhere(path.to_owned(), to.to_owned());
            at = self.own(to).ok_or_else(elsewhere)?;
        }
        Err(ServiceError::Elsewhere(path.to_owned(), at))
    }

    /// The path of a redirect's target, if it is this service's.
    fn own(&self, to: &str) -> Option<String> {
        let uri: hyper::Uri = to.parse().ok()?;
        let here = match uri.authority() {
            None => to.starts_with('/') && !to.starts_with("//"),
            Some(authority) => {
                uri.scheme_str() == Some("http")
                    && authority.as_str().trim_end_matches(":80") == self.host().trim_end_matches(":80")
            }
        };
        here.then(|| uri.path_and_query().map_or("/", |path| path.as_str()).to_owned())
    }

    fn host(&self) -> String {
        match self.address {
            SocketAddr::V4(_) => self.address.to_string(),
            // Without the link, which is this host's own name for it (RFC 6874).
            SocketAddr::V6(v6) => SocketAddr::from((*v6.ip(), v6.port())).to_string(),
        }
    }

    async fn send(&self, path: &str) -> Result<Response<Incoming>, ServiceError> {
        let connecting = tokio::time::timeout(CONNECT, TcpStream::connect(self.address)).await;
        let stream = connecting
            .map_err(|_| ServiceError::Silent(self.address))?
            .map_err(|error| ServiceError::Unreachable(self.address, error))?;
        let broken = |error| ServiceError::Broken(path.to_owned(), error);
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // It ends with the body, or when nobody reads that any more; its errors are the reader's.
        tokio::spawn(connection);
        let request = Request::get(path)
            .header(HOST, self.host())
            .header(ACCEPT, "*/*")
            .header(USER_AGENT, "holdfast")
            .body(Empty::<Bytes>::new());
        let request = request.map_err(|_| ServiceError::Elsewhere(path.to_owned(), path.to_owned()))?;
        sender.send_request(request).await.map_err(broken)
    }
}

async fn body(path: &str, response: Response<Incoming>, limit: usize) -> Result<Bytes, ServiceError> {
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ServiceError::Broken(path.to_owned(), error))?;
        bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        if bytes.len() > limit {
            return Err(ServiceError::TooLarge(path.to_owned(), limit));
        }
    }
    Ok(bytes.into())
}
