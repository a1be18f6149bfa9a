//! Fetches from a real registry and from an OCI layout.

mod support;

use std::fs;

use agent_containers::fetch::{FetchErrorKind, RegistryAccess, Source, offers};
use agent_containers::{Digest, Limits};
use agent_core::Secret;
use serde_json::{Value, json};
use support::authority::Authority;
use support::fetching::{Staging, names};
use support::image::{Image, Pack, index};
use support::making::Tar;
use support::registry::{Options, Registry, USER};
use tempfile::TempDir;

fn layer(text: &str) -> Vec<u8> {
    Tar::default().dir("./", 0o755).file("text", text.as_bytes()).end()
}

fn small() -> Image {
    Image::new(&[(Pack::Gzip, layer("hello"))])
}

fn registry() -> (TempDir, Registry) {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path(), &Options::default());
    (folder, registry)
}

#[test]
fn an_image_of_each_compression() {
    let (_folder, registry) = registry();
    let layers = [(Pack::Gzip, layer("a")), (Pack::Zstd, layer("b")), (Pack::Plain, layer("c"))];
    let digest = registry.push("some/app", "1.0", Image::new(&layers));
    let staging = Staging::new();
    let image = staging.plain(&registry.host, "some/app:1.0").unwrap();
    assert_eq!((image.digest, image.resolved), (digest, digest));
    assert_eq!(image.config.cmd, ["/bin/app"]);
    assert_eq!(image.config.exposed_ports, ["80/tcp"]);
    for (fetched, (text, (_, tar))) in image.layers.iter().zip(["a", "b", "c"].iter().zip(&layers)) {
        assert_eq!(fetched.diff_id, Digest::of(tar));
        assert_eq!((fetched.bytes, fetched.staged), (tar.len() as u64, true));
        assert_eq!(staging.layer(&fetched.name)[&b"text"[..]].content, text.as_bytes());
    }
    // By digest too, whatever the tag is.
    let image = staging.plain(&registry.host, &format!("some/app:other@{digest}")).unwrap();
    assert_eq!(image.digest, digest);
}

#[test]
fn layers_that_are_known_are_not_fetched() {
    let (_folder, registry) = registry();
    let image = Image::new(&[(Pack::Gzip, layer("a")), (Pack::Gzip, layer("b"))]);
    registry.push("app", "1", image.clone());
    let staging = Staging::new();
    staging.plain(&registry.host, "app:1").unwrap();
    staging.keep();
    let lost = image.manifest["layers"][0]["digest"].as_str().unwrap();
    fs::remove_file(registry.file(lost)).unwrap();
    let again = staging.plain(&registry.host, "app:1").unwrap();
    assert!(again.layers.iter().all(|layer| !layer.staged));
    assert_eq!(names(&staging.path().join("layers")), Vec::<String>::new());
    // What is known but damaged is fetched, and that shows that it would have been.
    for name in names(&staging.path().join("known")) {
        fs::write(staging.path().join("known").join(name), "{").unwrap();
    }
    assert_eq!(staging.plain(&registry.host, "app:1").unwrap_err().kind, FetchErrorKind::NotFound);
}

