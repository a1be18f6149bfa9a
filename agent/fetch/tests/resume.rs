//! Pulls that are cut: how they go on, and how much comes twice. A real registry behind a proxy that cuts.

#[path = "../../containers/tests/support/mod.rs"]
mod support;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use agent_containers::fetch::{FetchErrorKind, RegistryAccess, Source};
use support::fetching::{Staging, names};
use support::image::{Image, Pack};
use support::making::{Tar, noise};
use support::odd::{Answer, Odd, honest};
use support::proxy::Proxy;
use support::registry::{Options, Registry};
use tempfile::TempDir;

/// Bytes of the large layer.
const LARGE: usize = 8 << 20;
/// Bytes that a pull may cost beside the image: manifests, configurations, headers.
const BESIDE: u64 = 64 << 10;

fn large() -> Vec<u8> {
    Tar::default().file("noise", &noise(LARGE)).end()
}

fn image() -> Image {
    let small = Tar::default().file("text", b"hello").end();
    Image::new(&[(Pack::Gzip, small), (Pack::Plain, large())])
}

/// Bytes of the image's layers, compressed.
fn size() -> u64 {
    image().blobs.values().map(|blob| blob.len() as u64).sum()
}

fn large_digest(image: &Image) -> String {
    image.manifest["layers"][1]["digest"].as_str().unwrap().to_owned()
}

/// A registry that has the image as `app:1`, and what stands before it.
fn cutting(cut: u64) -> (TempDir, Registry, Proxy) {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path(), &Options::default());
    registry.push("app", "1", image());
    let proxy = Proxy::start(&registry.host, cut);
    (folder, registry, proxy)
}

/// Where what was downloaded of the large layer is.
fn left(staging: &Staging) -> PathBuf {
    staging.path().join("blobs").join(large_digest(&image()).strip_prefix("sha256:").unwrap())
}

#[test]
fn a_pull_whose_connections_are_cut_gets_there_in_one_run() {
    let (_folder, _registry, proxy) = cutting(1 << 20);
    let staging = Staging::new();
    let image = staging.plain(&proxy.host, "app:1").unwrap();
    assert_eq!(staging.layer(&image.layers[1].name)[&b"noise"[..]].content, noise(LARGE));
    let (passed, connections) = (proxy.passed(), proxy.connections());
    assert!(connections >= 8, "{connections}");
    assert!(passed < size() + connections * 1024 + BESIDE, "{passed} in {connections}");
}

/// As on a box that loses its power every hour: each run is cut once, and the next goes on.
#[test]
fn a_pull_that_is_cut_in_every_run_gets_there_in_the_end() {
    let (_folder, _registry, proxy) = cutting(3 << 20);
    let mut staging = Staging::new();
    staging.limits.attempts = 1;
    let mut runs = 1;
    let image = loop {
        match staging.plain(&proxy.host, "app:1") {
            Ok(image) => break image,
            Err(error) => assert_eq!(error.kind, FetchErrorKind::Unreachable, "{error}"),
        }
        runs += 1;
        assert!(runs < 10);
        assert_eq!(names(&staging.path().join("blobs")).len(), 2);
    };
    assert_eq!(runs, 3);
    assert_eq!(staging.layer(&image.layers[1].name)[&b"noise"[..]].content, noise(LARGE));
    let passed = proxy.passed();
    assert!(passed < size() + runs * BESIDE, "{passed}");
    assert!(!staging.path().join("blobs").exists());
}

/// The program itself, killed while it waits for more.
#[test]
fn a_pull_that_is_killed_goes_on_in_the_next_run() {
    let (_folder, _registry, proxy) = cutting(u64::MAX);
    let half = LARGE as u64 / 2;
    proxy.hold_after(half);
    let staging = Staging::new();
    let access = RegistryAccess { plain_http: true, ..RegistryAccess::default() };
    staging.request(&format!("{}/app:1", proxy.host), Source::Registry(access));
    let run = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast-fetch"));
        command.arg(staging.path()).stdout(Stdio::piped()).spawn().unwrap()
    };
    let mut child = run();
    let bytes = || fs::metadata(left(&staging)).map_or(0, |metadata| metadata.len());
    let begun = Instant::now();
    while bytes() + BESIDE < half {
        assert!(begun.elapsed() < Duration::from_secs(60), "{} of {half}", bytes());
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    proxy.hold_after(u64::MAX);
    let output = run().wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("layer 2 of 2: it goes on at "), "{said}");
    let passed = proxy.passed();
    assert!(passed < size() + 4 * BESIDE, "{passed}");
}

