//! Keys and releases as a publisher and a client see them.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::archive::sha256;
use crate::support::release::{Publisher, image, names};
use image_layout::block_map::BlockMap;
use image_layout::release::{Channel, Part, Release};
use tough::{FilesystemTransport, IntoVec, RepositoryLoader, TargetName};

/// A target as `tough` gives it to a client that trusts the publisher's first root.
fn target(publisher: &Publisher, name: &str) -> Option<Vec<u8>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let root = fs::read(publisher.keys().join("root.json")).unwrap();
        let url = |name: &str| url::Url::from_directory_path(publisher.repository().join(name)).unwrap();
        let loader =
            RepositoryLoader::new(&root, url("metadata"), url("targets")).transport(FilesystemTransport);
        let repository = loader.load().await.unwrap();
        let stream = repository.read_target(&TargetName::new(name).unwrap()).await.unwrap()?;
        Some(stream.into_vec().await.unwrap())
    })
}

#[test]
fn keys_are_the_owners_alone_and_are_never_overwritten() {
    let publisher = Publisher::new();
    let mode = |name: &str| fs::metadata(publisher.keys().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        names(&publisher.keys()),
        ["root.json", "root.pem", "snapshot.pem", "targets.pem", "timestamp.pem"]
    );
    assert_eq!(
        (mode("."), mode("root.pem"), mode("timestamp.pem"), mode("root.json")),
        (0o700, 0o600, 0o600, 0o644)
    );
    let before = fs::read(publisher.keys().join("root.pem")).unwrap();
    let again = publisher.run(&["keys", "init", "--keys", "KEYS"]);
    again.fails(1, &["there are keys in `", "hint: use another folder"]);
    assert_eq!(fs::read(publisher.keys().join("root.pem")).unwrap(), before);
    assert_eq!(names(publisher.dir.path()), ["keys"]);

    let many = ["keys", "init", "--keys", "many", "--root-keys", "3", "--root-threshold"];
    publisher.run(&[&many[..], &["4"]].concat()).fails(2, &["4 of 3 root keys can never sign"]);
    assert!(!publisher.path("many").exists());
    let run = publisher.run(&[&many[..], &["2", "--root-expires", "10d"]].concat()).ok();
    assert!(run.stdout.contains("many/root.json (valid until "), "{}", run.stdout);
    let root: serde_json::Value =
        serde_json::from_slice(&fs::read(publisher.path("many/root.json")).unwrap()).unwrap();
    assert_eq!(root["signed"]["roles"]["root"]["threshold"], 2);
    assert_eq!(root["signatures"].as_array().unwrap().len(), 3);
    assert!(publisher.path("many/root-3.pem").exists());
    publisher
        .run(&["keys", "init", "--keys", "x", "--root-expires", "10y"])
        .fails(2, &["`10y` is no time span"]);
}

#[test]
fn a_client_gets_what_was_built() {
    let publisher = Publisher::new();
    let first = image("0.1.0.20260101", 1);
    first.write_whole(&publisher.path("image"));
    let run = publisher.signing(&["add"], &["image"]).ok();
    assert!(run.stdout.starts_with("stable: 0.1.0.20260101, "), "{}", run.stdout);
    assert!(run.stdout.contains("valid until "), "{}", run.stdout);
    let channel: Channel =
        serde_json::from_slice(&target(&publisher, "channel-stable.json").unwrap()).unwrap();
    assert_eq!((channel.format, channel.version.to_string()), (1, first.version.clone()));
    let document = target(&publisher, "holdfast-0.1.0.20260101.json").unwrap();
    let release: Release = serde_json::from_slice(&document).unwrap();
    assert_eq!(release.epoch, 1_700_000_000);
    let mut boot = first.boot.clone();
    boot.resize(8192, 0);
    for (part, expect) in [(Part::Boot, &boot), (Part::Root, &first.root)] {
        let image = release.image(part).unwrap();
        assert_eq!((image.size, &image.sha256), (expect.len() as u64, &sha256(expect)));
        let map = BlockMap::decode(&target(&publisher, &image.map).unwrap()).unwrap();
        let stored = target(&publisher, &image.blocks).unwrap();
        let mut made: Vec<u8> = Vec::new();
        for (block, expect) in map.blocks().iter().zip(expect.chunks(4096)) {
            let (offset, length) = (block.stored.offset as usize, usize::from(block.stored.length));
            let bytes = &stored[offset..offset + length];
            let bytes = match length {
                0 => expect.to_vec(),
                4096 => bytes.to_vec(),
                _ => zstd::decode_all(bytes).unwrap(),
            };
            assert_eq!(sha256(&bytes), block.hash.iter().map(|b| format!("{b:02x}")).collect::<String>());
            let known = made.chunks(4096).any(|chunk| chunk == bytes) || bytes.iter().all(|byte| *byte == 0);
            assert_eq!(length == 0, known, "what is there already is not stored again");
            made.extend(bytes);
        }
        assert_eq!(&made, expect);
    }
    let manifest = target(&publisher, "holdfast-0.1.0.20260101-manifest.json").unwrap();
    assert_eq!(manifest, fs::read(publisher.path("image/manifest.json")).unwrap());
    assert!(target(&publisher, "holdfast-0.1.0.20260101-sbom.spdx.json").unwrap().starts_with(b"{"));
    assert_eq!(target(&publisher, "other"), None);

    let report = publisher.report();
    assert_eq!(report["channels"]["stable"], "0.1.0.20260101");
    assert_eq!(report["releases"][0]["size"], first.root.len() + 8192);
    assert_eq!(report["root"], 1);
    let page = publisher.run(&["verify", "--repository", "REPOSITORY", "--root", "keys/root.json"]).ok();
    for word in ["stable       0.1.0.20260101", "images 102.4 kB", "timestamp    20"] {
        assert!(page.stdout.contains(word), "no `{word}` in {}", page.stdout);
    }
}

