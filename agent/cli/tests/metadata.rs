//! `metadata explain` as a program, over the documents that the readers' own tests have.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn document(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../metadata/fuzz/corpus/document").join(name)
}

fn explain(path: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    command.env_remove("HOLDFAST_HOST").args(["metadata", "explain"]).arg(path).args(more);
    command.stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// What is printed of a path that can be used.
fn page(path: &Path, more: &[&str]) -> String {
    let output = explain(path, more);
    assert_eq!((output.status.code(), text(output.stderr)), (Some(0), String::new()), "{}", path.display());
    text(output.stdout)
}

/// The exit code, and what is said of a path that cannot be used.
fn refusal(path: &Path) -> (Option<i32>, String) {
    let output = explain(path, &[]);
    assert_eq!(text(output.stdout), "");
    let folder = format!("{}/", path.parent().unwrap().display());
    (output.status.code(), text(output.stderr).replace(&folder, ""))
}

#[test]
fn each_kind_of_document_is_a_page() {
    for name in [
        "cloud-config",
        "digitalocean.json",
        "multipart",
        "network-config-1",
        "network-config-2",
        "network_data.json",
    ] {
        insta::assert_snapshot!(name, page(&document(name), &[]));
    }
}

#[test]
fn json_says_the_same() {
    let printed: serde_json::Value =
        serde_json::from_str(&page(&document("multipart"), &["--json"])).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&printed["user_data"]).unwrap());
    let printed = page(&document("network_data.json"), &["--json"]);
    insta::assert_snapshot!("network_data_as_json", printed);
}

#[test]
fn a_config_drive_and_a_nocloud_volume_are_explained_whole() {
    let root = tempfile::tempdir().unwrap();
    let write = |path: &str, content: &[u8]| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    let latest = "drive/openstack/latest";
    write(
        &format!("{latest}/meta_data.json"),
        br#"{"uuid": "83679162", "hostname": "Hub1", "public_keys": {"ops": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGk0LlHVvXMDgW2VPZhoMRqsX4fL0vQ7QK2UQkSpZ1aA ops\n"}}"#,
    );
    write(&format!("{latest}/user_data"), &fs::read(document("multipart")).unwrap());
    write(&format!("{latest}/network_data.json"), br#"{"links": [{"id": "a", "ethernet_mac_address": "FA:16:3E:00:00:01", "mtu": null}], "networks": [{"link": "a", "type": "ipv4_dhcp"}], "services": []}"#);
    let latest = "droplet/openstack/latest";
    write(
        &format!("{latest}/meta_data.json"),
        br#"{"uuid": "2756294", "hostname": "sample-droplet", "public_keys": {}}"#,
    );
    write(&format!("{latest}/vendor_data.json"), b"{}");
    let own = fs::read(document("digitalocean.json")).unwrap();
    write("droplet/digitalocean_meta_data.json", &own);
    write("nocloud/meta-data", b"instance-id: i-2\nlocal-hostname: hub2\n");
    write("nocloud/user-data", b"[box]\nhostname = \"hub2\"\n");
    write("nocloud/network-config", &fs::read(document("network-config-2")).unwrap());
    insta::assert_snapshot!("config_drive", page(&root.path().join("drive"), &[]));
    insta::assert_snapshot!("droplet", page(&root.path().join("droplet"), &[]));
    insta::assert_snapshot!("nocloud", page(&root.path().join("nocloud"), &[]));
}

#[test]
fn a_document_can_come_by_a_pipe() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    let input = fs::File::open(document("multipart")).unwrap();
    let output = command.args(["metadata", "explain", "-"]).stdin(input).output().unwrap();
    assert_eq!(text(output.stdout), page(&document("multipart"), &[]));
}

#[test]
fn what_cannot_be_used_is_2_and_told_with_file_and_place() {
    let folder = tempfile::tempdir().unwrap();
    let mut told = String::new();
    let cut = fs::read_to_string(document("multipart")).unwrap().replace("--=_1--", "");
    let twice = cut.replace("text/x-shellscript", "text/toml").replace("#!/bin/sh\necho hello", "a = 1")
        + "--=_1--\n";
    let garbled = cut.replace("Zm9y", "!!!!") + "--=_1--\n";
    for (name, content) in [
        ("network_data.json", r#"{"links": [{"id": "a", "ethernet_mac_address": "fa:16"}], "networks": []}"#),
        ("broken.json", "{\"links\": [\n"),
        ("network-config", "version: 2\nethernets:\n  eth0:\n    addresses: [203.0.113.7/33]\n"),
        ("meta-data", "instance-id: [1,\n"),
        ("cut", &cut),
        ("twice", &twice),
        ("garbled", &garbled),
        ("nothing.json", "{\"a\": 1}"),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        let (code, said) = refusal(&path);
        assert_eq!(code, Some(2), "{said}");
        told += &said;
    }
    let (code, said) = refusal(&folder.path().join("none"));
    assert_eq!(code, Some(1), "{said}");
    insta::assert_snapshot!(told + &said);
}
