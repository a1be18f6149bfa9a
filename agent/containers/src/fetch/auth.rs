//! How a registry wants to be talked to: its challenge, and the answer to it.
//!
//! RFC 7235 for challenges, RFC 7617 for Basic, and the token protocol of the distribution project.
//! Credentials are sent only when asked for.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use ureq::Body;
use ureq::http::{Response, header};

use super::RegistryAccess;
use super::error::{FetchError, FetchErrorKind};
use super::http::{Failure, Http, read_body, refusal};
use crate::image::or_default;

/// Bytes of a token server's answer.
const TOKEN: u64 = 1 << 20;

/// What a registry asks for.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

#[derive(Deserialize)]
struct Token {
    #[serde(default, deserialize_with = "or_default")]
    token: String,
    #[serde(default, deserialize_with = "or_default")]
    access_token: String,
}

/// The value of `Authorization` that answers a refusal; `None` when we have nothing to answer.
pub(super) fn answer(
    http: &Http,
    refused: &Response<Body>,
    access: &RegistryAccess,
    repository: &str,
) -> Result<Option<String>, Failure> {
    let challenges: Vec<Challenge> = refused
        .headers()
        .get_all(header::WWW_AUTHENTICATE)
        .iter()
        .filter_map(|value| parse(value.to_str().ok()?))
        .collect();
    let basic = access.username.as_ref().map(|name| {
        let password = access.password.as_ref().map(|password| password.expose()).unwrap_or_default();
        format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
    });
    for challenge in challenges {
        match challenge {
            Challenge::Basic => {
                if basic.is_some() {
                    return Ok(basic);
                }
            }
            Challenge::Bearer { realm, service, scope } => {
                let scope = scope.unwrap_or_else(|| format!("repository:{repository}:pull"));
                let mut url =
                    format!("{realm}{}scope={}", if realm.contains('?') { '&' } else { '?' }, encode(&scope));
                if let Some(service) = service {
                    url.push_str(&format!("&service={}", encode(&service)));
                }
                return token(http, &url, basic.as_deref()).map(Some);
            }
        }
    }
    Ok(None)
}

fn token(http: &Http, url: &str, basic: Option<&str>) -> Result<String, Failure> {
    let response = http.get(url, &[], basic)?;
    if response.status().as_u16() != 200 {
        return Err(refusal(&response, "a token"));
    }
    let wrong = || FetchError::new(FetchErrorKind::Unauthorized, "the token server's answer is not valid");
    let bytes = read_body(response.into_body(), TOKEN)?.ok_or_else(wrong)?;
    let token: Token = serde_json::from_slice(&bytes).map_err(|_| wrong())?;
    let text = if token.token.is_empty() { token.access_token } else { token.token };
    let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
    if text.is_empty() || !printable {
        return Err(wrong().into());
    }
    Ok(format!("Bearer {text}"))
}

/// Reads a challenge; `None` for a scheme that is not known.
fn parse(text: &str) -> Option<Challenge> {
    let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut realm, mut service, mut scope) = (None, None, None);
    let mut rest = rest.trim_start();
    while let Some((key, after)) = rest.split_once('=') {
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => {
                let (value, after) = quoted.split_once('"')?;
                (value, after.trim_start().strip_prefix(',').unwrap_or(""))
            }
            None => after.split_once(',').unwrap_or((after, "")),
        };
        match key.trim().to_ascii_lowercase().as_str() {
            "realm" => realm = Some(value.to_owned()),
            "service" => service = Some(value.to_owned()),
            "scope" => scope = Some(value.to_owned()),
            _ => {}
        }
        rest = after.trim_start();
    }
    Some(Challenge::Bearer { realm: realm?, service, scope })
}

fn encode(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::new(), |mut encoded, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges() {
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| {
            Some(Challenge::Bearer {
                realm: realm.into(),
                service: service.map(Into::into),
                scope: scope.map(Into::into),
            })
        };
        for (text, expect) in [
            ("Basic realm=\"x\"", Some(Challenge::Basic)),
            ("basic", Some(Challenge::Basic)),
            (
                r#"Bearer realm="https://a/t",service="r.example",scope="repository:a/b:pull,push""#,
                bearer("https://a/t", Some("r.example"), Some("repository:a/b:pull,push")),
            ),
            (
                r#"bearer Realm=https://a/t, error="invalid_token", service=s"#,
                bearer("https://a/t", Some("s"), None),
            ),
            ("Bearer service=\"s\"", None),
            ("Bearer realm=\"unfinished", None),
            ("Negotiate", None),
        ] {
            assert_eq!(parse(text), expect, "{text}");
        }
    }

    #[test]
    fn query_values_are_encoded() {
        assert_eq!(encode("repository:a/b:pull&x=1"), "repository%3Aa%2Fb%3Apull%26x%3D1");
    }
}