#[test]
fn the_same_image_twice_is_no_change_and_another_one_is_refused() {
    let publisher = Publisher::with(&[image("1.2", 1)]);
    let timestamp = || fs::read(publisher.repository().join("metadata/timestamp.json")).unwrap();
    let before = timestamp();
    let run = publisher.add(&image("1.2", 1), &[]).ok();
    assert_eq!(run.stdout, "stable: unchanged at 1.2\n");
    assert_eq!(timestamp(), before);
    let other = publisher.add(&image("1.2", 2), &[]);
    other.fails(1, &["release 1.2 is there already, and is another image", "hint: give the image another"]);
    publisher
        .add(&image("1.1", 2), &[])
        .fails(2, &["the channel `stable` is at 1.2, which is newer than 1.1", "hint: --allow-older"]);
    assert_eq!(timestamp(), before);
    publisher.add(&image("1.1", 2), &["--channel", "old"]).ok();
    publisher.add(&image("1.1", 2), &["--allow-older"]).ok();
    let report = publisher.report();
    assert_eq!(report["channels"], serde_json::json!({ "old": "1.1", "stable": "1.1" }));
    publisher.add(&image("1.1", 2), &["--channel", "No"]).fails(2, &["`No` cannot name a channel"]);
}

#[test]
fn channels_are_pointed_at_releases_that_are_there() {
    let publisher = Publisher::with(&[image("1", 1), image("2", 2)]);
    let run = publisher.signing(&["point"], &["1"]).ok();
    assert!(run.stdout.starts_with("stable: 1\nvalid until "), "{}", run.stdout);
    assert_eq!(publisher.signing(&["point"], &["1"]).ok().stdout, "stable: unchanged at 1\n");
    publisher.signing(&["point"], &["--channel", "beta", "2"]).ok();
    publisher.signing(&["point"], &["3"]).fails(1, &["there is no release 3; there are: 1, 2"]);
    publisher.signing(&["point"], &["x"]).fails(2, &["`x` is no version"]);
    assert_eq!(publisher.report()["channels"], serde_json::json!({ "beta": "2", "stable": "1" }));
}

