//! Metadata, servers and requests that are refused, and what is said of it.

use std::fs;
use std::net::TcpListener;

use crate::support::images::pack;
use crate::support::machine::{check, patience};
use crate::support::publisher::Fault::{Expired, Stranger, Unsigned, Version};
use crate::support::publisher::{Fault, Publisher};
use crate::support::refusing::{boot, machine, refused, root};
use crate::support::server::{Answer, Server};
use agent_update::{Outcome, Request, UpdateErrorKind as Kind, Verb};
use tough::schema::RoleType::{self, Snapshot, Targets, Timestamp};

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
    type Faults = [(RoleType, Fault)];
    let cases: [(&str, &Faults, &str); 4] = [
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
