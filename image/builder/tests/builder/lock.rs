//! Locking: what is trusted, what is chosen, and what is said when neither can be.

use std::fs;

use crate::support::archive::{Days, key, package, release, sign};
use crate::support::workspace::Workspace;

fn small() -> Workspace {
    Workspace::new(
        &["app"],
        &[
            package("app", "1.0-1").field("Depends", "lib (>= 1)"),
            package("lib", "1.2-1"),
            package("other", "1"),
        ],
    )
}

#[test]
fn a_lock_file_pins_what_is_wanted_and_nothing_else() {
    let w = small();
    let run = w.run(&["lock"]).ok();
    assert!(run.stdout.contains("image: app 1.0-1 added"), "{}", run.stdout);
    let lock: toml::Table = w.lock_text().parse().unwrap();
    let packages = lock["sets"]["image"].as_array().unwrap();
    let names: Vec<_> = packages.iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["app", "lib"]);
    let deb = fs::read(w.archive.deb(&package("lib", "1.2-1"))).unwrap();
    assert_eq!(packages[1]["sha256"].as_str().unwrap(), crate::support::archive::sha256(&deb));
    assert_eq!(packages[1]["size"].as_integer().unwrap(), deb.len() as i64);
    assert_eq!(packages[1]["version"].as_str().unwrap(), "1.2-1");
    let suite = &lock["suites"].as_array().unwrap()[0];
    assert_eq!(suite["name"].as_str().unwrap(), "test");
    assert!(!w.lock_text().contains("mirror"), "a mirror is never written down");
    let before = w.lock_text();
    w.run(&["lock"]).ok();
    assert_eq!(w.lock_text(), before);
}

#[test]
fn the_release_is_hashed_as_the_file_release_is() {
    let w = small();
    w.run(&["lock"]).ok();
    let signed = fs::read_to_string(w.archive.in_release()).unwrap();
    let text = signed.split("\n\n").nth(1).unwrap().split("\n-----BEGIN PGP SIGNATURE").next().unwrap();
    let hash = crate::support::archive::sha256(format!("{text}\n").as_bytes());
    assert!(w.lock_text().contains(&hash));
}

#[test]
fn a_changed_release_is_refused() {
    let w = small();
    let text = fs::read_to_string(w.archive.in_release()).unwrap();
    fs::write(w.archive.in_release(), text.replace("Origin: Test", "Origin: Toast")).unwrap();
    w.run(&["lock"])
        .fails(1, &["the release of `test` cannot be trusted", "changed after it was signed", "hint: "]);
    assert!(!w.lock_file().exists());
}

#[test]
fn text_around_the_signed_message_is_refused() {
    let w = small();
    let text = fs::read_to_string(w.archive.in_release()).unwrap();
    fs::write(w.archive.in_release(), format!("Origin: Evil\n{text}")).unwrap();
    w.run(&["lock"]).fails(1, &["cannot be trusted"]);
    fs::write(w.archive.in_release(), format!("{text}\nOrigin: Evil\n")).unwrap();
    w.run(&["lock"]).fails(1, &["cannot be trusted"]);
}

#[test]
fn a_release_of_an_unknown_signer_is_refused() {
    let w = small();
    let index = fs::read(w.archive.index()).unwrap();
    let text = release(&index, Days { made: 0, until: None });
    fs::write(w.archive.in_release(), sign(&text, &key())).unwrap();
    w.run(&["lock"]).fails(1, &["signed by none of the pinned keys, but by "]);
    fs::write(w.archive.in_release(), text).unwrap();
    w.run(&["lock"]).fails(1, &["not an OpenPGP cleartext-signed message"]);
}