#[test]
fn an_index_leads_to_this_machine() {
    let (_folder, registry) = registry();
    let digest = registry.push("app", "amd64", small());
    let here = small().finish();
    let mut other = Image::new(&[(Pack::Gzip, layer("other"))]);
    other.config["architecture"] = json!("arm64");
    registry.push("app", "arm64", other.clone());
    let there = other.finish();
    let kind = "application/vnd.oci.image.index.v1+json";
    let both =
        index(&[("linux", "arm64", &there), ("unknown", "unknown", &there), ("linux", "amd64", &here)]);
    let resolved = registry.push_manifest("app", "both", kind, &both);
    let staging = Staging::new();
    let image = staging.plain(&registry.host, "app:both").unwrap();
    assert_eq!((image.resolved, image.digest), (resolved, digest));
    let image = staging.plain(&registry.host, &format!("app@{resolved}")).unwrap();
    assert_eq!((image.resolved, image.digest), (resolved, digest));

    registry.push_manifest("app", "foreign", kind, &index(&[("linux", "arm64", &there)]));
    let error = staging.plain(&registry.host, "app:foreign").unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Platform);
    assert_eq!(error.hint.unwrap(), "it is made for: linux/arm64");
    let error = staging.plain(&registry.host, "app:arm64").unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Platform);
    assert_eq!(error.message, "the image is made for linux/arm64");
    // An index that says so of something else.
    registry.push_manifest("app", "liar", kind, &index(&[("linux", "amd64", &there)]));
    let error = staging.plain(&registry.host, "app:liar").unwrap_err();
    assert_eq!(error.message, "the image is made for linux/arm64");
}

/// As BuildKit writes it, with what it says of the image; and an index in an index, which names no machine.
#[test]
fn indexes_as_tools_write_them() {
    let (_folder, registry) = registry();
    let digest = registry.push("app", "1", small());
    let manifest = small().finish();
    let mut said = Image::new(&[(Pack::Plain, layer("said"))]);
    said.config = json!({});
    said.manifest["layers"][0]["mediaType"] = json!("application/vnd.in-toto+json");
    registry.push("app", "said", said.clone());
    let oci = "application/vnd.oci.image.index.v1+json";
    let mut inner: Value = serde_json::from_slice(&index(&[
        ("unknown", "unknown", &said.finish()),
        ("linux", "amd64", &manifest),
    ]))
    .unwrap();
    inner["manifests"][0]["annotations"] =
        json!({ "vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": digest });
    let inner = inner.to_string().into_bytes();
    registry.push_manifest("app", "inner", oci, &inner);
    let around = |entry: &[u8]| {
        let entry = json!({ "mediaType": oci, "digest": Digest::of(entry), "size": entry.len() });
        json!({ "schemaVersion": 2, "mediaType": oci, "manifests": [entry] }).to_string().into_bytes()
    };
    let staging = Staging::new();
    let mut whole = inner;
    for depth in 0..=4 {
        let resolved = registry.push_manifest("app", "deep", oci, &whole);
        let fetched = staging.plain(&registry.host, "app:deep");
        match depth {
            4 => {
                let error = fetched.unwrap_err();
                assert_eq!(error.message, "the image has more than 4 indexes, one in another");
            }
            _ => {
                let image = fetched.unwrap();
                assert_eq!((image.resolved, image.digest), (resolved, digest));
            }
        }
        whole = around(&whole);
    }
    let error = staging.plain(&registry.host, "app:said").unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::BadImage, "{error}");
}

/// The same under the media types of Docker.
#[test]
fn a_manifest_list_of_docker() {
    let (_folder, registry) = registry();
    let docker = |kind: &str| format!("application/vnd.docker.{kind}");
    let manifest_kind = docker("distribution.manifest.v2+json");
    let mut image = small();
    image.manifest["mediaType"] = json!(manifest_kind);
    image.manifest["layers"][0]["mediaType"] = json!(docker("image.rootfs.diff.tar.gzip"));
    image.finish();
    image.manifest["config"]["mediaType"] = json!(docker("container.image.v1+json"));
    for bytes in image.blobs.values() {
        registry.push_blob("app", bytes);
    }
    let manifest = image.manifest.to_string().into_bytes();
    let digest = registry.push_manifest("app", "1", &manifest_kind, &manifest);
    let mut list: Value = serde_json::from_slice(&index(&[("linux", "amd64", &manifest)])).unwrap();
    let list_kind = docker("distribution.manifest.list.v2+json");
    list["mediaType"] = json!(list_kind);
    list["manifests"][0]["mediaType"] = json!(manifest_kind);
    let resolved = registry.push_manifest("app", "list", &list_kind, &list.to_string().into_bytes());
    let image = Staging::new().plain(&registry.host, "app:list").unwrap();
    assert_eq!((image.resolved, image.digest), (resolved, digest));
}

