//! The normaliser on streams of every kind, and the corpus of its fuzz target.

#[path = "../fuzz/bodies.rs"]
mod bodies;
mod support;

use std::fs;
use std::io::Cursor;
use std::path::PathBuf;

use agent_containers::Limits;
use agent_containers::layer::{self, LayerMeta};
use support::{cases, limits, listing, normalise};

#[test]
fn each_case_gives_what_it_must() {
    let mut listings = String::new();
    let mut wrong = Vec::new();
    for case in cases::all() {
        match (normalise(&case.blob, &limits()), case.error) {
            (Ok(stream), None) => {
                listings.push_str(&format!("# {}\n{}\n", case.name, listing::show(&listing::read(&stream))));
            }
            (Err(error), Some(part)) if error.to_string().contains(part) => {}
            (found, expected) => {
                let found = found.map(|_| "accepted").map_err(|error| error.to_string());
                wrong.push(format!("{}: {found:?}, expected {expected:?}", case.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    insta::assert_snapshot!("listings", listings);
}

/// How a gzip stream starts.
const GZIP: &[u8] = &[0x1f, 0x8b];
/// How a zstd frame starts.
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

#[test]
fn an_opaque_root_is_recorded() {
    for (name, expect) in [("opaque-root", true), ("opaque", false)] {
        let case = cases::all().into_iter().find(|case| case.name == name).unwrap();
        let length = case.blob.len() as u64;
        let stream = layer::open(Cursor::new(case.blob), length, &limits(), true).unwrap();
        let scan = layer::scan(stream, length, &limits()).unwrap();
        assert_eq!(LayerMeta::new(&scan, 0).opaque_root, expect, "{name}");
    }
}

/// The corpus holds just these cases, and what the fuzzer found; `HOLDFAST_WRITE_CORPUS=1` writes it.
#[test]
fn the_corpus_is_fresh_and_behaves() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/normalise");
    let cases = cases::all();
    // A few are large for what they show; the fuzzer has no use for them. Of good ones it gets some
    // compressed too, so that it does not learn mostly what is refused.
    let mut kept: Vec<(String, Vec<u8>)> = Vec::new();
    for case in cases.into_iter().filter(|case| case.blob.len() <= 8192) {
        let good = case.error.is_none();
        if good && case.blob.starts_with(b"a") {
            kept.push((format!("good-{}-gzip", case.name), support::making::gzip(&case.blob)));
        }
        kept.push((format!("{}-{}", if good { "good" } else { "bad" }, case.name), case.blob));
    }
    if std::env::var_os("HOLDFAST_WRITE_CORPUS").is_some() {
        fs::create_dir_all(&folder).unwrap();
        for (name, blob) in &kept {
            fs::write(folder.join(name), blob).unwrap();
        }
    }
    for (name, blob) in &kept {
        let path = folder.join(name);
        // Encoders differ from build to build; of what is compressed only the kind is compared.
        let packed = |bytes: &[u8]| [GZIP, ZSTD].into_iter().find(|magic| bytes.starts_with(magic));
        let fresh =
            |found: Vec<u8>| found == *blob || packed(blob).is_some() && packed(blob) == packed(&found);
        assert!(fs::read(&path).is_ok_and(fresh), "{} is stale", path.display());
    }
    let (mut good, mut all) = (0, 0);
    for entry in fs::read_dir(&folder).unwrap() {
        let entry = entry.unwrap();
        let accepted = bodies::normalise(&fs::read(entry.path()).unwrap());
        let name = entry.file_name().into_string().unwrap();
        if !name.starts_with("found-") {
            assert_eq!(accepted, name.starts_with("good-"), "{name}");
        }
        all += 1;
        good += usize::from(accepted);
    }
    assert!(all >= 50 && good * 2 >= all, "{good} of {all} inputs are accepted");
}

#[test]
fn what_is_written_depends_on_the_stream_alone() {
    for case in cases::all().into_iter().filter(|case| case.error.is_none()) {
        let once = normalise(&case.blob, &limits()).unwrap();
        assert!(once == normalise(&case.blob, &limits()).unwrap(), "{}", case.name);
    }
}

/// Cut anywhere, a stream is refused or is the beginning of itself: never a wrong file.
#[test]
fn a_cut_stream_never_gives_a_wrong_file() {
    let whole = support::making::Tar::default()
        .pax(&[("path", b"long"), ("SCHILY.xattr.user.a", b"b")])
        .file("x", &[7; 700])
        .dir("d", 0o700)
        .link("d/l", "long")
        .end();
    let expected = listing::read(&normalise(&whole, &limits()).unwrap());
    for cut in 0..whole.len() {
        if let Ok(stream) = normalise(&whole[..cut], &limits()) {
            for (path, facts) in listing::read(&stream).into_iter().filter(|(path, _)| !path.is_empty()) {
                // A folder whose entry was cut off is not listed with its own mode yet.
                assert_eq!(Some(&facts), expected.get(&path), "cut at {cut}");
            }
        }
    }
}

#[test]
fn limits_end_a_scan() {
    let stream = |count: usize| {
        let tar = (0..count).fold(support::making::Tar::default(), |tar, i| tar.file(&format!("f{i}"), b"x"));
        tar.end()
    };
    let check = |limits: Limits, expect: Option<&str>| {
        let found = normalise(&stream(20), &limits).err().map(|error| error.to_string());
        assert_eq!(found.as_deref(), expect);
    };
    let least = Limits { entries: 20, names: 50, layer: 20 * 1024 + 1024, ..limits() };
    check(least, None);
    check(Limits { entries: 19, ..least }, Some("the layer has more than 19 entries"));
    check(Limits { names: 49, ..least }, Some("the layer has more than 49 bytes of file names"));
    let layer = least.layer - 1;
    check(Limits { layer, ..least }, Some("the layer has more than 21503 bytes"));
    check(
        Limits { free: 0, ratio: 0, ..least },
        Some("the layer grows to more than 0 times its compressed size"),
    );
}