#[test]
fn one_good_signature_among_several_is_enough() {
    let w = small();
    let index = fs::read(w.archive.index()).unwrap();
    let text = release(&index, Days { made: 0, until: None });
    let signature = |signed: &str| {
        let start = signed.find("-----BEGIN PGP SIGNATURE").unwrap();
        (signed[..start].to_owned(), signed[start..].to_owned())
    };
    let (body, theirs) = signature(&sign(&text, &key()));
    let (_, ours) = signature(&sign(&text, &w.archive.key));
    let packets = [packets(&theirs), packets(&ours)].concat();
    fs::write(w.archive.in_release(), body + &armor(&packets)).unwrap();
    w.run(&["lock"]).ok();
}

fn packets(armored: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut reader = pgp::armor::Dearmor::new(armored.as_bytes());
    std::io::Read::read_to_end(&mut reader, &mut bytes).unwrap();
    bytes
}

fn armor(packets: &[u8]) -> String {
    struct Raw<'a>(&'a [u8]);
    impl pgp::ser::Serialize for Raw<'_> {
        fn to_writer<W: std::io::Write>(&self, writer: &mut W) -> pgp::errors::Result<()> {
            Ok(writer.write_all(self.0)?)
        }
        fn write_len(&self) -> usize {
            self.0.len()
        }
    }
    let mut text = Vec::new();
    pgp::armor::write(&Raw(packets), pgp::armor::BlockType::Signature, &mut text, None, true).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn a_release_out_of_its_time_is_refused() {
    let w = small();
    let packages = [package("app", "1"), package("lib", "1")];
    w.archive.publish_at(&packages, Days { made: -8, until: Some(-1) });
    w.run(&["lock"]).fails(1, &["it expired at ", "hint: the mirror is not up to date"]);
    w.archive.publish_at(&packages, Days { made: 3, until: Some(10) });
    w.run(&["lock"]).fails(1, &["in the future", "hint: check this machine's clock"]);
    w.archive.publish(&packages);
    w.run(&["lock"]).ok();
    w.archive.publish_at(&packages, Days { made: -2, until: Some(10) });
    w.run(&["lock"]).fails(1, &["older than that of the lock file"]);
}

#[test]
fn a_changed_index_is_refused() {
    let w = small();
    let mut index = fs::read(w.archive.index()).unwrap();
    let middle = index.len() / 2;
    index[middle] ^= 1;
    fs::write(w.archive.index(), &index).unwrap();
    w.run(&["lock"])
        .fails(1, &["Packages.xz` is not what was expected", "hint: the mirror has been changed"]);
    index.push(0);
    fs::write(w.archive.index(), &index).unwrap();
    w.run(&["lock"]).fails(1, &["is not what was expected: more instead of"]);
    assert!(!w.lock_file().exists());
    assert!(w.cached().is_empty(), "{:?}", w.cached());
}

#[test]
fn an_unresolvable_dependency_is_explained() {
    let w = Workspace::new(
        &["app"],
        &[
            package("app", "1").field("Depends", "lib (>= 2), tool"),
            package("lib", "1.9"),
            package("tool", "1"),
        ],
    );
    w.run(&["lock"])
        .fails(1, &["packages of `image` cannot be installed together", "app", "lib", ">= 2", "hint: "]);
    w.configure(&["app"], &["lib"]);
    w.run(&["lock"]).ok();
    w.configure(&["apq"], &[]);
    w.run(&["lock"]).fails(1, &["`image` wants `apq`, which no suite has"]);
}