#[test]
fn what_is_no_image_is_not_released() {
    let publisher = Publisher::new();
    let folder = publisher.path("image");
    let add = || publisher.signing(&["add"], &["image"]);
    add().fails(
        1,
        &["failed to read `image/manifest.json`", "hint: give the folder that `holdfast-image build"],
    );
    let good = image("1", 1);
    let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    good.write(&folder);
    let raw = folder.join("holdfast.raw");
    fs::rename(&raw, folder.join("elsewhere")).unwrap();
    add().fails(1, &["there is no disk image in `image`"]);
    fs::rename(folder.join("elsewhere"), &raw).unwrap();
    let manifest = text("manifest.json");
    fs::write(folder.join("sbom.spdx.json"), "{}").unwrap();
    add().fails(1, &["`image/sbom.spdx.json` is not what the manifest says", "hint: build it again"]);
    good.write(&folder);
    let disk = fs::OpenOptions::new().write(true).open(&raw).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&disk, b"x", 1 << 29).unwrap();
    add().fails(1, &["`image/holdfast.raw` is not what the manifest says"]);
    good.write(&folder);
    let changed =
        |from: &str, to: &str| fs::write(folder.join("manifest.json"), manifest.replace(from, to)).unwrap();
    changed("\"version\": \"1\"", "\"version\": \"1-rc\"");
    add().fails(1, &["`image/manifest.json` cannot be released: `1-rc` is no version"]);
    changed("{", "");
    add().fails(1, &["`image/manifest.json` is no manifest"]);
    changed(&format!("\"root_size\": {}", good.root.len()), "\"root_size\": 4097");
    add().fails(1, &["the partition `root-a` does not hold what the manifest says"]);
    changed(&format!("\"root_size\": {}", good.root.len()), "\"root_size\": 536875008");
    add().fails(1, &["the partition `root-a` does not hold"]);
    crate::support::release::Image { boot: vec![], ..good }.write(&folder);
    add().fails(1, &["the partition `boot-a` does not hold"]);
    assert!(!publisher.repository().exists(), "nothing was begun");
}

#[test]
fn gzip_will_do_where_the_raw_disk_is_not_kept() {
    let publisher = Publisher::with(&[image("1", 1)]);
    let folder = publisher.path("image");
    let raw = fs::File::open(folder.join("holdfast.raw")).unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::copy(&mut { raw }, &mut packed).unwrap();
    let packed = packed.finish().unwrap();
    let manifest = fs::read_to_string(folder.join("manifest.json")).unwrap();
    let mut manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    manifest["outputs"][0] =
        serde_json::json!({ "name": "holdfast.raw.gz", "size": packed.len(), "sha256": sha256(&packed) });
    fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
    fs::write(folder.join("holdfast.raw.gz"), packed).unwrap();
    fs::remove_file(folder.join("holdfast.raw")).unwrap();
    assert_eq!(publisher.signing(&["add"], &["image"]).ok().stdout, "stable: unchanged at 1\n");
}

#[test]
fn a_repository_of_others_is_left_alone() {
    let publisher = Publisher::with(&[image("1", 1)]);
    publisher.run(&["keys", "init", "--keys", "others"]).ok();
    let others = ["--keys", "others", "--repository", "REPOSITORY"];
    let run = publisher.run(&[&["refresh"], &others[..]].concat());
    run.fails(
        1,
        &["metadata/1.root.json` is not the root metadata of the keys in `others`", "hint: use the keys"],
    );
    publisher
        .run(&["refresh", "--keys", "none", "--repository", "REPOSITORY"])
        .fails(1, &["failed to read `none/root.json`", "hint: `holdfast-image release keys init"]);
    publisher.run(&["refresh", "--keys", "KEYS", "--repository", "none"]).fails(
        1,
        &["there is no release repository in `none`", "hint: `holdfast-image release add` makes one"],
    );
    fs::rename(publisher.keys(), publisher.repository().join("keys")).unwrap();
    let inside = ["refresh", "--keys", "repository/keys", "--repository", "REPOSITORY"];
    publisher.run(&inside).fails(1, &["lie inside the repository, which is for everybody to read"]);
    fs::rename(publisher.repository().join("keys"), publisher.keys()).unwrap();
    // Somebody put something among the targets: it must not be signed now.
    let path = publisher.repository().join("metadata/1.targets.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("channel-stable", "channel-stabil")).unwrap();
    publisher
        .signing(&["refresh"], &[])
        .fails(1, &["`metadata/1.targets.json` is not what the metadata that"]);
    fs::write(&path, text).unwrap();
    let path = publisher.repository().join("metadata/timestamp.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"version\": 1\n", "\"version\": 7\n")).unwrap();
    publisher
        .signing(&["refresh"], &[])
        .fails(1, &["`metadata/timestamp.json` is not signed by the keys in `"]);
    let run = publisher.verify(&publisher.keys().join("root.json"));
    run.fails(
        1,
        &["the repository cannot be trusted", "Signature threshold of 1 not met for role timestamp"],
    );
}

