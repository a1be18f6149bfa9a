//! Fetches from registries that are busy, cut off, redirect or want tokens.

mod support;

use std::sync::{Arc, Mutex};

use agent_containers::fetch::{FetchErrorKind, RegistryAccess, Source};
use agent_core::Secret;
use support::authority::Authority;
use support::fetching::Staging;
use support::image::{Image, Pack};
use support::making::{Tar, noise};
use support::odd::{Answer, Odd, honest};

fn image() -> Image {
    // Hardly compressible, so that the blob is long enough to be cut.
    let noise = noise(200_000);
    Image::new(&[(Pack::Gzip, Tar::default().file("noise", &noise).end())])
}

fn is_layer(path: &str, image: &Image) -> bool {
    path.ends_with(image.manifest["layers"][0]["digest"].as_str().unwrap())
}

fn with_user(staging: &Staging, host: &str) -> Result<(), agent_containers::fetch::FetchError> {
    let access = RegistryAccess {
        plain_http: true,
        username: Some("hub".into()),
        password: Some(Secret::new("word")),
        ..RegistryAccess::default()
    };
    staging.fetch(&format!("{host}/app:1"), Source::Registry(access)).map(|_| ())
}

#[test]
fn one_that_is_busy_is_asked_again() {
    let odd = Odd::start(|request, before| match before {
        0 => Answer { status: "503 Busy".into(), ..Answer::default() },
        1 => Answer {
            status: "429 Slow down".into(),
            headers: vec!["Retry-After: 0".into()],
            ..Answer::default()
        },
        _ => honest(&mut image(), request),
    });
    let staging = Staging::new();
    staging.plain(&odd.host, "app:1").unwrap();
    assert_eq!(odd.requests("/manifests/").len(), 3);
    let always = Odd::start(|_, _| Answer { status: "500 Broken".into(), ..Answer::default() });
    let error = staging.plain(&always.host, "app:1").unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Unreachable);
    assert_eq!(always.requests("").len(), 3);
    // What will not change is asked for once.
    let never = Odd::start(|_, _| Answer { status: "404 Not Found".into(), ..Answer::default() });
    staging.plain(&never.host, "app:1").unwrap_err();
    assert_eq!(never.requests("").len(), 1);
}

#[test]
fn a_download_that_was_cut_goes_on_where_it_ended() {
    let odd = Odd::start(|request, before| {
        let mut image = image();
        let mut answer = honest(&mut image, request);
        if is_layer(&request.path, &image) {
            let total = answer.body.len();
            if before == 0 {
                answer.sent = Some(total / 3);
            } else {
                let from: usize = request.headers["range"]
                    .trim_start_matches("bytes=")
                    .trim_end_matches('-')
                    .parse()
                    .unwrap();
                assert!(from > 0 && from <= total / 3, "{from}");
                answer.status = "206 Partial Content".into();
                answer.headers = vec![format!("Content-Range: bytes {from}-{}/{total}", total - 1)];
                answer.body.drain(..from);
            }
        }
        answer
    });
    Staging::new().plain(&odd.host, "app:1").unwrap();
    assert_eq!(odd.requests("/blobs/").len(), 3);
}

#[test]
fn a_download_that_cannot_go_on_begins_again() {
    let odd = Odd::start(|request, before| {
        let mut image = image();
        let mut answer = honest(&mut image, request);
        if is_layer(&request.path, &image) && before == 0 {
            answer.sent = Some(1000);
        }
        answer
    });
    Staging::new().plain(&odd.host, "app:1").unwrap();
}

#[test]
fn a_blob_of_another_length_is_not_the_one() {
    for change in [|body: &mut Vec<u8>| body.push(0), |body: &mut Vec<u8>| body[100] ^= 1] {
        let odd = Odd::start(move |request, _| {
            let mut image = image();
            let mut answer = honest(&mut image, request);
            if is_layer(&request.path, &image) {
                change(&mut answer.body);
            }
            answer
        });
        let error = Staging::new().plain(&odd.host, "app:1").unwrap_err();
        assert_eq!(error.kind, FetchErrorKind::DigestMismatch, "{error}");
    }
    let short = Odd::start(|request, _| {
        let mut image = image();
        let mut answer = honest(&mut image, request);
        if is_layer(&request.path, &image) {
            answer.body.pop();
        }
        answer
    });
    let error = Staging::new().plain(&short.host, "app:1").unwrap_err();
    assert!(error.message.contains("ended after"), "{error}");
}

