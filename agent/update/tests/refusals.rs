//! What is refused, and what is said of it. Refused before it is written, a slot is as it was.

mod support;

use std::fs;
use std::net::TcpListener;

use agent_update::{Outcome, Request, UpdateErrorKind as Kind, Verb};
use image_layout::block_map::BlockMap;
use image_layout::release::Release;
use serde_json::json;
use support::images::{BLOCK, image, pack, sha256};
use support::machine::{Machine, check, patience};
use support::publisher::Fault::{Expired, Stranger, Unsigned, Version};
use support::publisher::{Fault, Publisher};
use support::server::{Answer, Server};
use tough::schema::RoleType::{self, Snapshot, Targets, Timestamp};

fn boot() -> Vec<u8> {
    image([1, 2, 3, 5])
}

fn root() -> Vec<u8> {
    image((101..117).step_by(2))
}

/// The slot before: it would start.
fn machine(publisher: &Publisher) -> Machine {
    let machine = Machine::new(publisher);
    machine.fill("target-boot", &image([9001]));
    machine
}

/// Stages and is refused; `written`: after the slot has been written to.
fn refused(case: &str, publisher: &Publisher, server: &Server, kind: Kind, message: &str, written: bool) {
    let machine = machine(publisher);
    let error = machine.stage(&server.url).expect_err(case);
    check(case, &error, &server.url, kind, message);
    assert_eq!(machine.starts(), !written, "{case}");
}

#[test]
fn metadata_that_is_not_signed_or_has_expired() {
    let unsigned =
        |role| format!("the {role} metadata has 0 of 1 signatures by keys that this box trusts for it");
    let expired = |role| format!("the {role} metadata has expired: the publisher has to refresh it");
    for (role, name) in [(Timestamp, "timestamp"), (Snapshot, "snapshot"), (Targets, "targets")] {
        let cases = [
            (Unsigned, Kind::Untrusted, unsigned(name)),
            (Stranger, Kind::Untrusted, unsigned(name)),
            (Expired, Kind::Expired, expired(name)),
        ];
        for (fault, kind, message) in cases {
            let mut publisher = Publisher::of("0.2.0", &boot(), &root());
            publisher.publish(&[(role, fault)]);
            let server = Server::honest(publisher.path());
            refused(&format!("{name} {fault:?}"), &publisher, &server, kind, &message, false);
        }
    }
}

#[test]
fn metadata_that_is_older_than_what_was_seen() {
    let cases: [(&str, &[(RoleType, Fault)], &str); 4] = [
        (
            "timestamp",
            &[(Timestamp, Version(1))],
            "the timestamp metadata has version 1, and this box has seen version 2",
        ),
        (
            "snapshot",
            &[(Snapshot, Version(1))],
            "the timestamp metadata names version 1 of the snapshot, and this box has seen version 2",
        ),
        (
            "targets",
            &[(Targets, Version(1))],
            "the snapshot metadata names version 1 of `targets.json`, and this box has seen version 2",
        ),
        (
            "all",
            &[(Timestamp, Version(1)), (Snapshot, Version(1)), (Targets, Version(1))],
            "the timestamp metadata has version 1, and this box has seen version 2",
        ),
    ];
    for (case, faults, message) in cases {
        let mut publisher = Publisher::of("0.2.0", &boot(), &root());
        publisher.publish(&[]);
        let (server, machine) = (Server::honest(publisher.path()), machine(&publisher));
        assert!(matches!(machine.run(&server.url, Verb::Check), Outcome::Found(_)));
        publisher.publish(faults);
        let error = machine.stage(&server.url).unwrap_err();
        check(case, &error, &server.url, Kind::Older, message);
        // Newer ones are welcome again.
        publisher.version = 4;
        publisher.publish(&[]);
        machine.stage(&server.url).unwrap();
    }
}

