//! Keys that are replaced, and what is kept of metadata from run to run.

use std::fs;

use crate::support::images::image;
use crate::support::machine::{Machine, check, names};
use crate::support::publisher::{Fault, Publisher};
use crate::support::server::{Answer, Server};
use crate::support::signing::{ROLES, days, keys, number, root, sign_root};
use agent_update::{Outcome, UpdateErrorKind as Kind, Verb};
use tough::schema::RoleType::{Root, Snapshot, Targets, Timestamp};

fn publisher() -> Publisher {
    Publisher::of("0.2.0", &image([1]), &image([3]))
}

fn kept(machine: &Machine, name: &str) -> serde_json::Value {
    serde_json::from_slice(&fs::read(machine.shared().join("trusted").join(name)).unwrap()).unwrap()
}

fn version(machine: &Machine, name: &str) -> u64 {
    kept(machine, name)["signed"]["version"].as_u64().unwrap()
}

fn found(machine: &Machine, server: &Server) {
    let outcome = machine.run(&server.url, Verb::Check);
    assert!(matches!(outcome, Outcome::Found(_)), "{outcome:?}");
}

fn refused(case: &str, machine: &Machine, server: &Server, kind: Kind, message: &str) {
    match machine.run(&server.url, Verb::Check) {
        Outcome::Error(error) => check(case, &error, &server.url, kind, message),
        other => panic!("{case}: {other:?}"),
    }
}

#[test]
fn new_roots_are_followed_and_kept() {
    let mut publisher = publisher();
    let machine = Machine::new(&publisher);
    publisher.rotate(&[Root], |_| {});
    publisher.rotate(&ROLES, |_| {});
    publisher.publish(&[]);
    let server = Server::honest(publisher.path());
    found(&machine, &server);
    assert_eq!(names(&machine.shared().join("trusted")), ["root.json", "snapshot.json", "timestamp.json"]);
    assert_eq!(version(&machine, "root.json"), 3);
    // From there it goes on.
    found(&machine, &server);
    assert_eq!(server.requests("/2.root.json").len(), 1);
    assert_eq!(server.requests("/4.root.json").len(), 2);
}

#[test]
fn a_newer_root_of_the_image_comes_first() {
    let mut publisher = publisher();
    let mut machine = Machine::new(&publisher);
    found(&machine, &Server::honest(publisher.path()));
    publisher.rotate(&ROLES, |_| {});
    publisher.rotate(&[Root], |_| {});
    publisher.publish(&[]);
    machine.root = publisher.root(3);
    let server = Server::honest(publisher.path());
    found(&machine, &server);
    assert!(server.requests("/2.root.json").is_empty());
    assert_eq!(version(&machine, "root.json"), 3);
    // And an older one of the image does not take trust back.
    machine.root = publisher.root(1);
    found(&machine, &server);
    assert!(server.requests("/2.root.json").is_empty());
}

#[test]
fn a_revoked_key_signs_nothing_any_more() {
    for (role, name) in [(Timestamp, "timestamp"), (Snapshot, "snapshot"), (Targets, "targets")] {
        let mut publisher = publisher();
        let machine = Machine::new(&publisher);
        let old = publisher.keys.clone();
        publisher.rotate(&[role], |_| {});
        publisher.keys.insert(role, old[&role].clone());
        publisher.publish(&[]);
        let server = Server::honest(publisher.path());
        let message =
            format!("the {name} metadata has 0 of 1 signatures by keys that this box trusts for it");
        refused(name, &machine, &server, Kind::Untrusted, &message);
        // Once seen, the new root counts, also when it is held back later.
        assert_eq!(version(&machine, "root.json"), 2);
        let server = Server::with(publisher.path(), "/2.root.json", Answer::Status(404));
        refused(name, &machine, &server, Kind::Untrusted, &message);
    }
}

/// A stolen key may have signed a version that no later one exceeds; a new root gets the boxes out of it.
#[test]
fn a_new_key_starts_its_versions_anew() {
    let mut publisher = publisher();
    let machine = Machine::new(&publisher);
    publisher.publish(&[(Timestamp, Fault::Version(1_000_000)), (Snapshot, Fault::Version(1_000_000))]);
    let server = Server::honest(publisher.path());
    found(&machine, &server);
    publisher.publish(&[]);
    let message = "the timestamp metadata has version 3, and this box has seen version 1000000";
    refused("stolen", &machine, &server, Kind::Older, message);
    publisher.rotate(&[Timestamp, Snapshot], |_| {});
    publisher.publish(&[]);
    found(&machine, &server);
    assert_eq!(version(&machine, "timestamp.json"), 4);
}

