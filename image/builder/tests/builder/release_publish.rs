//! Publishing to folders and to S3, and what is removed again.

use std::fs;
use std::path::Path;

use crate::support::release::{Publisher, image, names};
use crate::support::s3::{BUCKET, ID, SECRET, Server};
use crate::support::workspace::{Run, output};

fn publish(publisher: &Publisher, to: &str) -> Run {
    publisher.run(&["publish", "--repository", "REPOSITORY", "--to", to])
}

/// Publishes to `s3://releases/box/os`.
fn upload(publisher: &Publisher, server: &Server, secret: &str) -> Run {
    let to = format!("s3://{BUCKET}/box/os");
    let mut command = publisher.command(&["publish", "--repository", "REPOSITORY", "--to", &to]);
    command.env("AWS_ACCESS_KEY_ID", ID).env("AWS_SECRET_ACCESS_KEY", secret);
    output(command.args(["--endpoint", &server.endpoint()]))
}

/// What a client says of a folder that trusts the root metadata in a file.
fn verify(publisher: &Publisher, folder: &Path, root: &Path) -> Run {
    publisher.run(&[
        "verify",
        "--repository",
        folder.to_str().unwrap(),
        "--root",
        root.to_str().unwrap(),
        "--json",
    ])
}

/// Files of both folders.
fn files(folder: &Path) -> Vec<String> {
    [names(&folder.join("metadata")), names(&folder.join("targets"))].concat()
}

#[test]
fn a_folder_becomes_what_is_here() {
    let publisher = Publisher::with(&[image("1", 1)]);
    let there = publisher.path("there");
    let root = publisher.keys().join("root.json");
    let run = publish(&publisher, "there").ok();
    assert_eq!(run.stdout, "12 files copied, 0 removed\n");
    assert!(run.stderr.lines().last().unwrap().contains("1.root.json"), "{}", run.stderr);
    assert_eq!(names(&there), ["metadata", "targets"]);
    verify(&publisher, &there, &root).ok();
    assert_eq!(publish(&publisher, "there").ok().stdout, "0 files copied, 0 removed\n");

    let url = crate::support::files::serve(there.clone());
    let served = publisher.run(&["verify", "--url", &url, "--root", "keys/root.json", "--json"]).ok();
    assert_eq!(served.stdout, verify(&publisher, &there, &root).ok().stdout);
    let run = publisher.run(&["verify", "--url", &format!("{url}/none"), "--root", "keys/root.json"]);
    run.fails(1, &["the repository cannot be trusted", "/none/metadata/timestamp.json", "not found"]);
    publisher
        .run(&["verify", "--url", "ftp://x", "--root", "keys/root.json"])
        .fails(1, &["`ftp://x` is no URL"]);
    publisher.run(&["verify", "--root", "keys/root.json"]).fails(2, &["--repository", "--url"]);

    let target =
        fs::read_dir(publisher.repository().join("targets")).unwrap().next().unwrap().unwrap().path();
    let good = fs::read(&target).unwrap();
    publish(&publisher, "repository/../repository").fails(2, &["is the repository itself"]);
    let mut bad = good.clone();
    bad[0] ^= 1;
    fs::write(&target, &bad).unwrap();
    publish(&publisher, "elsewhere").fails(1, &["is not what the metadata that name it say", "hint: "]);
    assert!(!publisher.path("elsewhere/metadata/timestamp.json").exists());
    fs::write(&target, &bad[1..]).unwrap();
    publish(&publisher, "elsewhere").fails(1, &["is not what the metadata that name it say"]);
    fs::write(&target, &good).unwrap();
    publish(&publisher, "elsewhere").ok();
}

#[test]
fn a_place_does_not_go_back_nor_to_others() {
    let publisher = Publisher::with(&[image("1", 1)]);
    publish(&publisher, "there").ok();
    let old = publisher.path("old");
    assert!(
        std::process::Command::new("cp")
            .arg("-r")
            .arg(publisher.repository())
            .arg(&old)
            .status()
            .unwrap()
            .success()
    );
    publisher.add(&image("2", 2), &[]).ok();
    publish(&publisher, "there").ok();
    publisher.run(&["publish", "--repository", "old", "--to", "there"]).fails(
        1,
        &[
            "version 2 of the repository is published already, and this one is version 1",
            "hint: boxes refuse to go back",
        ],
    );
    publisher.run(&["refresh", "--repository", "old", "--keys", "KEYS", "--expires", "3d"]).ok();
    let run = publisher.run(&["publish", "--repository", "old", "--to", "there"]);
    run.fails(
        1,
        &["`metadata/timestamp.json` there is another one than here", "hint: publish to another place"],
    );
    let others = Publisher::with(&[image("1", 1), image("2", 1), image("3", 1)]);
    let there = publisher.path("there");
    publish(&others, there.to_str().unwrap())
        .fails(1, &["`metadata/1.root.json` there is another one than here"]);
    publish(&others, "s3://").fails(1, &["`s3://` is no bucket: s3://BUCKET/PREFIX"]);
    publish(&others, "s3://x").fails(1, &["nothing says where the bucket is", "hint: give --region"]);
    let region = others.run(&["publish", "--repository", "REPOSITORY", "--to", "s3://x", "--region", "a"]);
    region
        .fails(1, &["there are no credentials: neither AWS_ACCESS_KEY_ID", "hint: set them, or AWS_PROFILE"]);
    publisher
        .run(&["publish", "--repository", "none", "--to", "there"])
        .fails(1, &["no release repository in `none`"]);
}