#[test]
fn an_old_repository_served_again() {
    let mut publisher = Publisher::of("0.2.0", &boot(), &root());
    let old = publisher.saved();
    publisher.release("0.3.0", &boot(), &root());
    publisher.channel("stable", "0.3.0");
    publisher.publish(&[]);
    let (server, machine) = (Server::honest(publisher.path()), machine(&publisher));
    machine.run(&server.url, Verb::Check);
    publisher.restore(old);
    let error = machine.stage(&server.url).unwrap_err();
    let message = "the timestamp metadata has version 1, and this box has seen version 2";
    check("old", &error, &server.url, Kind::Older, message);
}

#[test]
fn metadata_that_does_not_belong_together() {
    for (name, message) in [
        ("targets", "`HOST/metadata/2.targets.json` is not what the signed metadata says"),
        ("snapshot", "`HOST/metadata/2.snapshot.json` is not what the signed metadata says"),
    ] {
        let mut publisher = Publisher::of("0.2.0", &boot(), &root());
        publisher.publish(&[]);
        let old = fs::read(publisher.metadata(&format!("1.{name}.json"))).unwrap();
        fs::write(publisher.metadata(&format!("2.{name}.json")), old).unwrap();
        let server = Server::honest(publisher.path());
        refused(name, &publisher, &server, Kind::Damaged, message, false);
    }
}

#[test]
fn what_a_server_does() {
    let blocks = pack(&root()).0.stored();
    let truncated = format!("`HOST/targets/HASH.root-0.2.0.blocks` has 5000 bytes, and {blocks} were signed");
    let cases = [
        (
            "/timestamp.json",
            Answer::Status(404),
            Kind::Missing,
            "`HOST/metadata/timestamp.json`: the server answers 404",
        ),
        (
            "/timestamp.json",
            Answer::Status(503),
            Kind::Unreachable,
            "`HOST/metadata/timestamp.json`: the server answers 503",
        ),
        (
            "/timestamp.json",
            Answer::Status(418),
            Kind::Unreachable,
            "`HOST/metadata/timestamp.json`: the server answers 418",
        ),
        (
            "/timestamp.json",
            Answer::Endless,
            Kind::Damaged,
            "`HOST/metadata/timestamp.json` has more than 4456480 bytes",
        ),
        (
            "/2.root.json",
            Answer::Endless,
            Kind::Damaged,
            "`HOST/metadata/2.root.json` has more than 4456480 bytes",
        ),
        // A root that is held back is not taken for the last one.
        (
            "/2.root.json",
            Answer::Status(500),
            Kind::Unreachable,
            "`HOST/metadata/2.root.json`: the server answers 500",
        ),
        (
            "/1.snapshot.json",
            Answer::Truncated(100),
            Kind::Damaged,
            "`HOST/metadata/1.snapshot.json` is not what the signed metadata says",
        ),
        (
            "/timestamp.json",
            Answer::Truncated(0),
            Kind::Damaged,
            "the timestamp metadata cannot be read: EOF while parsing a value at line 1 column 0",
        ),
        (
            "/timestamp.json",
            Answer::Redirect("/metadata/timestamp.json"),
            Kind::Unreachable,
            "failed to reach `HOST/metadata/timestamp.json`: too many redirects",
        ),
        (
            "channel-stable.json",
            Answer::Flip(3),
            Kind::Damaged,
            "`HOST/targets/HASH.channel-stable.json` is not what the signed metadata says",
        ),
        (
            "holdfast-0.2.0.json",
            Answer::Status(404),
            Kind::Missing,
            "`HOST/targets/HASH.holdfast-0.2.0.json`: the server answers 404",
        ),
        (
            "root-0.2.0.map",
            Answer::Flip(40),
            Kind::Damaged,
            "`HOST/targets/HASH.root-0.2.0.map` is not what the signed metadata says",
        ),
        (
            "root-0.2.0.map",
            Answer::Endless,
            Kind::Damaged,
            "`HOST/targets/HASH.root-0.2.0.map` has more than 4456480 bytes",
        ),
    ];
    let publisher = Publisher::of("0.2.0", &boot(), &root());
    for (file, answer, kind, message) in cases {
        let server = Server::with(publisher.path(), file, answer);
        refused(&format!("{file} {answer:?}"), &publisher, &server, kind, message, false);
    }
    let cases = [
        ("root-0.2.0.blocks", Answer::Truncated(5000), Kind::Damaged, truncated.as_str()),
        (
            "root-0.2.0.blocks",
            Answer::TruncatedNoRanges(5000),
            Kind::Unreachable,
            "`HOST/targets/HASH.root-0.2.0.blocks` ended too early",
        ),
        (
            "root-0.2.0.blocks",
            Answer::Flip(0),
            Kind::Damaged,
            "block 0 of `root-0.2.0.blocks` is not what the signed map says",
        ),
        (
            "boot-0.2.0.blocks",
            Answer::Flip(4098),
            Kind::Damaged,
            "block 1 of `boot-0.2.0.blocks` cannot be unpacked",
        ),
        (
            "boot-0.2.0.blocks",
            Answer::OtherRange,
            Kind::Unreachable,
            "`HOST/targets/HASH.boot-0.2.0.blocks`: the server does not give bytes 0 to ",
        ),
        (
            "boot-0.2.0.blocks",
            Answer::Status(404),
            Kind::Missing,
            "`HOST/targets/HASH.boot-0.2.0.blocks`: the server answers 404",
        ),
        (
            "boot-0.2.0.blocks",
            Answer::Status(503),
            Kind::Unreachable,
            "`HOST/targets/HASH.boot-0.2.0.blocks`: the server answers 503",
        ),
    ];
    for (file, answer, kind, message) in cases {
        let server = Server::with(publisher.path(), file, answer);
        let mut message = message.to_owned();
        if answer == Answer::OtherRange {
            message.push_str(&(pack(&boot()).0.stored() - 1).to_string());
        }
        refused(&format!("{file} {answer:?}"), &publisher, &server, kind, &message, true);
    }
}

