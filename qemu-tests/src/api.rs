//! The box's API as bytes, through ssh as the workstation's CLI reaches it.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// A reply as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Media type; empty without one.
    pub kind: String,
    /// The body, whole.
    pub body: Vec<u8>,
}

/// Makes one request over a command that joins its stdin and stdout to the API's socket.
pub(crate) fn request(mut command: Command, method: &str, path: &str, body: &[u8]) -> Result<Reply> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: box\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("cannot start ssh")?;
    let mut stdin = child.stdin.take().context("ssh has no stdin")?;
    stdin.write_all(&[head.as_bytes(), body].concat())?;
    // Open until the answer is there: the far end ends with its input.
    let output = child.wait_with_output()?;
    drop(stdin);
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    parse(&output.stdout).with_context(|| format!("{method} {path}: {err}"))
}

fn parse(bytes: &[u8]) -> Result<Reply> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").context("no HTTP answer")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next().and_then(|l| l.split(' ').nth(1)).and_then(|s| s.parse().ok());
    let headers: Vec<(String, &str)> =
        lines.filter_map(|l| l.split_once(": ")).map(|(name, value)| (name.to_lowercase(), value)).collect();
    let header = |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value);
    let rest = &bytes[end + 4..];
    let body = match header("transfer-encoding") {
        Some("chunked") => dechunk(rest)?,
        _ => rest.to_vec(),
    };
    if let Some(length) = header("content-length").and_then(|text| text.parse::<usize>().ok()) {
        ensure!(body.len() == length, "the answer was cut: {} of {length} bytes", body.len());
    }
    let kind = header("content-type").unwrap_or_default().to_owned();
    Ok(Reply { status: status.context("no HTTP status")?, kind, body })
}

/// RFC 9112, section 7.1, without extensions.
fn dechunk(mut rest: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|w| w == b"\r\n").context("a chunk has no length")?;
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..end])?, 16)?;
        rest = &rest[end + 2..];
        if length == 0 {
            return Ok(body);
        }
        body.extend_from_slice(rest.get(..length).context("a chunk was cut")?);
        rest = rest.get(length + 2..).context("a chunk was cut")?;
    }
}

/// The route whose reply a command prints as it is.
pub(crate) fn route(arguments: &[&str]) -> Option<(&'static str, String)> {
    use agent_api::routes;
    Some(match arguments {
        ["status"] => ("GET", routes::STATUS.into()),
        ["doctor"] => ("GET", routes::DOCTOR.into()),
        ["ps"] => ("GET", routes::CONTAINERS.into()),
        ["plan"] => ("GET", routes::PLAN.into()),
        ["images"] => ("GET", routes::IMAGES.into()),
        ["images", "prune"] => ("POST", routes::IMAGES_PRUNE.into()),
        ["pull", name] => ("POST", routes::PULL.replace("{name}", name)),
        ["restart", name] => ("POST", routes::RESTART.replace("{name}", name)),
        ["volumes"] | ["volumes", "ls"] => ("GET", routes::VOLUMES.into()),
        ["data"] => ("GET", routes::DATA.into()),
        ["update"] | ["update", "status"] => ("GET", routes::UPDATE.into()),
        ["update", "check"] => ("POST", routes::UPDATE_CHECK.into()),
        ["update", "stage"] => ("POST", routes::UPDATE_STAGE.into()),
        ["notify"] | ["notify", "status"] => ("GET", routes::NOTIFY.into()),
        ["notify", "test"] => ("POST", routes::NOTIFY_TEST.into()),
        ["data", "check"] => ("POST", routes::DATA_CHECK.into()),
        ["network"] | ["network", "show"] => ("GET", routes::NETWORK.into()),
        ["network", "confirm"] => ("POST", routes::NETWORK_CONFIRM.into()),
        ["network", "revert"] => ("POST", routes::NETWORK_REVERT.into()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_cut_ones_are_none() {
        let plain =
            b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\ncontent-length: 2\r\n\r\n{}";
        let reply = parse(plain).unwrap();
        assert_eq!(
            (reply.status, reply.kind.as_str(), reply.body.as_slice()),
            (404, "application/json", &b"{}"[..])
        );
        assert!(parse(&plain[..plain.len() - 1]).is_err());
        let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
        assert_eq!(parse(chunked).unwrap().body, b"abc");
        assert!(parse(&chunked[..chunked.len() - 8]).is_err());
        assert!(parse(b"").is_err());
    }
}
