//! Reaching the agent: over its socket on the box, through `ssh` from elsewhere.

use agent_api::Client;

use crate::cli::Reach;
use crate::error::Failure;

/// Connects to the box that is meant.
pub(crate) async fn connect(reach: &Reach) -> Result<Client, Failure> {
    let client = match &reach.host {
        Some(host) if !host.is_empty() => {
            let options: Vec<String> =
                reach.ssh_options.iter().flat_map(|option| ["-o".to_owned(), option.clone()]).collect();
            Client::ssh(host, &options).await
        }
        _ => Client::local(&reach.socket).await,
    };
    client.map_err(|error| {
        let failure = Failure::from(error);
        match &reach.host {
            None if !reach.socket.exists() => {
                failure.hint("not on a box? `--host admin@ADDRESS` reaches one through ssh")
            }
            _ => failure,
        }
    })
}

/// A path with a segment, and with query parameters that are not empty.
pub(crate) fn path(route: &str, segments: &[(&str, &str)], query: &[(&str, String)]) -> String {
    let mut path = route.to_owned();
    for (name, value) in segments {
        path = path.replace(&format!("{{{name}}}"), &encode(value));
    }
    let query: Vec<String> = query
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name}={}", encode(value)))
        .collect();
    if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) }
}

/// Percent-encodes all but what RFC 3986 calls unreserved.
fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_encoded() {
        let query = [("since", "1h 30m".to_owned()), ("name", String::new()), ("lines", "5".to_owned())];
        assert_eq!(path("/v1/logs", &[], &query), "/v1/logs?since=1h%2030m&lines=5");
        assert_eq!(path("/v1/x/{name}/pull", &[("name", "a/../b?c")], &[]), "/v1/x/a%2F..%2Fb%3Fc/pull");
        assert_eq!(path("/v1/x", &[], &[]), "/v1/x");
    }
}