#[test]
fn roots_that_are_wrong() {
    type Break = fn(&mut Publisher);
    let cases: [(&str, Break, Kind, &str); 6] = [
        (
            "expired",
            |publisher| publisher.rotate(&[Root], |root| root.expires = days(-1)),
            Kind::Expired,
            "the root metadata has expired: the publisher has to refresh it",
        ),
        (
            "unsigned",
            |publisher| {
                publisher.rotate(&[Root], |_| {});
                publisher.roots[1].signatures.clear();
            },
            Kind::Untrusted,
            "the root metadata has 0 of 1 signatures by keys that this box trusts for it",
        ),
        (
            "of a stranger",
            |publisher| {
                let keys = keys();
                publisher.roots.push(sign_root(root(2, &keys), &keys, None));
            },
            Kind::Untrusted,
            "the root metadata has 0 of 1 signatures by keys that this box trusts for it",
        ),
        (
            "not signed by the one before",
            |publisher| {
                publisher.rotate(&[Root], |_| {});
                publisher.roots[1].signatures.remove(1);
            },
            Kind::Untrusted,
            "the root metadata has 0 of 1 signatures by keys that this box trusts for it",
        ),
        (
            "another version",
            |publisher| publisher.rotate(&[Root], |root| root.version = number(3)),
            Kind::Older,
            "the root metadata has version 3, and this box has seen version 1",
        ),
        (
            "too few signatures",
            |publisher| {
                publisher.rotate(&[Root], |root| {
                    root.roles.get_mut(&Root).unwrap().threshold = number(2);
                });
            },
            Kind::Untrusted,
            "the root metadata has 1 of 2 signatures by keys that this box trusts for it",
        ),
    ];
    for (case, change, kind, message) in cases {
        let mut publisher = publisher();
        let machine = Machine::new(&publisher);
        change(&mut publisher);
        publisher.publish(&[]);
        fs::write(publisher.metadata("2.root.json"), publisher.root(2)).unwrap();
        refused(case, &machine, &Server::honest(publisher.path()), kind, message);
    }
}

#[test]
fn an_expired_root_of_the_image_is_replaced_by_a_newer_one() {
    let mut publisher = Publisher::new();
    let mut first = root(1, &publisher.keys);
    first.expires = days(-1);
    publisher.roots[0] = sign_root(first, &publisher.keys, None);
    publisher.release("0.2.0", &image([1]), &image([3]));
    publisher.channel("stable", "0.2.0");
    publisher.publish(&[]);
    let machine = Machine::new(&publisher);
    let server = Server::honest(publisher.path());
    let message = "the root metadata has expired: the publisher has to refresh it";
    refused("expired", &machine, &server, Kind::Expired, message);
    publisher.rotate(&[], |_| {});
    found(&machine, &server);
}

/// A write that was cut leaves no torn file, but a disk may: none keeps the box from its updates.
#[test]
fn torn_files_do_no_harm() {
    let mut publisher = publisher();
    let machine = Machine::new(&publisher);
    publisher.rotate(&[Root], |_| {});
    publisher.publish(&[]);
    let server = Server::honest(publisher.path());
    found(&machine, &server);
    let trusted = machine.shared().join("trusted");
    for name in names(&trusted) {
        let whole = fs::read(trusted.join(&name)).unwrap();
        let mut other = whole.clone();
        let at = other.windows(9).position(|bytes| bytes == b"\"version\"").unwrap() + 10;
        other[at] = b'9';
        let zeroes = vec![0; whole.len()];
        let long = vec![b' '; 5 << 20];
        let torn = [&whole[..0], &whole[..whole.len() / 2], &zeroes, &long, &other, b"{}", b"\xff"];
        for torn in torn {
            fs::write(trusted.join(&name), torn).unwrap();
            found(&machine, &server);
            assert_eq!(kept(&machine, &name), serde_json::from_slice::<serde_json::Value>(&whole).unwrap());
        }
        fs::remove_file(trusted.join(&name)).unwrap();
        found(&machine, &server);
    }
    // What a write left that was cut goes.
    for folder in [&trusted, &machine.shared()] {
        fs::write(folder.join(".root.json.hf-new-1-1"), "{").unwrap();
    }
    found(&machine, &server);
    assert_eq!(names(&trusted), ["root.json", "snapshot.json", "timestamp.json"]);
    assert_eq!(names(&machine.shared()), ["metadata", "request.json", "result.json", "trusted"]);
}

/// What was accepted counts also when something else was refused.
#[test]
fn each_file_is_trusted_by_itself() {
    let mut publisher = publisher();
    let machine = Machine::new(&publisher);
    let old = publisher.saved();
    publisher.publish(&[(Targets, Fault::Expired)]);
    let server = Server::honest(publisher.path());
    let message = "the targets metadata has expired: the publisher has to refresh it";
    refused("expired", &machine, &server, Kind::Expired, message);
    publisher.restore(old);
    let message = "the timestamp metadata has version 1, and this box has seen version 2";
    refused("older", &machine, &server, Kind::Older, message);
    publisher.version = 3;
    publisher.publish(&[]);
    found(&machine, &server);
}