/// As large registries do: a token for the name and password, blobs from another host, which must see
/// neither.
#[test]
fn tokens_and_redirects() {
    let storage = Odd::start(|request, _| honest(&mut image(), request));
    let storage_host = storage.host.clone();
    let own = Arc::new(Mutex::new(String::new()));
    let host = own.clone();
    let odd = Odd::start(move |request, _| {
        let authorization = request.headers.get("authorization").map(String::as_str);
        if request.path.starts_with("/token?") {
            assert!(request.path.contains("scope=repository%3Aapp%3Apull"), "{}", request.path);
            assert!(request.path.contains("service=odd%20one"), "{}", request.path);
            return match authorization {
                Some("Basic aHViOndvcmQ=") => Answer {
                    status: "200 OK".into(),
                    body: br#"{"token":"T0ken"}"#.to_vec(),
                    ..Answer::default()
                },
                _ => Answer { status: "401 Who".into(), ..Answer::default() },
            };
        }
        if authorization != Some("Bearer T0ken") {
            let realm = format!("http://{}/token", host.lock().unwrap());
            let challenge = format!("WWW-Authenticate: Bearer realm=\"{realm}\",service=\"odd one\"");
            return Answer { status: "401 Who".into(), headers: vec![challenge], ..Answer::default() };
        }
        if request.path.contains("/blobs/") {
            let location = format!("Location: http://{storage_host}{}", request.path);
            return Answer { status: "307 There".into(), headers: vec![location], ..Answer::default() };
        }
        honest(&mut image(), request)
    });
    *own.lock().unwrap() = odd.host.clone();
    with_user(&Staging::new(), &odd.host).unwrap();
    assert_eq!(odd.requests("/token").len(), 1);
    let at_storage = storage.requests("");
    assert_eq!(at_storage.len(), 2);
    assert!(
        at_storage.iter().all(|request| !request.headers.contains_key("authorization")),
        "{at_storage:?}"
    );
    // Without the password there is no token.
    let error = Staging::new().plain(&odd.host, "app:1").unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Unauthorized);
}

/// A registry that wants tokens of this server, which is told the number of the request.
fn wants_tokens(tokens: impl Fn(usize) -> Answer + Send + Sync + 'static) -> (Odd, Odd) {
    let server = Odd::start(move |_, before| tokens(before));
    let realm = server.host.clone();
    let registry = Odd::start(move |request, _| {
        if request.headers.get("authorization").is_some_and(|value| value == "Bearer T0ken") {
            return honest(&mut image(), request);
        }
        let challenge = format!("WWW-Authenticate: Basic realm=x, Bearer realm=\"http://{realm}/token\"");
        Answer { status: "401 Who".into(), headers: vec![challenge], ..Answer::default() }
    });
    (registry, server)
}

fn ok(body: &str) -> Answer {
    Answer { status: "200 OK".into(), body: body.into(), ..Answer::default() }
}