#[test]
fn plain_http_only_where_it_is_asked_for() {
    let (_folder, registry) = registry();
    registry.push("app", "1", small());
    let staging = Staging::new();
    let source = Source::Registry(RegistryAccess::default());
    let error = staging.fetch(&format!("{}/app:1", registry.host), source).unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Certificate, "{error}");
    assert!(error.hint.unwrap().contains("plain_http = true"));
}

#[test]
fn tls_with_a_private_authority() {
    let folder = tempfile::tempdir().unwrap();
    Registry::start(folder.path(), &Options::default()).push("app", "1", small());
    let authority = Authority::new();
    let (certificate, key) = authority.server();
    let tls = Some((certificate.as_str(), key.as_str()));
    let registry = Registry::start(folder.path(), &Options { tls, ..Options::default() });
    let staging = Staging::new();
    let fetch = |ca: Option<String>| {
        let access = RegistryAccess { ca, ..RegistryAccess::default() };
        staging.fetch(&format!("{}/app:1", registry.host), Source::Registry(access))
    };
    fetch(Some(authority.pem.clone())).unwrap();
    for ca in [None, Some(Authority::new().pem)] {
        let error = fetch(ca).unwrap_err();
        assert_eq!(error.kind, FetchErrorKind::Certificate, "{error}");
        assert!(error.hint.unwrap().contains("private CA"));
    }
    let error = fetch(Some("nonsense".into())).unwrap_err();
    assert!(error.message.contains("holds no certificate"), "{error}");
    // HTTP to a server that wants TLS.
    let error = staging.plain(&registry.host, "app:1").unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Unreachable, "{error}");
}

/// All of it at once, as at home: a private authority, a user, an index, layers of each compression.
#[test]
fn a_registry_of_ones_own() {
    let folder = tempfile::tempdir().unwrap();
    let open = Registry::start(folder.path(), &Options::default());
    let layers = [(Pack::Zstd, layer("a")), (Pack::Gzip, layer("b"))];
    let digest = open.push("team/app", "amd64", Image::new(&layers));
    let here = Image::new(&layers).finish();
    let kind = "application/vnd.oci.image.index.v1+json";
    let resolved = open.push_manifest("team/app", "1", kind, &index(&[("linux", "amd64", &here)]));
    drop(open);
    let authority = Authority::new();
    let (certificate, key) = authority.server();
    let tls = Some((certificate.as_str(), key.as_str()));
    let registry = Registry::start(folder.path(), &Options { tls, auth: true, tokens: None });
    let staging = Staging::new();
    let fetch = |user: Option<(&str, &str)>| {
        let access = RegistryAccess {
            ca: Some(authority.pem.clone()),
            username: user.map(|user| user.0.to_owned()),
            password: user.map(|user| Secret::new(user.1)),
            plain_http: false,
        };
        staging.fetch(&format!("{}/team/app:1", registry.host), Source::Registry(access))
    };
    let image = fetch(Some(USER)).unwrap();
    assert_eq!((image.resolved, image.digest), (resolved, digest));
    for (fetched, text) in image.layers.iter().zip(["a", "b"]) {
        assert_eq!(staging.layer(&fetched.name)[&b"text"[..]].content, text.as_bytes());
    }
    assert_eq!(fetch(None).unwrap_err().kind, FetchErrorKind::Unauthorized);
}

