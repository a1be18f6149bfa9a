//! What is delivered: its manifest is true, all its forms hold the same disk, and `inspect` says what is on it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use image_layout::disk::{PARTITIONS, start};
use image_layout::manifest::{EmbeddedImage, Manifest, Package};
use image_layout::slots::TRIES_GOOD;
use qemu_tests::Lab;
use serde_json::{Value, json};

/// The forms beside the raw one, by their endings.
const OTHERS: [&str; 2] = ["raw.gz", "qcow2"];

fn manifest(lab: &Lab) -> Manifest {
    let text = fs::read_to_string(lab.image().with_file_name("manifest.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// What a program says that must succeed.
fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}{errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

fn inspect(lab: &Lab, image: &Path, more: &[&str]) -> String {
    said(Command::new(lab.builder()).current_dir(lab.root()).arg("inspect").arg(image).args(more))
}

fn document(lab: &Lab, image: &Path) -> Value {
    serde_json::from_str(&inspect(lab, image, &["--json"])).unwrap()
}

#[test]
fn the_manifest_is_true_of_the_files() {
    let lab = Lab::new().unwrap();
    let manifest = manifest(&lab);
    let names: Vec<&str> = manifest.outputs.iter().map(|output| output.name.as_str()).collect();
    assert_eq!(names, ["holdfast.raw", "holdfast.raw.gz", "holdfast.qcow2", "sbom.spdx.json"]);
    for output in &manifest.outputs {
        let file = lab.image().with_file_name(&output.name);
        assert_eq!(fs::metadata(&file).unwrap().len(), output.size, "{}", output.name);
        let sum = said(Command::new("sha256sum").arg(&file));
        assert_eq!(sum.split(' ').next(), Some(output.sha256.as_str()), "{}", output.name);
    }
    let lock: toml::Table =
        toml::from_str(&fs::read_to_string(lab.root().join("image/holdfast.lock")).unwrap()).unwrap();
    let locked: BTreeSet<[&str; 4]> = lock["sets"]["image"].as_array().unwrap().iter().map(locked).collect();
    let mut seen = BTreeSet::new();
    for Package { name, version, architecture, sha256, size } in &manifest.packages {
        assert!(
            locked.contains([name, version, architecture, sha256].map(String::as_str).as_slice()),
            "{name} {version} is not locked"
        );
        assert!(*size > 0 && seen.insert(name), "{name}");
    }
    // What a box cannot do without. Of some that are locked nothing is kept, or not in the root.
    for name in ["libc6", "systemd", "openssh-server", "nftables", "ca-certificates"] {
        assert!(seen.contains(&name.to_owned()), "there is no {name}");
    }
    let epoch: Vec<&str> =
        lock["suites"].as_array().unwrap().iter().map(|suite| suite["date"].as_str().unwrap()).collect();
    let newest = epoch.iter().max().unwrap()[..10].replace('-', "");
    assert!(manifest.version.ends_with(&format!(".{newest}")), "{} of {epoch:?}", manifest.version);
}

/// What identifies a package of the lock.
fn locked(package: &toml::Value) -> [&str; 4] {
    ["name", "version", "arch", "sha256"].map(|field| package[field].as_str().unwrap())
}

#[test]
fn every_form_holds_the_bytes_of_the_raw_one() {
    let lab = Lab::new().unwrap();
    let raw = lab.image();
    let [gz, qcow2] = OTHERS.map(|ending| raw.with_extension(ending));
    said(lab.tool("qemu-img").args(["check", "-f", "qcow2"]).arg(&qcow2));
    said(lab.tool("qemu-img").args(["compare", "-f", "raw", "-F", "qcow2"]).args([&raw, &qcow2]));
    said(Command::new("sh").args(["-c", r#"gzip -dc "$1" | cmp - "$2""#, "sh"]).args([&gz, &raw]));
    let expect = document(&lab, &raw);
    for image in [gz, qcow2] {
        assert!(document(&lab, &image) == expect, "{} is another disk to `inspect`", image.display());
    }
}

#[test]
fn inspect_says_what_is_on_the_disk() {
    let lab = Lab::new().unwrap();
    let (image, manifest) = (lab.image(), manifest(&lab));
    let found = document(&lab, &image);
    assert_eq!(found["size"], fs::metadata(&image).unwrap().len());
    let partitions = PARTITIONS.iter().map(|part| {
        json!({ "number": part.number, "name": part.name, "type_guid": part.type_guid,
            "start": start(part.role), "size": part.size })
    });
    assert_eq!(found["partitions"], Value::from_iter(partitions));
    let state = json!({ "slot": "a", "good": "a", "tries_a": TRIES_GOOD, "tries_b": 0 });
    assert_eq!(found["state"], json!([state, state]));

    let slots = found["slots"].as_array().unwrap();
    let [slot] = slots.as_slice() else { panic!("one slot holds something: {slots:?}") };
    assert_eq!(
        (&slot["slot"], &slot["verified"], &slot["forbidden"]),
        (&json!("a"), &json!(true), &json!([]))
    );
    assert_eq!(slot["root_hash"], manifest.root_hash);
    assert_eq!(slot["root_size"], manifest.root_size);
    let arguments = slot["arguments"].as_str().unwrap();
    assert!(arguments.contains(&manifest.root_hash), "{arguments}");
    // The root's own manifest, which cannot name the root's hash and what is made of it.
    let own: Manifest = serde_json::from_value(slot["manifest"].clone()).unwrap();
    let without = Manifest { root_hash: String::new(), root_size: 0, outputs: vec![], ..manifest.clone() };
    assert_eq!(own, without);
    assert_eq!(own.images, embedded(&lab));
    text_says_the_same(&inspect(&lab, &image, &[]), &manifest);
}

/// The images that are to be embedded, with the digests of the apps as they were built.
fn embedded(lab: &Lab) -> Vec<EmbeddedImage> {
    let read = |path: PathBuf| fs::read_to_string(lab.root().join(path)).unwrap();
    let config: toml::Table = toml::from_str(&read("image/holdfast.toml".into())).unwrap();
    let images: BTreeMap<String, String> = config["embed"]["images"].clone().try_into().unwrap();
    let image = |(app, reference): (String, String)| {
        let index: Value = serde_json::from_str(&read(lab.app(&app).join("index.json"))).unwrap();
        let digest = index["manifests"][0]["digest"].as_str().unwrap().to_owned();
        EmbeddedImage { reference, digest }
    };
    images.into_iter().map(image).collect()
}

/// The page has a line for everything, and packages by their size.
fn text_says_the_same(page: &str, manifest: &Manifest) {
    let lines: Vec<Vec<&str>> = page.lines().map(|line| line.split_whitespace().collect()).collect();
    let line = |words: &[&str]| {
        assert!(lines.iter().any(|line| line.starts_with(words)), "no line `{}`:\n{page}", words.join(" "));
    };
    for part in &PARTITIONS {
        line(&[&part.number.to_string(), part.name]);
        assert!(page.contains(&format!("at {}\n", start(part.role))), "{}", part.name);
    }
    line(&["grubenv", "try", "a,", "good", "a,"]);
    line(&["grubenv2", "try", "a,", "good", "a,"]);
    line(&["slot", "a:", "Holdfast", &manifest.version]);
    line(&["root", "hash", &manifest.root_hash, "(verified)"]);
    assert!(!page.contains("FORBIDDEN") && !page.contains("slot b:"), "{page}");
    for EmbeddedImage { reference, digest } in &manifest.images {
        line(&["image", reference, digest]);
    }
    let mut packages: Vec<&Package> = manifest.packages.iter().collect();
    packages.sort_by_key(|package| std::cmp::Reverse(package.size));
    let expect: Vec<[&str; 2]> =
        packages.iter().map(|package| [package.name.as_str(), package.version.as_str()]).collect();
    let after = lines.iter().position(|line| line.first() == Some(&"packages,")).expect("packages");
    // Size, unit, name, version.
    let told: Vec<[&str; 2]> = lines[after + 1..].iter().map(|line| [line[2], line[3]]).collect();
    assert_eq!(told, expect);
}