#[test]
fn a_server_that_is_not_there() {
    let publisher = Publisher::of("0.2.0", &boot(), &root());
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let machine = machine(&publisher);
    let url = format!("http://{free}");
    let error = machine.stage(&url).unwrap_err();
    let message = "failed to reach `HOST/metadata/2.root.json`: Connection refused (os error 111)";
    check("nobody", &error, &url, Kind::Unreachable, message);
    for url in ["ftp://example.com", "example.com", "", "http://", "http://a/?b"] {
        let error = machine.stage(url).unwrap_err();
        let message = format!("`{url}` is no address of a repository");
        assert_eq!((error.kind, error.message), (Kind::Local, message));
    }
    // A slash at the end does no harm.
    let server = Server::honest(publisher.path());
    machine.stage(&format!("{}/", server.url)).unwrap();
}

/// Publishes a release that `change` has changed, and its other targets that `add` has.
fn published(add: impl FnOnce(&mut Publisher), change: impl FnOnce(&mut Release)) -> Publisher {
    let mut publisher = Publisher::new();
    let release = publisher.release("0.2.0", &boot(), &root());
    publisher.channel("stable", "0.2.0");
    publisher.change(release, change);
    add(&mut publisher);
    publisher.publish(&[]);
    publisher
}

type Add = fn(&mut Publisher);
type Change = fn(&mut Release);