/// Also one that is asked for a token where it would take a password, too.
#[test]
fn a_token_server_that_is_busy_is_asked_again() {
    let (registry, tokens) = wants_tokens(|before| match before {
        0 => Answer { status: "503 Busy".into(), ..Answer::default() },
        1 => Answer {
            status: "429 Slow down".into(),
            headers: vec!["Retry-After: Sun, 06 Nov 1994 08:49:37 GMT".into()],
            ..Answer::default()
        },
        _ => ok(r#"{"access_token":"T0ken","token":null}"#),
    });
    with_user(&Staging::new(), &registry.host).unwrap();
    assert_eq!(tokens.requests("/token").len(), 3);
    let sent = registry.requests("");
    assert!(
        sent.iter()
            .all(|request| request.headers.get("authorization").is_none_or(|sent| sent == "Bearer T0ken"))
    );
}

#[test]
fn a_token_server_that_has_no_token() {
    let long = format!(r#"{{"token":"{}"}}"#, "a".repeat(70_000));
    let refuses = |status: &str, body: &str| Answer { status: status.into(), ..ok(body) };
    let said: Vec<String> = [
        ok("<html>T0ken"),
        ok(r#"{"token":["T0ken"]}"#),
        ok(r#"{"expires_in":300}"#),
        ok(r#"{"token":"T0\u000aken"}"#),
        ok(&long),
        refuses("401 Who", r#"{"errors":[{"code":"UNAUTHORIZED","message":"hub:word"}]}"#),
        refuses("403 No", "hub:word"),
        refuses("404 No", "hub:word"),
    ]
    .into_iter()
    .map(|answer| {
        let (registry, tokens) = wants_tokens(move |_| answer.clone());
        let error = with_user(&Staging::new(), &registry.host).unwrap_err();
        assert_eq!(tokens.requests("/token").len(), 1);
        format!("{:?}: {}", error.kind, error.message.replace(&tokens.host, "HOST"))
    })
    .collect();
    insta::assert_snapshot!(said.join("\n"), @r"
    Unreachable: the answer of the token server `HOST` is not JSON with a token
    Unreachable: the answer of the token server `HOST` is not JSON with a token
    Unreachable: the answer of the token server `HOST` holds no token
    Unreachable: the answer of the token server `HOST` holds no token
    Unreachable: the answer of the token server `HOST` is larger than 65536 bytes
    Unauthorized: the token server `HOST` answers 401: UNAUTHORIZED
    Unauthorized: the token server `HOST` answers 403
    Unreachable: the token server `HOST` answers 404
    ");
}

#[test]
fn who_asks_for_a_long_wait_is_left_alone() {
    let odd = Odd::start(|_, _| Answer {
        status: "429 Slow down".into(),
        headers: vec!["Retry-After: 3600".into()],
        body: br#"{"errors":[{"code":"TOOMANYREQUESTS"}]}"#.to_vec(),
        ..Answer::default()
    });
    let error = Staging::new().plain(&odd.host, "app:1").unwrap_err();
    assert_eq!(odd.requests("").len(), 1);
    assert_eq!(error.kind, FetchErrorKind::Unreachable);
    assert!(
        error.message.ends_with("app:1`: TOOMANYREQUESTS; it asks to be left alone for 3600 s"),
        "{error}"
    );
    assert!(error.hint.unwrap().contains("limits how much may be pulled"));
}

/// A host that the registry sends us to may ask for what it likes.
#[test]
fn a_challenge_of_another_host_is_not_answered() {
    for scheme in ["Basic realm=\"x\"", "Bearer realm=\"http://HOST/token\",service=\"x\""] {
        let own = Arc::new(Mutex::new(String::new()));
        let host = own.clone();
        let thief = Odd::start(move |_, _| {
            let challenge = format!("WWW-Authenticate: {}", scheme.replace("HOST", &host.lock().unwrap()));
            Answer { status: "401 Who".into(), headers: vec![challenge], ..Answer::default() }
        });
        *own.lock().unwrap() = thief.host.clone();
        let there = thief.host.clone();
        let odd = Odd::start(move |request, _| {
            if !request.path.contains("/blobs/") {
                return honest(&mut image(), request);
            }
            let location = format!("Location: http://{there}{}", request.path);
            Answer { status: "307 There".into(), headers: vec![location], ..Answer::default() }
        });
        let error = with_user(&Staging::new(), &odd.host).unwrap_err();
        assert_eq!(error.kind, FetchErrorKind::Unauthorized, "{error}");
        assert!(error.message.contains("where the registry sends us, answers 401"), "{error}");
        let requests = thief.requests("");
        assert_eq!(requests.len(), 1, "{requests:?}");
        assert!(!requests[0].headers.contains_key("authorization"), "{requests:?}");
        assert!(odd.requests("").iter().all(|request| !request.headers.contains_key("authorization")));
    }
}

/// A token server that sends us elsewhere does not send the password along.
#[test]
fn a_token_server_may_not_hand_the_password_on() {
    let other = Odd::start(|_, _| Answer { status: "401 Who".into(), ..Answer::default() });
    let there = other.host.clone();
    let tokens = Odd::start(move |request, _| {
        let location = format!("Location: http://{there}{}", request.path);
        Answer { status: "302 There".into(), headers: vec![location], ..Answer::default() }
    });
    let realm = tokens.host.clone();
    let odd = Odd::start(move |_, _| {
        let challenge = format!("WWW-Authenticate: Bearer realm=\"http://{realm}/token\"");
        Answer { status: "401 Who".into(), headers: vec![challenge], ..Answer::default() }
    });
    let error = with_user(&Staging::new(), &odd.host).unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Unauthorized, "{error}");
    assert!(tokens.requests("")[0].headers.contains_key("authorization"));
    assert!(!other.requests("")[0].headers.contains_key("authorization"));
}

/// What began with TLS never goes on without, whatever the server says; with TLS it may.
#[test]
fn no_redirect_leaves_tls() {
    let authority = Authority::new();
    let access = || RegistryAccess {
        ca: Some(authority.pem.clone()),
        username: Some("hub".into()),
        password: Some(Secret::new("word")),
        plain_http: false,
    };
    let plain = Odd::start(|request, _| honest(&mut image(), request));
    let safe = Odd::start_tls(&authority, |request, _| honest(&mut image(), request));
    for (location, good) in
        [(format!("http://{}", plain.host), false), (format!("https://{}", safe.host), true)]
    {
        let odd = Odd::start_tls(&authority, move |request, _| {
            if !request.path.contains("/blobs/") {
                return honest(&mut image(), request);
            }
            let location = format!("Location: {location}{}", request.path);
            Answer { status: "307 There".into(), headers: vec![location], ..Answer::default() }
        });
        let fetched = Staging::new().fetch(&format!("{}/app:1", odd.host), Source::Registry(access()));
        match fetched {
            Ok(_) => assert!(good),
            Err(error) => {
                assert!(!good, "{error}");
                assert_eq!(error.kind, FetchErrorKind::Certificate, "{error}");
                assert!(error.message.contains("would be fetched without TLS"), "{error}");
            }
        }
    }
    assert_eq!(plain.requests("").len(), 0);
    // The same for the token that the password is sent for.
    let realm = plain.host.clone();
    let odd = Odd::start_tls(&authority, move |_, _| {
        let challenge = format!("WWW-Authenticate: Bearer realm=\"http://{realm}/token\"");
        Answer { status: "401 Who".into(), headers: vec![challenge], ..Answer::default() }
    });
    let error = Staging::new().fetch(&format!("{}/app:1", odd.host), Source::Registry(access())).unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Certificate, "{error}");
    assert_eq!(plain.requests("").len(), 0);
}

/// Also for a registry without TLS.
#[test]
fn a_token_server_with_tls_does_not_leave_it() {
    let authority = Authority::new();
    let plain = Odd::start(|_, _| ok(r#"{"token":"T0ken"}"#));
    let there = plain.host.clone();
    let tokens = Odd::start_tls(&authority, move |_, _| {
        let location = format!("Location: http://{there}/token");
        Answer { status: "307 There".into(), headers: vec![location], ..Answer::default() }
    });
    let realm = tokens.host.clone();
    let odd = Odd::start(move |_, _| {
        let challenge = format!("WWW-Authenticate: Bearer realm=\"https://{realm}/token\"");
        Answer { status: "401 Who".into(), headers: vec![challenge], ..Answer::default() }
    });
    let access = RegistryAccess { ca: Some(authority.pem), plain_http: true, ..RegistryAccess::default() };
    let fetched = Staging::new().fetch(&format!("{}/app:1", odd.host), Source::Registry(access));
    let error = fetched.unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Certificate, "{error}");
    assert_eq!((tokens.requests("").len(), plain.requests("").len()), (1, 0));
}

#[test]
fn credentials_are_not_sent_unasked() {
    let odd = Odd::start(|request, _| honest(&mut image(), request));
    with_user(&Staging::new(), &odd.host).unwrap();
    assert!(odd.requests("").iter().all(|request| !request.headers.contains_key("authorization")));
}

#[test]
fn redirects_end() {
    let odd = Odd::start(|request, _| {
        let location = format!("Location: {}x", request.path);
        Answer { status: "302 There".into(), headers: vec![location], ..Answer::default() }
    });
    let error = Staging::new().plain(&odd.host, "app:1").unwrap_err();
    assert!(error.message.contains("redirects too often"), "{error}");
    assert_eq!(odd.requests("").len(), 6);
}

#[test]
fn a_manifest_without_end_is_not_read_to_its_end() {
    let odd = Odd::start(|_, _| Answer {
        status: "200 OK".into(),
        body: vec![b' '; 32 << 20],
        ..Answer::default()
    });
    let error = Staging::new().plain(&odd.host, "app:1").unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Limit, "{error}");
}

#[test]
fn documents_that_are_two_things_or_none() {
    for (body, part) in [
        (r#"{"schemaVersion":1,"layers":[]}"#, "schema version 1"),
        (r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#, "an index and a manifest at once"),
        (r#"{"schemaVersion":2}"#, "no configuration or no layers"),
        ("<html>", "the manifest is not valid"),
        (
            r#"{"schemaVersion":2,"config":{"digest":"md5:12","size":1},"layers":[]}"#,
            "the manifest is not valid",
        ),
        (
            r#"{"schemaVersion":2,"config":{"digest":"sha256:../x","size":1},"layers":[]}"#,
            "the manifest is not valid",
        ),
    ] {
        let odd = Odd::start(move |_, _| Answer {
            status: "200 OK".into(),
            body: body.into(),
            ..Answer::default()
        });
        let error = Staging::new().plain(&odd.host, "app:1").unwrap_err();
        assert_eq!(error.kind, FetchErrorKind::BadImage);
        assert!(error.message.contains(part), "{error}");
    }
}
