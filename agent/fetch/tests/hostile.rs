//! The worst images that anyone can offer, against the program itself: each ends in an error that says why,
//! within 256 MiB of memory and 60 seconds of processor, and nothing of it is left.

#[path = "../../containers/tests/support/mod.rs"]
mod support;

use std::fs;
use std::io::Write;
use std::process::Command;

use agent_containers::Digest;
use agent_containers::fetch::{
    FetchError, FetchErrorKind, FetchRequest, FetchResult, Outcome, RegistryAccess, Source,
};
use serde_json::json;
use support::fetching::{Staging, names};
use support::image::{Image, Pack};
use support::making::{Item, Tar, gzip, header, record};
use support::odd::{Answer, Odd, honest};

const NAME: &str = "registry.example.org/app:1";

/// Runs `holdfast-fetch` with 256 MiB and 60 seconds, for itself as for what it starts.
fn fetch(staging: &Staging, reference: &str, source: Source) -> FetchError {
    let path = staging.path();
    let request = FetchRequest { mkfs: staging.mkfs.clone(), ..FetchRequest::new(reference, source) };
    fs::write(path.join(FetchResult::REQUEST), serde_json::to_vec(&request).unwrap()).unwrap();
    let output = Command::new("sh")
        .args(["-c", "ulimit -d 262144 && ulimit -t 60 && exec \"$0\" \"$1\""])
        .arg(env!("CARGO_BIN_EXE_holdfast-fetch"))
        .arg(&path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    // What was fetched of a registry stays for the next try, if anything did.
    let left: Vec<String> = names(&path).into_iter().filter(|name| name != "blobs").collect();
    assert_eq!(left, ["known", "request.json", "result.json"]);
    let result: FetchResult =
        serde_json::from_slice(&fs::read(path.join(FetchResult::FILE)).unwrap()).unwrap();
    match result.outcome {
        Outcome::Error(error) => error,
        Outcome::Image(image) => panic!("{image:?}"),
    }
}

fn of_layout(image: Image) -> FetchError {
    let folder = tempfile::tempdir().unwrap();
    image.write_layout(folder.path(), NAME);
    fetch(&Staging::new(), NAME, Source::Layout(folder.path().to_owned()))
}

/// An image of blobs that are never read to their end.
fn image(blobs: Vec<Vec<u8>>) -> Image {
    let mut image = Image::new(&[]);
    let mut layers = Vec::new();
    let mut diff_ids = Vec::new();
    for blob in blobs {
        let digest = Digest::of(&blob).to_string();
        let kind = "application/vnd.oci.image.layer.v1.tar";
        layers.push(json!({ "mediaType": kind, "digest": digest, "size": blob.len() }));
        diff_ids.push(digest.clone());
        image.blobs.insert(digest, blob);
    }
    image.manifest["layers"] = json!(layers);
    image.config["rootfs"]["diff_ids"] = json!(diff_ids);
    image
}

fn check(blob: Vec<u8>, kind: FetchErrorKind, part: &str) {
    let error = of_layout(image(vec![blob]));
    assert_eq!(error.kind, kind, "{error}");
    assert!(error.message.contains(part), "{error}");
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

const GROWS: &str = "layer 1 of 1: the layer grows to more than 200 times its compressed size";

#[test]
fn bombs_of_zeroes() {
    let zeroes = vec![0; 1 << 20];
    check(gzip(&zeroes).repeat(2048), FetchErrorKind::Limit, GROWS);
    check(zstd(&zeroes).repeat(4096), FetchErrorKind::Limit, GROWS);
    // The same as one file, that is as large as a layer may be.
    let file = header(&Item { name: b"a", ..Item::default() }, 4 << 30);
    let begins = zstd(file.as_bytes());
    check([begins, zstd(&zeroes).repeat(4096)].concat(), FetchErrorKind::Limit, GROWS);
    let larger = header(&Item { name: b"a", ..Item::default() }, (4 << 30) + 1);
    let said = "the layer has more than 4294967296 bytes in its files";
    check(larger.as_bytes().to_vec(), FetchErrorKind::Limit, said);
}

/// A file of nothing but a hole.
fn hole(name: &str, bytes: u64) -> Tar {
    let (size, end) = (bytes.to_string(), format!("{bytes},0"));
    let records: [(&str, &[u8]); 2] =
        [("GNU.sparse.size", size.as_bytes()), ("GNU.sparse.map", end.as_bytes())];
    Tar::default().pax(&records).file(name, b"")
}

#[test]
fn bombs_of_holes() {
    check(hole("a", 4 << 30).end(), FetchErrorKind::Limit, GROWS);
    // Many layers, each of a size that one alone may have.
    let layers: Vec<_> =
        (0..128).map(|layer| (Pack::Zstd, hole(&format!("{layer}"), 200 << 20).end())).collect();
    let error = of_layout(Image::new(&layers));
    assert_eq!(error.message, GROWS.replace("1 of 1", "2 of 128"));
}

/// A gzip layer, entry by entry.
fn entries(count: u32, kind: u8, name: impl Fn(u32) -> String) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for index in 0..count {
        let name = name(index);
        let item = Item { kind, name: name.as_bytes(), ..Item::default() };
        out.write_all(header(&item, 0).as_bytes()).unwrap();
    }
    out.write_all(&[0; 1024]).unwrap();
    out.finish().unwrap()
}

#[test]
fn more_than_a_million_entries() {
    // One file again and again: nothing but its entries is much.
    let file = Tar::default().file("a", b"").bytes;
    let thousand = zstd(&file.repeat(1000));
    // A frame that is skipped (RFC 8878, 3.1.2), so that it does not end as a bomb.
    let mut skipped = vec![0x50, 0x2a, 0x4d, 0x18];
    skipped.extend((2u32 << 20).to_le_bytes());
    skipped.resize(8 + (2 << 20), 0);
    let layer = [thousand.repeat(1000), skipped, zstd(&file)].concat();
    check(layer, FetchErrorKind::Limit, "the layer has more than 1000000 entries");
}

/// What would keep `mkfs.erofs` busy for long.
#[test]
fn places_that_are_searched_for_long() {
    let said = "the layer has more than 2000000000 comparisons of file names";
    check(entries(70_000, b'0', |index| index.to_string()), FetchErrorKind::Limit, said);
    let in_turns = |index| match index {
        0..10_000 => format!("{index}/"),
        _ => format!("{}/{index}", index % 10_000),
    };
    check(entries(250_000, b'0', in_turns), FetchErrorKind::Limit, said);
    let deep = format!("{}x", "d/".repeat(300));
    let layer = Tar::default().pax(&[("path", deep.as_bytes())]).file("x", b"").end();
    check(layer, FetchErrorKind::BadLayer, "it lies too deep");
}

#[test]
fn headers_without_end() {
    // As many attributes as a header holds.
    let many: Vec<u8> =
        (0..30_000).flat_map(|index| record(&format!("SCHILY.xattr.user.{index}"), b"")).collect();
    let layer = Tar::default().extension(b'x', &many).file("a", b"").end();
    check(layer, FetchErrorKind::BadLayer, "its attributes are too large taken together");
    // As many headers as a layer holds, each with one attribute as often as it can be said.
    let often = record("SCHILY.xattr.user.a", b"").repeat(40_000);
    let headers = Tar::default().extension(b'x', &often).file("a", b"").bytes;
    let last = Tar::default().file("../a", b"").end();
    let layer = [zstd(&headers).repeat(250), zstd(&last)].concat();
    check(layer, FetchErrorKind::BadLayer, "its name contains `..`");
    let layer = Tar::default().extension(b'x', &vec![b' '; (1 << 20) + 1]).file("a", b"").end();
    check(layer, FetchErrorKind::BadLayer, "its extended header is too large");
}

#[test]
fn images_of_too_many_layers_or_bytes() {
    let layers: Vec<_> =
        (0..129).map(|layer| (Pack::Plain, Tar::default().file(&format!("{layer}"), b"").end())).collect();
    let error = of_layout(Image::new(&layers));
    assert_eq!(error.message, "the image has 129 layers, more than 128");
    // Four layers that the box has, of 4 GiB each, and a small one.
    let image = Image::new(&layers[..5]);
    let staging = Staging::new();
    for layer in &layers[..4] {
        let meta = format!(
            "{{\"format\":1,\"bytes\":{},\"opaque_root\":false,\"passwd\":\"below\",\"group\":\"below\"}}\nend\n",
            4u64 << 30
        );
        let name = format!("known/{}.meta", Digest::of(&layer.1).hex());
        fs::write(staging.path().join(name), meta).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    image.write_layout(folder.path(), NAME);
    let error = fetch(&staging, NAME, Source::Layout(folder.path().to_owned()));
    assert_eq!(error.message, "the image's layers have more than 17179869184 bytes");
}

#[test]
fn documents_that_are_too_large() {
    let mut image = Image::new(&[]);
    image.manifest["annotations"] = json!({ "a": "x".repeat(4 << 20) });
    let error = of_layout(image);
    assert_eq!(error.kind, FetchErrorKind::Limit, "{error}");
    let mut image = Image::new(&[]);
    image.config["author"] = json!("x".repeat(4 << 20));
    let error = of_layout(image);
    assert!(error.message.starts_with("the configuration of 41"), "{error}");
}

/// What a registry sends is not what it said.
#[test]
fn streams_of_another_length_or_content() {
    let of_odd = |image: fn() -> Image, change: fn(&mut Answer)| {
        let odd = Odd::start(move |request, _| {
            let mut image = image();
            let mut answer = honest(&mut image, request);
            if request.path.ends_with(image.manifest["layers"][0]["digest"].as_str().unwrap()) {
                change(&mut answer);
            }
            answer
        });
        let access = RegistryAccess { plain_http: true, ..RegistryAccess::default() };
        fetch(&Staging::new(), &format!("{}/app:1", odd.host), Source::Registry(access))
    };
    fn image() -> Image {
        Image::new(&[(Pack::Gzip, Tar::default().file("a", b"content").end())])
    }
    fn of_another() -> Image {
        let mut image = image();
        image.config["rootfs"]["diff_ids"] = json!([Digest::of(b"another").to_string()]);
        image
    }
    // Longer than the box has memory or was told.
    let longer = of_odd(image, |answer| answer.body.resize(300 << 20, 0));
    assert_eq!(longer.kind, FetchErrorKind::DigestMismatch, "{longer}");
    let other = of_odd(image, |answer| answer.body[20] ^= 1);
    assert_eq!(other.kind, FetchErrorKind::DigestMismatch, "{other}");
    let shorter = of_odd(image, |answer| {
        answer.body.pop();
    });
    assert_eq!(shorter.kind, FetchErrorKind::Unreachable, "{shorter}");
    assert!(shorter.message.contains("ended after"), "{shorter}");
    let another = of_odd(of_another, |_| {});
    assert_eq!(another.kind, FetchErrorKind::DigestMismatch, "{another}");
    assert!(another.message.contains("the image names"), "{another}");
}