#[test]
fn releases_that_are_wrong() {
    let (same, nothing): (Change, Add) = (|_| {}, |_| {});
    let cases: [(&str, Add, Change, Kind, &str); 16] = [
        (
            "another version",
            nothing,
            |release| release.version = "0.3.0".parse().unwrap(),
            Kind::Missing,
            "the repository has no `holdfast-0.2.0.json`",
        ),
        (
            "document of another version",
            |publisher| {
                let other = fs::read(publisher.target("holdfast-0.2.0.json")).unwrap();
                let other = String::from_utf8(other).unwrap().replacen("0.2.0", "0.3.0", 1);
                publisher.add("holdfast-0.2.0.json", other.as_bytes());
            },
            same,
            Kind::Damaged,
            "release 0.2.0: its document is of 0.3.0",
        ),
        (
            "newer release format",
            |publisher| publisher.document("holdfast-0.2.0.json", &json!({"format": 2, "new": []})),
            same,
            Kind::Damaged,
            "`holdfast-0.2.0.json` has format 2, and this version reads format 1",
        ),
        (
            "newer channel format",
            |publisher| publisher.document("channel-stable.json", &json!({"format": 2})),
            same,
            Kind::Damaged,
            "`channel-stable.json` has format 2, and this version reads format 1",
        ),
        (
            "no document",
            |publisher| publisher.add("channel-stable.json", b"<html>\x1b[2J"),
            same,
            Kind::Damaged,
            "`channel-stable.json` is no channel: expected value at line 1 column 1",
        ),
        (
            "a version that is none",
            |publisher| {
                publisher.document("channel-stable.json", &json!({"format": 1, "version": "\u{1b}[2J"}))
            },
            same,
            Kind::Damaged,
            "`channel-stable.json` is no channel: `\u{fffd}[2J` is no version: numbers joined by dots, as \
             0.2.0.20261127, with no leading zeroes at line 1 column 34",
        ),
        (
            "no boot image",
            nothing,
            |release| release.partitions.retain(|image| image.map.starts_with("root")),
            Kind::Damaged,
            "release 0.2.0: it has no boot image",
        ),
        (
            "a size that is not whole blocks",
            nothing,
            |release| release.partitions[1].size -= 1,
            Kind::Damaged,
            "release 0.2.0: its root image has 32767 bytes",
        ),
        (
            "the map of another size",
            nothing,
            |release| release.partitions[1].size += BLOCK as u64,
            Kind::Damaged,
            "`root-0.2.0.map` is the map of 32768 bytes, and the root image has 36864",
        ),
        (
            "blocks of another length",
            nothing,
            |release| release.partitions[1].blocks = "channel-stable.json".to_owned(),
            Kind::Damaged,
            "`channel-stable.json` has 30 bytes, and its map says 32768",
        ),
        (
            "no map",
            |publisher| publisher.add("root-0.2.0.map", &[0; 100]),
            same,
            Kind::Damaged,
            "`root-0.2.0.map`: this is no block map",
        ),
        (
            "a map that is too long",
            |publisher| publisher.add("root-0.2.0.map", &vec![0; 4_456_481]),
            same,
            Kind::Damaged,
            "`root-0.2.0.map` has 4456481 bytes; 4456480 are the most that it may have",
        ),
        (
            "a target that is not there",
            |publisher| publisher.remove("root-0.2.0.blocks"),
            same,
            Kind::Missing,
            "the repository has no `root-0.2.0.blocks`",
        ),
        (
            "a target above the folder",
            |publisher| publisher.add("../../etc/passwd", b"x"),
            |release| release.partitions[1].map = "../../etc/passwd".to_owned(),
            Kind::Damaged,
            "`../../etc/passwd` cannot be the name of a target",
        ),
        (
            "a target with a query",
            |publisher| publisher.add("map?x=#y", &pack(&root()).0.encode()),
            |release| release.partitions[1].map = "map?x=#y".to_owned(),
            Kind::Damaged,
            "`map?x=#y` cannot be the name of a target",
        ),
        (
            "an image that is larger than its partition",
            |publisher| publisher.add("large.map", &pack(&vec![0; 3 << 20]).0.encode()),
            |release| {
                release.partitions[0].size = 3 << 20;
                release.partitions[0].map = "large.map".to_owned();
            },
            Kind::TooBig,
            "the boot image has 3145728 bytes, and target-boot has 2097152",
        ),
    ];
    for (case, add, change, kind, message) in cases {
        let publisher = match case {
            "another version" => {
                let mut publisher = Publisher::of("0.2.0", &boot(), &root());
                publisher.remove("holdfast-0.2.0.json");
                publisher.publish(&[]);
                publisher
            }
            _ => published(add, change),
        };
        let server = Server::honest(publisher.path());
        refused(case, &publisher, &server, kind, message, false);
    }
}