#[test]
fn old_releases_are_removed_here_and_then_there() {
    let publisher = Publisher::with(&[image("1", 1), image("2", 2), image("3", 3), image("4", 4)]);
    publisher.signing(&["point"], &["--channel", "lts", "1"]).ok();
    publish(&publisher, "there").ok();
    publisher.signing(&["keys", "rotate"], &["--role", "snapshot"]).ok();
    let run = publisher.signing(&["prune"], &["--keep", "2"]).ok();
    assert!(run.stdout.starts_with("removed 2\n"), "{}", run.stdout);
    assert!(!run.stdout.contains("removed 1"), "a channel is at it: {}", run.stdout);
    let versions = |report: &serde_json::Value| {
        let releases = report["releases"].as_array().unwrap().iter();
        releases.map(|release| release["version"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(versions(&publisher.report()), ["1", "3", "4"]);
    let metadata = publisher.files("metadata");
    assert_eq!(
        metadata,
        ["1.root.json", "2.root.json", "6.targets.json", "7.snapshot.json", "timestamp.json"]
    );
    assert_eq!(publisher.files("targets").len(), 3 * 7 + 2);
    let again = publisher.signing(&["prune"], &["--keep", "2"]).ok();
    assert!(again.stdout.starts_with("0 files removed\n"), "{}", again.stdout);
    publisher.signing(&["prune"], &["--keep", "0"]).fails(2, &["--keep"]);

    let run = publish(&publisher, "there").ok();
    assert!(
        run.stdout.starts_with("4 files copied, ") && !run.stdout.contains(" 0 removed"),
        "{}",
        run.stdout
    );
    assert_eq!(files(&publisher.path("there")), files(&publisher.repository()));
    verify(&publisher, &publisher.path("there"), &publisher.keys().join("root.json")).ok();
}

#[test]
fn a_bucket_is_never_half() {
    let publisher = Publisher::with(&[image("1", 1)]);
    let first_root = publisher.path("first.json");
    fs::copy(publisher.keys().join("root.json"), &first_root).unwrap();
    let server = Server::start(&publisher.path("s3"));
    upload(&publisher, &server, "wrong")
        .fails(1, &["failed to list `s3://releases/box/os/", "SignatureDoesNotMatch"]);
    let mut nowhere = publisher.command(&["publish", "--repository", "REPOSITORY", "--to", "s3://x"]);
    nowhere.env("AWS_ACCESS_KEY_ID", ID).env("AWS_SECRET_ACCESS_KEY", SECRET);
    let run = output(nowhere.args(["--endpoint", "http://127.0.0.1:1"]));
    run.fails(1, &["failed to list `s3://x/metadata/`: dispatch failure", "refused"]);
    let run = upload(&publisher, &server, SECRET).ok();
    assert_eq!(run.stdout, "12 files copied, 0 removed\n");
    let objects = server.objects("box/os");
    verify(&publisher, &objects, &first_root).ok();
    server.limit(0);
    assert_eq!(upload(&publisher, &server, SECRET).ok().stdout, "0 files copied, 0 removed\n");

    // A release more, another timestamp key, and the first release gone: cut after every write.
    publisher.add(&image("2", 2), &[]).ok();
    publisher.signing(&["keys", "rotate"], &["--role", "timestamp"]).ok();
    publisher.signing(&["prune"], &["--keep", "1"]).ok();
    let mut cuts = 0;
    loop {
        server.limit(1);
        let run = upload(&publisher, &server, SECRET);
        verify(&publisher, &objects, &first_root).ok();
        if run.code == 0 {
            break;
        }
        run.fails(1, &["`s3://releases/box/os/", "no more writes", "hint: what was there can still be read"]);
        cuts += 1;
    }
    // Targets of a release and a channel, three metadata, a root; as many targets and two metadata go.
    assert_eq!(cuts + 1, 8 + 3 + 1 + 8 + 2);
    assert_eq!(files(&objects), files(&publisher.repository()));
    verify(&publisher, &objects, &publisher.keys().join("root.json")).ok();
}