#[test]
fn users_and_passwords() {
    let folder = tempfile::tempdir().unwrap();
    Registry::start(folder.path(), &Options::default()).push("app", "1", small());
    let registry = Registry::start(folder.path(), &Options { auth: true, ..Options::default() });
    let staging = Staging::new();
    let fetch = |user: Option<(&str, &str)>| {
        let access = RegistryAccess {
            plain_http: true,
            username: user.map(|user| user.0.to_owned()),
            password: user.map(|user| Secret::new(user.1)),
            ..RegistryAccess::default()
        };
        staging.fetch(&format!("{}/app:1", registry.host), Source::Registry(access))
    };
    fetch(Some(USER)).unwrap();
    for user in [None, Some((USER.0, "wrong")), Some(("other", USER.1))] {
        let error = fetch(user).unwrap_err();
        assert_eq!(error.kind, FetchErrorKind::Unauthorized, "{error}");
        assert!(!format!("{error:?}").contains("wrong"));
    }
}

/// What the registry holds is changed behind its back.
#[test]
fn content_that_was_tampered_with() {
    for part in ["layer", "config", "manifest"] {
        let (_folder, registry) = registry();
        let mut image = small();
        let digest = registry.push("app", "1", image.clone());
        image.finish();
        let victim = match part {
            "layer" => image.manifest["layers"][0]["digest"].as_str().unwrap().to_owned(),
            "config" => image.manifest["config"]["digest"].as_str().unwrap().to_owned(),
            _ => digest.to_string(),
        };
        let file = registry.file(&victim);
        let mut bytes = fs::read(&file).unwrap();
        let last = bytes.len() - 2;
        bytes[last] ^= 1;
        fs::write(&file, bytes).unwrap();
        let error = Staging::new().plain(&registry.host, &format!("app@{digest}")).unwrap_err();
        // The registry itself may see that a manifest is not what it was.
        let expected = match part {
            "manifest" => [FetchErrorKind::DigestMismatch, FetchErrorKind::Unreachable],
            _ => [FetchErrorKind::DigestMismatch; 2],
        };
        assert!(expected.contains(&error.kind), "{part}: {error:?}");
    }
}

#[test]
fn a_layer_that_is_not_the_one_in_the_configuration() {
    let (_folder, registry) = registry();
    let mut image = small();
    image.config["rootfs"]["diff_ids"] = json!([Digest::of(b"another").to_string()]);
    registry.push("app", "1", image);
    let error = Staging::new().plain(&registry.host, "app:1").unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::DigestMismatch);
    assert!(error.message.starts_with("layer 1 of 1: the layer's content is sha256:"), "{error}");
}

#[test]
fn what_is_not_there() {
    let (_folder, registry) = registry();
    registry.push("app", "1", small());
    let staging = Staging::new();
    for rest in ["app:2", "other:1", &format!("app@{}", Digest::of(b"none"))] {
        let error = staging.plain(&registry.host, rest).unwrap_err();
        assert_eq!(error.kind, FetchErrorKind::NotFound, "{rest}: {error}");
    }
    let host = registry.host.clone();
    drop(registry);
    let error = staging.plain(&host, "app:1").unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Unreachable, "{error}");
    assert!(error.kind.is_transient());
}

#[test]
fn images_that_are_too_large() {
    let (_folder, registry) = registry();
    let two = Image::new(&[(Pack::Gzip, layer("a")), (Pack::Plain, layer("b"))]);
    registry.push("app", "1", two);
    let mut staging = Staging::new();
    let normal = staging.limits;
    let mut fails = |limits: Limits| {
        staging.limits = limits;
        let error = staging.plain(&registry.host, "app:1").unwrap_err();
        assert_eq!(error.kind, FetchErrorKind::Limit, "{error}");
        error.message
    };
    let one = layer("a").len() as u64;
    insta::assert_snapshot!(
        [
            fails(Limits { document: 100, ..normal }).replace(&registry.host, "HOST"),
            fails(Limits { layers: 1, ..normal }),
            fails(Limits { layer: one - 1, ..normal }),
            fails(Limits { image: 2 * one - 1, ..normal }),
            fails(Limits { entries: 1, ..normal }),
            fails(Limits { free: 0, ratio: 2, ..normal }),
        ]
        .join("\n"),
        @r"
    `HOST/app:1` is larger than 100 bytes
    the image has 2 layers, more than 1
    a layer of 2560 bytes is larger than 2559
    the image's layers have more than 5119 bytes
    layer 1 of 2: the layer has more than 1 entries
    layer 1 of 2: the layer grows to more than 2 times its compressed size
    "
    );
}