#[test]
fn signed_images_that_are_not_what_their_maps_say() {
    let another: Change = |release| release.partitions[1].sha256 = sha256(b"another");
    let publisher = published(|_| {}, another);
    let server = Server::honest(publisher.path());
    let message = "`root-0.2.0.map` is the map of another image than the release's root image";
    refused("another root", &publisher, &server, Kind::Damaged, message, true);
    let another: Change = |release| release.partitions[0].sha256 = sha256(b"another");
    let publisher = published(|_| {}, another);
    let server = Server::honest(publisher.path());
    let message = "`boot-0.2.0.map` is the map of another image than the release's boot image";
    refused("another boot", &publisher, &server, Kind::Damaged, message, true);
    let nowhere: Add = |publisher| {
        let mut map = BlockMap::default();
        pack(&root()).0.blocks().iter().for_each(|block| map.push(block.hash, 0));
        publisher.add("root-0.2.0.map", &map.encode());
        publisher.add("root-0.2.0.blocks", b"");
    };
    let publisher = published(nowhere, |_| {});
    let server = Server::honest(publisher.path());
    let message = "`root-0.2.0.map` does not say where block 0 is stored";
    refused("nowhere", &publisher, &server, Kind::Damaged, message, true);
}

#[test]
fn channels_that_there_are_not() {
    let publisher = Publisher::of("0.2.0", &boot(), &root());
    let server = Server::honest(publisher.path());
    let mut machine = machine(&publisher);
    for (channel, kind, message) in [
        ("beta", Kind::Missing, "the repository has no `channel-beta.json`"),
        ("../x", Kind::Damaged, "`channel-../x.json` cannot be the name of a target"),
    ] {
        machine.channel = channel.to_owned();
        let error = machine.stage(&server.url).unwrap_err();
        check(channel, &error, &server.url, kind, message);
    }
}

#[test]
fn what_is_wrong_with_the_box_itself() {
    let publisher = Publisher::of("0.2.0", &boot(), &root());
    let server = Server::honest(publisher.path());
    let mut machine = machine(&publisher);
    for (case, root, message) in [
        (
            "no root",
            "{}".to_owned(),
            "the image's own root metadata cannot be read: missing field `signed` at line 1 column 2",
        ),
        (
            "a changed root",
            publisher.root(1).replace("\"version\": 1", "\"version\": 2"),
            "the image's own root metadata is not signed by its own keys",
        ),
    ] {
        machine.root = root;
        let error = machine.stage(&server.url).unwrap_err();
        check(case, &error, &server.url, Kind::Local, message);
    }
    machine.root = publisher.root(1);
    machine.epoch = u64::MAX;
    let error = machine.stage(&server.url).unwrap_err();
    assert_eq!(error.kind, Kind::Local);
    assert!(error.message.starts_with("the clock says 2"), "{error}");
    assert!(error.message.ends_with("Z, which is before this image was built"), "{error}");
    for (request, message) in [
        ("{", "the request cannot be read: EOF while parsing an object at line 1 column 1"),
        ("", "the request cannot be read: EOF while parsing a value at line 1 column 0"),
    ] {
        fs::write(machine.shared().join(Request::FILE), request).unwrap();
        let outcome =
            agent_update::run(&machine.shared(), &machine.slots(), patience(), &mut |_| {}).unwrap();
        let Outcome::Error(error) = outcome else { panic!("{outcome:?}") };
        check(request, &error, &server.url, Kind::Local, message);
    }
    assert!(server.requests("").is_empty() && machine.starts());
}
