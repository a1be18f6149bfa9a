//! Documents that are no good: the box boots, stays reachable, and says what is wrong and where.

use std::io::Write;
use std::process::Stdio;

use crate::common::{BOOT, CHANGE, DISK, lab, out, page, settings};
use flate2::{Compression, write::GzEncoder};
use qemu_tests::{Disk, Firmware, Machine, Registry, Setup};

fn gzip(document: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(vec![], Compression::default());
    gzip.write_all(document).unwrap();
    gzip.finish().unwrap()
}

/// The documents, each with words that its error must contain.
fn documents(registry: &Registry) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let mut broken = gzip(page(registry, "x").as_bytes());
    let length = broken.len();
    broken.truncate(length / 2);
    let missing = settings(registry)
        + &format!(
            "[[recipe]]\nname = \"site\"\n[recipe.containers.web]\nimage = \"{}\"\n",
            registry.reference("no-such-image:1")
        );
    vec![
        ("empty", b"".to_vec(), "empty"),
        ("binary", (0..=255u8).cycle().take(4096).collect(), "UTF-8"),
        ("truncated", b"format = 1\n[box]\nhostname = \"bo".to_vec(), ":3:"),
        ("types", b"format = 1\n[box]\nhostname = 7\nadmins = \"x\"\n".to_vec(), "hostname"),
        ("unknown-key", b"format = 1\n[box]\nhostnam = \"box\"\n".to_vec(), "hostname"),
        ("cloud-config", b"#cloud-config\npackages:\n  - nginx\n".to_vec(), "cloud-config"),
        ("script", b"#!/bin/sh\necho hello\n".to_vec(), "script"),
        ("nested", [b"a = ".to_vec(), vec![b'['; 64 * 1024 - 8]].concat(), "nest"),
        ("gzip", broken, "gzip"),
        ("no-image", missing.into_bytes(), "no-such-image"),
    ]
}

/// Boots with a document and finds the box reachable, degraded, and clear about the reason.
fn boots_with(name: &str, firmware: Firmware) {
    let (lab, registry) = lab();
    let (_, document, words) = documents(&registry).into_iter().find(|(n, ..)| *n == name).unwrap();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    let setup = Setup { firmware, ..Setup::with(document) };
    let machine = Machine::boot(&lab, &disk, &setup).unwrap();
    machine.console.wait("holdfast: error", BOOT).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    let status = machine.cli(&["status"]).unwrap();
    assert_eq!(status.status.code(), Some(3), "{}", out(&status));
    assert!(out(&status).contains(words), "{name}: {}", out(&status));
    // A corrected document is taken, and the page is served.
    apply(&machine, page(&registry, "corrected").as_bytes(), &[0]);
    machine.wait_served("corrected", CHANGE).unwrap();
    machine.kill().unwrap();
}

fn apply(machine: &Machine, document: &[u8], codes: &[i32]) -> String {
    given(machine, &["apply", "--remove", "-"], document, codes)
}

/// Runs a command on the box with a document on its stdin; what it said.
fn given(machine: &Machine, arguments: &[&str], document: &[u8], codes: &[i32]) -> String {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(document).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let done = machine.cli_with(arguments, Stdio::from(file)).unwrap();
    assert!(codes.contains(&done.status.code().unwrap_or(-1)), "{}", out(&done));
    out(&done)
}

/// The box explains by the readers that it boots with.
fn explains(machine: &Machine, document: &[u8], code: i32, words: &str) {
    let said = given(machine, &["metadata", "explain", "-"], document, &[code]);
    assert!(said.contains(words), "{said}");
}

#[test]
fn truncated() {
    boots_with("truncated", Firmware::Bios);
}

#[test]
fn full_cloud_config() {
    boots_with("cloud-config", Firmware::Bios);
}

#[test]
fn full_image_that_does_not_exist() {
    boots_with("no-image", Firmware::Bios);
}

#[test]
fn all_by_apply() {
    let (lab, registry) = lab();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    // As an editor of another system saves it, and packed.
    let document = page(&registry, "kept").replace('\n', "\r\n");
    let packed = gzip(document.as_bytes());
    let machine = Machine::boot(&lab, &disk, &Setup::with(packed.clone())).unwrap();
    machine.wait_served("kept", BOOT).unwrap();
    explains(&machine, &packed, 0, &format!("user-data   toml, {} bytes\n", document.len()));
    let network = |mac: &str| {
        let link = format!(r#"{{"id": "a", "ethernet_mac_address": "{mac}"}}"#);
        format!(r#"{{"links": [{link}], "networks": [{{"link": "a", "type": "ipv4_dhcp"}}]}}"#)
    };
    let good = network("52:54:00:00:00:01");
    explains(&machine, good.as_bytes(), 0, "interface   a: the NIC 52:54:00:00:00:01\n  automatic DHCP\n");
    explains(&machine, network("52:54").as_bytes(), 2, "links[0].ethernet_mac_address");
    for (name, document, words) in documents(&registry) {
        if name == "no-image" {
            continue;
        }
        let said = apply(&machine, &document, &[2]);
        assert!(said.contains(words), "{name}: {said}");
        assert!(machine.serves("kept"), "{name} cost the page");
    }
    machine.kill().unwrap();
}

#[test]
fn full_empty() {
    boots_with("empty", Firmware::Bios);
}

#[test]
fn full_binary() {
    boots_with("binary", Firmware::Bios);
}

#[test]
fn full_types() {
    boots_with("types", Firmware::Bios);
}

#[test]
fn full_unknown_key() {
    boots_with("unknown-key", Firmware::Bios);
}

#[test]
fn full_script() {
    boots_with("script", Firmware::Bios);
}

#[test]
fn full_nested() {
    boots_with("nested", Firmware::Bios);
}

#[test]
fn full_broken_gzip() {
    boots_with("gzip", Firmware::Bios);
}

#[test]
fn full_truncated_on_uefi() {
    boots_with("truncated", Firmware::Uefi);
}

#[test]
fn full_image_that_does_not_exist_on_uefi() {
    boots_with("no-image", Firmware::Uefi);
}