/// What would leave too little of the disk is not begun.
#[test]
fn a_disk_without_room() {
    let folder = tempfile::tempdir().unwrap();
    let name = "registry.example.org/app:1";
    small().write_layout(folder.path(), name);
    let (_folder, registry) = registry();
    registry.push("app", "1", small());
    let mut staging = Staging::new();
    staging.limits.reserve = u64::MAX - (1 << 40);
    for error in [
        staging.fetch(name, Source::Layout(folder.path().to_owned())).unwrap_err(),
        staging.plain(&registry.host, "app:1").unwrap_err(),
    ] {
        assert_eq!(error.kind, FetchErrorKind::DiskFull, "{error}");
        assert!(error.message.contains("there is no room for 1 MiB"), "{error}");
        assert!(error.hint.unwrap().contains("images prune"));
    }
}

#[test]
fn images_that_make_no_sense() {
    let (_folder, registry) = registry();
    let refused = |change: fn(&mut Image)| {
        let mut image = small();
        change(&mut image);
        registry.push("app", "1", image);
        let error = Staging::new().plain(&registry.host, "app:1").unwrap_err();
        assert_eq!(error.kind, FetchErrorKind::BadImage, "{error}");
        error.message
    };
    insta::assert_snapshot!(
        [
            refused(|image| image.config["rootfs"]["diff_ids"] = json!([])),
            refused(|image| image.config["rootfs"]["diff_ids"] = json!(["sha512:12"])),
            refused(|image| image.config["config"]["Env"] = json!("A=b")),
            refused(|image| image.manifest["layers"][0]["mediaType"] = json!("application/vnd.cncf.helm.chart")),
        ]
        .join("\n"),
        @r#"
    the manifest has 1 layers, the configuration 0
    the image's configuration is not valid: `sha512:12` is not `sha256:` and 64 lower-case hex digits at line 1 column 175
    the image's configuration is not valid: invalid type: string "A=b", expected a sequence
    `application/vnd.cncf.helm.chart` is not a layer that can be unpacked
    "#
    );
}

#[test]
fn a_hostile_layer_ends_the_fetch() {
    let (_folder, registry) = registry();
    let hostile = Tar::default().file("../../etc/passwd", b"x").end();
    registry.push("app", "1", Image::new(&[(Pack::Gzip, layer("good")), (Pack::Gzip, hostile)]));
    let error = Staging::new().plain(&registry.host, "app:1").unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::BadLayer);
    assert_eq!(error.message, "layer 2 of 2: layer entry 1, `../../etc/passwd`: its name contains `..`");
}