/// What an earlier run left is believed as little as what the registry sends.
#[test]
fn what_was_left_is_verified() {
    let (_folder, _registry, proxy) = cutting(u64::MAX);
    let staging = Staging::new();
    let whole = large();
    let mut damaged = whole[..LARGE / 2].to_vec();
    damaged[1000] ^= 1;
    let mut wrong = whole.clone();
    *wrong.last_mut().unwrap() ^= 1;
    let long = [&whole[..], b"x"].concat();
    let all = whole.len() as u64;
    for (what, bytes, comes) in [
        ("nothing", None, all),
        ("all of it", Some(&whole[..]), 0),
        ("half of it", Some(&whole[..LARGE / 2]), all - LARGE as u64 / 2),
        ("half of something else", Some(&damaged[..]), all - LARGE as u64 / 2 + all),
        ("something else as long", Some(&wrong[..]), all),
        ("more than it", Some(&long[..]), all),
    ] {
        fs::create_dir_all(staging.path().join("blobs")).unwrap();
        // Of an image that the tag no longer means.
        fs::write(staging.path().join("blobs/other"), b"x").unwrap();
        if let Some(bytes) = bytes {
            fs::write(left(&staging), bytes).unwrap();
        }
        let before = proxy.passed();
        let image = staging.plain(&proxy.host, "app:1").unwrap();
        assert_eq!(staging.layer(&image.layers[1].name)[&b"noise"[..]].content, noise(LARGE), "{what}");
        let passed = proxy.passed() - before;
        assert!((comes..comes + BESIDE).contains(&passed), "{what}: {passed}, {comes}");
    }
}

/// What no attempt can use is not kept, and neither is what belongs to no layer.
#[test]
fn what_is_of_no_use_is_not_kept() {
    let (_folder, registry, proxy) = cutting(3 << 20);
    let mut staging = Staging::new();
    staging.limits.attempts = 1;
    staging.plain(&proxy.host, "app:1").unwrap_err();
    fs::write(staging.path().join("blobs/other"), b"x").unwrap();
    staging.plain(&proxy.host, "app:1").unwrap_err();
    assert_eq!(names(&staging.path().join("blobs")).len(), 2);
    // The image is gone.
    let error = staging.plain(&registry.host, "app:2").unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::NotFound);
    assert!(!staging.path().join("blobs").exists());
    // The disk is full.
    staging.plain(&proxy.host, "app:1").unwrap_err();
    staging.limits.reserve = u64::MAX - (1 << 40);
    let error = staging.plain(&proxy.host, "app:1").unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::DiskFull);
    assert!(!staging.path().join("blobs").exists());
}

/// What an odd registry does with the large layer, given where the request's range begins and how many
/// requests for it came before.
fn odd(answer: impl Fn(Answer, Option<usize>, usize) -> Answer + Send + Sync + 'static) -> Odd {
    let honestly = std::sync::Mutex::new(image());
    Odd::start(move |request, before| {
        let mut image = honestly.lock().unwrap();
        let whole = honest(&mut image, request);
        if !request.path.ends_with(&large_digest(&image)) {
            return whole;
        }
        let from = request
            .headers
            .get("range")
            .map(|range| range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap());
        answer(whole, from, before)
    })
}

fn part(mut whole: Answer, from: usize, range: &str) -> Answer {
    whole.status = "206 Partial Content".into();
    whole.headers = vec![format!("Content-Range: {range}")];
    whole.body.drain(..from);
    whole
}

#[test]
fn an_answer_that_does_not_go_on_begins_anew() {
    for (what, requests) in
        [("416", 3), ("another part", 3), ("another length", 3), ("no range", 3), ("the whole", 2)]
    {
        let odd = odd(move |mut whole, from, before| {
            let total = whole.body.len();
            match (before, from) {
                (0, None) => {
                    whole.sent = Some(total / 2);
                    whole
                }
                (1, Some(from)) => match what {
                    "416" => Answer { status: "416 No".into(), ..Answer::default() },
                    "another part" => {
                        part(whole, from + 1, &format!("bytes {}-{}/{total}", from + 1, total - 1))
                    }
                    "another length" => {
                        part(whole, from, &format!("bytes {from}-{}/{}", total - 1, total + 1))
                    }
                    "no range" => part(whole, from, "none"),
                    _ => whole,
                },
                (2, None) => whole,
                other => panic!("{what}: {other:?}"),
            }
        });
        let staging = Staging::new();
        staging.plain(&odd.host, "app:1").unwrap();
        assert_eq!(odd.requests(&large_digest(&image())).len(), requests, "{what}");
    }
}

/// A server without ranges, whose answers are always cut: what comes again and again is no progress.
#[test]
fn no_progress_ends() {
    let odd = odd(|mut whole, _, _| {
        whole.sent = Some(whole.body.len() / 2);
        whole
    });
    let error = Staging::new().plain(&odd.host, "app:1").unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Unreachable, "{error}");
    // The first made progress; then three attempts.
    assert!((3..=5).contains(&odd.requests(&large_digest(&image())).len()));
}

/// A part of something else, as long as it should be.
#[test]
fn pieces_that_do_not_fit_are_had_as_one() {
    for (honest, requests) in [(true, 3), (false, 3)] {
        let odd = odd(move |mut whole, from, before| {
            let total = whole.body.len();
            match (before, from) {
                (0, None) => {
                    whole.sent = Some(total / 2);
                    whole
                }
                (1, Some(from)) => {
                    whole.body[total - 5] ^= 1;
                    part(whole, from, &format!("bytes {from}-{}/*", total - 1))
                }
                _ => {
                    whole.body[total - 5] ^= u8::from(!honest);
                    whole
                }
            }
        });
        let staging = Staging::new();
        match staging.plain(&odd.host, "app:1") {
            Ok(_) => assert!(honest),
            Err(error) => {
                assert_eq!((honest, error.kind), (false, FetchErrorKind::DigestMismatch), "{error}")
            }
        }
        assert_eq!(odd.requests(&large_digest(&image())).len(), requests);
    }
}
