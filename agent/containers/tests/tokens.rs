//! A real registry that wants tokens, which it checks: those of a server of the tests.

mod support;

use std::path::Path;
use std::time::Duration;

use agent_containers::fetch::{FetchError, FetchErrorKind, FetchedImage, RegistryAccess, Source};
use agent_core::Secret;
use support::authority::Authority;
use support::fetching::Staging;
use support::image::{Image, Pack};
use support::making::Tar;
use support::registry::{Options, Registry, USER};
use support::tokens::Tokens;
use tempfile::TempDir;

/// What is in the registry: `public/app:1` and `app:1`, each of two layers.
fn registry(folder: &Path, options: &Options<'_>) -> Registry {
    let open = Registry::start(folder, &Options::default());
    for name in ["public/app", "app"] {
        let layer = |text: &str| (Pack::Gzip, Tar::default().file("text", text.as_bytes()).end());
        open.push(name, "1", Image::new(&[layer("low"), layer("high")]));
    }
    drop(open);
    Registry::start(folder, options)
}

fn plain() -> (TempDir, Tokens, Registry) {
    let folder = tempfile::tempdir().unwrap();
    let tokens = Tokens::start(None);
    let registry = registry(folder.path(), &Options { tokens: Some(&tokens), ..Options::default() });
    (folder, tokens, registry)
}

fn access(user: Option<(&str, &str)>) -> RegistryAccess {
    RegistryAccess {
        plain_http: true,
        username: user.map(|user| user.0.to_owned()),
        password: user.map(|user| Secret::new(user.1)),
        ..RegistryAccess::default()
    }
}

fn fetch(
    staging: &Staging,
    host: &str,
    name: &str,
    user: Option<(&str, &str)>,
) -> Result<FetchedImage, FetchError> {
    staging.fetch(&format!("{host}/{name}:1"), Source::Registry(access(user)))
}

#[test]
fn a_token_for_everybody_and_one_for_a_user() {
    let (_folder, tokens, registry) = plain();
    let staging = Staging::new();
    fetch(&staging, &registry.host, "public/app", None).unwrap();
    // One token is enough for a pull.
    let requests = tokens.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert!(!requests[0].headers.contains_key("authorization"), "{requests:?}");
    fetch(&staging, &registry.host, "app", Some(USER)).unwrap();
    assert_eq!(tokens.requests().len(), 2);
}

#[test]
fn who_may_not_pull_is_told_why() {
    let (_folder, tokens, registry) = plain();
    let staging = Staging::new();
    let error = fetch(&staging, &registry.host, "app", None).unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Unauthorized);
    assert!(
        error.message.ends_with("app:1`: UNAUTHORIZED") || error.message.ends_with("app:1`: DENIED"),
        "{error}"
    );
    assert!(error.message.starts_with("the registry answers 401 to the request for"), "{error}");
    assert!(error.hint.unwrap().contains("if it is not public, give `username` and `password`"));
    let wrong = "wrong-Ohw7aiGh3eiv";
    let error = fetch(&staging, &registry.host, "app", Some((USER.0, wrong))).unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Unauthorized);
    assert!(error.message.starts_with("the token server `127.0.0.1:"), "{error}");
    assert!(error.message.ends_with("answers 401: UNAUTHORIZED"), "{error}");
    assert!(!format!("{error:?}").contains(wrong));
    assert!(error.hint.unwrap().contains("check `username` and `password`"));
    // Asked once: it will not change.
    assert_eq!(tokens.requests().len(), 2);
    let error = fetch(&staging, &registry.host, "public/other", None).unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::NotFound);
    assert!(error.message.ends_with(": MANIFEST_UNKNOWN"), "{error}");
}

/// The first token is good for two seconds, and the layers take longer.
#[test]
fn a_token_that_expires_in_the_middle_is_asked_for_again() {
    let (_folder, tokens, registry) = plain();
    *tokens.lifetime.lock().unwrap() = 2;
    let staging = Staging::new();
    staging.slow(Duration::from_millis(3500));
    fetch(&staging, &registry.host, "app", Some(USER)).unwrap();
    assert_eq!(tokens.requests().len(), 2);
}

#[test]
fn tokens_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let (certificate, key) = authority.server();
    let tls = Some((certificate.as_str(), key.as_str()));
    let pull = |tokens: &Tokens| {
        let registry = registry(folder.path(), &Options { tls, tokens: Some(tokens), ..Options::default() });
        let access =
            RegistryAccess { ca: Some(authority.pem.clone()), plain_http: false, ..access(Some(USER)) };
        Staging::new().fetch(&format!("{}/app:1", registry.host), Source::Registry(access))
    };
    let safe = Tokens::start(Some(&authority));
    pull(&safe).unwrap();
    assert_eq!(safe.requests().len(), 1);
    // The password is not sent for a token where all can read it.
    let open = Tokens::start(None);
    let error = pull(&open).unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Certificate);
    assert!(error.message.contains("/token` would be fetched without TLS"), "{error}");
    assert_eq!(open.requests().len(), 0);
}
