//! A repository that a web server serves, read as a client of TUF reads it.

use std::io::Read;
use std::sync::Mutex;
use std::time::Duration;

use tough::{Bytes, Transport, TransportError, TransportErrorKind, TransportStream, async_trait};
use ureq::{Agent, Body};
use url::Url;

const CHUNK: usize = 64 * 1024;

/// Fetches by HTTP and HTTPS.
#[derive(Clone, Debug)]
pub(crate) struct Http(Agent);

impl Http {
    /// With the usual patience.
    pub(crate) fn new() -> Http {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(15)))
            .timeout_recv_response(Some(Duration::from_secs(60)));
        Http(config.build().new_agent())
    }
}

#[async_trait]
impl Transport for Http {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        let failed = TransportErrorKind::Other;
        let response = self.0.get(url.as_str()).call();
        let response = response.map_err(|error| TransportError::new_with_cause(failed, &url, error))?;
        match response.status().as_u16() {
            200 => {
                let chunks = Chunks { body: Mutex::new(Some(response.into_body())), url };
                Ok(Box::pin(futures_util::stream::iter(chunks)))
            }
            // S3 says 403 of what is not there to those who may not list.
            403 | 404 | 410 => Err(TransportError::new(TransportErrorKind::FileNotFound, &url)),
            status => Err(TransportError::new_with_cause(failed, &url, format!("status {status}"))),
        }
    }
}

/// A body, piece by piece: how much is read is for the client to say. The lock is only there to be shared.
struct Chunks {
    body: Mutex<Option<Body>>,
    url: Url,
}

impl Iterator for Chunks {
    type Item = Result<Bytes, TransportError>;

    fn next(&mut self) -> Option<Self::Item> {
        let slot = self.body.get_mut().ok()?;
        let mut chunk = Vec::with_capacity(CHUNK);
        match slot.as_mut()?.as_reader().take(CHUNK as u64).read_to_end(&mut chunk) {
            Ok(0) => None,
            Ok(_) => Some(Ok(chunk.into())),
            Err(error) => {
                *slot = None;
                Some(Err(TransportError::new_with_cause(TransportErrorKind::Other, &self.url, error)))
            }
        }
    }
}