/// A layer on top of two different ones, with no entry for the folder its file is in.
#[test]
fn missing_parents_look_like_those_below() {
    let (_folder, registry) = registry();
    let below = |mode| {
        let tar = Tar::default().dir("home", 0o755).dir("home/app", mode);
        tar.pax(&[("SCHILY.xattr.user.k", b"v")]).dir("home/app/mail", 0o2770).end()
    };
    let top = Tar::default().file("home/app/mail/new", b"").file("other/x", b"").end();
    let staging = Staging::new();
    let pull = |mode| {
        let image = Image::new(&[(Pack::Gzip, below(mode)), (Pack::Gzip, top.clone())]);
        registry.push("app", "1", image);
        staging.plain(&registry.host, "app:1").unwrap().layers[1].name.clone()
    };
    let name = pull(0o700);
    let files = staging.layer(&name);
    let mode = |path: &str| (files[path.as_bytes()].mode, files[path.as_bytes()].xattrs.len());
    assert_eq!(
        (mode("home"), mode("home/app"), mode("home/app/mail")),
        ((0o755, 0), (0o700, 0), (0o2770, 1))
    );
    assert_eq!(mode("other"), (0o755, 0));
    // The same layer on top of others is another file, unless those say nothing special.
    let hex = Digest::of(&top).hex();
    assert!(name.starts_with(&format!("{hex}-")));
    assert_ne!(pull(0o711), name);
    assert_eq!(pull(0o700), name);
    let alone = Image::new(&[(Pack::Gzip, layer("x")), (Pack::Gzip, top.clone())]);
    registry.push("app", "alone", alone);
    assert_eq!(staging.plain(&registry.host, "app:alone").unwrap().layers[1].name, hex);
    // And it is known by that name.
    pull(0o700);
    staging.keep();
    registry.push("app", "1", Image::new(&[(Pack::Gzip, below(0o700)), (Pack::Gzip, top.clone())]));
    assert!(!staging.plain(&registry.host, "app:1").unwrap().layers[1].staged);
    // What is hidden on the way lends nothing.
    let hides = Tar::default().file("home/.wh.app", b"").end();
    let image = [(Pack::Gzip, below(0o700)), (Pack::Gzip, hides), (Pack::Gzip, top.clone())];
    registry.push("app", "1", Image::new(&image));
    assert_eq!(staging.plain(&registry.host, "app:1").unwrap().layers[2].name, hex);
}

#[test]
fn users_and_groups_come_from_the_topmost_layer() {
    let (_folder, registry) = registry();
    let has = |text: &str| Tar::default().file("etc/passwd", text.as_bytes()).file("etc/group", b"g").end();
    let other = || Tar::default().file("etc/motd", b"hi").end();
    let staging = Staging::new();
    let passwd = |layers: &[Vec<u8>]| {
        let layers: Vec<_> = layers.iter().map(|tar| (Pack::Gzip, tar.clone())).collect();
        registry.push("app", "1", Image::new(&layers));
        staging.plain(&registry.host, "app:1").unwrap().passwd
    };
    assert_eq!(passwd(&[other()]), None);
    assert_eq!(passwd(&[has("low"), has("top"), other()]).as_deref(), Some("top"));
    let gone = |name: &str| Tar::default().file(name, b"").end();
    for name in ["etc/.wh.passwd", ".wh.etc", "etc/.wh..wh..opq", ".wh..wh..opq"] {
        assert_eq!(passwd(&[has("low"), gone(name)]), None, "{name}");
    }
    assert_eq!(passwd(&[has("low"), gone("etc/.wh.group")]).as_deref(), Some("low"));
    // Also where the layers below are only known.
    assert_eq!(passwd(&[has("low")]).as_deref(), Some("low"));
    staging.keep();
    assert_eq!(passwd(&[has("low"), other()]).as_deref(), Some("low"));
}

#[test]
fn embedded_images() {
    let folder = tempfile::tempdir().unwrap();
    let name = "registry.example.org/app:1";
    let digest = small().write_layout(folder.path(), name);
    assert!(offers(folder.path(), name));
    assert!(!offers(folder.path(), "registry.example.org/app:2"));
    assert!(!offers(&folder.path().join("none"), name));
    let staging = Staging::new();
    let fetch = |reference: &str| staging.fetch(reference, Source::Layout(folder.path().to_owned()));
    let image = fetch(name).unwrap();
    assert_eq!((image.digest, image.layers.len()), (digest, 1));
    assert_eq!(fetch("registry.example.org/app:2").unwrap_err().kind, FetchErrorKind::NotFound);
    let pinned = format!("registry.example.org/app@{digest}");
    assert!(offers(folder.path(), &pinned));
    assert_eq!(fetch(&pinned).unwrap().digest, digest);
    let elsewhere = format!("registry.example.org/other@{digest}");
    assert!(!offers(folder.path(), &elsewhere));
    assert_eq!(fetch(&elsewhere).unwrap_err().kind, FetchErrorKind::NotFound);
    // Blobs are verified here too.
    for blob in names(&folder.path().join("blobs/sha256")) {
        let path = folder.path().join("blobs/sha256").join(blob);
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        let last = bad.len() - 2;
        bad[last] ^= 1;
        fs::write(&path, bad).unwrap();
        assert_eq!(fetch(name).unwrap_err().kind, FetchErrorKind::DigestMismatch);
        fs::remove_file(&path).unwrap();
        assert_eq!(fetch(name).unwrap_err().kind, FetchErrorKind::NotFound);
        fs::write(&path, good).unwrap();
    }
    fetch(name).unwrap();
}