#[test]
fn two_commands_at_once_are_one_too_many() {
    let publisher = Publisher::with(&[image("1", 1)]);
    let lock = fs::File::open(publisher.repository().join(".lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    publisher.signing(&["refresh"], &[]).fails(1, &["another command is changing `"]);
    drop(lock);
    publisher.signing(&["refresh"], &[]).ok();
}

#[test]
fn a_refresh_needs_neither_the_root_key_nor_that_of_targets() {
    let publisher = Publisher::with(&[image("1", 1)]);
    let key = |name: &str| publisher.keys().join(name);
    for name in ["root.pem", "targets.pem"] {
        fs::rename(key(name), publisher.path(name)).unwrap();
    }
    let run = publisher.signing(&["refresh"], &["--expires", "20d"]).ok();
    assert!(
        run.stdout.starts_with("valid until 20") && run.stdout.ends_with("(timestamp)\n"),
        "{}",
        run.stdout
    );
    let expected = ["1.root.json", "1.snapshot.json", "1.targets.json", "timestamp.json"];
    assert_eq!(publisher.files("metadata"), expected);
    assert_eq!(publisher.report()["releases"].as_array().unwrap().len(), 1);
    publisher.add(&image("2", 2), &[]).fails(
        1,
        &["cannot sign for the role `targets`", "hint: put the key of the role, as `targets.pem`, there"],
    );
    // Ninety days are too few for this, so all is made anew; without the key as much as can be.
    let run = publisher.signing(&["refresh"], &["--expires", "100d"]).ok();
    assert!(run.stderr.contains("note: the targets metadata end on "), "{}", run.stderr);
    assert!(run.stdout.ends_with("(targets)\n"), "{}", run.stdout);
    fs::rename(publisher.path("targets.pem"), key("targets.pem")).unwrap();
    let run = publisher.signing(&["refresh"], &["--expires", "100d"]).ok();
    assert!(run.stdout.ends_with("(timestamp)\n"), "{}", run.stdout);
    assert!(publisher.files("metadata").contains(&"2.targets.json".to_owned()));
    publisher.report();
    fs::remove_file(key("timestamp.pem")).unwrap();
    publisher.signing(&["refresh"], &[]).fails(1, &["cannot sign for the role `timestamp`"]);
}

#[test]
fn what_has_expired_is_refused_until_it_is_refreshed() {
    let publisher = Publisher::new();
    publisher.add(&image("1", 1), &["--expires", "1s"]).ok();
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let root = publisher.keys().join("root.json");
    publisher
        .verify(&root)
        .fails(1, &["timestamp metadata is expired", "hint: `holdfast-image release refresh`"]);
    publisher.signing(&["refresh"], &[]).ok();
    publisher.verify(&root).ok();
}

#[test]
fn every_changed_file_is_found() {
    let publisher = Publisher::with(&[image("1", 1)]);
    let root = publisher.keys().join("root.json");
    for folder in ["metadata", "targets"] {
        // Nobody fetches the root that is trusted already.
        for name in publisher.files(folder).iter().filter(|name| *name != "1.root.json") {
            let path = publisher.repository().join(folder).join(name);
            let good = fs::read(&path).unwrap();
            let mut bad = good.clone();
            let middle = bad.len() / 2;
            bad[middle] ^= 1;
            fs::write(&path, bad).unwrap();
            publisher.verify(&root).fails(1, &["cannot be trusted"]);
            fs::remove_file(&path).unwrap();
            publisher.verify(&root).fails(1, &["cannot be trusted"]);
            fs::write(&path, good).unwrap();
        }
    }
    publisher.verify(&root).ok();
}

#[test]
fn a_build_follows_root_metadata_only() {
    let w = crate::support::workspace::Workspace::new(&[], &[]);
    let publisher = Publisher::new();
    let file = |name: &str| publisher.path(name).to_str().unwrap().to_owned();
    let root = fs::read_to_string(publisher.keys().join("root.json")).unwrap();
    let build = |root: &str| w.run(&["build", "--bin-dir", "/nowhere", "--update-root", &file(root)]);
    fs::write(publisher.path("unsigned.json"), root.replace("\"version\": 1", "\"version\": 2")).unwrap();
    fs::write(publisher.path("other.json"), "{}").unwrap();
    build("unsigned.json").fails(
        1,
        &[
            "unsigned.json` cannot be followed: it is not signed by its own keys",
            "hint: give the root.json that `holdfast-image release keys init` wrote",
        ],
    );
    build("other.json").fails(1, &["other.json` cannot be followed: it is no TUF root metadata"]);
    build("missing.json").fails(1, &["failed to read `"]);
    build("keys/root.json").fails(1, &["holdfastd` is not there"]);
    w.run(&["build", "--image-version", "1.x"]).fails(2, &["`1.x` is no version"]);
}
