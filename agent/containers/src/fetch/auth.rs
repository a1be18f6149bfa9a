//! What is answered to a registry's challenge: the name and password, or a token that another server gives
//! for them.
//!
//! RFC 7617 for Basic, and "Token Authentication" of the distribution project. A token is asked for whenever
//! the registry wants one: how long it is good is the registry's business, so its `expires_in` is not read.
//! Deliberately absent: refresh tokens, and pushing.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use ureq::Body;
use ureq::http::{Response, header};

use super::RegistryAccess;
use super::challenge::{self, Challenge};
use super::error::{FetchError, FetchErrorKind};
use super::http::{self, Failure, Http, read_body};
use super::refusal::{Asked, refusal};
use crate::image::or_default;

/// Bytes of a token server's answer.
const TOKEN: u64 = 64 << 10;
/// What stands for itself in a query.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

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
        .filter_map(|value| value.to_str().ok())
        .flat_map(challenge::parse)
        .collect();
    let basic = access.username.as_ref().map(|name| {
        let password = access.password.as_ref().map(|password| password.expose()).unwrap_or_default();
        format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
    });
    // A token opens one repository for some minutes; a password everything.
    let bearer = challenges.iter().find_map(|challenge| match challenge {
        Challenge::Bearer { realm, service, scope } => Some((realm, service.as_deref(), scope.as_deref())),
        Challenge::Basic => None,
    });
    match bearer {
        Some((realm, service, scope)) => {
            let pull = format!("repository:{repository}:pull");
            token(http, &address(realm, service, scope.unwrap_or(&pull)), basic.as_deref()).map(Some)
        }
        None => Ok(basic.filter(|_| challenges.contains(&Challenge::Basic))),
    }
}

/// Where a token is had; each entry of the scope is a parameter of its own.
fn address(realm: &str, service: Option<&str>, scope: &str) -> String {
    let service = service.map(|service| ("service", service));
    let scopes = scope.split(' ').filter(|entry| !entry.is_empty()).map(|entry| ("scope", entry));
    let mut url = realm.to_owned();
    for (name, value) in service.into_iter().chain(scopes) {
        url.push(if url.contains('?') { '&' } else { '?' });
        url.push_str(&format!("{name}={}", utf8_percent_encode(value, QUERY)));
    }
    url
}

fn token(http: &Http, url: &str, basic: Option<&str>) -> Result<String, Failure> {
    let response = http.get(url, &[], basic)?;
    let host = http::host(&response);
    if response.status().as_u16() != 200 {
        return Err(refusal(response, &Asked::Token { host: &host, named: basic.is_some() }));
    }
    // Its text may be a token: it is not told.
    let wrong = |what: &str| {
        FetchError::new(
            FetchErrorKind::Unreachable,
            format!("the answer of the token server `{host}` {what}"),
        )
    };
    let bytes = read_body(response.into_body(), TOKEN)?
        .ok_or_else(|| wrong(&format!("is larger than {TOKEN} bytes")))?;
    let token: Token = serde_json::from_slice(&bytes).map_err(|_| wrong("is not JSON with a token"))?;
    let text = if token.token.is_empty() { token.access_token } else { token.token };
    let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
    if text.is_empty() || !printable {
        return Err(wrong("holds no token").into());
    }
    Ok(format!("Bearer {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_tokens() {
        for (realm, service, scope, expect) in [
            (
                "https://a/t",
                Some("odd one"),
                "repository:a/b:pull",
                "https://a/t?service=odd%20one&scope=repository%3Aa%2Fb%3Apull",
            ),
            ("https://a/t?x=1", None, "a&b=é", "https://a/t?x=1&scope=a%26b%3D%C3%A9"),
            ("https://a/t", None, "one  two", "https://a/t?scope=one&scope=two"),
        ] {
            assert_eq!(address(realm, service, scope), expect);
        }
    }
}