#[test]
fn a_converter_that_fails_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let name = "registry.example.org/app:1";
    small().write_layout(folder.path(), name);
    let staging = Staging::new();
    let with = |script: &str| {
        fs::write(&staging.mkfs, script).unwrap();
        staging.fetch(name, Source::Layout(folder.path().to_owned())).unwrap_err()
    };
    let error = with("#!/bin/sh\necho 'no such thing' >&2\nexit 3\n");
    assert_eq!(error.kind, FetchErrorKind::Local);
    assert!(error.message.ends_with("failed with exit status: 3: no such thing"), "{error}");
    let full = with("#!/bin/sh\ncat > /dev/null\necho '<E> write: No space left on device' >&2\nexit 1\n");
    assert_eq!(full.kind, FetchErrorKind::DiskFull);
    assert!(full.hint.unwrap().contains("images prune"));
    let dead = with("#!/bin/sh\nkill -9 $$\n");
    assert!(dead.hint.unwrap().contains("more memory"));
    // One that never ends is ended by its share of CPU: seen here with a share of its own.
    let killed = with("#!/bin/sh\nulimit -t 1\nwhile :; do :; done\n");
    assert!(killed.message.contains("signal"), "{killed}");
}

#[test]
#[ignore = "needs mkfs.erofs 1.7 or later: HOLDFAST_MKFS_EROFS=PROGRAM"]
fn the_same_layer_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let name = "registry.example.org/app:1";
    small().write_layout(folder.path(), name);
    let erofs = || {
        let mut staging = Staging::new();
        staging.mkfs = std::env::var_os("HOLDFAST_MKFS_EROFS").unwrap().into();
        let image = staging.fetch(name, Source::Layout(folder.path().to_owned())).unwrap();
        fs::read(staging.path().join(format!("layers/{}.erofs", image.layers[0].name))).unwrap()
    };
    let bytes = erofs();
    assert_eq!(bytes[1024..1028], 0xe0f5_e1e2u32.to_le_bytes());
    assert!(bytes == erofs());
}

/// The longest names, and as many attributes as are accepted.
#[test]
#[ignore = "needs mkfs.erofs 1.7 or later: HOLDFAST_MKFS_EROFS=PROGRAM"]
fn what_is_accepted_can_be_converted() {
    let folder = tempfile::tempdir().unwrap();
    let name = "registry.example.org/app:1";
    let deep = format!("{}{}", format!("{}/", "d".repeat(250)).repeat(15), "f".repeat(250));
    let attributes: Vec<(String, Vec<u8>)> =
        (0..6).map(|index| (format!("SCHILY.xattr.user.{index}"), vec![b'v'; 4000])).collect();
    let mut records: Vec<(&str, &[u8])> =
        attributes.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
    records.push(("path", deep.as_bytes()));
    let tar = Tar::default().pax(&records).file("x", b"").pax(&records[..6]).dir("d", 0o755);
    let tar = tar.pax(&[("linkpath", deep.as_bytes())]).link("l", "x");
    Image::new(&[(Pack::Zstd, tar.end())]).write_layout(folder.path(), name);
    let mut staging = Staging::new();
    staging.mkfs = std::env::var_os("HOLDFAST_MKFS_EROFS").unwrap().into();
    staging.fetch(name, Source::Layout(folder.path().to_owned())).unwrap();
}