#[test]
fn conflicts_alternatives_and_virtual_packages_are_respected() {
    let packages = [
        package("app", "1").field("Depends", "mta, real | virtual (>= 2), shared"),
        package("exim", "1").field("Provides", "mta").field("Conflicts", "mta"),
        package("postfix", "1").field("Provides", "mta").field("Breaks", "shared (<< 3)"),
        package("virt-old", "1").field("Provides", "virtual (= 1.5)"),
        package("virt-new", "1").field("Provides", "virtual (= 2.5)"),
        package("shared", "2"),
        package("shared", "3").field("Conflicts", "exim"),
    ];
    let w = Workspace::new(&["app"], &packages);
    w.run(&["lock"]).ok();
    let lock: toml::Table = w.lock_text().parse().unwrap();
    let chosen: Vec<String> = lock["sets"]["image"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| format!("{} {}", p["name"].as_str().unwrap(), p["version"].as_str().unwrap()))
        .collect();
    let solutions =
        [["app 1", "exim 1", "shared 2", "virt-new 1"], ["app 1", "postfix 1", "shared 3", "virt-new 1"]];
    assert!(solutions.iter().any(|solution| chosen == solution), "{chosen:?}");
    w.configure(&["app", "exim", "postfix"], &[]);
    w.run(&["lock"]).fails(1, &["exim", "postfix"]);
}

#[test]
fn versions_stay_until_they_are_moved() {
    let old = [package("app", "1").field("Depends", "lib"), package("lib", "1.9")];
    let w = Workspace::new(&["app"], &old);
    w.run(&["lock"]).ok();
    let new = [
        package("app", "1").field("Depends", "lib"),
        package("app", "2").field("Depends", "lib"),
        package("lib", "1.9"),
        package("lib", "1.10"),
    ];
    w.archive.publish(&new);
    let run = w.run(&["lock"]).ok();
    assert!(!run.stdout.contains("->"), "{}", run.stdout);
    w.run(&["lock", "--update", "lob"]).fails(2, &["no lock file has a package `lob`"]);
    let run = w.run(&["lock", "--update", "lib"]).ok();
    assert!(run.stdout.contains("image: lib 1.9 -> 1.10"), "{}", run.stdout);
    assert!(!run.stdout.contains("app 1 ->"), "{}", run.stdout);
    let run = w.run(&["lock", "--update"]).ok();
    assert!(run.stdout.contains("image: app 1 -> 2"), "{}", run.stdout);
}

#[test]
fn a_version_that_is_gone_makes_room_for_the_next() {
    let w = Workspace::new(&["app"], &[package("app", "1")]);
    w.run(&["lock"]).ok();
    w.archive.publish(&[package("app", "2")]);
    let run = w.run(&["lock"]).ok();
    assert!(run.stdout.contains("image: app 1 -> 2"), "{}", run.stdout);
}

#[test]
fn an_unknown_key_of_the_configuration_is_shown_with_a_hint() {
    let w = small();
    let path = w.root().join("image/holdfast.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("[packages]\n", "[packages]\ninstal = [\"x\"]\n")).unwrap();
    let line = text.lines().position(|line| line == "[packages]").unwrap() + 2;
    let place = format!("holdfast.toml:{line}:1: unknown field `instal`");
    w.run(&["lock"]).fails(2, &[&place, "^^^^^^", "hint: did you mean `install`?"]);
    w.app("a", &["app"], "[image]\nentripoint = []\n");
    fs::write(&path, text).unwrap();
    w.run(&["lock"])
        .fails(2, &["a.toml:8:1: unknown field `entripoint`", "hint: did you mean `entrypoint`?"]);
}

#[test]
fn an_unknown_key_of_a_lock_file_is_told() {
    let w = small();
    w.run(&["lock"]).ok();
    let text = w.lock_text();
    for (at, wrong) in [
        ("[[suites]]\n", "[[suites]]\nmirror = \"x\"\n"),
        ("{ name = \"app\",", "{ mirror = \"x\", name = \"app\","),
        ("format = 1\n", "format = 1\nmirror = \"x\"\n"),
    ] {
        fs::write(w.lock_file(), text.replacen(at, wrong, 1)).unwrap();
        w.run(&["lock"]).fails(2, &["holdfast.lock:", "unknown field `mirror`", "^^^^^^"]);
    }
    fs::write(w.lock_file(), text.replace("format = 1", "format = 2")).unwrap();
    w.run(&["lock"]).fails(2, &["holdfast.lock: format 2 is newer than 1"]);
}
