//! A client of the API, over the local socket or through `ssh`.
//!
//! Invariant: a reply that is not 2xx is a [`ClientError::Api`] with the server's own words; everything
//! that keeps a reply from coming is [`ClientError::Unreachable`].

use std::path::Path;
use std::process::Stdio;

use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Bytes, Frame as BodyFrame, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use crate::stdio::ChildIo;
use crate::types::{ApiError, ErrorKind, ErrorReply, ExecRequest};

/// The longest JSON reply that is read, in bytes.
const MAX_REPLY: usize = 16 * 1024 * 1024;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server answered with an error.
    #[error("{}", .0.message)]
    Api(ApiError),
    /// The box or its agent cannot be reached.
    #[error("the box cannot be reached: {0}")]
    Unreachable(String),
    /// The reply is not what this version understands.
    #[error("the reply of the box is not understood")]
    Reply(#[source] serde_json::Error),
}

impl ClientError {
    /// The exit code of the CLI.
    pub fn exit_code(&self) -> u8 {
        match self {
            ClientError::Api(error) => error.kind.exit_code(),
            ClientError::Unreachable(_) => 6,
            ClientError::Reply(_) => 1,
        }
    }
}

type Body = BoxBody<Bytes, std::io::Error>;
type Result<T> = std::result::Result<T, ClientError>;

/// One connection. Requests go one after another.
#[derive(Debug)]
pub struct Client {
    sender: SendRequest<Body>,
    ssh: Option<Child>,
}

/// A body that is read as it comes.
#[derive(Debug)]
pub struct Stream(Incoming);

impl Stream {
    /// The next bytes; `None` at the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        while let Some(frame) = self.0.frame().await {
            if let Ok(bytes) = frame.map_err(unreachable)?.into_data() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}

fn unreachable(error: impl std::fmt::Display) -> ClientError {
    ClientError::Unreachable(error.to_string())
}

impl Client {
    /// Connects to the socket at `path`.
    pub async fn local(path: &Path) -> Result<Client> {
        let stream = UnixStream::connect(path)
            .await
            .map_err(|e| ClientError::Unreachable(format!("{}: {e}", path.display())))?;
        Client::over(stream, None).await
    }

    /// Connects through `ssh DESTINATION`, with the options that the user's configuration gives; `ssh`
    /// asks for nothing.
    pub async fn ssh(destination: &str, options: &[String]) -> Result<Client> {
        let mut child = Command::new("ssh")
            .args(["-T", "-o", "BatchMode=yes"])
            .args(options)
            .args(["--", destination, crate::STDIO_COMMAND])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| ClientError::Unreachable(format!("ssh cannot be run: {e}")))?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(ClientError::Unreachable("ssh has no stdin and stdout".into()));
        };
        Client::over(ChildIo { stdin, stdout }, Some(child)).await
    }

    async fn over<T>(stream: T, ssh: Option<Child>) -> Result<Client>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(unreachable)?;
        tokio::spawn(connection.with_upgrades());
        Ok(Client { sender, ssh })
    }

    /// GET `path` (with its query) and read JSON.
    pub async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T> {
        self.json(Method::GET, path, None, empty()).await
    }

    /// GET `path` and read the body as it comes.
    pub async fn stream(&mut self, path: &str) -> Result<Stream> {
        let response = self.send(Method::GET, path, None, empty()).await?;
        Ok(Stream(response.into_body()))
    }

    /// POST nothing and read JSON.
    pub async fn post<T: DeserializeOwned>(&mut self, path: &str) -> Result<T> {
        self.json(Method::POST, path, None, empty()).await
    }

    /// POST text of `content_type` and read JSON.
    pub async fn post_text<T: DeserializeOwned>(
        &mut self,
        path: &str,
        content_type: &str,
        text: String,
    ) -> Result<T> {
        self.json(Method::POST, path, Some(content_type), full(text)).await
    }

    /// DELETE `path` and read JSON.
    pub async fn delete<T: DeserializeOwned>(&mut self, path: &str) -> Result<T> {
        self.json(Method::DELETE, path, None, empty()).await
    }

    /// PUT everything that `from` gives, as a tar stream, and read JSON.
    pub async fn put_stream<T, R>(&mut self, path: &str, from: R) -> Result<T>
    where
        T: DeserializeOwned,
        R: AsyncRead + Send + Sync + Unpin + 'static,
    {
        let chunks = futures_util::stream::try_unfold(from, |mut from| async move {
            let mut buffer = vec![0; 64 * 1024];
            let length = from.read(&mut buffer).await?;
            buffer.truncate(length);
            Ok((length > 0).then(|| (BodyFrame::data(Bytes::from(buffer)), from)))
        });
        let body = BodyExt::boxed(StreamBody::new(chunks));
        self.json(Method::PUT, path, Some("application/x-tar"), body).await
    }

    /// Asks for a command in a container and gives the connection that carries its
    /// [frames](crate::exec::Frame).
    pub async fn exec(
        mut self,
        request: &ExecRequest,
    ) -> Result<(impl AsyncRead + AsyncWrite + Send + Unpin + 'static, Option<Child>)> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(crate::routes::EXEC)
            .header(HOST, "holdfast")
            .header(CONTENT_TYPE, "application/json")
            .header(CONNECTION, "upgrade")
            .header(UPGRADE, crate::exec::UPGRADE)
            .body(full(to_json(request)?))
            .map_err(unreachable)?;
        let response = self.sender.send_request(request).await.map_err(unreachable)?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(error_of(response).await);
        }
        let upgraded = hyper::upgrade::on(response).await.map_err(unreachable)?;
        Ok((TokioIo::new(upgraded), self.ssh))
    }

    async fn json<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: Body,
    ) -> Result<T> {
        let response = self.send(method, path, content_type, body).await?;
        serde_json::from_slice(&read_all(response).await?).map_err(ClientError::Reply)
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: Body,
    ) -> Result<Response<Incoming>> {
        let mut request = Request::builder().method(method).uri(path).header(HOST, "holdfast");
        if let Some(content_type) = content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        let request = request.body(body).map_err(unreachable)?;
        self.sender.ready().await.map_err(unreachable)?;
        let response = self.sender.send_request(request).await.map_err(unreachable)?;
        if response.status().is_success() { Ok(response) } else { Err(error_of(response).await) }
    }
}

async fn read_all(response: Response<Incoming>) -> Result<Bytes> {
    let body = http_body_util::Limited::new(response.into_body(), MAX_REPLY);
    Ok(body.collect().await.map_err(unreachable)?.to_bytes())
}

async fn error_of(response: Response<Incoming>) -> ClientError {
    let status = response.status();
    let body = match read_all(response).await {
        Ok(body) => body,
        Err(error) => return error,
    };
    match serde_json::from_slice::<ErrorReply>(&body) {
        Ok(reply) => ClientError::Api(reply.error),
        Err(_) => ClientError::Api(ApiError {
            kind: if status == StatusCode::NOT_FOUND { ErrorKind::NotFound } else { ErrorKind::Failed },
            message: format!("the box answered {status}"),
            hints: vec![],
            diagnostics: vec![],
        }),
    }
}

fn to_json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(ClientError::Reply)
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

fn full(text: String) -> Body {
    Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed()
}
