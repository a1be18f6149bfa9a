//! Keys that are replaced, as clients see it.

use std::fs;

use crate::support::release::{Publisher, image, names};

#[test]
fn a_client_with_the_first_root_follows_every_rotation() {
    let publisher = Publisher::with(&[image("1", 1)]);
    let first = publisher.path("first.json");
    fs::copy(publisher.keys().join("root.json"), &first).unwrap();
    for (version, role) in (2u64..).zip(["timestamp", "snapshot", "targets", "root", "root"]) {
        let key = publisher.keys().join(format!("{role}.pem"));
        let old = fs::read(&key).unwrap();
        let run = publisher.signing(&["keys", "rotate"], &["--role", role]).ok();
        assert!(
            run.stdout.contains(&format!("root.json: version {version}\nvalid until ")),
            "{}",
            run.stdout
        );
        assert!(!run.stdout.contains("PRIVATE") && !run.stderr.contains("PRIVATE"));
        assert_ne!(fs::read(&key).unwrap(), old);
        let revoked = publisher.keys().join(format!("{role}.revoked-{}.pem", version - 1));
        assert_eq!(fs::read(revoked).unwrap(), old);
        let seen = publisher.verify(&first).ok().stdout;
        let seen: serde_json::Value = serde_json::from_str(&seen).unwrap();
        assert_eq!(seen["root"], version);
        publisher.report();
        // What follows is signed by the new keys.
        publisher.add(&image(&format!("1.{version}"), 1), &[]).ok();
        publisher.verify(&first).ok();
    }
    assert_eq!(publisher.files("metadata").iter().filter(|name| name.ends_with(".root.json")).count(), 6);
    publisher.signing(&["keys", "rotate"], &["--role", "mirror"]).fails(2, &["invalid value 'mirror'"]);
}

#[test]
fn old_keys_alone_sign_for_nobody() {
    let publisher = Publisher::with(&[image("1", 1)]);
    let first = publisher.path("first.json");
    fs::copy(publisher.keys().join("root.json"), &first).unwrap();
    let stolen = publisher.path("stolen");
    fs::create_dir(&stolen).unwrap();
    for name in names(&publisher.keys()) {
        fs::copy(publisher.keys().join(&name), stolen.join(&name)).unwrap();
    }
    publisher.signing(&["keys", "rotate"], &["--role", "timestamp"]).ok();
    // Who has the old keys follows the root like everybody, and cannot sign any more.
    let run = publisher.run(&["refresh", "--keys", "stolen", "--repository", "REPOSITORY"]);
    run.fails(1, &["cannot sign for the role `timestamp`"]);
    // With the root metadata taken away they can, and no client takes it that has seen the new ones.
    let root = publisher.repository().join("metadata/2.root.json");
    let text = fs::read(&root).unwrap();
    fs::remove_file(&root).unwrap();
    fs::remove_dir_all(&stolen).unwrap();
    fs::create_dir(&stolen).unwrap();
    for name in ["snapshot", "targets", "root"] {
        fs::copy(publisher.keys().join(format!("{name}.pem")), stolen.join(format!("{name}.pem"))).unwrap();
    }
    fs::copy(publisher.keys().join("timestamp.revoked-1.pem"), stolen.join("timestamp.pem")).unwrap();
    fs::copy(&first, stolen.join("root.json")).unwrap();
    publisher.run(&["refresh", "--keys", "stolen", "--repository", "REPOSITORY"]).ok();
    fs::write(&root, text).unwrap();
    for trusted in [&first, &publisher.keys().join("root.json")] {
        publisher.verify(trusted).fails(1, &["Signature threshold of 1 not met for role timestamp (0 valid"]);
    }
}

#[test]
fn root_keys_are_replaced_with_as_many_as_must_sign() {
    let publisher = Publisher { dir: tempfile::tempdir().unwrap() };
    let many = ["--root-keys", "3", "--root-threshold", "2"];
    publisher.run(&[&["keys", "init", "--keys", "KEYS"], &many[..]].concat()).ok();
    publisher.add(&image("1", 1), &[]).ok();
    let first = publisher.path("first.json");
    fs::copy(publisher.keys().join("root.json"), &first).unwrap();
    let away = |name: &str| fs::rename(publisher.keys().join(name), publisher.path(name)).unwrap();
    away("root-3.pem");
    publisher.signing(&["keys", "rotate"], &["--role", "root"]).ok();
    publisher.verify(&first).ok();
    away("root-2.pem");
    let run = publisher.signing(&["keys", "rotate"], &["--role", "targets"]);
    run.fails(1, &["cannot sign for the role `root`", "hint: put the key of the role, as `root.pem`, there"]);
    publisher.verify(&first).ok();
    fs::rename(publisher.path("root-2.pem"), publisher.keys().join("root-2.pem")).unwrap();
    publisher.signing(&["keys", "rotate"], &["--role", "targets"]).ok();
    publisher.verify(&first).ok();
    publisher.add(&image("2", 2), &[]).ok();
}

#[test]
fn a_root_that_ends_soon_is_said() {
    let publisher = Publisher { dir: tempfile::tempdir().unwrap() };
    publisher.run(&["keys", "init", "--keys", "KEYS", "--root-expires", "20d"]).ok();
    let run = publisher.add(&image("1", 1), &[]).ok();
    assert!(run.stderr.contains("note: the root metadata end on "), "{}", run.stderr);
    let run = publisher.signing(&["keys", "rotate"], &["--role", "root", "--root-expires", "100d"]).ok();
    assert!(!run.stderr.contains("note: the root metadata end"), "{}", run.stderr);
}

#[test]
fn a_lost_key_is_replaced_also_after_a_cut() {
    for role in ["timestamp", "snapshot", "targets"] {
        let publisher = Publisher::with(&[image("1", 1)]);
        let first = fs::read(publisher.keys().join("root.json")).unwrap();
        fs::write(publisher.path("first.json"), first).unwrap();
        fs::remove_file(publisher.keys().join(format!("{role}.pem"))).unwrap();
        let rotate = ["keys", "rotate", "--role", role];
        publisher.signing(&rotate, &[]).fails(1, &["cannot sign for the role", "rotate with --lost"]);
        let timestamp = publisher.repository().join("metadata/timestamp.json");
        let before = fs::read(&timestamp).unwrap();
        publisher.signing(&rotate, &["--lost"]).ok();
        publisher.verify(&publisher.path("first.json")).ok();
        // As it is when only the new root came to be written.
        fs::write(&timestamp, before).unwrap();
        publisher.signing(&rotate, &["--lost"]).ok();
        publisher.verify(&publisher.path("first.json")).ok();
        publisher.verify(&publisher.keys().join("root.json")).ok();
        publisher.signing(&["refresh"], &[]).ok();
    }
}
