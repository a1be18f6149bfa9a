//! Signed releases that are wrong, and what is said of it. Refused before it is written, a slot is as it was.

use std::fs;

use crate::support::images::{BLOCK, pack, sha256};
use crate::support::machine::check;
use crate::support::publisher::Publisher;
use crate::support::refusing::{boot, machine, refused, root};
use crate::support::server::Server;
use agent_update::UpdateErrorKind as Kind;
use image_layout::block_map::BlockMap;
use image_layout::release::Release;
use serde_json::json;

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
